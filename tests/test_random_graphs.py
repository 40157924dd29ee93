"""Random graphs of the operators that have rules: folded equals original, whatever the graph.

The graphs are made by the package `random_graphs`, which also runs them by the ten thousand outside CI. What was ever
found wrong is pinned below the properties, by its symptom.
"""

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from random_graphs import STEPS, Built, build
from random_graphs.check import Vacuous, examine
from random_graphs.run import drawn
from support import check_fold, graph_model, interface, normal, op_types, run_ort, statistics

import bnfold
from bnfold.ops.registry import pull, push

AGAIN = False
"""Whether a second fold may find nothing: not yet, see `test_folding_again_finds_nothing`."""


def examined(built: Built, *, in_own_type: bool = False) -> None:
    """`examine`, but for graphs that show nothing, and for the crash that is pinned below."""
    try:
        examine(built, in_own_type=in_own_type, again=AGAIN)
    except Vacuous:
        reject()
    except np.exceptions.AxisError:  # test_a_scale_per_channel_into_a_constant_of_lower_rank
        reject()


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=9), st.integers(0, 10**6))
def test_a_random_graph_folds_to_an_equal_one(steps: list[str], seed: int) -> None:
    examined(build(steps, seed), in_own_type=seed % 4 == 0)


@pytest.mark.parametrize("step", sorted(STEPS))
def test_every_step_in_front_of_a_normalization(step: str) -> None:
    """In float64 and on onnxruntime, which also says that both compute the operator alike."""
    fitting = 0
    for seed in range(40):
        built = build(["Conv or Gemm, then BatchNormalization", step, "BatchNormalization"], seed)
        without = build(["Conv or Gemm, then BatchNormalization", "BatchNormalization"], seed)
        if built.model == without.model:
            continue  # the step does not fit this wire or opset
        try:
            examine(built, in_own_type=True, again=AGAIN)
        except (Vacuous, np.exceptions.AxisError):
            continue
        fitting += 1
        if fitting == 3:
            return
    assert fitting, "the step fits nothing"


def test_every_operator_with_a_rule_is_generated() -> None:
    used = {name for number in range(600) for name in build(*drawn(5, number)).used}
    assert {op_type for _, op_type in pull.table() | push.table()} <= used


def test_the_same_steps_and_seed_make_the_same_graph() -> None:
    one, other = (build(*drawn(5, 17)).model for _ in range(2))
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


@pytest.mark.xfail(strict=True, raises=np.exceptions.AxisError, reason="bnfold/folding/rounding.py: _largest_per")
@pytest.mark.parametrize("constant", [np.float32(0.5), np.float32([0.5]), normal(6)])
def test_a_scale_per_channel_into_a_constant_of_lower_rank(constant: np.ndarray) -> None:
    body = "(float[2,3,6,6] x) => (float[2,4,6,6] y) { c = Conv(x, W) s = Sum(c, k) y = Mul(s, v) }"
    check_fold(
        graph_model(body, W=normal(4, 3, 1, 1), k=constant, v=np.float32([[[2]], [[-3]], [[0.5]], [[1.5]]])),
        leaves=["Conv", "Sum"],
    )


@pytest.mark.xfail(strict=True, reason="bnfold/folding: both go, and nothing produces the output")
def test_two_identities_between_an_input_and_an_output() -> None:
    model = graph_model(
        "(float[2,3] x) => (float[2,3] y) { a = Mul(x, one) y = Mul(a, one) }", one=np.ones(3, np.float32)
    )
    folded = bnfold.fold(model).model
    assert {out.name for out in folded.graph.output} <= {name for node in folded.graph.node for name in node.output}
    assert interface(folded) == interface(model)
    x = normal(2, 3)
    assert np.array_equal(run_ort(folded, {"x": x})[0], x)


@pytest.mark.xfail(strict=True, reason="bnfold/folding/sources.py: _channel_axis believes in sizes that are not known")
@pytest.mark.parametrize("factor", [np.full((2, 1), 0.75), np.array([[0.75], [-1.5]])])
def test_a_constant_longer_than_an_open_size_makes_the_value_grow(factor: np.ndarray) -> None:
    """The size is 1 when the model runs, so that the node broadcasts x: no affine."""
    body = "(float[N,3] x) => (float[M,5] y) { r = Relu(x) m = Mul(r, k) y = Gemm(m, W) }"
    model = graph_model(body, k=factor.astype(np.float32), W=normal(3, 5))
    x = normal(1, 3)
    (expected,), (made,) = run_ort(model, {"x": x}), run_ort(bnfold.fold(model).model, {"x": x})
    assert made.shape == expected.shape == (2, 5)
    np.testing.assert_allclose(made, expected, rtol=1e-5)


@pytest.mark.xfail(strict=True, reason="bnfold/folding/search.py: one pass")
@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param("n = BatchNormalization(x, s, b, m, v) a = Add(n, b) y = Sub(m, a)", id="two to merge with one"),
        pytest.param(
            "c = MatMul(x, W) n = BatchNormalization(c, s, b, m, v) y = Add(one, n)", id="an Add behind a new Add"
        ),
    ],
)
def test_folding_again_finds_nothing(nodes: str) -> None:
    scale, bias, mean, variance = statistics(4)
    constants = {
        "s": scale,
        "b": bias,
        "m": mean,
        "v": variance,
        "W": normal(4, 4),
        "one": np.ones((1, 1, 1), np.float32),
    }
    model = graph_model(f"(float[2,4] x) => (float[] y) {{ {nodes} }}", **constants)
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.checker.check_model(model)
    once = bnfold.fold(model)
    assert once
    assert not bnfold.fold(once.model), op_types(once.model)
