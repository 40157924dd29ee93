"""Maps over several axes: channels that are split, moved and joined again, as ShuffleNet and SpaceToDepth do."""

from math import prod
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto
from support import Array, check_fold, graph_model, normal, refusal, statistics

import bnfold.ops  # noqa: F401 (fills the registry of rules)
from bnfold.affine import Affine
from bnfold.model.constants import Constants
from bnfold.model.graph import Graph
from bnfold.model.shapes import Shapes
from bnfold.ops.registry import Registry, pull, push
from bnfold.ops.reshaping import through_reshape
from bnfold.ops.rule import Operator, Placed, Refusal, Spread

BN = "BatchNormalization ({}, s, b, m, v)"


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def parameters(channels: int, *, scaling: bool = False) -> dict[str, Any]:
    """Of a BatchNormalization; with `scaling` of one that only scales, by positive numbers."""
    scale, bias, mean, var = statistics(channels, positive=scaling)
    if scaling:
        bias, mean = np.zeros_like(bias), np.zeros_like(mean)
    return {"s": scale, "b": bias, "m": mean, "v": var}


def shuffle(start: str, end: str, *, between: str = "") -> str:
    """Split to (N, g, C/g, H, W), swap, join again; `between` stands behind the swap, from t to u."""
    swapped = "u" if not between else "t"
    return (
        f"q = Reshape ({start}, split) {swapped} = Transpose <perm = [0, 2, 1, 3, 4]> (q) {between} "
        f"{end} = Reshape (u, joined)"
    )


