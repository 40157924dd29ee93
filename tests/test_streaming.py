"""What a model that was opened in place is written as: what did not change, byte for byte; the rest, as it is now."""

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from support import graph_model, normal
from test_mapped_file import ALL_MODELS, GROUP, RAW, TYPE, UNKNOWN, large, length_delimited, model_of, references

import bnfold
from bnfold.errors import ModelError
from bnfold.model.copying import METHODS, Method, write
from bnfold.model.mapped_file import BytesSource, open_skeleton, skeleton_of
from bnfold.model.references import THRESHOLD, Range, Segment, materialized
from bnfold.model.skeleton import Skeleton
from bnfold.model.spool import Spool
from bnfold.model.streaming import segments, size_of
from bnfold.model.wire import BYTES, fields, header, varint


def joined(pieces: list[Segment]) -> bytes:
    return b"".join(piece.read() if isinstance(piece, Range) else piece for piece in pieces)


def copy_of(skeleton: Skeleton) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(skeleton.proto)
    return copy


def elements(raw: bytes) -> list[tuple[int, bytes]]:
    """The fields of the main graph, in the order of the file: (number, the field's bytes)."""
    source = BytesSource(raw)
    (graph,) = [field for field in fields(source, 0, len(raw)) if (field.number, field.wire) == (7, BYTES)]
    return [(field.number, raw[field.start : field.end]) for field in fields(source, graph.body, graph.end)]


def names(raw: bytes) -> list[str]:
    """The nodes and initializers of the main graph by name, in the order of the file."""
    kinds: dict[int, type[NodeProto] | type[TensorProto]] = {1: NodeProto, 5: TensorProto}
    found = []
    for number, element in elements(raw):
        if number in kinds:
            (field,) = fields(BytesSource(element), 0, len(element))
            found.append(kinds[number].FromString(element[field.body : field.end]).name)
    return found


@pytest.mark.parametrize("path", ALL_MODELS, ids=lambda path: path.name)
def test_a_model_that_did_not_change_is_one_copy_of_the_file(path: Path) -> None:
    for skeleton in (open_skeleton(path), skeleton_of(path.read_bytes())):
        pieces = segments(copy_of(skeleton), skeleton)
        assert pieces == [Range(skeleton.source, 0, path.stat().st_size)]


def in_skeleton(full: ModelProto, skeleton: Skeleton, spool: Spool) -> ModelProto:
    """The same model with references: of what did not change to the file, of what is new to the spool."""
    made = ModelProto()
    made.CopyFrom(full)
    whole = materialized(skeleton.proto).graph
    places = {tensor.SerializeToString(): place for place, tensor in enumerate(whole.initializer)}
    for tensor in made.graph.initializer:
        place = places.get(tensor.SerializeToString())
        tensor.CopyFrom(spool.put(tensor) if place is None else skeleton.proto.graph.initializer[place])
    nodes = {node.SerializeToString(): place for place, node in enumerate(whole.node)}
    for node in made.graph.node:
        place = nodes.get(node.SerializeToString())
        if place is not None:
            node.CopyFrom(skeleton.proto.graph.node[place])
    return made


@pytest.mark.parametrize("path", ALL_MODELS, ids=lambda path: path.name)
def test_a_folded_model_is_what_protobuf_writes_and_what_did_not_change_has_its_bytes(path: Path) -> None:
    folded = bnfold.fold(path).model
    skeleton, spool = open_skeleton(path), Spool()
    raw = joined(segments(in_skeleton(folded, skeleton, spool), skeleton))
    assert ModelProto.FromString(raw).SerializeToString() == folded.SerializeToString()
    before, after = elements(path.read_bytes()), elements(raw)
    stayed = {element for _, element in before} & {element for _, element in after}
    assert len(stayed) > len(after) // 5, "nothing to see"
    assert [e for _, e in after if e in stayed] == [e for _, e in before if e in stayed], "the order of what stayed"


MARKER = b"\xc2\xb8\x02\x01"
"""Field 5000, which ONNX does not have, with one byte to come."""


