"""A graph that reads another file is refused in each encoding in which onnxruntime would have read it."""

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from components.contracts.errors import PackageError
from components.robot import _onnx
from components.robot._graphs import CPU, open_graph
from components.robot._onnx import check_onnx
from tests.packaging.made import made_once

X = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
ADD = helper.make_node("Add", ["x", "w"], ["y"])
FOLDER = "session.model_external_initializers_file_folder_path"


def outside(name="w", location="w.bin"):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def model(*nodes, initializers=(), functions=(), opsets=()):
    graph = helper.make_graph(nodes, "g", [X], [Y], initializer=initializers)
    imports = [helper.make_opsetid("", 17), *opsets]
    return helper.make_model(graph, opset_imports=imports, ir_version=10, functions=functions)


def constant(**attribute):
    return helper.make_node("Constant", [], ["w"], **attribute)


def sparse():
    indices = helper.make_tensor("i", TensorProto.INT64, [4], [0, 1, 2, 3])
    return onnx.SparseTensorProto(dims=[4], values=outside(), indices=indices)


def sparse_initializer():
    changed = model(ADD)
    changed.graph.sparse_initializer.append(sparse())
    return changed


def branch():
    body = helper.make_graph([ADD], "body", [], [Y], initializer=[outside()])
    yes = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.BOOL, [], [True]))
    return model(yes, helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body))


def function():
    nodes = [constant(value=outside()), ADD]
    local = helper.make_function("local", "F", ["x"], ["y"], nodes, [helper.make_opsetid("", 17)])
    call = helper.make_node("F", ["x"], ["y"], domain="local")
    return model(call, functions=[local], opsets=[helper.make_opsetid("local", 1)])


def training():
    changed = model(ADD, initializers=[helper.make_tensor("w", TensorProto.FLOAT, [4], [0.0] * 4)])
    changed.training_info.add().initialization.initializer.append(outside("v"))
    return changed


def varint(value, extra=0):
    """Protobuf's encoding of a number, in `extra` bytes more than it needs."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value | (0x80 if extra else 0))
    return bytes(out) + (b"\x80" * (extra - 1) + b"\x00" if extra else b"")


def field(number, *parts, extra=0):
    payload = b"".join(parts)
    return varint(number << 3 | 2, extra) + varint(len(payload), extra) + payload


FLOATS = b"\x08\x04\x10\x01"  # dims 4, data_type FLOAT
NAME = field(8, b"w")
EXTERNAL = b"\x70\x01"  # data_location
LOCATION = field(1, b"location"), field(2, b"w.bin")


def by_hand(tensor):
    """The initializer's bytes within an ordinary model."""
    graph = model(ADD).graph.SerializeToString() + field(5, tensor)
    return b"\x08\x0a" + field(7, graph) + field(8, b"\x10\x11")


def graph_in_two():
    whole = model(ADD, initializers=[])
    first = whole.graph.SerializeToString()
    second = field(5, FLOATS, NAME, EXTERNAL, field(13, *LOCATION))
    return b"\x08\x0a" + field(7, first) + field(8, b"\x10\x11") + field(7, second)


def attribute_in_two():
    """A Constant whose tensor is written twice: a parser merges them."""
    attribute = field(1, b"value") + b"\xa0\x01\x04" + field(5, FLOATS) + field(5, EXTERNAL, field(13, *LOCATION))
    node = field(2, b"w") + field(4, b"Constant") + field(5, attribute)
    return b"\x08\x0a" + field(7, field(1, node), model(ADD).graph.SerializeToString()) + field(8, b"\x10\x11")


