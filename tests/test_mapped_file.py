"""A file opened in place is the model that protobuf parses from the whole of it, and large weights stay in the file."""

import gc
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper
from support import MODELS, REAL_MODELS, graph_model, normal

from bnfold.errors import ModelError
from bnfold.model.external import all_tensors
from bnfold.model.mapped_file import FileSource, open_skeleton, skeleton_of
from bnfold.model.references import THRESHOLD, is_reference, materialized, read_reference
from bnfold.model.spool import Spool
from bnfold.model.wire import header, varint

ALL_MODELS = sorted([*MODELS.glob("*.onnx"), *REAL_MODELS.glob("*.onnx")])
COUNT = THRESHOLD // 4
"""How many floats are just enough for a reference."""

UNPARSABLE = "is not an ONNX model, or is cut off: it can not be parsed as protobuf"


def large(name: str, *, seed: int = 0) -> TensorProto:
    return numpy_helper.from_array(normal(COUNT, seed=seed), name)


def references(model: ModelProto) -> list[str]:
    return [tensor.name for tensor in all_tensors(model) if is_reference(tensor)]


def assert_agrees(raw: bytes) -> ModelProto | None:
    """The skeleton is refused where protobuf refuses, and is the same message otherwise; the skeleton."""
    try:
        whole = ModelProto.FromString(raw)
    except DecodeError:
        with pytest.raises(ModelError, match=UNPARSABLE):
            skeleton_of(raw)
        return None
    if not raw:
        return None
    skeleton = skeleton_of(raw)
    assert materialized(skeleton.proto).SerializeToString() == whole.SerializeToString()
    return skeleton.proto


@pytest.mark.parametrize("path", ALL_MODELS, ids=lambda path: path.name)
def test_a_real_model_is_what_protobuf_parses_and_its_large_weights_are_in_the_file(path: Path) -> None:
    whole = ModelProto.FromString(path.read_bytes())
    for skeleton in (open_skeleton(path), skeleton_of(path.read_bytes())):
        assert materialized(skeleton.proto).SerializeToString() == whole.SerializeToString()
        expected = [tensor.name for tensor in all_tensors(whole) if len(tensor.raw_data) >= THRESHOLD]
        assert references(skeleton.proto) == expected
        assert all(len(tensor.raw_data) < THRESHOLD for tensor in all_tensors(skeleton.proto))


def as_initializer(model: ModelProto) -> None:
    model.graph.initializer.append(large("it"))


def as_constant(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["k"], value=large("it")))


def as_list_of_tensors(model: ModelProto) -> None:
    model.graph.node.append(NodeProto(op_type="Mine"))
    attribute = model.graph.node[-1].attribute.add(name="many")
    attribute.tensors.extend([large("small")])
    attribute.tensors[0].raw_data = b"1234"
    attribute.tensors.append(large("it"))


def sparse_tensor() -> SparseTensorProto:
    indices = numpy_helper.from_array(np.arange(3), "at")
    return SparseTensorProto(values=large("it"), indices=indices, dims=[5000])


def as_sparse_initializer(model: ModelProto) -> None:
    model.graph.sparse_initializer.append(sparse_tensor())


def as_sparse_attribute(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["k"], sparse_value=sparse_tensor()))


def in_bodies(model: ModelProto) -> None:
    body = graph_model("(float[1] g) => (float[1] h) { h = Neg(g) }").graph
    body.initializer.append(large("it"))
    for depth in range(20):
        node = helper.make_node("If", ["c"], [f"o{depth}"], then_branch=body)
        body = graph_model("(float[1] g) => (float[1] h) { h = Neg(g) }").graph
        body.node.append(node)
    model.graph.node.append(body.node[-1])


def in_a_list_of_bodies(model: ModelProto) -> None:
    model.graph.node.append(NodeProto(op_type="Mine"))
    body = model.graph.node[-1].attribute.add(name="many").graphs.add()
    body.initializer.append(large("it"))


def in_a_function(model: ModelProto) -> None:
    node = helper.make_node("Constant", [], ["b"], value=large("it"))
    model.functions.append(helper.make_function("d", "F", [], ["b"], [node], [helper.make_opsetid("", 20)]))