def odd() -> bytes:
    """A file as protobuf would not write it: initializers first, long varints, unknown fields between all."""
    relu = graph_model("(float[1] x) => (float[1] y) { y = Relu(x) }").graph
    constant = helper.make_node("Constant", [], ["k"], value=large("k"), name="constant")
    body = graph_model("(float[1] g) => (float[1] h) { h = Neg(g) }").graph
    body.initializer.append(large("inner"))
    branch = helper.make_node("If", ["c"], ["o"], then_branch=body, name="if")
    nodes = [relu.node[0], constant, branch]
    nodes[0].name = "relu"
    tensors = [large("one"), numpy_helper.from_array(normal(3), "two"), large("three", seed=3)]
    parts = [MARKER + b"a"]
    for number, entries in ((5, tensors), (1, nodes), (11, relu.input), (12, relu.output)):
        for entry in entries:
            body_bytes = entry.SerializeToString() + MARKER + b"i"
            parts += [varint(number << 3 | 2), long_varint(len(body_bytes)), body_bytes, MARKER + b"x"]
    parts += [length_delimited(2, b"first name"), length_delimited(2, b"g")]
    function = helper.make_function(
        "d", "F", [], ["b"], [helper.make_node("Constant", [], ["b"], value=large("f"))], [helper.make_opsetid("", 20)]
    )
    around = [MARKER + b"1", length_delimited(25, function.SerializeToString()), b"\x08\x8a\x00", MARKER + b"2"]
    graph = b"".join(parts)
    opset = length_delimited(8, helper.make_opsetid("", 20).SerializeToString())
    return b"".join([*around, b"\x3a", long_varint(len(graph)), graph, MARKER + b"3", opset, length_delimited(2, b"p")])


def long_varint(value: int) -> bytes:
    """A varint of four bytes, which are mostly more than it needs."""
    return bytes([value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14 & 0x7F | 0x80, value >> 21])


Change = Callable[[ModelProto], object]


def new_node(name: str) -> NodeProto:
    return helper.make_node("Neg", ["x"], [name], name=name)


def no_nodes(model: ModelProto) -> None:
    del model.graph.node[:]


def other_order(model: ModelProto) -> None:
    model.graph.node.sort(key=lambda node: node.name)
    model.graph.initializer.sort(key=lambda tensor: tensor.name)


def everything_new(model: ModelProto) -> None:
    for node in model.graph.node:
        node.doc_string = "new"
    for tensor in model.graph.initializer:
        tensor.doc_string = "new"


def twins(model: ModelProto) -> None:
    model.graph.node.extend([model.graph.node[0], model.graph.node[0]])


