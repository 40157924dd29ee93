"""Other models made of a model: in its bytes, or in its structure as protobuf knows it.

Of bytes: some are flipped, taken out, doubled, or come from another file; numbers of one byte become longer ones. Of
the structure: one field somewhere becomes another, goes, comes twice, or changes places with one of its kind.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from onnx import ModelProto

NUMBERS = (
    *range(-2, 9), 10, 11, 12, 16, 31, 63, 100, 255, 2**15, 2**16, 2**24 + 1, 2**31 - 1, 2**31, 2**32, 2**62,
    2**63 - 1, -(2**31), -(2**63),
)  # fmt: skip
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-7, 3e38, float("inf"), float("-inf"), float("nan"))
TEXTS = ("", "x", "y", "t", "w", "a", "ai.onnx", "own", "../w", "/etc/passwd", "w.data", "\0", "\x1b[2J", "é" * 40)
OPERATORS = (
    "Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "Add", "Sub", "Mul", "Div", "Relu", "LeakyRelu",
    "PRelu", "Clip", "Cast", "CastLike", "Dropout", "Identity", "MaxPool", "AveragePool", "GlobalAveragePool", "LpPool",
    "GlobalMaxPool", "ReduceMean", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Pad", "Resize",
    "Upsample", "DepthToSpace", "SpaceToDepth", "Concat", "Split", "Sum", "Max", "Min", "Where", "Expand", "Tile",
    "Gather", "Shape", "Size", "Constant", "ConstantOfShape", "DequantizeLinear", "QuantizeLinear", "If", "Loop",
    "Scan", "Sqrt", "Neg", "Abs", "Exp", "Log", "Pow", "Reciprocal", "Range", "InstanceNormalization",
)  # fmt: skip
ATTRIBUTES = (
    "axis", "axes", "perm", "group", "pads", "strides", "dilations", "kernel_shape", "auto_pad", "epsilon", "alpha",
    "beta", "transA", "transB", "to", "blocksize", "mode", "keepdims", "split", "num_outputs", "training_mode",
    "is_test", "spatial", "broadcast", "value", "value_ints", "min", "max", "ceil_mode", "count_include_pad",
    "allowzero", "starts", "ends", "shape", "block_size", "output_dtype", "p", "scales",
    "coordinate_transformation_mode", "output_padding", "output_shape", "noop_with_empty_axes", "nearest_mode", "tiles",
)  # fmt: skip
CPP = FieldDescriptor
"""Kinds of fields by the name that protobuf has for them."""


def mutated_bytes(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """The bytes with one to four changes; `other` is what they are spliced with."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(_BYTE_CHANGES)(made, other, rng)
    return bytes(made)


def _flip(made: bytearray, other: bytes, rng: random.Random) -> None:
    if made:
        made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)


