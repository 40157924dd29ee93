"""What a fold reads, writes and holds in memory: counted, and not timed. New weights are the same, however computed."""

from __future__ import annotations

import mmap
import platform
import subprocess
import sys
import tracemalloc
from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper
from support import Array, normal

import bnfold
from bnfold.errors import ModelError
from bnfold.model.mapped_file import WINDOW, FileSource
from bnfold.model.recipes import Recipe
from bnfold.model.spool import Spool
from bnfold.model.stored import BLOCK, Stored, blocks
from bnfold.model.tensors import from_array, round_to

KINDS = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
}
COUNTERS = Path("/proc/self/io")
MIB = 2**20

counted = pytest.mark.skipif(not COUNTERS.exists(), reason="the system does not count what a process reads and writes")


def model_of(
    nodes: list[NodeProto],
    weights: dict[str, Array],
    channels: int,
    x: tuple[int, ...],
    *,
    kind: int = TensorProto.FLOAT,
    scale: Array | None = None,
) -> ModelProto:
    """From x to y, with the weights and the parameters of BatchNormalizations, called s, b, m and v."""
    rng = np.random.default_rng(5)
    parameters = {
        "s": rng.uniform(0.5, 1.5, channels) if scale is None else scale,
        "b": rng.normal(size=channels),
        "m": rng.normal(size=channels),
        "v": rng.uniform(0.5, 1.5, channels),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, x)],
        [helper.make_tensor_value_info("y", kind, None)],
        [from_array(values, kind, name) for name, values in {**parameters, **weights}.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def normalization(before: str, after: str) -> NodeProto:
    return helper.make_node("BatchNormalization", [before, *"sbmv"], [after])


def chain(pairs: int, channels: int, *, tail: bool = True) -> ModelProto:
    """Conv and BatchNormalization in pairs, and at the end a Conv that no fold touches, or a Relu."""
    nodes: list[NodeProto] = []
    for k in range(pairs):
        nodes += [
            helper.make_node("Conv", [f"r{k}" if k else "x", f"w{k}"], [f"c{k}"]),
            normalization(f"c{k}", f"n{k}"),
            helper.make_node("Relu", [f"n{k}"], [f"r{k + 1}"]),
        ]
    nodes.append(helper.make_node("Conv" if tail else "Relu", [f"r{pairs}", "last"][: 2 if tail else 1], ["y"]))
    names = [*(f"w{k}" for k in range(pairs)), *(["last"] if tail else [])]
    weights = {name: normal(channels, channels, 3, 3, seed=k) for k, name in enumerate(names)}
    return model_of(nodes, weights, channels, (1, channels, 32, 32))


def saved(model: ModelProto, path: Path, *, external: bool = False) -> Path:
    copy = ModelProto()
    copy.CopyFrom(model)  # onnx takes the weights out of what it is given
    onnx.save(copy, path, save_as_external_data=external, location="weights", size_threshold=1024)
    return path


CASES = {
    "Conv": (helper.make_node("Conv", ["x", "w"], ["c"]), (300, 70, 3, 3), 300, (1, 70, 5, 5)),
    "Conv-groups": (helper.make_node("Conv", ["x", "w"], ["c"], group=2), (300, 70, 3, 3), 300, (1, 140, 5, 5)),
    "ConvTranspose": (
        helper.make_node("ConvTranspose", ["x", "w"], ["c"], group=3),
        (90, 200, 3, 3),
        600,
        (1, 90, 5, 5),
    ),
    "Gemm": (helper.make_node("Gemm", ["x", "w"], ["c"]), (400, 500), 500, (2, 400)),
    "Gemm-transposed": (helper.make_node("Gemm", ["x", "w"], ["c"], transB=1), (500, 400), 500, (2, 400)),
    "MatMul": (helper.make_node("MatMul", ["x", "w"], ["c"]), (3, 500, 300), 2, (3, 2, 500)),
    "MatMul-left": (helper.make_node("MatMul", ["w", "x"], ["c"]), (3, 300, 500), 300, (3, 500, 2)),
}


def folding(case: str, kind: int) -> ModelProto:
    node, shape, channels, x = CASES[case]
    if case == "MatMul":  # its channels are the last axis, and a BatchNormalization's the second
        factor = from_array(np.random.default_rng(1).uniform(0.5, 1.5, shape[-1]), kind, "f")
        model = model_of(
            [node, helper.make_node("Mul", ["c", "f"], ["y"])], {"w": normal(*shape)}, channels, x, kind=kind
        )
        model.graph.initializer.append(factor)
        return model
    return model_of([node, normalization("c", "y")], {"w": normal(*shape)}, channels, x, kind=kind)


@pytest.mark.parametrize("external", [False, True], ids=["inline", "external"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_a_weight_that_is_computed_while_it_is_written_has_the_bits_of_one_that_is_computed_at_once(
    case: str, kind: str, external: bool, tmp_path: Path
) -> None:
    model = folding(case, KINDS[kind])
    at_once = bnfold.fold(model)
    assert not at_once.rounds[0].patch.recipes
    result = bnfold.fold(saved(model, tmp_path / "m.onnx", external=external))
    assert len(result.rounds[0].patch.recipes) == 1
    result.save(tmp_path / "out.onnx")
    written = onnx.load(tmp_path / "out.onnx")
    for made in (written, result.model):
        assert arrays(made) == arrays(at_once.model)
    assert arrays(written) != arrays(model)


def arrays(model: ModelProto) -> dict[str, tuple[int, bytes]]:
    return {t.name: (t.data_type, onnx.numpy_helper.to_array(t).tobytes()) for t in model.graph.initializer}


@pytest.mark.parametrize("shape", [(7,), (5, 3), (1, 1, 11), (2, 3, 4), (2, 5, 1, 3), (3, 0, 2)])
@pytest.mark.parametrize("most", [1, 2, 5, 6, 100])
def test_blocks_hold_every_element_once_and_in_order(shape: tuple[int, ...], most: int) -> None:
    numbers = np.arange(prod(shape)).reshape(shape)
    met = 0
    for block in blocks(shape, most):
        assert block.size <= most
        assert numbers[block.part].ravel().tolist() == list(range(block.start, block.start + block.size))
        assert block.start == met
        met += block.size
    assert met == prod(shape)


def stored(values: Array, spool: Spool) -> Stored:
    made = Stored.of(spool.put(from_array(values, TensorProto.FLOAT, "w")), None)
    assert made is not None
    return made


def test_a_recipe_is_read_from_anywhere_and_serves_as_the_base_of_another_one() -> None:
    spool, values = Spool(), normal(3, BLOCK // 2 + 5)
    factor, offset = normal(3, 1, seed=1).astype(np.float64), normal(1, 1, seed=2).astype(np.float64)
    first = Recipe(stored(values, spool), factor, offset, TensorProto.FLOAT)
    once = round_to(values.astype(np.float64) * factor + offset, TensorProto.FLOAT)
    raw = once.tobytes()
    edge = BLOCK // 2 * 4
    for start, length in ((0, len(raw)), (1, 1), (edge - 3, 50), (edge + 20, edge), (len(raw) - 1, 1), (7, 0)):
        assert first.read(start, length) == raw[start : start + length]
    base = Stored.of(first.reference(from_array(values, TensorProto.FLOAT, "w")), None)
    assert base is not None
    second = Recipe(base, factor, None, TensorProto.FLOAT16)
    assert second.read(0, second.size) == round_to(once.astype(np.float64) * factor, TensorProto.FLOAT16).tobytes()


@pytest.fixture
def warm(tmp_path: Path) -> None:
    """Whatever a first fold loads is loaded."""
    bnfold.fold(saved(chain(1, 8), tmp_path / "warm.onnx")).save(tmp_path / "warm.out")


def traffic() -> tuple[int, int]:
    """Bytes that this process has read and written."""
    said = dict(line.split(": ") for line in COUNTERS.read_text().splitlines())
    return int(said["rchar"]), int(said["wchar"])


@counted
@pytest.mark.usefixtures("warm")
def test_a_fold_reads_the_file_twice_at_most_and_writes_it_once(tmp_path: Path) -> None:
    path = saved(chain(6, 256), tmp_path / "m.onnx")
    size = path.stat().st_size
    before = traffic()
    bnfold.fold(path).save(tmp_path / "out.onnx")
    read, written = (late - early for early, late in zip(before, traffic(), strict=True))
    assert size <= read <= 2 * size + MIB
    assert 0.99 * size <= written <= size + MIB


FAULTS = """
import resource, sys
from bnfold.folding.fold import fold

before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
fold(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="how memory is used again is up to the system's malloc")
def test_blocks_that_are_looked_at_use_the_same_pages_again(tmp_path: Path) -> None:
    path = saved(chain(4, 512), tmp_path / "m.onnx")
    ran = subprocess.run([sys.executable, "-c", FAULTS, path], check=True, capture_output=True, text=True)
    assert int(ran.stdout) < path.stat().st_size / mmap.PAGESIZE / 4  # each page anew would be all of them


@counted
@pytest.mark.usefixtures("warm")
def test_a_fold_of_external_weights_reads_them_twice_at_most_and_writes_them_once(tmp_path: Path) -> None:
    size = saved(chain(6, 256), tmp_path / "m.onnx", external=True).with_name("weights").stat().st_size
    before = traffic()
    bnfold.fold(tmp_path / "m.onnx").save(tmp_path / "out.onnx")
    read, written = (late - early for early, late in zip(before, traffic(), strict=True))
    assert size <= read <= 2 * size + MIB
    assert 0.99 * size <= written <= size + MIB


def test_a_weight_that_stays_is_not_read_and_one_that_is_folded_is_judged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(chain(2, 256), tmp_path / "m.onnx")
    spans: list[tuple[int, int]] = []
    read = FileSource.read

    def noted(source: FileSource, offset: int, length: int) -> bytes:
        spans.append((offset, offset + length))
        return read(source, offset, length)

    monkeypatch.setattr(FileSource, "read", noted)
    result = bnfold.fold(path)
    places = {t.name: Stored.of(t, None) for t in result.container.proto.graph.initializer}

    def bytes_read(name: str) -> int:
        place = places[name]
        assert place is not None
        start, end = place.place.offset, place.place.offset + place.place.length
        return sum(max(min(b, end) - max(a, start), 0) for a, b in spans)

    weight = 256 * 256 * 9 * 4
    assert bytes_read("last") <= 2 * WINDOW, "headers alone are looked for"
    assert weight <= bytes_read("w0") <= weight + 2 * WINDOW
    result.save(tmp_path / "out.onnx")
    assert bytes_read("last") <= 3 * WINDOW
    assert 2 * weight <= bytes_read("w0") <= 2 * weight + 5 * WINDOW


@pytest.mark.parametrize("external", [False, True], ids=["inline", "external"])
@pytest.mark.usefixtures("warm")
def test_memory_does_not_grow_with_the_size_of_a_weight(external: bool, tmp_path: Path) -> None:
    peaks = []
    for channels in (256, 640):
        path = saved(chain(2, channels, tail=False), tmp_path / f"{channels}.onnx", external=external)
        peaks.append(peak_of_a_fold(path))
    assert 14 * MIB < 640 * 640 * 9 * 4
    assert max(peaks) < 4 * MIB, "a block in float64, what it was made of, and what is made of it"


def peak_of_a_fold(path: Path) -> int:
    """How much more Python and numpy hold at once while the model is folded and written."""
    tracemalloc.start()
    try:
        bnfold.fold(path).save(path.with_suffix(".out"))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def judged(value: float, kind: int, *, weight: float = 1.0, scale: float = 1.0) -> ModelProto:
    """A Conv whose last weight is `value`, the others are `weight`; the last channel's scale is `scale`."""
    w, s = np.full((300, 70, 3, 3), weight), np.ones(300)
    w[-1, -1, -1, -1], s[-1] = value, scale
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), normalization("c", "y")]
    return model_of(nodes, {"w": w}, 300, (1, 70, 5, 5), kind=kind, scale=s)


JUDGED = {
    "fits": (judged(2.0, TensorProto.FLOAT, scale=3.0), None),
    "infinite": (judged(np.inf, TensorProto.FLOAT), "overflow"),
    "not a number": (judged(np.nan, TensorProto.FLOAT), "overflow"),
    "overflows": (judged(-1e38, TensorProto.FLOAT, scale=100.0), "overflow"),
    "overflows float16": (judged(6e4, TensorProto.FLOAT16, scale=100.0), "overflow"),
    "the largest has not the largest factor": (judged(1.0, TensorProto.FLOAT, weight=1e37, scale=100.0), "overflow"),
    "the largest does not meet it": (judged(1e-3, TensorProto.FLOAT, weight=0.0, scale=1e30), None),
    "is lost": (judged(1e-4, TensorProto.FLOAT16, weight=0.0, scale=1e-2), "underflow"),
}


@pytest.mark.parametrize("case", JUDGED)
def test_a_weight_in_a_file_is_refused_as_one_in_memory_is(case: str, tmp_path: Path) -> None:
    model, code = JUDGED[case]
    for given in (model, saved(model, tmp_path / "m.onnx"), saved(model, tmp_path / "e.onnx", external=True)):
        result = bnfold.fold(given)
        assert [kept.code for kept in result.kept] == ([] if code is None else [code])


def test_a_large_weight_and_a_large_factor_on_different_channels_are_no_overflow(tmp_path: Path) -> None:
    weight, scale = np.ones((300, 70, 3, 3)), np.ones(300)
    weight[0], scale[-1] = 1e30, 1e30
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), normalization("c", "y")]
    model = model_of(nodes, {"w": weight}, 300, (1, 70, 5, 5), scale=scale)
    result = bnfold.fold(saved(model, tmp_path / "m.onnx"))
    assert result
    assert not result.kept


@pytest.mark.parametrize("external", [False, True], ids=["inline", "external"])
def test_a_weight_that_changes_before_it_is_written_is_told_and_nothing_is_written(
    external: bool, tmp_path: Path
) -> None:
    path = saved(chain(1, 64), tmp_path / "m.onnx", external=external)
    result = bnfold.fold(path)
    with (tmp_path / "weights" if external else path).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ModelError, match="changed while it was read"):
        result.save(tmp_path / "out.onnx")
    assert not list(tmp_path.glob("*out*"))


def test_data_of_another_model_under_the_same_name_is_read_anew(tmp_path: Path) -> None:
    model, other = chain(1, 64), chain(1, 64)
    other.graph.initializer[4].CopyFrom(from_array(normal(64, 64, 3, 3, seed=9), TensorProto.FLOAT, "w0"))
    first = bnfold.fold(saved(model, tmp_path / "m.onnx", external=True))
    (tmp_path / "weights").unlink()
    second = bnfold.fold(saved(other, tmp_path / "m.onnx", external=True))
    assert first.rounds[0].patch.recipes
    second.save(tmp_path / "out.onnx")
    assert arrays(onnx.load(tmp_path / "out.onnx")) == arrays(bnfold.fold(other).model)