CHANGES: dict[str, Change] = {
    "a node goes": lambda m: m.graph.node.pop(1),
    "all nodes go": no_nodes,
    "a node in front": lambda m: m.graph.node.insert(0, new_node("n")),
    "a node between": lambda m: m.graph.node.insert(1, new_node("n")),
    "a node behind": lambda m: m.graph.node.append(new_node("n")),
    "the same node again": twins,
    "another order": other_order,
    "everything new": everything_new,
    "a body changes": lambda m: m.graph.node[2].attribute[0].g.node.append(new_node("n")),
    "a weight in a body goes": lambda m: m.graph.node[2].attribute[0].g.initializer.pop(),
    "a constant is renamed": lambda m: setattr(m.graph.node[1].attribute[0].t, "name", "new"),
    "an initializer goes": lambda m: m.graph.initializer.pop(0),
    "an initializer is renamed": lambda m: setattr(m.graph.initializer[2], "name", "new"),
    "a small one is new": lambda m: m.graph.initializer.add(name="n", data_type=1, dims=[1], raw_data=b"1234"),
    "an input goes": lambda m: m.graph.input.pop(),
    "an output more": lambda m: m.graph.output.add(name="k"),
    "the graph's name": lambda m: setattr(m.graph, "name", "new"),
    "the graph's name goes": lambda m: m.graph.ClearField("name"),
    "a doc string": lambda m: setattr(m.graph, "doc_string", "new"),
    "the function goes": lambda m: m.functions.pop(),
    "the function changes": lambda m: m.functions[0].attribute.append("new"),
    "an opset more": lambda m: m.opset_import.add(domain="d", version=1),
    "an opset changes": lambda m: setattr(m.opset_import[0], "version", 21),
    "the IR version": lambda m: setattr(m, "ir_version", 11),
    "the producer goes": lambda m: m.ClearField("producer_name"),
    "metadata": lambda m: m.metadata_props.add(key="k", value="v"),
    "nothing": lambda m: None,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_written_and_nothing_else(name: str) -> None:
    raw = odd()
    skeleton = skeleton_of(raw)
    assert references(skeleton.proto) == ["one", "three", "k", "f", "inner"]
    changed = copy_of(skeleton)
    CHANGES[name](changed)
    pieces = segments(changed, skeleton)
    made = joined(pieces)
    assert size_of(pieces) == len(made)
    assert ModelProto.FromString(made).SerializeToString() == materialized(changed).SerializeToString()
    assert made.startswith(MARKER + b"1")
    old, new = elements(raw), elements(made)
    unknown = [element for number, element in old if number == 5000]
    assert [element for number, element in new if number == 5000] == unknown
    kept = [element for element in old if element in new]
    assert [element for element in new if element in old] == kept
    assert name in {"all nodes go", "everything new", "another order"} or len(old) - len(kept) <= 2


@pytest.mark.parametrize("data", [b"", GROUP, *UNKNOWN.values()], ids=["none", "a group", *UNKNOWN])
def test_unknown_fields_of_a_model_keep_their_places(data: bytes) -> None:
    raw = model_of(data, length_delimited(5, b"\x42\x01a", TYPE, RAW), data, length_delimited(1, b"\x1a\x01n"))
    raw += data
    skeleton = skeleton_of(raw)
    assert joined(segments(copy_of(skeleton), skeleton)) == raw
    changed = copy_of(skeleton)
    changed.graph.node[0].name = "m"
    made = joined(segments(changed, skeleton))
    assert ModelProto.FromString(made).SerializeToString() == materialized(changed).SerializeToString()
    if data != GROUP:  # where there is a group, protobuf writes all afresh
        assert made == raw.replace(b"\x1a\x01n", b"\x1a\x01m")


def test_a_graph_in_two_parts_is_written_as_it_was_or_as_one() -> None:
    raw = model_of(length_delimited(5, b"\x42\x01a", TYPE, RAW)) + model_of(
        length_delimited(5, b"\x42\x01b", TYPE, RAW)
    )
    skeleton = skeleton_of(raw)
    assert references(skeleton.proto) == ["a", "b"]
    assert joined(segments(copy_of(skeleton), skeleton)) == raw
    changed = copy_of(skeleton)
    changed.graph.initializer[0].name = "c"
    made = joined(segments(changed, skeleton))
    assert ModelProto.FromString(made).SerializeToString() == materialized(changed).SerializeToString()


def test_what_is_new_stands_behind_what_it_stood_behind() -> None:
    raw = odd()
    skeleton = skeleton_of(raw)
    assert names(raw) == ["one", "two", "three", "relu", "constant", "if"]
    changed = copy_of(skeleton)
    changed.graph.initializer.add(name="four")
    changed.graph.node.insert(0, new_node("first"))
    changed.graph.node[2].doc_string = "new"  # the constant
    assert names(joined(segments(changed, skeleton))) == [
        "one",
        "two",
        "three",
        "four",
        "first",
        "relu",
        "constant",
        "if",
    ]


def test_a_zero_that_becomes_negative_is_written_and_a_nan_that_stays_is_not() -> None:
    model = graph_model("(float[1] x) => (float[1] y) { y = Elu<alpha = 0.0>(x) }", w=normal(3))
    model.graph.node.append(helper.make_node("Elu", ["x"], ["z"], alpha=float("nan")))
    raw = model.SerializeToString()
    skeleton = skeleton_of(raw)
    changed = copy_of(skeleton)
    assert segments(changed, skeleton) == [Range(skeleton.source, 0, len(raw))]
    changed.graph.node[0].attribute[0].f = -0.0
    assert joined(segments(changed, skeleton)) == changed.SerializeToString() != raw


def test_a_model_without_a_file_is_written_with_its_references_inline() -> None:
    skeleton, spool = skeleton_of(odd()), Spool()
    model = copy_of(skeleton)
    model.graph.initializer.append(spool.put(large("new", seed=9)))
    pieces = segments(model, None)
    assert sum(isinstance(piece, Range) and piece.length == THRESHOLD for piece in pieces) == 6
    assert ModelProto.FromString(joined(pieces)).SerializeToString() == materialized(model).SerializeToString()
    plain = materialized(model)
    assert segments(plain, None) == [plain.SerializeToString()]


# Writing.


def short(method: Method) -> Method:
    """Copies a little at a time, as the system may."""
    return lambda source, offset, length, target: method(source, offset, min(length, 1000), target)


def fails_later(number: int) -> Method:
    """Copies some, and then says that it can not."""
    left = [2]

    def method(source: int, offset: int, length: int, target: int) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(number, os.strerror(number))
        return os.write(target, os.pread(source, min(length, 1000), offset))

    return method


WAYS: dict[str, Callable[[], tuple[Method, ...]]] = {
    "as is": lambda: METHODS,
    "by reading": tuple,
    **{method.__name__: lambda method=method: (method,) for method in METHODS},  # type: ignore[misc]
    "a little at a time": lambda: tuple(map(short, METHODS)),
    "to another device": lambda: (fails_later(errno.EXDEV), *METHODS),
    "not on this system": lambda: (fails_later(errno.ENOSYS), fails_later(errno.EINVAL)),
    "nothing is copied": lambda: (lambda *_: 0,),
}


@pytest.mark.skipif(os.name == "nt", reason="there files are not read in place")
@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_copying_writes_the_same(way: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(odd())
    skeleton, spool = open_skeleton(tmp_path / "in"), Spool()
    changed = copy_of(skeleton)
    changed.graph.initializer.append(spool.put(large("new", seed=9)))
    changed.graph.node[0].name = "new"
    pieces = segments(changed, skeleton)
    with (tmp_path / "out").open("wb") as file:
        write(file, pieces, WAYS[way]())
        assert file.tell() == size_of(pieces)
    assert (tmp_path / "out").read_bytes() == joined(pieces)


def test_bytes_are_written_from_memory_and_to_memory(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(odd())
    for skeleton in (skeleton_of(odd()), open_skeleton(tmp_path / "in")):
        file = io.BytesIO()
        write(file, segments(copy_of(skeleton), skeleton))
        assert file.getvalue() == odd()


@pytest.mark.skipif(os.name == "nt", reason="there files are not read in place")
@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_was_cut_off_is_not_written_as_if_it_were_whole(way: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(odd())
    skeleton = open_skeleton(tmp_path / "in")
    pieces = segments(copy_of(skeleton), skeleton)
    os.truncate(tmp_path / "in", 5000)
    with (tmp_path / "out").open("wb") as file, pytest.raises(ModelError, match="changed while it was read"):
        write(file, pieces, WAYS[way]())


MEMORY = """
import sys
from bnfold.model.copying import write
from bnfold.model.mapped_file import open_skeleton
from bnfold.model.streaming import segments

def peak():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1])

before = peak()
skeleton = open_skeleton(sys.argv[1])
with open(sys.argv[2], "wb") as file:
    write(file, segments(skeleton.proto, skeleton), methods=())
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say how much memory was used")
def test_a_file_of_200_megabytes_is_opened_and_written_with_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "in"
    length = 25 * 2**20
    with path.open("wb") as file:
        tensor = TYPE + header(9, length)
        starts = header(5, len(tensor) + length) + tensor
        file.write(b"\x08\x0a" + header(7, 8 * (len(starts) + length)))
        for _ in range(8):
            file.write(starts)
            file.seek(length - 1, os.SEEK_CUR)
            file.write(b"x")
    assert path.stat().st_size > 200 * 10**6
    script = [sys.executable, "-c", MEMORY, str(path), str(tmp_path / "out")]
    used = int(subprocess.run(script, check=True, capture_output=True, text=True).stdout)
    assert used < 60_000, "kilobytes: three chunks and not the file"
    with path.open("rb") as one, (tmp_path / "out").open("rb") as other:
        while chunk := one.read(2**24):
            assert chunk == other.read(2**24)
        assert not other.read(1)