def _set(made: bytearray, other: bytes, rng: random.Random) -> None:
    if made:
        made[rng.randrange(len(made))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _truncate(made: bytearray, other: bytes, rng: random.Random) -> None:
    del made[rng.randrange(len(made) + 1) :]


def _cut_out(made: bytearray, other: bytes, rng: random.Random) -> None:
    start = rng.randrange(len(made) + 1)
    del made[start : start + rng.choice((1, 1, 2, 4, 16, 64))]


def _double(made: bytearray, other: bytes, rng: random.Random) -> None:
    start = rng.randrange(len(made) + 1)
    made[start:start] = made[start : start + rng.choice((1, 2, 8, 32, 128))]


def _splice(made: bytearray, other: bytes, rng: random.Random) -> None:
    start, length = rng.randrange(len(other) + 1), rng.choice((1, 4, 16, 64, 256))
    place = rng.randrange(len(made) + 1)
    made[place : place + rng.choice((0, length))] = other[start : start + length]


def _long_number(made: bytearray, other: bytes, rng: random.Random) -> None:
    place = rng.randrange(len(made) + 1)
    made[place : place + 1] = bytes([0xFF] * rng.randrange(1, 11)) + bytes([rng.randrange(128)])


_BYTE_CHANGES: Sequence[Callable[[bytearray, bytes, random.Random], None]] = (
    _flip, _flip, _set, _set, _truncate, _cut_out, _double, _splice, _long_number,
)  # fmt: skip


def mutated_model(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """The model with one to four changes of its structure; other bytes where it is none."""
    try:
        model, donor = ModelProto.FromString(data), ModelProto.FromString(other)
    except DecodeError:
        return mutated_bytes(data, other, rng)
    for _ in range(rng.choice((1, 1, 2, 4))):
        _change_structure(model, donor, rng)
    return bytes(model.SerializeToString())


def _change_structure(model: ModelProto, donor: ModelProto, rng: random.Random) -> None:
    messages = list(_messages(model))
    message = rng.choice(messages)
    filled = [field for field, _ in message.ListFields()]
    if rng.random() < 0.15:
        _graft(message, donor, rng)
    elif rng.random() < 0.15 or not filled:
        fields: Any = message.DESCRIPTOR.fields
        _change_field(message, rng.choice(fields), model, rng)
    else:
        _change_field(message, rng.choice(filled), model, rng)


def _messages(root: Message) -> Iterator[Message]:
    """The message and all in it."""
    pending = [root]
    while pending:
        message = pending.pop()
        yield message
        for field, value in message.ListFields():
            if field.message_type is not None:
                pending += list(value) if _is_repeated(value) else [value]


def _is_repeated(value: object) -> bool:
    """Whether a field that holds this is one; older protobufs have no ``FieldDescriptor.is_repeated``."""
    return hasattr(value, "extend")


def _graft(message: Message, donor: ModelProto, rng: random.Random) -> None:
    """Add to the message what another model has in such a one."""
    alike = [found for found in _messages(donor) if type(found) is type(message)]
    if alike:
        message.MergeFrom(rng.choice(alike))


def _change_field(message: Message, field: FieldDescriptor, model: ModelProto, rng: random.Random) -> None:
    if rng.random() < 0.1:
        message.ClearField(field.name)
    elif _is_repeated(getattr(message, field.name)):
        _change_repeated(getattr(message, field.name), field, model, rng)
    elif field.message_type is not None:
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, _value(field, getattr(message, field.name), model, rng))


def _change_repeated(values: Any, field: FieldDescriptor, model: ModelProto, rng: random.Random) -> None:
    way, is_message = rng.randrange(4), field.message_type is not None
    if way == 0 and len(values):
        del values[rng.randrange(len(values))]
    elif way == 1 and len(values) > 1:
        _exchange(values, is_message, rng)
    elif is_message:
        values.add() if not values else values.add().CopyFrom(rng.choice(values))
    elif way == 2 and len(values):
        place = rng.randrange(len(values))
        values[place] = _value(field, values[place], model, rng)
    else:
        values.append(_value(field, values[0] if values else None, model, rng))


def _exchange(values: Any, is_message: bool, rng: random.Random) -> None:
    one, other = rng.randrange(len(values)), rng.randrange(len(values))
    if not is_message:
        with suppress(UnicodeDecodeError):  # protobuf gives a text that is no UTF-8 as bytes, and does not take it back
            values[one], values[other] = values[other], values[one]
        return
    kept = type(values[one])()
    kept.CopyFrom(values[one])
    values[one].CopyFrom(values[other])
    values[other].CopyFrom(kept)


def _value(field: FieldDescriptor, old: Any, model: ModelProto, rng: random.Random) -> Any:
    """Another value for a field that is no message."""
    if field.enum_type is not None:
        return rng.choice([value.number for value in field.enum_type.values])
    if field.type in {CPP.TYPE_FLOAT, CPP.TYPE_DOUBLE}:
        return rng.choice(FLOATS)
    if field.type == CPP.TYPE_STRING:
        return _text(field.name, model, rng)
    if field.type == CPP.TYPE_BYTES:
        return mutated_bytes(bytes(old or b"12345678"), b"\0\0\x80\x7f\0\0\xc0\x7f\xff\xff\xff\xff" * 4, rng)
    number = rng.choice((*NUMBERS, *([old + 1, old - 1, old * 2, -old] if old else [])))
    low, high = _BOUNDS[field.type]
    return min(max(number, low), high)


_BOUNDS = {
    CPP.TYPE_INT32: (-(2**31), 2**31 - 1),
    CPP.TYPE_INT64: (-(2**63), 2**63 - 1),
    CPP.TYPE_UINT64: (0, 2**64 - 1),
}


def _text(name: str, model: ModelProto, rng: random.Random) -> str:
    if name == "op_type":
        return rng.choice(OPERATORS)
    if name == "name" and rng.random() < 0.3:
        return rng.choice(ATTRIBUTES)
    names = [text for node in model.graph.node for text in (*node.input, *node.output) if isinstance(text, str)]
    return rng.choice([*names, *names, *TEXTS]) if names else rng.choice(TEXTS)
