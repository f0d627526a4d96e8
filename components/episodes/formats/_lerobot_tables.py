"""Tables of a LeRobotDataset v3, with the notes by which pandas and Hugging Face's `datasets` read them."""

import json
from typing import Any

CAMERA = "observation.images.front"
COUNTERS = ("frame_index", "episode_index", "index", "task_index")
TASK_INDEX = "__index_level_0__"
TASK_COLUMNS = (TASK_INDEX, "task")
"""Where tasks.parquet has the texts: pandas names an index after itself or not at all."""
OWN_COLUMN = "drover/episode"
"""In the episodes' table: what LeRobot has no place for."""


def data_schema(*, images: bool) -> Any:
    """Of a data file, with the note by which Hugging Face's `datasets` knows the image column."""
    import pyarrow as pa

    fields = [("action", pa.list_(pa.float32(), 3)), ("timestamp", pa.float32())]
    fields += [(name, pa.int64()) for name in COUNTERS]
    noted: dict[str, Any] = {
        "action": {"feature": {"dtype": "float32", "_type": "Value"}, "length": 3, "_type": "List"},
        "timestamp": {"dtype": "float32", "_type": "Value"},
        **{name: {"dtype": "int64", "_type": "Value"} for name in COUNTERS},
    }
    if images:
        fields.insert(0, (CAMERA, pa.struct([("bytes", pa.binary()), ("path", pa.string())])))
        noted = {CAMERA: {"_type": "Image"}} | noted
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": noted}})})


def tasks_table(tasks: list[str]) -> Any:
    """lerobot reads it with pandas, which takes the tasks as index by this note."""
    import pyarrow as pa

    index = TASK_INDEX
    note = {
        "index_columns": [index],
        "column_indexes": [
            {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object",
             "metadata": {"encoding": "UTF-8"}},
        ],
        "columns": [
            {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64",
             "metadata": None},
            {"name": None, "field_name": index, "pandas_type": "unicode", "numpy_type": "object", "metadata": None},
        ],
        "pandas_version": "2.0.0",
    }  # fmt: skip
    schema = pa.schema([("task_index", pa.int64()), (index, pa.string())], metadata={"pandas": json.dumps(note)})
    return pa.Table.from_arrays([pa.array(range(len(tasks)), pa.int64()), pa.array(tasks, pa.string())], schema=schema)
