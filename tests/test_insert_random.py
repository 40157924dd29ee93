"""BatchNormalizations put into random graphs: the function stays, with and without data, and a fold takes them out.

The package `insertions` holds what must hold, and runs it by the thousand outside CI. What was ever found wrong is
pinned below the properties, by its symptom.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from insertions.properties import examine
from insertions.run import options_of
from onnx import TensorProto, helper, numpy_helper
from random_graphs import STEPS, build
from random_graphs.check import Vacuous
from support import graph_model, normal, op_types, run_ort

import bnfold
from bnfold.inserting.insert import insert
from bnfold.inserting.options import ABSORB, BIASES, KEEP, POSITIONS, Options

LINEAR = ["Conv", "Conv, same", "ConvTranspose", "Gemm", "MatMul", "MatMul, constant left", "twins"]
EXAMPLES = 300
asked = st.builds(
    Options,
    position=st.sampled_from(POSITIONS),
    include_classifier=st.booleans(),
    bias=st.sampled_from([None, *BIASES]),
)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from(sorted(STEPS)), max_size=3),
    st.sampled_from(LINEAR),
    st.lists(st.sampled_from(sorted(STEPS)), max_size=4),
    st.integers(0, 10**6),
    asked,
)
def test_a_random_graph_keeps_its_function(
    before: list[str], linear: str, behind: list[str], seed: int, options: Options
) -> None:
    try:
        examine(build([*before, linear, *behind], seed), options)
    except Vacuous:
        reject()


@pytest.mark.parametrize("step", LINEAR)
def test_every_linear_operator_is_reached(step: str) -> None:
    seen = [examine(build([step], seed), Options(include_classifier=True)) for seed in range(24)]
    assert sum(report.inserted for report in seen) >= 2
    assert any(report.exact for report in seen)
    assert any(report.off is not None for report in seen)


def test_a_shared_bias_that_goes_into_two_means_is_not_added_again() -> None:
    """It was given back as a copy, since the same tensor stood for the bias of a normalization as well."""
    text = (
        "(float[N,4] x) => (float[N,6] y) { h = Gemm(x, V, b) n = BatchNormalization(h, s, b, m, v) r = Tanh(n) "
        "k = Gemm(x, W, b) q = Tanh(k) p = Gemm(x, W, b) t = Tanh(p) u = Add(r, q) y = Add(u, t) }"
    )
    constants: dict[str, Any] = {name: np.abs(normal(6, seed=k)) + 1 for k, name in enumerate("bsmv")}
    model = graph_model(text, V=normal(4, 6), W=normal(4, 6, seed=1), **constants)
    x = normal(32, 4)
    result = insert(model, [{"x": x}], Options(include_classifier=True, bias=ABSORB))
    assert len(result.inserted) == 2
    read = [name for node in result.model.graph.node for name in node.input]
    assert {tensor.name for tensor in result.model.graph.initializer} <= set(read), "a copy that nothing reads"
    assert bnfold.check(model, result.model)


@pytest.mark.parametrize(
    "nodes", ["h = Gemm(x, W, b)", "m = MatMul(x, W) h = Add(m, b)", "n = Neg(b) h = Gemm(x, W, n)"]
)
def test_a_bias_that_a_caller_may_override_stays(nodes: str) -> None:
    """It went into the mean with its default numbers, and what the caller gave was not read any more."""
    text = f"(float[N,4] x, float[6] b) => (float[N,6] y) {{ {nodes} y = Identity(h) }}"
    model = graph_model(text, W=normal(4, 6), b=normal(6))
    feeds = {"x": normal(32, 4)}
    result = insert(model, [feeds], Options(include_classifier=True, bias=ABSORB))
    (wanted,), (made,) = (run_ort(each, {**feeds, "b": normal(6, seed=5)}) for each in (model, result.model))
    np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-5)


def test_a_pair_of_transposes_goes_where_an_affine_behind_it_goes_too() -> None:
    """The second one got the name of that affine's output, under which it was not looked for."""
    text = "(float[2,5,4,3] x) => (float[2,5,6,3] y) { h = MatMul(W, x) y = Div(h, k) }"
    model = graph_model(text, W=normal(6, 4), k=np.float32(3))
    result = insert(model, options=Options(include_classifier=True))
    assert op_types(result.model) == ["MatMul", "Transpose", "BatchNormalization", "Transpose", "Div"]
    assert op_types(bnfold.fold(result.model).model) == ["MatMul"]


@pytest.mark.parametrize("bias", BIASES)
def test_a_variance_beyond_float16_stays_finite_and_keeps_the_function(bias: str) -> None:
    """It was infinite, and the output NaN."""
    text = "(float16[N,4] x) => (float16[N,6] y) { h = Gemm(x, W, b) y = Identity(h) }"
    half: dict[str, Any] = {"W": normal(4, 6, dtype=np.float16), "b": normal(6, dtype=np.float16)}
    model = graph_model(text, **half)
    feeds = {"x": normal(64, 4, dtype=np.float16) * np.float16(900)}
    result = insert(model, [feeds], Options(include_classifier=True, bias=bias))
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.model.graph.initializer}
    assert held["W.bn.var"].max() == np.finfo(np.float16).max
    (before,), (after,) = run_ort(model, feeds), run_ort(result.model, feeds)
    np.testing.assert_allclose(after.astype(np.float64), before.astype(np.float64), rtol=0, atol=3e-3 * before.max())


@pytest.mark.parametrize(
    ("steps", "seed"),
    [
        pytest.param(["twins", "BatchNormalization, of nothing special"], 931967442, id="a bias in two means, twice"),
        pytest.param(["MatMul, constant left", "constant along an axis"], 730419357, id="Transposes left"),
        pytest.param(["MatMul, constant left"], 361439401, id="a weight that is an input too"),
    ],
)
def test_what_was_found_wrong_stays_right(steps: list[str], seed: int) -> None:
    assert examine(build(steps, seed), options_of(seed)).inserted


def test_in_float16_an_identity_is_off_by_one_unit_at_most_where_the_runtime_computes_in_float32() -> None:
    """onnxruntime's CPU provider does not round between operators: 1 / sqrt(1 + epsilon) is then seen by the last."""
    text = "(float16[N,4] x) => (float16[N,6] y) { h = Gemm(x, W, b) y = Identity(h) }"
    model = graph_model(text, W=normal(4, 6, dtype=np.float16), b=normal(6, dtype=np.float16))
    result = insert(model, options=Options(include_classifier=True, bias=KEEP))
    feeds = {"x": normal(512, 4, dtype=np.float16)}
    (before,), (after,) = run_ort(model, feeds), run_ort(result.model, feeds)
    assert helper.np_dtype_to_tensor_dtype(after.dtype) == TensorProto.FLOAT16
    np.testing.assert_array_max_ulp(after, before, maxulp=1, dtype=np.float16)
