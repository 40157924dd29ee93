"""A constant Mul or Div with a shift in front of it that it lets pass towards the outputs, while it stays itself.

It stays in every case as its scale is negative and a MaxPool reads it; the shift goes into the Conv behind.
"""

from typing import Any

import numpy as np
import pytest
from support import check_fold, graph_model, normal, parameters

import bnfold

NEGATIVE = -np.linspace(0.5, 2.0, 4, dtype=np.float32)


def along(axis: int, rank: int = 4) -> list[int]:
    return [4 if k == axis else 1 for k in range(rank)]


def network(middle: str, *, channels_last: bool = False, **constants: Any) -> bnfold.FoldResult:
    """Relu, what is tested from r to m, MaxPool, Conv; nothing can go in front, since Relu takes no negative scale."""
    into = "t = Transpose<perm = [0,3,1,2]>(m) p" if channels_last else "p"
    pooled = "MaxPool<kernel_shape = [2,2]>(t)" if channels_last else "MaxPool<kernel_shape = [2,2]>(m)"
    body = f"(float[2,4,4,4] x) => (float[2,3,2,2] y) {{ r = Relu(x) {middle} {into} = {pooled} y = Conv(p, W) }}"
    return check_fold(graph_model(body, W=normal(3, 4, 2, 2), **constants), residuals=False)


def left(result: bnfold.FoldResult) -> list[str]:
    kept = ("Add", "Sub", "Mul", "Div")
    return [node.op_type for node in result.model.graph.node if node.op_type in kept]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("middle", ["s = Sub(r, b) m = Mul(s, c)", "s = Add(r, b) m = Div(s, c)"])
def test_a_shift_passes_a_factor_that_stays(middle: str, channels_last: bool) -> None:
    axis = 3 if channels_last else 1
    c, b = NEGATIVE.reshape(along(axis)), normal(4).reshape(along(axis))
    result = network(middle, channels_last=channels_last, c=c, b=b)
    assert left(result) == [middle.split()[-2].split("(")[0]]
    assert {folded.op_type for folded in result.folded} < {"Add", "Sub"}


def test_a_shift_passes_between_factor_and_another_shift() -> None:
    """A BatchNormalization written out, with a negative scale: one Mul is all that has to stay."""
    b, c, d = normal(4, 1, 1), NEGATIVE.reshape(along(1)), normal(4, 1, 1, seed=1)
    result = network("s = Sub(r, b) k = Mul(s, c) m = Add(k, d)", b=b, c=c, d=d)
    assert left(result) == ["Mul"]


def test_a_shift_of_one_number_becomes_one_per_factor() -> None:
    result = network("s = Add(r, b) m = Mul(s, c)", c=NEGATIVE.reshape(along(1)), b=np.float32(0.7))
    assert left(result) == ["Mul"]


def test_one_factor_for_all_leaves_a_shift_per_channel() -> None:
    result = network("s = Add(r, b) m = Mul(s, c)", c=np.float32(-1.5), b=normal(4, 1, 1))
    assert left(result) == ["Mul"]


def test_a_factor_over_another_axis_does_not_let_a_shift_pass() -> None:
    """Each row has a factor of its own, so what the shift becomes differs along two axes."""
    result = network("s = Add(r, b) m = Mul(s, c)", c=NEGATIVE.reshape(along(2)), b=normal(4, 1, 1))
    assert left(result) == ["Add", "Mul"]


def test_a_factor_over_two_axes_does_not_let_a_shift_pass() -> None:
    result = network("s = Add(r, b) m = Mul(s, c)", c=-np.abs(normal(1, 4, 4, 1)) - 0.1, b=normal(4, 1, 1))
    assert left(result) == ["Add", "Mul"]


def test_a_factor_of_higher_rank_keeps_the_axis_counted_from_the_end() -> None:
    """The factor adds an axis in front: the shift lies on axis 1 of the sum and on axis 2 of the product."""
    nodes = "r = Relu(x) s = Add(r, b) m = Mul(s, c) p = MatMul(m, W) y = Add(p, d)"
    body = f"(float[3,4] x) => (float[1,3,2] y) {{ {nodes} }}"
    model = graph_model(body, W=normal(4, 2), b=normal(4), c=NEGATIVE.reshape(1, 1, 4), d=normal(2))
    check_fold(model, leaves=["Relu", "Mul", "MatMul", "Add"])


@pytest.mark.parametrize("mean", [normal(1, 4), normal(1)], ids=["two axes", "another length"])
def test_a_normalization_whose_parameters_are_no_four_vectors_takes_no_map(mean: Any) -> None:
    """No runtime reads such a node in one way; what it is goes out as it came."""
    given = parameters(4) if mean.ndim == 1 else {key: v.reshape(1, 4) for key, v in parameters(4).items()}
    body = "(float[2,4,3,3] x) => (float[2,4,3,3] y) { n = BatchNormalization(x, s, b, m, v) y = Mul(n, k) }"
    model = graph_model(body, **{**given, "m": mean, "k": np.float32(2)})
    assert bnfold.fold(model).model == model


def test_a_factor_that_broadcasts_by_the_rules_before_opset_7_takes_no_map() -> None:
    """There ``[4]`` lies along the axis that ``axis`` says, and the map along another."""
    nodes = "r = Relu(x) n = BatchNormalization<is_test = 1>(r, s, z, z, v) m = Mul<broadcast = 1, axis = 2>(n, c)"
    body = f"(float[2,4,4,4] x) => (float[2,4,4,4] y) {{ {nodes} y = Tanh(m) }}"
    given: dict[str, Any] = {"s": NEGATIVE, "v": parameters(4)["v"], "z": np.zeros(4, np.float32), "c": normal(4)}
    model = graph_model(body, opset=6, **given)
    result = bnfold.fold(model)
    assert result.model == model
    (kept,) = result.kept
    assert kept.code == "negative-scale"
    assert "Mul" in kept.reason
