"""Add, Sub, Sum, Concat, Split."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper
from support import Array, check_fold, graph_model, normal, op_types, refusal, statistics

import bnfold

X = "float[2, 3, 4, 6] x"
BN = "y = BatchNormalization (z, s, b, m, v)"


def joined(
    nodes: str,
    *,
    x: str = X,
    outputs: str = "float[] y",
    opset: int = 20,
    channels: int = 8,
    positive: bool = False,
    **constants: Any,
) -> ModelProto:
    """u, t, r of shape (2, 8, 4, 6), each from a Conv of its own where `nodes` read it; then `nodes`.

    s, b, m, v are the parameters of a BatchNormalization.
    """
    branches = [(name, f"W{k}", normal(8, 3, 3, 3, seed=k)) for k, name in enumerate("utr") if reads(nodes, name)]
    convs = "".join(f"{name} = Conv <pads = [1, 1, 1, 1]> (x, {weight}) " for name, weight, _ in branches)
    given: dict[str, Any] = {weight: values for _, weight, values in branches}
    if "s, b, m, v" in nodes:
        given |= dict(zip("sbmv", statistics(channels, positive=positive), strict=True))
    return graph_model(f"({x}) => ({outputs}) {{ {convs} {nodes} }}", opset=opset, **given, **constants)


def reads(nodes: str, name: str) -> bool:
    return any(f"{before}{name}{after}" in nodes for before in "( " for after in ",)")


TWO = ["Conv", "Conv"]
SUMS = {
    "add": (f"z = Add (u, t) {BN}", [*TWO, "Add"]),
    "add, the other order": (f"z = Add (t, u) {BN}", [*TWO, "Add"]),
    "sub": (f"z = Sub (u, t) {BN}", [*TWO, "Sub"]),
    "sub, the other order": (f"z = Sub (t, u) {BN}", [*TWO, "Sub"]),
    "sum of one": (f"z = Sum (u) {BN}", ["Conv", "Sum"]),
    "sum of two": (f"z = Sum (u, t) {BN}", [*TWO, "Sum"]),
    "sum of three": (f"z = Sum (u, t, r) {BN}", [*TWO, "Conv", "Sum"]),
    "nested": (f"a = Add (u, t) z = Sub (r, a) {BN}", [*TWO, "Conv", "Add", "Sub"]),
    "residual, each branch with an affine of its own": (
        f"a = BatchNormalization (u, s, b, m, v) z = Add (a, t) {BN}",
        [*TWO, "Add"],
    ),
    "an affine behind each": (f"a = Mul (u, k) c = Sub (k, t) z = Add (a, c) {BN}", [*TWO, "Add"]),
}


@pytest.mark.parametrize(("nodes", "leaves"), SUMS.values(), ids=SUMS)
def test_every_branch_of_a_sum_takes_its_part(nodes: str, leaves: list[str]) -> None:
    constants: dict[str, Any] = {"k": normal(8, 1, 1)} if "k" in nodes else {}
    check_fold(joined(nodes, **constants), leaves=leaves)


def test_conv_and_batch_normalization_added_to_a_skip_connection_fold_with_the_sum() -> None:
    model = joined(
        "a = BatchNormalization (u, s, b, m, v) f = Relu (a) z = Conv (f, P) c = Add (z, t) "
        "y = BatchNormalization (c, s, b, m, v)",
        P=normal(8, 8, 1, 1),
    )
    result = check_fold(model, leaves=["Conv", "Conv", "Relu", "Conv", "Add"])
    assert [set(entry.into) for entry in result.folded] == [{"Conv -> u"}, {"Conv -> z", "Conv -> t"}]


SHIFTED = {
    "add, first behind Relu": f"a = Relu (u) z = Add (a, t) {BN}",
    "add, second behind Relu": f"a = Relu (t) z = Add (u, a) {BN}",
    "sum, only the second free": f"a = Relu (u) c = Relu (r) z = Sum (a, t, c) {BN}",
    "sub from what is behind Relu": f"a = Relu (t) z = Sub (a, u) {BN}",
    "nested": f"a = Relu (u) c = Relu (t) d = Add (a, c) z = Add (d, r) {BN}",
    "nested, free one in the inner sum": f"a = Relu (u) c = Relu (t) d = Add (a, r) z = Add (c, d) {BN}",
}


@pytest.mark.parametrize("nodes", SHIFTED.values(), ids=SHIFTED)
def test_shift_takes_the_branch_that_lets_it_pass(nodes: str) -> None:
    model = joined(nodes, positive=True)
    check_fold(model, leaves=op_types(model)[:-1])


BLOCKED = {
    "one branch read twice": ("several-readers", f"o = Relu (t) z = Add (u, t) {BN}", "float[] y, float[] o"),
    "both operands the same": ("several-readers", f"z = Add (u, u) {BN}", "float[] y"),
    "one branch an output": ("graph-output", f"z = Add (u, t) {BN}", "float[] y, float[] u"),
    "one branch an input": ("graph-input", f"z = Add (u, i) {BN}", "float[] y"),
    "one branch behind a barrier": ("barrier", f"a = Sigmoid (t) z = Sum (u, r, a) {BN}", "float[] y"),
    "both behind Relu": ("shift", f"a = Relu (u) c = Relu (t) z = Add (a, c) {BN}", "float[] y"),
    "concat, one behind a barrier": ("barrier", f"a = Sigmoid (t) z = Concat <axis = 2> (u, a) {BN}", "float[] y"),
}


@pytest.mark.parametrize(("code", "nodes", "outputs"), BLOCKED.values(), ids=BLOCKED)
def test_one_blocked_branch_keeps_every_branch_as_it_was(code: str, nodes: str, outputs: str) -> None:
    x = f"{X}, float[2, 8, 4, 6] i" if "i)" in nodes else X
    model = joined(nodes, x=x, outputs=outputs, positive=True)
    assert refusal(model).code == code
    assert bnfold.fold(model, residuals=False).model == model


BROADCAST = {
    "a branch of one row per channel": "g = GlobalAveragePool (t) z = Add (u, g)",
    "a branch of one row per channel, first": "g = GlobalAveragePool (t) z = Sub (g, u)",
    "a branch of lower rank": "q = Conv (e, W0) f = Squeeze (q, front) z = Add (u, f)",
}


@pytest.mark.parametrize("nodes", BROADCAST.values(), ids=BROADCAST)
def test_branch_that_is_broadcast_over_space_takes_its_part(nodes: str) -> None:
    more: dict[str, Any] = {}
    x = X
    if "front" in nodes:
        x, more = f"{X}, float[1, 3, 6, 8] e", {"front": np.array([0], np.int64)}
    model = joined(f"{nodes} {BN}", x=x, **more)
    check_fold(model, leaves=op_types(model)[:-1])


NOT_BROADCAST = {
    "a branch of one channel": ("broadcast", "q = Conv (x, one) z = Add (u, q)"),
    "a branch of one channel, first": ("broadcast", "q = Conv (x, one) z = Sub (q, u)"),
    "a branch of lower rank without channels": ("broadcast", "f = Conv (x, one) q = Reshape (f, flat) z = Add (u, q)"),
}


@pytest.mark.parametrize(("code", "nodes"), NOT_BROADCAST.values(), ids=NOT_BROADCAST)
def test_branch_that_is_broadcast_along_the_channels_is_refused(code: str, nodes: str) -> None:
    one = normal(1, 3, 1, 1)
    more: dict[str, Any] = {"flat": np.array([4, 6], np.int64)} if "flat" in nodes else {}
    x = "float[1, 3, 4, 6] x" if more else X
    assert refusal(joined(f"{nodes} {BN}", x=x, one=one, **more)).code == code


MAPS = {
    "of the whole shape": normal(1, 8, 4, 6),
    "of the whole shape with a batch": normal(2, 8, 4, 6),
    "of height and width": normal(4, 6),
    "of a row per channel": normal(8, 4, 1),
}


@pytest.mark.parametrize("order", ["(u, k)", "(k, u)"])
@pytest.mark.parametrize("op_type", ["Add", "Sub"])
@pytest.mark.parametrize("constant", MAPS.values(), ids=MAPS)
def test_constant_that_is_no_affine_is_rescaled(op_type: str, constant: Array, order: str) -> None:
    check_fold(joined(f"z = {op_type} {order} {BN}", k=constant), leaves=["Conv", op_type])


def test_constant_takes_the_shift_so_that_the_other_branch_may_be_behind_relu() -> None:
    check_fold(
        joined(f"a = Relu (u) z = Add (a, k) {BN}", k=normal(8, 4, 6), positive=True), leaves=["Conv", "Relu", "Add"]
    )


def test_constant_that_another_node_reads_keeps_its_numbers_for_it() -> None:
    model = joined(
        f"z = Add (u, k) o = Add (i, k) {BN}",
        k=normal(8, 4, 6),
        x=f"{X}, float[8, 4, 6] i",
        outputs="float[] y, float[] o",
    )
    folded = check_fold(model, leaves=["Conv", "Add", "Add"]).model
    numbers = {tensor.name: numpy_helper.to_array(tensor) for tensor in folded.graph.initializer}
    assert np.array_equal(numbers["k"], normal(8, 4, 6))


OLD = {
    "broadcast": "z = Add <broadcast = 1, axis = 1> (u, a)",
    "broadcast, sub": "z = Sub <broadcast = 1> (u, a)",
}


@pytest.mark.parametrize("add", OLD.values(), ids=OLD)
def test_sum_that_broadcasts_by_the_rules_before_opset_7_is_refused(add: str) -> None:
    # Neither onnxruntime nor onnx.reference runs opset 6.
    a = "a = Sigmoid (i)"
    model = joined(f"{a} {add} {BN.replace('(z', '<is_test = 1> (z')}", x=f"{X}, float[8, 4, 6] i", opset=6)
    result = bnfold.fold(model)
    assert [kept.code for kept in result.kept] == ["legacy-broadcast"]
    assert result.model == model


CONCATS = {
    "two": (f"z = Concat <axis = 1> (u, t) {BN}", 16, {}),
    "three": (f"z = Concat <axis = 1> (u, t, r) {BN}", 24, {}),
    "of different sizes": (f"q = Conv (x, P) z = Concat <axis = 1> (u, q, t) {BN}", 21, {"P": normal(5, 3, 1, 1)}),
    "a constant branch": (f"z = Concat <axis = 1> (u, k, t) {BN}", 19, {"k": normal(2, 3, 4, 6)}),
    "negative axis": (f"z = Concat <axis = -3> (u, t) {BN}", 16, {}),
    "on width": (f"z = Concat <axis = 3> (u, t) {BN}", 8, {}),
    "on height, negative axis": (f"z = Concat <axis = -2> (u, t) {BN}", 8, {}),
    "on height, a constant branch": (f"z = Concat <axis = 2> (k, u) {BN}", 8, {"k": normal(2, 8, 1, 6)}),
    "on the batch": (f"z = Concat <axis = 0> (u, t) {BN}", 8, {}),
    "on the batch, a constant branch": (f"z = Concat <axis = 0> (u, k) {BN}", 8, {"k": normal(1, 8, 4, 6)}),
    "nested": (f"a = Concat <axis = 1> (t, r) z = Concat <axis = 1> (u, a) {BN}", 24, {}),
}


@pytest.mark.parametrize(("nodes", "channels", "constants"), CONCATS.values(), ids=CONCATS)
def test_every_branch_of_a_concat_takes_its_slice(nodes: str, channels: int, constants: dict[str, Any]) -> None:
    model = joined(nodes, channels=channels, **constants)
    check_fold(model, leaves=op_types(model)[:-1])


def test_concat_on_the_channels_of_a_dynamic_batch_folds() -> None:
    model = joined(f"z = Concat <axis = 1> (u, t) {BN}", x="float[N, 3, H, W] x", channels=16)
    check_fold(model, leaves=["Conv", "Conv", "Concat"])


def test_concat_of_an_unknown_number_of_channels_is_refused() -> None:
    model = joined(f"a = Reshape (u, n) z = Concat <axis = 1> (a, t) {BN}", x=f"{X}, int64[4] n", channels=16)
    feeds = {"x": normal(2, 3, 4, 6), "n": np.array([2, 8, 4, 6], np.int64)}
    check_fold(model, kept=["unknown-shape"], feeds=feeds)


def test_concat_on_an_axis_counted_from_the_end_of_an_unknown_rank_is_refused() -> None:
    model = joined(f"a = Reshape (u, n) z = Concat <axis = -3> (a, a) {BN}", x=f"{X}, int64[k] n", channels=16)
    feeds = {"x": normal(2, 3, 4, 6), "n": np.array([2, 8, 4, 6], np.int64)}
    check_fold(model, kept=["unknown-shape"], feeds=feeds)


def test_uniform_map_passes_a_concat_of_unknown_shapes() -> None:
    model = joined(
        "a = Reshape (u, n) c = Concat <axis = -3> (a, t) y = Mul (c, k)", x=f"{X}, int64[k] n", k=np.float32(-2)
    )
    feeds = {"x": normal(2, 3, 4, 6), "n": np.array([2, 8, 4, 6], np.int64)}
    check_fold(model, leaves=["Conv", "Conv", "Reshape", "Concat"], feeds=feeds)


def on_piece(piece: str, output: str, prefix: str = "") -> str:
    return f"{output} = BatchNormalization ({piece}, {prefix}s, {prefix}b, {prefix}m, {prefix}v)"


def parameters(channels: int, prefix: str, seed: int = 0) -> dict[str, Any]:
    return {f"{prefix}{name}": v for name, v in zip("sbmv", statistics(channels, seed=seed), strict=True)}


SPLITS = {
    "opset 7": ("<axis = 1, split = [3, 5]> (u)", 7, {}),
    "opset 11": ("<axis = -3, split = [3, 5]> (u)", 11, {}),
    "opset 13": ("<axis = 1> (u, sizes)", 13, {"sizes": np.array([3, 5], np.int64)}),
    "opset 20": ("<axis = -3> (u, sizes)", 20, {"sizes": np.array([3, 5], np.int64)}),
}


@pytest.mark.parametrize("pieces", ["one", "both"])
@pytest.mark.parametrize(("split", "opset", "constants"), SPLITS.values(), ids=SPLITS)
def test_split_of_the_channels_takes_the_maps_of_its_pieces(
    split: str, opset: int, constants: dict[str, Any], pieces: str
) -> None:
    second = on_piece("q", "o", "B") if pieces == "both" else "o = Relu (q)"
    both: dict[str, Any] = {**parameters(3, "A"), **(parameters(5, "B", 1) if pieces == "both" else {}), **constants}
    model = joined(
        f"z, q = Split {split} {on_piece('z', 'y', 'A')} {second}", outputs="float[] y, float[] o", opset=opset, **both
    )
    # onnx.reference's BatchNormalization of opsets 6 to 8 gives no array.
    check_fold(model, leaves=["Conv", "Split", *(["Relu"] if pieces == "one" else [])])


@pytest.mark.parametrize(("split", "opset"), [("<axis = 1> (u)", 7), ("<axis = 1, num_outputs = 2> (u)", 18)])
def test_split_into_equal_pieces_takes_the_maps_of_its_pieces(split: str, opset: int) -> None:
    model = joined(
        f"a, c = Split {split} y = Mul (a, k) o = Add (c, k)",
        outputs="float[] y, float[] o",
        opset=opset,
        k=normal(4, 1, 1),
    )
    check_fold(model, leaves=["Conv", "Split"])


NOT_SPLIT = {
    "width, the same map on all pieces": f"z, q = Split <axis = 3, num_outputs = 2> (u) {on_piece('z', 'y')} "
    + on_piece("q", "o"),
    "the batch": f"z, q = Split <axis = 0, num_outputs = 2> (u) {on_piece('z', 'y')} o = Relu (q)",
}


@pytest.mark.parametrize("nodes", NOT_SPLIT.values(), ids=NOT_SPLIT)
def test_split_of_another_axis_is_refused(nodes: str) -> None:
    model = joined(nodes, outputs="float[] y, float[] o")
    check_fold(model, kept=["split"] * nodes.count("BatchNormalization"))


def test_split_into_pieces_of_unknown_sizes_is_refused() -> None:
    model = joined(
        f"z, q = Split <axis = 1> (u, n) {on_piece('z', 'y')} o = Relu (q)",
        x=f"{X}, int64[2] n",
        outputs="float[] y, float[] o",
        channels=3,
    )
    feeds = {"x": normal(2, 3, 4, 6), "n": np.array([3, 5], np.int64)}
    check_fold(model, kept=["unknown-shape"], feeds=feeds)


@pytest.mark.parametrize("axis", [1, 3])
def test_uniform_maps_on_pieces_become_one_map_over_the_split_axis_if_the_conv_has_it(axis: int) -> None:
    model = joined(
        f"a, c = Split <axis = {axis}, num_outputs = 2> (u) y = Mul (a, k) o = Relu (c)",
        k=np.float32(-2),
        outputs="float[] y, float[] o",
    )
    leaves = ["Conv", "Split", "Relu"] if axis == 1 else ["Conv", "Split", "Mul", "Relu"]
    check_fold(model, leaves=leaves)


def test_piece_of_a_split_that_is_read_twice_is_refused() -> None:
    model = joined(
        f"z, q = Split <axis = 1, num_outputs = 2> (u) {on_piece('z', 'y')} o = Add (z, q)",
        outputs="float[] y, float[] o",
        channels=4,
    )
    check_fold(model, kept=["several-readers"])
