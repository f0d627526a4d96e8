"""Small files that take the parser through what it may meet, before it is confined: good ones and broken ones."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import numpy as np

_FRAMES, _SIDE = 3, 4
REHEARSED = "episode_20260101_120000_1box_vert_left_core_medium"
_KINDS = {
    "variable-utf8": h5py.string_dtype("utf-8"),
    "variable-ascii": h5py.string_dtype("ascii"),
    "fixed-utf8": h5py.string_dtype("utf-8", 16),
    "fixed-ascii": h5py.string_dtype("ascii", 16),
}


@contextmanager
def rehearsal_files() -> Iterator[list[Path]]:
    """The files, as long as it is open; as many as this machine lets be written."""
    with tempfile.TemporaryDirectory(prefix="drover-rehearsal-") as folder:
        files: list[Path] = []
        with suppress(OSError):
            for kind, text in _KINDS.items():
                files.append(_episode(Path(folder) / f"{kind}.h5", text))
            files.append(_episode(Path(folder) / "filters.h5", _KINDS["fixed-ascii"], shuffle=True, fletcher32=True))
            files.append(Path(folder) / "none.h5")
            files[-1].write_bytes(b"no HDF5")
            files.append(_episode(Path(folder) / "not-utf8.h5", _KINDS["fixed-utf8"], event=b"\xff\xfe"))
        yield files


def _episode(path: Path, text: np.dtype, *, event: bytes = b"start_action", **filters: bool) -> Path:
    images = np.arange(_FRAMES * _SIDE * _SIDE * 3, dtype=np.uint8).reshape(_FRAMES, _SIDE, _SIDE, 3)
    with h5py.File(path, "w") as file:
        chunks = (1, _SIDE, _SIDE, 3)
        file.create_dataset("images", data=images, compression="gzip", chunks=chunks, **filters)
        file.create_dataset("actions", data=np.zeros((_FRAMES, 3), np.float64), compression="gzip")
        events = np.array([b"episode_start", *[event] * (_FRAMES - 1)], dtype=text)
        file.create_dataset("action_event_types", data=events, dtype=text)
        for name, value in {
            "episode_name": REHEARSED, "instruction": "go left",
            "collection_datetime": "2026-01-01T12:00:00+01:00", "source": "nobody",
        }.items():  # fmt: skip
            file.attrs.create(name, value.encode(), dtype=text)
        file.attrs["num_frames"], file.attrs["total_duration"] = _FRAMES, 1.5
        file.attrs["position"] = h5py.Empty("S1")
    return path