READ_BY_ONNXRUNTIME = {
    "initializer": model(ADD, initializers=[outside()]).SerializeToString(),
    "sparse initializer": sparse_initializer().SerializeToString(),
    "attribute's tensor": model(constant(value=outside()), ADD).SerializeToString(),
    "attribute's sparse tensor": model(constant(sparse_value=sparse()), ADD).SerializeToString(),
    "nested graph": branch().SerializeToString(),
    "function": function().SerializeToString(),
    "value before key": by_hand(FLOATS + NAME + EXTERNAL + field(13, *reversed(LOCATION))),
    "location before data": by_hand(field(13, *LOCATION) + EXTERNAL + NAME + FLOATS),
    "key said twice": by_hand(FLOATS + NAME + EXTERNAL + field(13, field(1, b"offset"), *LOCATION)),
    "overlong key": by_hand(FLOATS + NAME + EXTERNAL + field(13, field(1, b"location", extra=1), LOCATION[1])),
    "overlong entry": by_hand(FLOATS + NAME + EXTERNAL + field(13, *LOCATION, extra=2)),
    "overlong location": by_hand(FLOATS + NAME + b"\x70\x81\x80\x00" + field(13, *LOCATION)),
    "overlong tag": by_hand(FLOATS + NAME + b"\xf0\x80\x00\x01" + field(13, *LOCATION)),
    "location beyond 32 bits": by_hand(FLOATS + NAME + b"\x70" + varint(1 << 32 | 1) + field(13, *LOCATION)),
    "location said twice": by_hand(FLOATS + NAME + b"\x70\x00" + EXTERNAL + field(13, *LOCATION)),
    "unknown field between": by_hand(FLOATS + NAME + EXTERNAL + field(13, field(99, b"?"), *LOCATION)),
    "group between": by_hand(FLOATS + NAME + b"\xfb\x06\x08\x01\xfc\x06" + EXTERNAL + field(13, *LOCATION)),
    "packed dims": by_hand(field(1, b"\x04") + b"\x10\x01" + NAME + EXTERNAL + field(13, *LOCATION)),
    "graph in two pieces": graph_in_two(),
    "attribute in two pieces": attribute_in_two(),
}
REFUSED_BY_BOTH = {
    "training": training().SerializeToString(),
    "absolute path": model(ADD, initializers=[outside(location="/etc/passwd")]).SerializeToString(),
    "address in memory": model(ADD, initializers=[outside(location="*/_ORT_MEM_ADDR_/*")]).SerializeToString(),
    "external without a location": by_hand(FLOATS + NAME + EXTERNAL),
    "location without external": by_hand(FLOATS + NAME + field(13, *LOCATION)),
}


@pytest.fixture
def weights(tmp_path):
    """A folder with a file that a graph may want to read."""
    np.arange(4, dtype=np.float32).tofile(tmp_path / "w.bin")
    return tmp_path


def onnxruntime_alone(data, folder):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry(FOLDER, str(folder))
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options, providers=[CPU])
    return session.run(None, {"x": np.ones(4, np.float32)})[0]


@pytest.mark.parametrize("data", READ_BY_ONNXRUNTIME.values(), ids=READ_BY_ONNXRUNTIME.keys())
def test_graph_that_reads_another_file_is_refused_in_every_encoding(weights, data):
    np.testing.assert_array_equal(onnxruntime_alone(data, weights), [1, 2, 3, 4])

    with pytest.raises(PackageError, match="expected a plain ONNX model"):
        check_onnx("step.onnx", data)


@pytest.mark.parametrize("data", REFUSED_BY_BOTH.values(), ids=REFUSED_BY_BOTH.keys())
def test_graph_that_would_read_elsewhere_is_refused(data):
    with pytest.raises(PackageError, match="expected a plain ONNX model"):
        check_onnx("step.onnx", data)


@pytest.mark.parametrize("name", ["initializer", "sparse initializer", "attribute's tensor", "nested graph"])
def test_session_finds_no_file_even_where_the_walk_would_fail(weights, monkeypatch, name):
    monkeypatch.chdir(weights)

    with pytest.raises(PackageError, match="cannot be loaded by onnxruntime"):
        open_graph(name, READ_BY_ONNXRUNTIME[name], (), (), provider=CPU, threads=1)


def engine():
    return model(helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="engine.bin"))