def as_default_of_a_function(model: ModelProto) -> None:
    model.functions.add(name="F").attribute_proto.append(helper.make_attribute("a", large("it")))


@pytest.mark.parametrize(
    "place",
    [
        as_initializer,
        as_constant,
        as_list_of_tensors,
        as_sparse_initializer,
        as_sparse_attribute,
        in_bodies,
        in_a_list_of_bodies,
        in_a_function,
        as_default_of_a_function,
    ],
)
def test_a_large_tensor_is_found_wherever_it_is(place: Callable[[ModelProto], None], tmp_path: Path) -> None:
    model = graph_model("(float[1] x) => (float[1] y) { y = Relu(x) }", w=normal(3))
    place(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    skeleton = open_skeleton(path)
    proto = skeleton.proto
    assert references(proto) == ["it"]
    (tensor,) = filter(is_reference, all_tensors(proto))
    assert len(tensor.SerializeToString()) < 200
    assert read_reference(tensor) == large("it").raw_data
    assert materialized(proto).SerializeToString() == model.SerializeToString()


# Encodings that protobuf does not write and has to read.

DATA = bytes(range(256)) * (THRESHOLD // 256)
RAW = header(9, len(DATA)) + DATA
TYPE = b"\x10\x01"
NAME = header(8, 1) + b"w"
DIMS = b"\x08" + varint(COUNT)
EXTERNAL = TensorProto(data_location=TensorProto.EXTERNAL).SerializeToString()
DEFAULT = TensorProto(data_location=TensorProto.DEFAULT).SerializeToString()
GROUP = varint(5000 << 3 | 3) + b"\x08\x01" + varint(5000 << 3 | 4)
UNKNOWN = {
    "a number": varint(5000 << 3) + b"\x07",
    "64 bits": varint(5000 << 3 | 1) + struct.pack("<q", 7),
    "32 bits": varint(5000 << 3 | 5) + struct.pack("<i", 7),
    "bytes": header(5000, 3) + b"abc",
    "the number of a graph": b"\x38\x05",  # 7 in a model, as a varint
    "the number of a tensor": b"\x28\x05",  # 5 in a graph, an attribute or a node
}


def length_delimited(number: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return header(number, len(body)) + body


def model_of(*in_graph: bytes, around: bytes = b"") -> bytes:
    return around + b"\x08\x0a" + length_delimited(7, *in_graph) + around


def tensor_of(*parts: bytes) -> bytes:
    return model_of(length_delimited(5, *parts))


def constant_of(*in_attribute: bytes) -> bytes:
    return model_of(length_delimited(1, length_delimited(5, *in_attribute)))


T = length_delimited(5, TYPE, RAW)
REFERENCED = {
    "fields in any order": tensor_of(RAW, TYPE, NAME, DIMS),
    "dims packed": tensor_of(length_delimited(1, varint(2), varint(COUNT // 2)), TYPE, RAW),
    "a tag of two bytes": tensor_of(TYPE, b"\xca\x00" + varint(len(DATA)) + DATA),
    "a length of five bytes": tensor_of(TYPE, b"\x4a" + bytes([0x80, 0xA0, 0x80, 0x80, 0x00]) + DATA),
    "says that its data are its own": tensor_of(TYPE, RAW, DEFAULT),
    "says so in front, and twice": tensor_of(DEFAULT, DEFAULT, TYPE, RAW),
    "the graph in two parts": tensor_of(TYPE, NAME, RAW) + tensor_of(TYPE, RAW),
    **{f"unknown: {name}": model_of(field, length_delimited(5, field, RAW, field)) for name, field in UNKNOWN.items()},
    **{f"around: {name}": model_of(length_delimited(5, RAW), around=field) for name, field in UNKNOWN.items()},
}
LEFT = {
    "bytes twice": tensor_of(TYPE, RAW, header(9, 1) + b"x"),
    "bytes twice, the small ones first": tensor_of(TYPE, header(9, 1) + b"x", RAW),
    "external as well": tensor_of(RAW, EXTERNAL),
    "a location left over": tensor_of(RAW, length_delimited(13, length_delimited(1, b"location"))),
    "a location of the data that ONNX does not know": tensor_of(RAW, b"\x70\x07"),
    "an attribute's tensor twice": constant_of(T, T),
    "an attribute's tensor twice, one small": constant_of(T, length_delimited(5, NAME)),
    "the values of a sparse tensor twice": constant_of(length_delimited(22, *[length_delimited(1, RAW)] * 2)),
    "the sparse tensor twice": constant_of(*[length_delimited(22, length_delimited(1, RAW))] * 2),
    "a group in the tensor": tensor_of(RAW, GROUP),
    "a group in the model": model_of(length_delimited(5, RAW), around=GROUP),
}
REFUSED = {
    "a length of six bytes": tensor_of(TYPE, b"\x4a" + bytes([0x80, 0xA0, 0x80, 0x80, 0x80, 0x00]) + DATA),
    "a length behind the end of the tensor": tensor_of(header(9, len(DATA) + 1) + DATA),
    "a length beyond all": tensor_of(header(9, 2**32 + len(DATA)) + DATA),
    "a length of more than 31 bits": tensor_of(header(9, 2**31) + DATA),
    "field 0": tensor_of(RAW, b"\x00\x01"),
    "wire type 6": tensor_of(RAW, b"\x0e\x01"),
    "a number of eleven bytes": tensor_of(RAW, b"\x10" + b"\x80" * 10 + b"\x01"),
    "a tag of six bytes": tensor_of(RAW, b"\x90\x80\x80\x80\x80\x00\x01"),
    "the end of a group": tensor_of(RAW, b"\x0c"),
    "a group without end": tensor_of(RAW, b"\x0b"),
}


@pytest.mark.parametrize("name", REFERENCED)
def test_an_encoding_that_protobuf_reads_is_read(name: str) -> None:
    proto = assert_agrees(REFERENCED[name])
    assert proto is not None
    assert references(proto), "it is read, but all of it"


@pytest.mark.parametrize("name", LEFT)
def test_what_can_not_be_a_reference_is_parsed_as_it_is(name: str) -> None:
    proto = assert_agrees(LEFT[name])
    assert proto is not None
    assert not references(proto)


@pytest.mark.parametrize("name", REFUSED)
def test_an_encoding_that_protobuf_refuses_is_refused(name: str) -> None:
    assert assert_agrees(REFUSED[name]) is None


def nested(depth: int) -> bytes:
    body = length_delimited(5, NAME, RAW)
    for _ in range(depth):
        body = length_delimited(1, length_delimited(5, length_delimited(6, body)))
    return model_of(body)


def test_bodies_may_be_nested_as_deep_as_protobuf_takes_them() -> None:
    taken = [depth for depth in range(25, 40) if assert_agrees(nested(depth)) is not None]
    assert taken == list(range(25, max(taken) + 1))
    assert max(taken) < 39, "none was too deep"
    assert assert_agrees(nested(1000)) is None


def several() -> bytes:
    """A small model with everything on the way to a tensor."""
    model = graph_model("(float[1] x) => (float[1] y) { y = Relu(x) }", w=normal(3))
    for place in (as_initializer, as_constant, as_sparse_attribute, in_a_function):
        place(model)
    return model.SerializeToString()


def test_a_file_that_is_cut_off_anywhere_is_refused_where_protobuf_refuses() -> None:
    raw = tensor_of(TYPE, NAME, RAW) + b"\x12\x03abc"
    parsed = [length for length in range(len(raw)) if assert_agrees(raw[:length]) is not None]
    assert parsed == [2, len(raw) - 5], "between the fields of the model"


def assert_damage_is_seen_alike(seed: int, times: int) -> None:
    raw, rng = several(), random.Random(seed)
    starts = [place for place in range(len(raw)) if raw.startswith(large("it").raw_data, place)]
    payload = {place for start in starts for place in range(start, start + THRESHOLD)}
    places = [place for place in range(len(raw)) if place not in payload]
    assert len(places) < 2000
    outcomes = {True: 0, False: 0}
    for _ in range(times):
        damaged = bytearray(raw)
        for _ in range(rng.choice((1, 1, 2, 4))):
            place = min(rng.choice(places), len(damaged) - 1)  # it may have become shorter
            change = rng.choice((b"", bytes([rng.randrange(256)]), bytes([damaged[place] ^ 1 << rng.randrange(8)])))
            damaged[place : place + rng.randrange(2)] = change
        outcomes[assert_agrees(bytes(damaged)) is None] += 1
    assert min(outcomes.values()) > times // 20, "all was refused, or nothing"


def test_damage_is_seen_where_protobuf_sees_it() -> None:
    assert_damage_is_seen_alike(0, 3000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_much_damage_is_seen_where_protobuf_sees_it(seed: int) -> None:
    assert_damage_is_seen_alike(seed, 30_000)


# The file itself.


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "model.onnx"
    place.write_bytes(several())
    return place


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("this is no model")
    with (tmp_path / "long").open("wb") as file:
        file.truncate(2**31)
    for name, said in {
        "none": "does not exist",
        "": "is a folder",
        "a\0b": "can not be read",
        "empty": "is empty",
        "text": UNPARSABLE,
        "long": UNPARSABLE,
    }.items():
        with pytest.raises(ModelError, match=said):
            open_skeleton(f"{tmp_path}/{name}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    feeder = subprocess.Popen(
        [sys.executable, "-c", f"import os; os.write(os.open({str(tmp_path / 'pipe')!r}, os.O_WRONLY), {several()!r})"]
    )
    skeleton = open_skeleton(tmp_path / "pipe")
    feeder.wait()
    assert materialized(skeleton.proto).SerializeToString() == ModelProto.FromString(several()).SerializeToString()


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def written_over(path: Path) -> None:
    path.write_bytes(b"x" * path.stat().st_size)
    os.utime(path, ns=(0, 0))


@pytest.mark.skipif(os.name == "nt", reason="there the file is read to its end at once")
@pytest.mark.parametrize("change", [cut_off, written_over])
def test_a_file_that_changes_while_it_is_in_use_is_told(path: Path, change: Callable[[Path], None]) -> None:
    proto = open_skeleton(path).proto
    skeleton = open_skeleton(path)
    change(path)
    with pytest.raises(ModelError, match="changed while it was read"):
        materialized(skeleton.proto)
    del skeleton
    gc.collect()
    with pytest.raises(ModelError, match="no longer there"):
        materialized(proto)


def test_a_file_that_is_replaced_or_removed_can_be_read_on(path: Path) -> None:
    first, second = open_skeleton(path), open_skeleton(path)
    path.with_name("other").write_bytes(b"other")
    os.replace(path.with_name("other"), path)
    assert materialized(first.proto).SerializeToString() == several()
    path.unlink()
    assert materialized(second.proto).SerializeToString() == several()


@pytest.mark.skipif(os.name == "nt", reason="there the file is not kept open")
def test_the_file_is_closed_with_its_last_user(path: Path) -> None:
    skeleton = open_skeleton(path)
    descriptor = skeleton.source.descriptor
    assert descriptor is not None
    os.fstat(descriptor)
    del skeleton
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.skipif(os.name == "nt", reason="there the file is not read in place")
def test_a_walk_sees_the_same_through_any_window(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = open_skeleton(path).proto.SerializeToString()
    for size in (16, 17, 100, 5000):
        monkeypatch.setattr("bnfold.model.mapped_file.WINDOW", size)
        skeleton = open_skeleton(path)
        assert isinstance(skeleton.source, FileSource)
        assert len(references(skeleton.proto)) == 4
        assert len(skeleton.proto.SerializeToString()) == len(whole)


def test_a_spool_keeps_what_is_large() -> None:
    spool = Spool()
    model = graph_model("(float[1] x) => (float[1] y) { y = Relu(x) }")
    small = numpy_helper.from_array(normal(3), "small")
    assert spool.put(small) is small
    said = large("said", seed=2)
    said.data_location = TensorProto.DEFAULT
    tensors = [large("one", seed=1), said]
    model.graph.initializer.extend(spool.put(tensor) for tensor in tensors)
    assert references(model) == ["one", "said"]
    assert [t.SerializeToString() for t in materialized(model).graph.initializer] == [
        t.SerializeToString() for t in tensors
    ]
    again = model.graph.initializer[0]
    assert spool.put(again) is again
