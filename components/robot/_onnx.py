"""Walk an ONNX model's bytes and refuse whatever makes onnxruntime read another file or run code that is not its own.

The walk follows protobuf's encoding (protobuf.dev/programming-guides/encoding) along ONNX's schema (onnx.proto3) and
builds no objects: 20 MiB of empty nodes become 1.5 GiB in a protobuf library, before one of them can be judged. It is
stricter than any protobuf parser, so that no two of them can read the same bytes differently: each occurrence of a
field is judged, whichever of them counts after merging; an unknown field, a group, a wire type that is not the
field's, and a tag or length in more bytes than it needs are refused. Only what has no place for a tensor or a node
(types, names, metadata) is passed over as bytes.

What is not covered: sense. onnxruntime checks types and shapes, and the self-test's child bounds its memory and time.
"""

from typing import NamedTuple

from components.contracts.errors import PackageError

MAX_FIELDS = 200_000
"""A policy has about 1 000; a graph of 10 000 nodes about 150 000."""
MAX_DEPTH = 60
"""Messages within messages; protobuf's own limit is 100."""
DOMAINS = frozenset({b"", b"ai.onnx"})
"""Operators of the ONNX standard. Others may load engines (com.microsoft.EPContext) or libraries (ai.onnx.contrib)."""

_INT, _BYTES, _FLOAT, _DOUBLE, _DOMAIN, _ZERO = "int", "bytes", "float", "double", "domain", "zero"
_SCALAR_WIRE_TYPES = {_INT: (0, 2), _FLOAT: (5, 2), _DOUBLE: (1, 2), _BYTES: (2,), _DOMAIN: (2,), _ZERO: (0,)}
_SIZES = {1: 8, 5: 4}

_EXTERNAL = "reads a tensor from another file"
_OTHER_CODE = "brings functions, training or devices of its own"
_FORBIDDEN = {
    ("Tensor", 13): _EXTERNAL,
    ("Model", 20): _OTHER_CODE,
    ("Model", 25): _OTHER_CODE,
    ("Model", 26): _OTHER_CODE,
    ("Node", 10): _OTHER_CODE,
}

_TENSOR = {1: _INT, 2: _INT, 3: _BYTES, 4: _FLOAT, 5: _INT, 6: _BYTES, 7: _INT, 8: _BYTES, 9: _BYTES, 10: _DOUBLE}
_GRAPH = {1: "Node", 2: _BYTES, 5: "Tensor", 10: _BYTES, 11: _BYTES, 12: _BYTES, 13: _BYTES, 14: _BYTES}
_ATTRIBUTE = {1: _BYTES, 2: _FLOAT, 3: _INT, 4: _BYTES, 5: "Tensor", 6: "Graph", 7: _FLOAT, 8: _INT, 9: _BYTES}
_SCHEMA: dict[str, dict[int, str]] = {
    "Model": {1: _INT, 2: _BYTES, 3: _BYTES, 4: _BYTES, 5: _INT, 6: _BYTES, 7: "Graph", 8: "Opset", 14: _BYTES},
    "Opset": {1: _DOMAIN, 2: _INT},
    "Graph": _GRAPH | {15: "SparseTensor", 16: _BYTES},
    "Node": {1: _BYTES, 2: _BYTES, 3: _BYTES, 4: _BYTES, 5: "Attribute", 6: _BYTES, 7: _DOMAIN, 8: _BYTES, 9: _BYTES},
    "Attribute": _ATTRIBUTE
    | {10: "Tensor", 11: "Graph", 13: _BYTES, 14: _BYTES, 15: _BYTES, 20: _INT, 21: _BYTES}
    | {22: "SparseTensor", 23: "SparseTensor"},
    "Tensor": _TENSOR | {11: _INT, 12: _BYTES, 14: _ZERO, 16: _BYTES},
    "SparseTensor": {1: "Tensor", 2: "Tensor", 3: _INT},
}
"""Message -> field number -> a scalar's kind, or the message that it holds."""

_ORT_FORMAT = b"ORTM"
"""At byte 4 of onnxruntime's own format, a flatbuffer that this walk does not read."""


class _Message(NamedTuple):
    kind: str
    start: int
    end: int
    depth: int


def check_onnx(name: str, data: bytes) -> None:
    """Refuse a model that is more than nodes of the ONNX standard with all of their tensors inside.

    Args:
        name: of the file, for messages.
        data: the whole file.

    Raises:
        PackageError: no ONNX model, in another encoding than a serializer writes, or reaching outside of itself.
    """
    if data[4:8] == _ORT_FORMAT:
        raise PackageError(f"{name}: expected an ONNX model, found one in onnxruntime's own format: refused")
    try:
        _walk(data)
    except _Refusal as refusal:
        raise PackageError(
            f"{name}: expected a plain ONNX model with all weights inside, this one {refusal}: refused"
        ) from None


class _Refusal(Exception):  # noqa: N818  never leaves this file
    """Completes "this one ..."."""


def _walk(data: bytes) -> None:
    fields = 0
    waiting = [_Message("Model", 0, len(data), 0)]
    while waiting:
        message = waiting.pop()
        at = message.start
        while at < message.end:
            fields += 1
            if fields > MAX_FIELDS:
                raise _Refusal(f"has more than {MAX_FIELDS} fields")
            at = _field(data, at, message, waiting)


def _field(data: bytes, at: int, message: _Message, waiting: list[_Message]) -> int:
    """Judge one field; a message within it waits.

    Returns:
        Where the next one begins.
    """
    tag, at = _short_varint(data, at, message.end)
    kind, wire_type = _kind(message.kind, tag >> 3, tag & 7), tag & 7
    if wire_type == 0:
        value, end = _varint(data, at, message.end)
        if kind == _ZERO and value:
            raise _Refusal(_EXTERNAL)
        return end
    if wire_type == 2:
        size, at = _short_varint(data, at, message.end)
    else:
        size = _SIZES[wire_type]
    end = at + size
    if end > message.end:
        raise _Refusal("is cut off")
    if kind in _SCHEMA:
        if message.depth == MAX_DEPTH:
            raise _Refusal(f"is nested deeper than {MAX_DEPTH} messages")
        waiting.append(_Message(kind, at, end, message.depth + 1))
    elif kind == _DOMAIN and data[at:end] not in DOMAINS:
        raise _Refusal(f"uses operators of {data[at : min(end, at + 64)]!r}, which are not the ONNX standard's")
    return end


def _kind(message: str, number: int, wire_type: int) -> str:
    """The schema of a field."""
    if reason := _FORBIDDEN.get((message, number)):
        raise _Refusal(reason)
    kind = _SCHEMA[message].get(number)
    if kind is None:
        raise _Refusal(f"has a field {number} in its {message} that no ONNX model has")
    if wire_type not in _SCALAR_WIRE_TYPES.get(kind, (2,)):
        raise _Refusal(f"has wire type {wire_type} in field {number} of its {message}")
    return kind


def _short_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A tag or a length: below 2^32, and in as few bytes as it needs."""
    if at < end and data[at] < 0x80:
        return data[at], at + 1
    value, after = _varint(data, at, end)
    if value >= 1 << 32 or data[after - 1] == 0:
        raise _Refusal("is encoded as no serializer does (an overlong number)")
    return value, after


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for index in range(10):
        if at + index >= end:
            raise _Refusal("is cut off")
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise _Refusal("is encoded as no serializer does (an endless number)")