OTHER_CODE = {
    "engine of another provider": engine().SerializeToString(),
    "library of operators": model(helper.make_node("PyOp", ["x"], ["y"], domain="ai.onnx.contrib")).SerializeToString(),
    "domain said twice": b"\x08\x0a" + field(7, field(1, field(7, b"com.microsoft"), field(7, b""))),
    "opset of another domain": model(ADD, opsets=[helper.make_opsetid("com.microsoft", 1)]).SerializeToString(),
    "onnxruntime's format": b"\x08\x00\x00\x00ORTM" + bytes(64),
    "onnxruntime's format within ONNX": b"\x08\x0a\x12\x04ORTM" + field(7, b""),
}


@pytest.mark.parametrize("data", OTHER_CODE.values(), ids=OTHER_CODE.keys())
def test_graph_of_other_operators_or_another_format_is_refused(data):
    with pytest.raises(PackageError, match=r"refused$"):
        check_onnx("step.onnx", data)


def nested(depth):
    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return field(7, graph)


MALFORMED = {
    "field 0": b"\x08\x0a\x00",
    "wire type 6": b"\x08\x0a\x3e\x00",
    "length beyond the end": b"\x08\x0a\x3a\x7f\x00",
    "number without an end": b"\x08" + b"\xff" * 20,
    "cut off in a tag": b"\x08\x0a\xba",
    "cut off in a float": b"\x08\x0a" + field(7, field(1, field(5, b"\x15\x00"))),
    "string as a number": b"\x08\x0a\x10\x01",
    "nested without an end": nested(5000),
    "more fields than a model has": field(7, b"\x0a\x00" * (_onnx.MAX_FIELDS + 1)),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_graph_is_refused(data):
    with pytest.raises(PackageError, match="expected a plain ONNX model"):
        check_onnx("step.onnx", data)


@pytest.mark.parametrize("name", ["encode.onnx", "step.onnx"])
def test_exported_graph_is_accepted(name):
    check_onnx(name, (made_once().folder / name).read_bytes())


KINDS = {"int": {3, 4, 5, 13, 14}, "bytes": {9, 11, 12}, "float": {2}, "double": {1}, "domain": {9}, "zero": {14}}
HOLDS_TENSORS_OR_NODES = {"TensorProto", "SparseTensorProto", "GraphProto", "NodeProto", "AttributeProto"}
REFUSED_FIELDS = {("Tensor", 13), ("Model", 20), ("Model", 25), ("Model", 26), ("Node", 10)}


@pytest.mark.parametrize("kind", _onnx._SCHEMA)
def test_schema_is_the_onnx_packages(kind):
    fields = getattr(onnx, f"{'OperatorSetId' if kind == 'Opset' else kind}Proto").DESCRIPTOR.fields_by_number
    schema = _onnx._SCHEMA[kind]

    assert set(schema) == {number for number in fields if (kind, number) not in REFUSED_FIELDS}
    for number, known in schema.items():
        held = fields[number].message_type
        if known in _onnx._SCHEMA:
            assert held.name in {f"{known}Proto", "OperatorSetIdProto"}
        else:
            assert fields[number].type in KINDS[known]
            assert held is None or held.name not in HOLDS_TENSORS_OR_NODES


def reaches_outside(message):
    """The truth, from a protobuf library's parse."""
    if isinstance(message, TensorProto) and (message.external_data or message.data_location):
        return True
    parts = [value for field, value in message.ListFields() if field.message_type]
    return any(reaches_outside(item) for part in parts for item in (part if hasattr(part, "__iter__") else [part]))


SEEDS = [*READ_BY_ONNXRUNTIME.values(), (training()).SerializeToString()]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_damaged_graph_that_passes_reads_no_other_file(data, draw):
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 4))):
        at = draw.draw(st.integers(0, len(changed) - 1))
        cut = draw.draw(st.integers(0, 3))
        changed[at : at + cut] = draw.draw(st.binary(max_size=3))
    try:
        check_onnx("step.onnx", bytes(changed))
    except PackageError:
        return
    try:
        parsed = onnx.ModelProto.FromString(bytes(changed))
    except DecodeError:
        return
    assert not reaches_outside(parsed)