def sizes(channels: int, groups: int, *, batch: int = 2, space: int = 6) -> dict[str, Any]:
    split = ints(batch, groups, channels // groups, space, space)
    return {"split": split, "joined": ints(batch, channels, space, space)}


SAME = "float[2, 3, 6, 6] x"


def pulled(nodes: str, *, x: str = SAME, channels: int = 12, **constants: Any) -> ModelProto:
    body = f"({x}) => (float[] y) {{ c = Conv (x, w) {nodes} y = {BN.format('h')} }}"
    return graph_model(body, w=normal(12, 3, 1, 1), **{**parameters(channels), **constants})


def pushed(nodes: str, *, x: str = "float[2, 12, 6, 6] x", channels: int = 12, **constants: Any) -> ModelProto:
    body = f"({x}) => (float[] y) {{ r = Sigmoid (x) c = {BN.format('r')} {nodes} y = Conv (h, w) }}"
    return graph_model(body, **{**parameters(12), "w": normal(5, channels, 1, 1), **constants})


@pytest.mark.parametrize("groups", [2, 3, 4, 6])
def test_a_shuffle_carries_the_map_to_the_layer_in_front(groups: int) -> None:
    model = pulled(shuffle("c", "h"), **sizes(12, groups))
    check_fold(model, leaves=["Conv", "Reshape", "Transpose", "Reshape"])


@pytest.mark.parametrize("groups", [2, 3, 4, 6])
def test_a_shuffle_carries_the_map_to_the_layer_behind(groups: int) -> None:
    model = pushed(shuffle("c", "h"), **sizes(12, groups))
    check_fold(model, leaves=["Sigmoid", "Reshape", "Transpose", "Reshape", "Conv"])


BETWEEN = {
    "Relu": "u = Relu (t)",
    "LeakyRelu": "u = LeakyRelu <alpha = 0.25> (t)",
    "PRelu": "u = PRelu (t, slope)",
    "Identity": "u = Identity (t)",
    "Dropout": "u = Dropout (t)",
    "Cast": "i = Cast <to = 11> (t) u = Cast <to = 1> (i)",
    "Unsqueeze": "i = Unsqueeze (t, first) u = Squeeze (i, first)",
    "Transpose": "i = Transpose <perm = [4, 1, 0, 3, 2]> (t) u = Transpose <perm = [2, 1, 4, 3, 0]> (i)",
    "Flatten": "i = Reshape (t, flat) u = Reshape (i, back)",
}


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
@pytest.mark.parametrize("side", ["pulled", "pushed"])
def test_what_stands_within_a_shuffle_lets_a_scale_pass(side: str, between: str) -> None:
    constants: dict[str, Any] = {
        "slope": np.abs(normal(4, 1, 1, 1)),
        "first": ints(0),
        "flat": ints(2, 4, 3, 36),
        "back": ints(2, 4, 3, 6, 6),
        **sizes(12, 3),
        **parameters(12, scaling=True),
    }
    nodes = shuffle("c", "h", between=between)
    constants = {name: values for name, values in constants.items() if f"{name})" in nodes or name in "sbmv"}
    model = pulled(nodes, **constants) if side == "pulled" else pushed(nodes, **constants)
    result = check_fold(model)
    assert [folded.op_type for folded in result.folded] == ["BatchNormalization"]


def test_a_rectifier_within_a_shuffle_blocks_a_shift() -> None:
    model = pulled(shuffle("c", "h", between=BETWEEN["Relu"]), **sizes(12, 3))
    assert refusal(model).code == "shift"


def test_two_shuffles_in_a_row_carry_the_map() -> None:
    again = shuffle("o", "h").replace("q ", "i ").replace("(q)", "(i)").replace("u ", "j ").replace("(u,", "(j,")
    model = pulled(f"{shuffle('c', 'o')} {again}", **sizes(12, 4))
    result = check_fold(model)
    assert len(result.folded) == 1


OPEN = {
    "a symbol": ("float[N, 3, 6, 6] x", -1, 6),
    "nothing known": ("float[?, 3, 6, 6] x", -1, 6),
    "copied": ("float[N, 3, 6, 6] x", 0, 6),
}


@pytest.mark.parametrize(("x", "batch", "space"), OPEN.values(), ids=OPEN)
def test_a_shuffle_of_an_open_batch_carries_the_map(x: str, batch: int, space: int) -> None:
    model = pulled(shuffle("c", "h"), x=x, **sizes(12, 3, batch=batch, space=space))
    check_fold(model, leaves=["Conv", "Reshape", "Transpose", "Reshape"])
    wide = x.replace("3,", "12,")
    model = pushed(shuffle("c", "h"), x=wide, **sizes(12, 3, batch=batch, space=space))
    check_fold(model, leaves=["Sigmoid", "Reshape", "Transpose", "Reshape", "Conv"])


def test_a_permutation_that_takes_space_along_is_refused() -> None:
    """Channels of the result are made of channels and rows."""
    nodes = "q = Reshape (c, split) t = Transpose <perm = [0, 3, 1, 2, 4]> (q) h = Reshape (t, joined)"
    assert refusal(pulled(nodes, **sizes(12, 3))).code == "reshape"
    assert "reshapes (2, 6, 3, 4, 6)" in refusal(pushed(nodes, **sizes(12, 3))).reason


def test_a_shuffle_over_the_batch_is_refused() -> None:
    nodes = "q = Reshape (c, split) t = Transpose <perm = [1, 0, 2, 3, 4]> (q) h = Reshape (t, joined)"
    assert refusal(pulled(nodes, **sizes(12, 3))).code == "reshape"


def test_a_map_over_several_axes_is_refused_by_what_knows_one() -> None:
    """Within the split, at an operator that is not known to carry such a map."""
    nodes = shuffle("c", "h", between="u = Clip (t, low, high)")
    constants: dict[str, Any] = {"low": np.float32(-1.0), "high": np.float32(1.0), **sizes(12, 3)}
    kept = refusal(pulled(nodes, **constants))
    assert (kept.code, "axes 1 and 2" in kept.reason) == ("axes", True)
    pooled = "t = Reshape (c, split) h = ReduceMean <keepdims = 0> (t, last)"
    model = pushed(pooled, channels=3, split=ints(2, 3, 4, 6, 6), last=ints(4))
    assert "along axes 1 and 2" in refusal(model).reason


SPACE_TO_DEPTH: tuple[str, dict[str, Any]] = (
    "q = Reshape ({}, split) t = Transpose <perm = [0, 3, 5, 1, 2, 4]> (q) {} = Reshape (t, joined)",
    {"split": ints(2, 12, 3, 2, 3, 2), "joined": ints(2, 48, 3, 3)},
)
DEPTH_TO_SPACE: tuple[str, dict[str, Any]] = (
    "q = Reshape ({}, split) t = Transpose <perm = [0, 3, 4, 1, 5, 2]> (q) {} = Reshape (t, joined)",
    {"split": ints(2, 2, 2, 3, 6, 6), "joined": ints(2, 3, 12, 12)},
)


def test_space_to_depth_in_six_dimensions_carries_the_map_to_the_layer_behind() -> None:
    nodes, constants = SPACE_TO_DEPTH
    check_fold(
        pushed(nodes.format("c", "h"), channels=48, **constants),
        leaves=["Sigmoid", "Reshape", "Transpose", "Reshape", "Conv"],
    )


def test_space_to_depth_in_six_dimensions_carries_a_map_that_repeats_to_the_layer_in_front() -> None:
    nodes, constants = SPACE_TO_DEPTH
    repeating = {name: np.tile(values, 4) for name, values in parameters(12).items()}
    model = pulled(nodes.format("c", "h"), channels=48, **{**constants, **repeating})
    check_fold(model, leaves=["Conv", "Reshape", "Transpose", "Reshape"])
    assert refusal(pulled(nodes.format("c", "h"), channels=48, **constants)).code == "reshape"


def test_depth_to_space_in_six_dimensions_carries_the_map_to_the_layer_in_front() -> None:
    nodes, constants = DEPTH_TO_SPACE
    model = pulled(nodes.format("c", "h"), channels=3, **constants)
    check_fold(model, leaves=["Conv", "Reshape", "Transpose", "Reshape"])
    assert (
        refusal(pushed(nodes.format("c", "h"), channels=3, **constants)).reason.count("reshapes (2, 3, 6, 2, 6, 2)")
        == 1
    )


def test_affines_within_and_behind_a_shuffle_go_one_after_the_other() -> None:
    """They lie over other axes and do not compose: the one within goes alone, then the one behind can pass."""
    nodes = shuffle("c", "h", between="u = Mul (t, k)")
    constants: dict[str, Any] = {**sizes(12, 3), "k": normal(4, 1, 1, 1)}
    result = check_fold(pulled(nodes, **constants))
    assert [folded.op_type for folded in result.folded] == ["Mul", "BatchNormalization"]
    assert len(result.rounds) == 2


# --- The representation ---


def spread_over(placed: Placed, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Scale and shift of every element."""
    dims = dict(zip(placed.axes, placed.sizes, strict=True))
    laid = [dims.get(k, 1) for k in range(len(shape))]
    scale, shift = (np.broadcast_to(v.reshape(laid), shape) for v in (placed.affine.scale, placed.affine.shift))
    return scale, shift


def affine_of(count: int, *, kinds: int = 0, seed: int = 0) -> Affine:
    """Random maps; of `kinds` different ones if that is not 0."""
    rng = np.random.default_rng([seed, count])
    scale, shift = rng.normal(size=(2, kinds or count))
    chosen = rng.integers(0, kinds, count) if kinds else np.arange(count)
    return Affine(scale[chosen], shift[chosen])


def test_the_simplest_form_has_only_axes_along_which_the_map_differs() -> None:
    affine = affine_of(6)
    assert Placed.over(affine, [2], [6]).axis == 2
    assert Placed.over(affine, [2, 1], [6, 1]).axes == (2,)
    assert Placed.over(affine.repeat(4), [1, 3], [6, 4]).axes == (1,)
    assert Placed.over(affine.tile(4), [1, 3], [4, 6]).axes == (3,)
    assert Placed.over(Affine.of(np.full(6, 2.0)), [0, 1], [2, 3]).is_uniform
    wide = Placed.over(affine, [4, 1], [2, 3])
    assert isinstance(wide, Spread)
    assert (wide.axes, wide.sizes) == ((1, 4), (3, 2))
    np.testing.assert_array_equal(wide.affine.scale, affine.scale.reshape(2, 3).T.reshape(-1))


def test_maps_over_several_axes_compose_over_the_same_axes_only() -> None:
    one, other = (Placed.over(affine_of(6, seed=seed), [1, 2], [2, 3]) for seed in (0, 1))
    total = one.then(other)
    assert total is not None
    np.testing.assert_array_equal(total.affine.scale, one.affine.scale * other.affine.scale)
    assert (total.axes, total.sizes) == ((1, 2), (2, 3))
    assert one.then(Placed.over(affine_of(6), [1, 3], [2, 3])) is None
    assert one.then(Placed.of(affine_of(2), 1)) is None
    assert Placed.of(affine_of(2), 1).then(one) is None
    doubled = Placed.of(Affine.of(2.0), 0).then(one)
    assert doubled is not None
    assert doubled.axes == (1, 2)
    assert one.scaling.axes == (1, 2)
    assert one.scaling.affine.is_scaling


def test_a_map_over_several_axes_has_no_one_axis() -> None:
    wide = Placed.over(affine_of(6), [1, 2], [2, 3])
    with pytest.raises(AssertionError, match="one axis"):
        _ = wide.axis
    assert "axes=(1, 2)" in repr(wide)


@pytest.mark.parametrize("registry", [pull, push], ids=["pull", "push"])
def test_no_rule_but_those_that_know_it_is_asked_for_a_map_over_several_axes(registry: Registry) -> None:
    """Every operator of the table, of every version that has a rule of its own."""
    knowing = {"Transpose", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Identity", "Dropout", "Neg", "Cast"}
    knowing |= {"Relu", "LeakyRelu", "PRelu"}
    wide = Placed.over(affine_of(6), [1, 2], [2, 3])
    asked = 0
    for schema in onnx.defs.get_all_schemas_with_history():
        op = operator(schema.name, schema.domain, schema.since_version)
        rule = registry.rule(op.node)
        if rule is None or schema.name in knowing:
            continue
        answer = rule(op, {0: wide})
        assert isinstance(answer, Refusal)
        assert answer.code == "axes"
        asked += 1
    assert asked > len(registry.table())


def operator(op_type: str, domain: str, version: int) -> Operator:
    node = onnx.helper.make_node(op_type, ["x", "w"], ["y"], domain=domain)
    graph = onnx.helper.make_graph([node], "g", [], [])
    imports = [onnx.helper.make_opsetid(domain, version)]
    view = Graph(onnx.helper.make_model(graph, opset_imports=imports))
    shapes = Shapes(view)
    return Operator(view.main.nodes[0], Constants(view, None, shapes=shapes), shapes)


# --- The law: whatever is answered is what numpy says ---

FACTORS = st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=6)


@st.composite
def factorizations(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes of the same elements."""
    factors = draw(FACTORS)

    def grouped(order: list[int]) -> tuple[int, ...]:
        cuts = sorted(draw(st.sets(st.integers(1, len(order)), max_size=4)) - {len(order)})
        return tuple(prod(order[a:b]) for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True))

    return grouped(factors), grouped(draw(st.permutations(factors)))


@settings(max_examples=400, deadline=None)
@given(factorizations(), st.data())
def test_a_map_through_a_reshape_is_what_numpy_makes_of_it(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], data: st.DataObject
) -> None:
    shape, to = shapes
    axes = sorted(data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
    lengths = [shape[k] for k in axes]
    kinds = data.draw(st.sampled_from([0, 0, 2]))
    placed = Placed.over(affine_of(prod(lengths), kinds=kinds), axes, lengths)
    moved = through_reshape(placed, shape, to)
    if moved is None:
        return
    for one, other in zip(spread_over(placed, shape), spread_over(moved, to), strict=True):
        np.testing.assert_array_equal(one.reshape(to), other)
    assert not isinstance(moved, Spread) or moved.affine.channels <= max(placed.affine.channels, 1)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([1, 2, 3]), min_size=2, max_size=5), st.data())
def test_a_split_a_permutation_and_a_merge_of_channels_always_carry(factors: list[int], data: st.DataObject) -> None:
    """Channels alone: what is split can be permuted and joined again, and the map is the permuted one."""
    order = data.draw(st.permutations(range(len(factors))))
    channels = prod(factors)
    affine = affine_of(channels)
    split = through_reshape(Placed.of(affine, 1), (2, channels, 5), (2, *factors, 5))
    assert split is not None
    places = {source + 1: target + 1 for target, source in enumerate(order)}
    permuted = split.on(*(places[axis] for axis in split.axes))
    joined = through_reshape(permuted, (2, *(factors[k] for k in order), 5), (2, channels, 5))
    assert joined is not None
    expected = affine.scale.reshape(factors).transpose(order).reshape(-1)
    np.testing.assert_array_equal(
        spread_over(joined, (2, channels, 5))[0], np.broadcast_to(expected[:, None], (2, channels, 5))
    )
