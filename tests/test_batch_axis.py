"""A batch that an exporter froze, opened again: shown on runs, or refused with the node that holds it."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import ModelProto
from support import REAL_MODELS, graph_model, needs_real_models, normal, op_types, passes_checker, run_ort

from bnfold.errors import ModelError, UsageError
from bnfold.inserting.batch_axis import symbolic_batch
from bnfold.inserting.insert import insert
from bnfold.inserting.options import Options
from bnfold.model.container import open_model


def opened(model: ModelProto) -> ModelProto:
    before = model.SerializeToString(deterministic=True)
    made = symbolic_batch(open_model(model), model)
    assert model.SerializeToString(deterministic=True) == before
    return made


def ints(*entries: int) -> npt.NDArray[np.int64]:
    return np.array(entries, np.int64)


def shape_of(entry: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in entry.type.tensor_type.shape.dim]


def constants_of(model: ModelProto) -> dict[str, list[int]]:
    shapes = [node.input[1] for node in model.graph.node if node.op_type in ("Reshape", "Expand")]
    held = {tensor.name: onnx.numpy_helper.to_array(tensor).tolist() for tensor in model.graph.initializer}
    return {name: held[name] for name in shapes}


def each_sample_alone(before: ModelProto, after: ModelProto, size: int, samples: int) -> None:
    """Every sample of a batch of another size gives what it gives in a batch of the size that was frozen."""
    shape = [dim.dim_value for dim in before.graph.input[0].type.tensor_type.shape.dim]
    x = normal(samples, *shape[1:], seed=5)
    (found,) = run_ort(after, {before.graph.input[0].name: x})
    assert found.shape[0] == samples
    for start in range(samples - size + 1):
        (alone,) = run_ort(before, {before.graph.input[0].name: x[start : start + size]})
        np.testing.assert_allclose(found[start : start + size], alone, rtol=1e-5, atol=1e-6)


FLAT = "(float[{b},2,4,4] x) => (float[{b},3] y) {{ c = Conv(x, K) r = Reshape(c, t) y = Gemm(r, W) }}"


@pytest.mark.parametrize("b", [1, 2, 5])
@pytest.mark.parametrize("rest", [36, -1])
def test_a_reshape_that_holds_the_batch_copies_it(b: int, rest: int) -> None:
    model = graph_model(FLAT.format(b=b), K=normal(4, 2, 2, 2), t=ints(b, rest), W=normal(36, 3))
    made = opened(model)
    assert constants_of(made) == {"t.batch": [0, rest]}
    assert "t" not in {tensor.name for tensor in made.graph.initializer}
    assert shape_of(made.graph.input[0]) == ["batch", 2, 4, 4]
    assert shape_of(made.graph.output[0]) == ["batch", 3]
    assert passes_checker(made)
    for samples in (b, b + 1, 7):
        each_sample_alone(model, made, b, samples)


def test_axes_that_are_put_into_the_batch_and_taken_out_again() -> None:
    text = """(float[2,6,4] x) => (float[2,6,3] y) {
        f = Reshape(x, into) g = Gemm(f, W) y = Reshape(g, out) }"""
    model = graph_model(text, into=ints(12, 4), out=ints(2, 6, 3), W=normal(4, 3))
    made = opened(model)
    assert constants_of(made) == {"into.batch": [-1, 4], "out.batch": [-1, 6, 3]}
    each_sample_alone(model, made, 2, 5)


def test_a_zero_that_is_a_zero_copies_nothing() -> None:
    text = FLAT.replace("Reshape(c", "Reshape<allowzero=1>(c")
    model = graph_model(text.format(b=2), K=normal(4, 2, 2, 2), t=ints(2, 36), W=normal(36, 3))
    assert constants_of(opened(model)) == {"t.batch": [-1, 36]}


def test_a_constant_that_others_read_stays_theirs() -> None:
    text = """(float[2,6] x) => (float[2,3] y, float[2,3] k) {
        r = Reshape(x, t) y = ReduceSum<keepdims=0>(r, one) z = Expand(s, t) k = ReduceSum<keepdims=0>(z, one) }"""
    made = opened(graph_model(text.replace(", float[2,3] k", ""), t=ints(2, 3, 2), one=ints(2), s=normal(1)))
    assert constants_of(made) == {"t.batch": [0, 3, 2], "t": [2, 3, 2]}


def test_an_expand_behind_the_batch_leaves_its_first_axis_alone() -> None:
    model = graph_model("(float[2,1] x) => (float[2,3] y) { y = Expand(x, t) }", t=ints(2, 3))
    made = opened(model)
    assert constants_of(made) == {"t.batch": [1, 3]}
    each_sample_alone(model, made, 2, 5)


def test_inputs_that_share_the_axis_share_its_name_and_others_stay() -> None:
    text = "(float[3,4] a, float[3] s, float[2,4] w, float p) => (float[3,2] y) "
    nodes = "{ t = Unsqueeze(s, one) m = Mul(a, t) q = Mul(m, p) v = Transpose(w) y = MatMul(q, v) }"
    made = opened(graph_model(text + nodes, one=ints(1)))
    assert [shape_of(entry) for entry in made.graph.input] == [["batch", 4], ["batch"], [2, 4], []]
    assert shape_of(made.graph.output[0]) == ["batch", 2]


def test_declared_inner_shapes_are_those_that_follow() -> None:
    model = graph_model(FLAT.format(b=2), K=normal(4, 2, 2, 2), t=ints(2, 36), W=normal(36, 3))
    declared = onnx.shape_inference.infer_shapes(model)
    assert [shape_of(entry) for entry in opened(declared).graph.value_info] == [["batch", 4, 3, 3], ["batch", 36]]


def test_a_name_that_an_axis_has_already_is_not_given_twice() -> None:
    made = opened(graph_model("(float[2,batch] x) => (float[2,batch] y) { y = Relu(x) }"))
    assert shape_of(made.graph.input[0]) == ["batch_1", "batch"]


@pytest.mark.parametrize("text", ["(float[N,4] x) => (float[N,4] y)", "(float x) => (float y)"])
def test_a_batch_that_is_open_or_that_there_is_not_leaves_the_model_as_it_is(text: str) -> None:
    model = graph_model(f"{text} {{ y = Relu(x) }}")
    assert opened(model) is model


def test_a_batch_that_is_not_the_first_axis_of_an_output_is_found() -> None:
    made = opened(graph_model("(float[2,3] x) => (float[3,2] y) { y = Transpose(x) }"))
    assert shape_of(made.graph.output[0]) == [3, "batch"]


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a Reshape with an open entry elsewhere": (
        "(float[2,3,4] x) => (float[3,2,4] y) { u = Transpose<perm=[1,0,2]>(x) [r] y = Reshape(u, t) }",
        {"t": ints(3, 2, 4)},
        r"Reshape 'r' holds it in its constant 't', \[3, 2, 4\]",
    ),
    "a constant beside the samples": (
        "(float[2,3] x) => (float[2,6] y) { [c] y = Concat<axis=1>(x, k) }",
        {"k": normal(2, 3)},
        r"Concat 'c' reads the constant 'k', \[2, 3\]",
    ),
    "a state of zeros": (
        """(float[2,5,3] x) => (float[5,1,2,4] y) {
            s = Transpose<perm=[1,0,2]>(x) z = ConstantOfShape(t) [g] y = GRU<hidden_size=4>(s, W, R, , , z) }""",
        {"t": ints(1, 2, 4), "W": normal(1, 12, 3), "R": normal(1, 12, 4)},
        r"GRU 'g' reads the constant 'z', \[1, 2, 4\]",
    ),
    "samples that are mixed": (
        "(float[2,3] x) => (float[2,3] y) { y = Softmax<axis=0>(x) }",
        {},
        "output 'y' of a sample changes with the others of its batch",
    ),
    "a sum over the samples": (
        "(float[2,3] x) => (float[1,3] y) { y = ReduceSum(x, z) }",
        {"z": ints(0)},
        "output 'y' of a sample changes with the others of its batch",
    ),
    "chance": (
        "(float[2,3] x) => (float[2,3] y) { n = RandomNormalLike(x) y = Add(x, n) }",
        {},
        "output 'y' of a sample changes",
    ),
}


@pytest.mark.parametrize(("text", "constants", "said"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_opened_is_refused_with_what_holds_it(text: str, constants: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=rf"can not be made symbolic, and nothing was changed: .*{said}"):
        opened(graph_model(text, **constants))


def test_a_batch_is_kept_or_symbolic() -> None:
    with pytest.raises(UsageError, match="batch is one of keep, symbolic, not 'open'"):
        Options(batch="open")


def test_an_insertion_opens_the_batch_when_asked_and_takes_data_of_any_size_then() -> None:
    model = graph_model(FLAT.format(b=1), K=normal(4, 2, 2, 2), t=ints(1, 36), W=normal(36, 3))
    assert shape_of(insert(model).model.graph.input[0])[0] == 1
    result = insert(model, [{"x": normal(16, 2, 4, 4)}], Options(batch="symbolic"))
    assert op_types(result.model) == ["Conv", "BatchNormalization", "Reshape", "Gemm"]
    assert any("the batch, which was 1, is open now" in remark for remark in result.remarks)
    each_sample_alone(model, result.model, 1, 4)
    assert shape_of(result.base.graph.input[0])[0] == "batch"
    assert "BatchNormalization" not in op_types(result.base)


FROZEN = ("burn_mnist", "fsanet_1x1", "light_shufflenet", "nobn_mnist8_cntk", "ultraface_rfb320")


@needs_real_models
@pytest.mark.parametrize("name", FROZEN)
def test_real_models_with_a_frozen_batch_open(name: str) -> None:
    path: Path = REAL_MODELS / f"{name}.onnx"
    made = symbolic_batch(open_model(path), onnx.load(path))
    assert all(shape_of(entry)[0] == "batch" for entry in made.graph.output)


@needs_real_models
def test_a_recurrent_state_whose_axis_is_not_its_first_is_refused() -> None:
    path = REAL_MODELS / "gtcrn_simple.onnx"
    with pytest.raises(ModelError, match="node 'Concat_141' holds it or needs it"):
        symbolic_batch(open_model(path), onnx.load(path))
