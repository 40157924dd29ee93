"""Operators that carry a map from their inputs to their outputs: each push rule, asked directly.

What is tested is the law itself: the operator on ``a x + b`` is the owed map on the operator, as edited, on ``x``. The
numbers are float64 throughout, of onnx's own reference implementation or of onnxruntime; only the answer is bnfold's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, helper, numpy_helper
from support import Array, Runner, feeds_for, graph_model, normal, run_ort, run_reference, widened

import bnfold.ops  # noqa: F401 (fills the registry of rules)
from bnfold.affine import Affine
from bnfold.model.constants import Constants
from bnfold.model.graph import Graph
from bnfold.model.shapes import Shapes
from bnfold.ops.registry import pull, push
from bnfold.ops.rule import NOTHING, Operator, Placed, Refusal, Taken

C = 8
X = "(float[2, 8, 4, 6] x) => (float[] y)"
OPEN = "(float[N, 8, H, W] x) => (float[] y)"
Maps = Mapping[int, Placed]


def operator(model: ModelProto) -> Operator:
    graph = Graph(model)
    shapes = Shapes(graph)
    return Operator(next(iter(graph.nodes())), Constants(graph, None, shapes=shapes), shapes)


def ask(model: ModelProto, maps: Maps) -> Taken | Refusal:
    op = operator(model)
    rule = push.rule(op.node)
    assert rule is not None
    return rule(op, maps)


def code(model: ModelProto, maps: Maps) -> str:
    answer = ask(model, maps)
    assert isinstance(answer, Refusal), answer
    assert answer.text.startswith(f"{model.graph.node[0].op_type} '")
    return answer.code


def applied(placed: Placed, values: Array) -> Array:
    shape = [-1 if k == placed.axis else 1 for k in range(values.ndim)]
    if placed.affine.channels == 1:
        shape = [1] * values.ndim
    else:
        assert values.shape[placed.axis] == placed.affine.channels
    return np.asarray(placed.affine.scale.reshape(shape) * values + placed.affine.shift.reshape(shape))


def edited(model: ModelProto, taken: Taken) -> ModelProto:
    """The float64 model with the constants and attributes that the answer says."""
    made = ModelProto()
    made.CopyFrom(model)
    (node,) = made.graph.node
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    bases = list(node.input)
    for index, rescale in taken.constants.items():
        node.input.extend([""] * (index + 1 - len(node.input)))
        node.input[index] = "" if rescale is None else f"new{index}"
        if rescale is not None:
            base = np.zeros(())
            if rescale.of != NOTHING:
                base = values[bases[index if rescale.of is None else rescale.of]]
            numbers = base * rescale.factor + (0.0 if rescale.offset is None else rescale.offset)
            made.graph.initializer.append(numpy_helper.from_array(np.asarray(numbers, np.float64), f"new{index}"))
    for name, value in taken.attributes.items():
        set_attribute(node, name, value)
    return made


def set_attribute(node: NodeProto, name: str, value: float | None) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(kept if value is None else [*kept, helper.make_attribute(name, value)])


def carried(
    model: ModelProto, maps: Maps, *, run: Runner = run_reference, rtol: float = 1e-12, wide: bool = True
) -> Taken:
    """The answer, tested on numbers.

    Args:
        model: the operator alone.
        maps: the map on each input.
        run: what runs the operator.
        rtol: relative to the largest output. Attributes hold float32, so a case with new ones needs one that says so.
        wide: run in float64.
    """
    taken = ask(model, maps)
    assert isinstance(taken, Taken), taken
    model = widened(model) if wide else model
    given = {tensor.name for tensor in model.graph.initializer}
    feeds = {name: values for name, values in feeds_for(model, size=4).items() if name not in given}
    names = list(model.graph.node[0].input)
    originals = {
        name: applied(maps[names.index(name)], values).astype(values.dtype)
        for name, values in feeds.items()
        if names.index(name) in maps
    }
    before, after = run(model, {**feeds, **originals}), run(edited(model, taken), feeds)
    for index, (wanted, made) in enumerate(zip(before, after, strict=True)):
        owed = taken.moves.get(index)
        assert wanted.shape == made.shape
        assert wanted.size > 0
        total = made if owed is None else applied(owed, made)
        np.testing.assert_allclose(total, wanted, rtol=rtol, atol=rtol * np.abs(wanted).max())
    return taken


class Map(NamedTuple):
    scale: Any
    shift: Any

    def on(self, axis: int) -> Placed:
        return Placed.of(Affine.of(self.scale, self.shift), axis)


def spread(low: float, high: float, seed: int, channels: int = C) -> Array:
    return np.random.default_rng([seed, channels]).uniform(low, high, channels)


SIGNS = np.where(np.arange(C) % 2, -1.0, 1.0)
UNIFORM = {
    "uniform scale": Map(2.5, 0),
    "uniform shift": Map(1, 0.75),
    "uniform": Map(0.5, -0.3),
    "uniform negative": Map(-1.5, 0),
    "uniform negative, shift": Map(-1.5, 0.4),
}
MAPS = {
    **UNIFORM,
    "uniform zero": Map(0, 0.4),
    "scales": Map(spread(0.5, 2, 1), 0),
    "shifts": Map(1, spread(-1, 1, 2)),
    "both": Map(spread(0.5, 2, 3), spread(-1, 1, 4)),
    "mixed scales": Map(spread(0.5, 2, 5) * SIGNS, 0),
    "mixed both": Map(spread(0.5, 2, 6) * SIGNS, spread(-1, 1, 7)),
    "some zero": Map(spread(0.5, 2, 8) * (np.arange(C) % 3), 0),
}


def never(_: Affine) -> str | None:
    return None


def rectifies(affine: Affine) -> str | None:
    if np.any(affine.shift != 0):
        return "shift"
    return maximizes(affine)


def maximizes(affine: Affine) -> str | None:
    return "negative-scale" if np.any(affine.scale < 0) else None


def gives_places(affine: Affine) -> str | None:
    return maximizes(affine) or ("zero-scale" if np.any(affine.scale == 0) else None)


def scales_only(affine: Affine) -> str | None:
    return "shift" if np.any(affine.shift != 0) else None


def clips(affine: Affine) -> str | None:
    if affine.collapse().channels > 1:
        return "shift" if np.all(affine.scale == affine.scale[0]) else "not-uniform"
    return "zero-scale" if affine.scale[0] == 0 else None


def pads_zeros(affine: Affine) -> str | None:
    if np.all(affine.shift == 0):
        return None
    if np.any(affine.scale == 0):
        return "zero-scale"
    return "shift" if affine.collapse().channels > 1 else None


def pads_ones(affine: Affine) -> str | None:
    if np.any(affine.scale == 0):
        return "zero-scale"
    return "shift" if affine.collapse().channels > 1 else None


@dataclass(frozen=True)
class Case:
    node: str
    refuses: Any = never
    interface: str = X
    axis: int = 1
    opset: int = 20
    run: Runner = run_reference
    back: bool = True
    rtol: float = 1e-12
    wide: bool = True
    constants: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> ModelProto:
        return graph_model(f"{self.interface} {{ {self.node} }}", opset=self.opset, **self.constants)


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def floats(*numbers: float) -> Array:
    return np.array(numbers, np.float32)


def scalar(number: float) -> Array:
    return np.array(number, np.float32)


BOUNDS: dict[str, Any] = {"lo": scalar(-0.6), "hi": scalar(1.1)}
PADS: dict[str, Any] = {"pads": ints(0, 0, 1, 2, 0, 0, 0, 1)}
LAST = "(float[2, 4, 6, 8] x) => (float[] y)"
MASKED = "(float[2, 8, 4, 6] x) => (float[] y, bool[] m)"
POOLED = "kernel_shape = [3, 2], strides = [2, 1]"

CASES = {
    "Identity": Case("y = Identity (x)"),
    "Dropout": Case("y = Dropout (x)"),
    "Dropout with its mask": Case("y, m = Dropout (x)", interface=MASKED, run=run_ort),
    "Dropout-6": Case("y = Dropout <is_test = 1> (x)", opset=6, run=lambda _, feeds: [feeds["x"]]),
    "Relu": Case("y = Relu (x)", rectifies),
    "LeakyRelu": Case("y = LeakyRelu <alpha = 0.3> (x)", rectifies),
    "PRelu": Case("y = PRelu (x, s)", rectifies, constants={"s": normal(8, 1, 1)}),
    "Clip": Case("y = Clip (x, lo, hi)", clips, constants=BOUNDS),
    "Clip below": Case("y = Clip (x, lo)", clips, constants=BOUNDS, run=run_ort),
    "Clip above": Case("y = Clip (x, , hi)", clips, constants=BOUNDS, run=run_ort),
    "Clip-6": Case("y = Clip <min = -0.5, max = 1.25> (x)", clips, opset=10, rtol=1e-7),
    "Cast": Case("y = Cast <to = 11> (x)"),
    "MaxPool": Case(f"y = MaxPool <{POOLED}, pads = [1, 0, 1, 1]> (x)", maximizes, run=run_ort),
    "MaxPool, its places used": Case(
        f"y, m = MaxPool <{POOLED}> (x)",
        gives_places,
        interface="(float[2, 8, 4, 6] x) => (float[] y, int64[] m)",
        run=run_ort,
    ),
    "GlobalMaxPool": Case("y = GlobalMaxPool (x)", maximizes),
    "AveragePool": Case(f"y = AveragePool <{POOLED}> (x)"),
    "AveragePool, its padding not counted": Case(f"y = AveragePool <{POOLED}, pads = [1, 0, 1, 1]> (x)"),
    "AveragePool, its padding counted": Case(
        f"y = AveragePool <{POOLED}, pads = [1, 0, 1, 1], count_include_pad = 1> (x)", scales_only
    ),
    "GlobalAveragePool": Case("y = GlobalAveragePool (x)"),
    "LpPool": Case(f"y = LpPool <{POOLED}, p = 2> (x)", rectifies),
    "GlobalLpPool": Case("y = GlobalLpPool <p = 2> (x)", rectifies, run=run_ort, rtol=1e-5, wide=False),
    "ReduceMean": Case("y = ReduceMean (x, k)", constants={"k": ints(2, -1)}),
    "ReduceMean without the axes": Case("y = ReduceMean <keepdims = 0> (x, k)", constants={"k": ints(0, -1)}),
    "ReduceMean-13": Case("y = ReduceMean <axes = [2], keepdims = 0> (x)", opset=13),
    "ReduceMean, channels last": Case(
        "y = ReduceMean <keepdims = 0> (x, k)", interface=LAST, axis=3, constants={"k": ints(1, 2)}
    ),
    "ReduceMean of none": Case(
        "y = ReduceMean <noop_with_empty_axes = 1> (x, k)", constants={"k": ints()}, run=run_ort, rtol=1e-5
    ),
    "ReduceSum": Case("y = ReduceSum <keepdims = 0> (x, k)", constants={"k": ints(0, 3)}),
    "ReduceSum-11": Case("y = ReduceSum <axes = [2, 3]> (x)", opset=11),
    "ReduceSum of unknown width": Case("y = ReduceSum (x, k)", scales_only, interface=OPEN, constants={"k": ints(-1)}),
    "ReduceMax": Case("y = ReduceMax <keepdims = 0> (x, k)", maximizes, constants={"k": ints(0, 2)}),
    "ReduceMax-12": Case("y = ReduceMax <axes = [3]> (x)", maximizes, opset=12),
    "Transpose": Case("y = Transpose <perm = [2, 0, 3, 1]> (x)"),
    "Transpose without perm": Case("y = Transpose (x)"),
    "Squeeze": Case(
        "y = Squeeze (x, k)", interface="(float[1, 8, 1, 6] x) => (float[] y)", constants={"k": ints(0, -2)}
    ),
    "Squeeze of all": Case("y = Squeeze (x)", interface="(float[1, 8, 1, 6] x) => (float[] y)"),
    "Squeeze-11": Case("y = Squeeze <axes = [0]> (x)", interface="(float[1, 8, 3] x) => (float[] y)", opset=11),
    "Unsqueeze": Case("y = Unsqueeze (x, k)", constants={"k": ints(0, -2)}),
    "Unsqueeze-11": Case("y = Unsqueeze <axes = [1, 4]> (x)", opset=11),
    "Flatten": Case("y = Flatten (x)"),
    "Flatten of an open batch": Case("y = Flatten (x)", interface="(float[N, 8, 4, 6] x) => (float[] y)"),
    "Flatten, channels last": Case("y = Flatten (x)", interface=LAST, axis=3),
    "Flatten across the batch": Case("y = Flatten <axis = 2> (x)", interface="(float[2, 8, 4] x) => (float[] y)"),
    "Flatten in the middle": Case("y = Flatten <axis = 2> (x)", interface="(float[1, 8, 4, 6] x) => (float[] y)"),
    "Reshape in groups": Case("y = Reshape (x, s)", constants={"s": ints(0, 8, -1)}),
    "Reshape to one row": Case("y = Reshape (x, s)", constants={"s": ints(2, -1)}),
    "Reshape of space": Case("y = Reshape (x, s)", constants={"s": ints(2, 8, 2, 2, 6)}),
    "Reshape behind": Case("y = Reshape (x, s)", interface=LAST, axis=3, constants={"s": ints(-1, 8)}),
    "Reshape-4": Case("y = Reshape <shape = [0, 192]> (x)", opset=4, run=lambda _, feeds: [feeds["x"].reshape(2, 192)]),
    "SpaceToDepth": Case("y = SpaceToDepth <blocksize = 2> (x)"),
    "Slice of channels": Case(
        "y = Slice (x, f, t, k)", back=False, constants={"f": ints(2), "t": ints(7), "k": ints(1)}
    ),
    "Slice of channels, backwards": Case(
        "y = Slice (x, f, t, k, s)",
        back=False,
        constants={"f": ints(0, -1), "t": ints(9, -100), "k": ints(2, -3), "s": ints(1, -2)},
    ),
    "Slice of space": Case("y = Slice (x, f, t, k)", constants={"f": ints(1), "t": ints(3), "k": ints(-1)}),
    "Slice-1": Case("y = Slice <starts = [1, 2], ends = [2, 6]> (x)", opset=9, back=False),
    "Pad": Case("y = Pad (x, pads)", pads_zeros, constants=PADS),
    "Pad of ones": Case("y = Pad (x, pads, c)", pads_ones, constants={**PADS, "c": scalar(1)}),
    "Pad-2": Case("y = Pad <pads = [0, 0, 1, 2, 0, 0, 0, 1], value = 1.0> (x)", pads_ones, opset=10, rtol=1e-6),
    "Pad of chosen axes": Case("y = Pad (x, p, , k)", pads_zeros, constants={"p": ints(1, 2), "k": ints(-1)}),
    "Pad by reflection": Case('y = Pad <mode = "reflect"> (x, pads)', constants=PADS),
    "Pad by the edge": Case('y = Pad <mode = "edge"> (x, pads)', constants=PADS),
    "Pad that cuts": Case("y = Pad (x, p)", run=run_ort, constants={"p": ints(0, 0, -1, 0, 0, 0, 0, -2)}),
    "Resize": Case('y = Resize <mode = "cubic", exclude_outside = 1> (x, , s)', constants={"s": floats(1, 1, 2, 0.5)}),
    "Resize to sizes": Case('y = Resize <mode = "linear"> (x, , , s)', constants={"s": ints(2, 8, 7, 3)}, rtol=1e-6),
    "Upsample": Case(
        "y = Upsample (x, s)", opset=9, run=run_ort, rtol=1e-5, wide=False, constants={"s": floats(1, 1, 2, 3)}
    ),
    "Split": Case(
        "y, z = Split <axis = -3> (x, s)", interface=X[:-1] + ", float[] z)", constants={"s": ints(3, 5)}, back=False
    ),
    "Split in halves": Case(
        "y, z = Split <axis = 1, num_outputs = 2> (x)", interface=X[:-1] + ", float[] z)", back=False
    ),
    "Split-2": Case("y, z = Split <axis = 1> (x)", interface=X[:-1] + ", float[] z)", opset=2, back=False),
    "Split of space": Case(
        "y, z = Split <axis = 2, num_outputs = 2> (x)", interface=X[:-1] + ", float[] z)", back=False
    ),
}
EVERY = [
    pytest.param(case, entry, id=f"{name}: {kind}") for name, case in CASES.items() for kind, entry in MAPS.items()
]


@pytest.mark.parametrize(("case", "entry"), EVERY)
def test_map_is_owed_behind_the_operator_or_refused(case: Case, entry: Map) -> None:
    placed = entry.on(case.axis)
    refused = case.refuses(placed.affine)
    if refused is not None:
        assert code(case.model, {0: placed}) == refused
        return
    taken = carried(case.model, {0: placed}, run=case.run, rtol=case.rtol, wide=case.wide)
    assert taken.moves.keys() == {index for index, name in enumerate(case.model.graph.node[0].output) if name in "yz"}


@pytest.mark.parametrize(("case", "entry"), EVERY)
def test_what_was_pushed_can_be_pulled_back(case: Case, entry: Map) -> None:
    placed, op = entry.on(case.axis), operator(case.model)
    pushed = ask(case.model, {0: placed})
    if isinstance(pushed, Refusal) or not case.back:
        return
    rule = pull.rule(op.node)
    assert rule is not None
    pulled = rule(op.after(pushed), pushed.moves)
    assert isinstance(pulled, Taken), pulled
    (back,) = pulled.moves.values()
    assert back.axis == placed.axis
    np.testing.assert_allclose(back.affine.scale, placed.affine.scale, rtol=1e-12)
    np.testing.assert_allclose(back.affine.shift, placed.affine.shift, rtol=1e-12)
    both = op.after(pushed).after(pulled)
    for index in range(1, len(op.node.inputs)):
        old, new = op.constant(index), both.constant(index)
        if new is None or new.is_float:  # an omitted border is zero, an omitted bound stays so
            wide = [np.zeros(()) if constant is None else constant.wide for constant in (old, new)]
            np.testing.assert_allclose(wide[1], wide[0], rtol=1e-12, atol=1e-12)
            assert op.node.op_type != "Clip" or op.has(index) == both.has(index)


REFUSED = {
    "Dropout that trains": (
        Case("y = Dropout (x, r, t)", constants={"r": scalar(0.5), "t": np.array(True)}),
        "training",
    ),
    "Dropout-6 that trains": (Case("y = Dropout (x)", opset=6), "training"),
    "Cast to integers": (Case("y = Cast <to = 7> (x)"), "type"),
    "MaxPool over the channels": (Case(f"y = MaxPool <{POOLED}> (x)", interface=LAST, axis=3), "axis"),
    "ReduceMean over the channels": (Case("y = ReduceMean (x, k)", constants={"k": ints(1)}), "axis"),
    "ReduceMean over everything": (Case("y = ReduceMean <keepdims = 0> (x)"), "axis"),
    "ReduceMax over unknown axes": (
        Case("y = ReduceMax (x, k)", interface="(float[2, 8, 4, 6] x, int64[1] k) => (float[] y)"),
        "dynamic-axes",
    ),
    "Transpose of unknown rank": (Case("y = Transpose (x)", interface="(float[] x) => (float[] y)"), "unknown-shape"),
    "Squeeze of an empty list": (Case("y = Squeeze (x, k)", constants={"k": ints()}), "dynamic-axes"),
    "Flatten of an open space": (Case("y = Flatten (x)", interface=OPEN), "reshape"),
    "Reshape across the channels": (Case("y = Reshape (x, s)", constants={"s": ints(4, 4, 24)}), "reshape"),
    "Reshape to an unknown shape": (
        Case("y = Reshape (x, s)", interface="(float[2, 8, 4, 6] x, int64[k] s) => (float[] y)"),
        "unknown-shape",
    ),
    "DepthToSpace that mixes": (Case("y = DepthToSpace <blocksize = 2> (x)"), "reshape"),
    "DepthToSpace along space": (Case("y = DepthToSpace <blocksize = 2> (x)", interface=LAST, axis=3), "axis"),
    "SpaceToDepth along space": (Case("y = SpaceToDepth <blocksize = 2> (x)", interface=LAST, axis=3), "axis"),
    "Slice between unknown bounds": (
        Case(
            "y = Slice (x, f, t, k)",
            interface="(float[2, 8, 4, 6] x, int64[1] f) => (float[] y)",
            constants={"t": ints(7), "k": ints(1)},
        ),
        "dynamic-slice",
    ),
    "Slice of no channels": (
        Case("y = Slice (x, f, t, k)", constants={"f": ints(3), "t": ints(3), "k": ints(1)}),
        "channels",
    ),
    "Pad of the channels": (Case("y = Pad (x, p)", constants={"p": ints(0, 1, 0, 0, 0, 0, 0, 0)}), "axis"),
    "Pad with an unknown border": (
        Case("y = Pad (x, pads, c)", interface="(float[2, 8, 4, 6] x, float c) => (float[] y)", constants=PADS),
        "dynamic-pad",
    ),
    "Resize of the channels": (Case("y = Resize (x, , s)", constants={"s": floats(1, 2, 1, 1)}), "axis"),
    "Resize that extrapolates": (
        Case(
            'y = Resize <coordinate_transformation_mode = "tf_crop_and_resize"> (x, r, s)',
            constants={"r": floats(0, 0, 0, 0, 1, 1, 2, 2), "s": floats(1, 1, 2, 2)},
        ),
        "extrapolation",
    ),
    "Split into unknown pieces": (
        Case("y, z = Split <axis = 1> (x, s)", interface="(float[2, 8, 4] x, int64[2] s) => (float[] y, float[] z)"),
        "unknown-shape",
    ),
}


@pytest.mark.parametrize(("case", "refused"), REFUSED.values(), ids=REFUSED)
def test_map_per_channel_is_refused(case: Case, refused: str) -> None:
    assert code(case.model, {0: MAPS["both"].on(case.axis)}) == refused


UNKNOWN = {
    "ReduceMean over unknown axes": Case(
        "y = ReduceMean (x, k)", interface="(float[] x, int64[k] k) => (float[] y)", back=False
    ),
    "Transpose": Case("y = Transpose (x)"),
    "Squeeze": Case("y = Squeeze (x)"),
    "Unsqueeze": Case("y = Unsqueeze (x, k)", constants={"k": ints(0)}),
    "Reshape": Case("y = Reshape (x, s)", interface="(float[] x, int64[k] s) => (float[] y)"),
    "Slice": Case("y = Slice (x, f, t)", interface="(float[] x, int64[k] f, int64[k] t) => (float[] y)"),
    "Pad": Case('y = Pad <mode = "edge"> (x, p)', constants={"p": ints(1, 1, 1, 1)}),
    "Add": Case("y = Add (x, z)", interface="(float[] x, float[] z) => (float[] y)"),
    "Concat": Case("y = Concat <axis = -1> (x, c)", constants={"c": normal(3)}),
    "Split": Case("y, z = Split (x)", interface="(float[] x) => (float[] y, float[] z)"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_uniform_map_needs_no_shapes(name: str) -> None:
    case = UNKNOWN[name]
    interface = "(float[] x) => (float[] y)" if case.interface == X else case.interface
    model = graph_model(f"{interface} {{ {case.node} }}", opset=17 if name == "Split" else 18, **case.constants)
    uniform = MAPS["uniform shift" if name == "Add" else "uniform negative, shift"].on(0)
    taken = ask(model, {0: uniform})
    assert isinstance(taken, Taken), taken
    assert len(taken.moves) == len(model.graph.output)
    assert {str(placed) for placed in taken.moves.values()} == {str(uniform)}


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("kind", MAPS)
def test_depth_to_space_carries_what_is_the_same_within_a_block(mode: str, kind: str) -> None:
    entry = Map(*(np.broadcast_to(vector, C) for vector in MAPS[kind]))
    spreading = np.repeat if mode == "CRD" else np.tile
    body = f'(float[2, 32, 2, 3] x) => (float[] y) {{ y = DepthToSpace <blocksize = 2, mode = "{mode}"> (x) }}'
    carried(graph_model(body), {0: Map(spreading(entry.scale, 4), spreading(entry.shift, 4)).on(1)})
    other = np.tile if mode == "CRD" else np.repeat
    mixed = {0: Map(other(entry.scale, 4), other(entry.shift, 4)).on(1)}
    if mixed[0].is_uniform:
        carried(graph_model(body), mixed)
    else:
        assert code(graph_model(body), mixed) == "reshape"


@pytest.mark.parametrize(("kind", "border"), [("both", -np.inf), ("uniform negative, shift", np.inf)])
def test_pad_with_infinity_keeps_its_border(kind: str, border: float) -> None:
    taken = ask(graph_model(f"{X} {{ y = Pad (x, pads, c) }}", **PADS, c=scalar(-np.inf)), {0: MAPS[kind].on(1)})
    assert isinstance(taken, Taken), taken
    made = [rescale.offset for rescale in taken.constants.values() if rescale is not None]
    assert made == ([] if border < 0 else [border])


@pytest.mark.parametrize(
    ("kind", "refused"), [("mixed both", "shift"), ("uniform zero", "zero-scale"), ("some zero", "zero-scale")]
)
def test_pad_with_infinity_is_refused_where_it_would_change(kind: str, refused: str) -> None:
    model = graph_model(f"{X} {{ y = Pad (x, pads, c) }}", **PADS, c=scalar(-np.inf))
    assert code(model, {0: MAPS[kind].on(1)}) == refused


def test_pad_takes_a_map_per_channel_that_one_border_fits() -> None:
    scale = np.exp2(np.arange(C) - 4) * SIGNS  # powers of two: what is equal is exactly equal
    model = graph_model(f"{X} {{ y = Pad (x, pads, c) }}", **PADS, c=scalar(2))
    assert set(carried(model, {0: Map(scale, 2 - 3 * scale).on(1)}).constants) == {2}
    assert not carried(model, {0: Map(scale, 2 - 2 * scale).on(1)}).constants


def test_clip_does_not_take_a_bound_that_is_no_constant() -> None:
    model = graph_model("(float[2, 8] x, float lo) => (float[] y) { y = Clip (x, lo) }")
    assert code(model, {0: MAPS["uniform"].on(1)}) == "dynamic-bounds"


def test_cast_says_where_it_rounds() -> None:
    taken = ask(graph_model(f"{X} {{ y = Cast <to = 10> (x) }}"), {0: MAPS["both"].on(1)})
    assert isinstance(taken, Taken)
    assert [remark.partition(": ")[2] for remark in taken.remarks] == ["cast from float to float16, then rounded there"]
    same = ask(graph_model(f"{X} {{ y = Cast <to = 1> (x) }}"), {0: MAPS["both"].on(1)})
    assert isinstance(same, Taken)
    assert not same.remarks


def test_other_inputs_have_no_map() -> None:
    model = graph_model("(float[2, 8] x, float[8] s) => (float[] y) { y = PRelu (x, s) }")
    assert code(model, {1: MAPS["scales"].on(0)}) == "other-input"


class Joined(NamedTuple):
    body: str
    maps: Mapping[int, tuple[str, int]]
    expects: Any
    constants: Mapping[str, Any] = {}
    opset: int = 20

    @property
    def model(self) -> ModelProto:
        return graph_model(self.body, opset=self.opset, **self.constants)

    @property
    def placed(self) -> dict[int, Placed]:
        return {index: MAPS[kind].on(axis) for index, (kind, axis) in self.maps.items()}


SHAPE = "float[2, 8, 3, 4]"
ONE = f"({SHAPE} x) => (float[] y)"
TWO = f"({SHAPE} u, {SHAPE} v) => (float[] y)"
ROW = f"({SHAPE} u, float[8, 1, 1] v) => (float[] y)"
MEAN = f"({SHAPE} u, float[2, 1, 3, 4] v) => (float[] y)"
THREE = f"({SHAPE} u, {SHAPE} v, {SHAPE} w) => (float[] y)"
K: dict[str, Any] = {"k": normal(8, 1, 1)}
KEPT = (True, ())  # (whether a map is owed, which constants are new)
IN_CONSTANT, BOTH = (False, (1,)), (True, (1,))

SUMS = {
    "a shift of u": Joined(f"{TWO} {{ y = Add (u, v) }}", {0: ("shifts", 1)}, KEPT),
    "a shift of v": Joined(f"{TWO} {{ y = Add (u, v) }}", {1: ("shifts", 1)}, KEPT),
    "a uniform shift": Joined(f"{TWO} {{ y = Add (u, v) }}", {1: ("uniform shift", 0)}, KEPT),
    "a shift that is subtracted": Joined(f"{TWO} {{ y = Sub (u, v) }}", {1: ("shifts", 1)}, KEPT),
    "a shift subtracted from": Joined(f"{TWO} {{ y = Sub (u, v) }}", {0: ("shifts", 1)}, KEPT),
    "a shift of a row": Joined(f"{ROW} {{ y = Add (u, v) }}", {1: ("shifts", 0)}, KEPT),
    "a shift beside a mean": Joined(f"{MEAN} {{ y = Sub (v, u) }}", {1: ("shifts", 1)}, KEPT),
    "shifts of both": Joined(f"{TWO} {{ y = Sub (u, v) }}", {0: ("shifts", 1), 1: ("uniform shift", 0)}, KEPT),
    "shifts of a row and more": Joined(
        f"{ROW} {{ y = Sub (u, v) }}", {0: ("uniform shift", 0), 1: ("shifts", 0)}, KEPT
    ),
    "the same map on both": Joined(f"{TWO} {{ y = Add (u, v) }}", {0: ("mixed both", 1), 1: ("mixed both", 1)}, KEPT),
    "the same scale on a row": Joined(f"{ROW} {{ y = Sub (u, v) }}", {0: ("both", 1), 1: ("both", 0)}, KEPT),
    "a scale of zero on both": Joined(f"{TWO} {{ y = Add (u, v) }}", {0: ("some zero", 1), 1: ("some zero", 1)}, KEPT),
    "two of three": Joined(f"{THREE} {{ y = Sum (u, v, w) }}", {0: ("shifts", 1), 2: ("shifts", 1)}, KEPT),
    "all of three": Joined(f"{THREE} {{ y = Sum (u, v, w) }}", dict.fromkeys(range(3), ("mixed both", 1)), KEPT),
    "a shift and a constant": Joined(f"{ONE} {{ y = Add (x, k) }}", {0: ("shifts", 1)}, IN_CONSTANT, K),
    "a shift less a constant": Joined(f"{ONE} {{ y = Sub (x, k) }}", {0: ("shifts", 1)}, IN_CONSTANT, K),
    "a constant less a shift": Joined(f"{ONE} {{ y = Sub (k, x) }}", {1: ("shifts", 1)}, (False, (0,)), K),
    "a shift and a scalar": Joined(f"{ONE} {{ y = Add (x, k) }}", {0: ("shifts", 1)}, IN_CONSTANT, {"k": scalar(2)}),
    "a shift and a row": Joined(f"{ONE} {{ y = Add (x, k) }}", {0: ("shifts", 1)}, IN_CONSTANT, {"k": normal(1, 4)}),
    "a map and a constant": Joined(f"{ONE} {{ y = Add (x, k) }}", {0: ("mixed both", 1)}, BOTH, K),
    "a map less a constant": Joined(f"{ONE} {{ y = Sub (x, k) }}", {0: ("mixed both", 1)}, BOTH, K),
    "a constant less a map": Joined(f"{ONE} {{ y = Sub (k, x) }}", {1: ("mixed both", 1)}, (True, (0,)), K),
    "a uniform map and a constant": Joined(f"{ONE} {{ y = Add (x, k) }}", {0: ("uniform", 0)}, BOTH, K),
    "a map and two constants": Joined(f"{ONE} {{ y = Sum (k, x, k) }}", {1: ("mixed both", 1)}, (True, (0, 2)), K),
    "a shift, a branch, a constant": Joined(f"{TWO} {{ y = Sum (u, v, k) }}", {1: ("shifts", 1)}, (False, (2,)), K),
    "maps and a constant that makes axes": Joined(
        "(float[8, 3] x) => (float[] y) { y = Add (x, k) }", {0: ("mixed both", 0)}, BOTH, {"k": normal(2, 1, 8, 1)}
    ),
    "a map and a constant in opset 6": Joined(
        f"{ONE} {{ y = Add (x, k) }}", {0: ("mixed both", 1)}, BOTH, {"k": normal(2, 8, 3, 4)}, 6
    ),
}


def joined(case: Joined) -> Taken:
    return carried(case.model, case.placed)


@pytest.mark.parametrize("case", SUMS.values(), ids=SUMS)
def test_sum_owes_the_sum_of_the_shifts(case: Joined) -> None:
    taken = joined(case)
    assert (bool(taken.moves), tuple(taken.constants)) == case.expects


def test_shifts_that_cancel_leave_a_constant_alone() -> None:
    shift = MAPS["shifts"].on(1)
    model = graph_model(f"{TWO} {{ y = Sum (u, v, k) }}", **K)
    taken = carried(model, {0: shift, 1: Placed.of(Affine.of(1, -shift.affine.shift), 1)})
    assert not taken.moves
    assert not taken.constants


REFUSED_SUMS = {
    "a scale on one": Joined(f"{TWO} {{ y = Add (u, v) }}", {0: ("scales", 1)}, "one-branch"),
    "other scales": Joined(f"{TWO} {{ y = Add (u, v) }}", {0: ("scales", 1), 1: ("both", 1)}, "one-branch"),
    "one scale of three": Joined(f"{THREE} {{ y = Sum (u, v, w) }}", {2: ("uniform", 0)}, "one-branch"),
    "a scale beside a constant and more": Joined(
        f"{TWO} {{ y = Sum (u, k, v) }}", {0: ("uniform", 0)}, "one-branch", K
    ),
    "the same scale on other axes": Joined(
        "(float[8, 8] u, float[8, 8] v) => (float[] y) { y = Add (u, v) }",
        {0: ("scales", 0), 1: ("scales", 1)},
        "one-branch",
    ),
    "shifts on other axes": Joined(
        "(float[8, 8] u, float[8, 8] v) => (float[] y) { y = Add (u, v) }", {0: ("shifts", 0), 1: ("shifts", 1)}, "axis"
    ),
    "a scale of zero and a constant": Joined(f"{ONE} {{ y = Add (x, k) }}", {0: ("some zero", 1)}, "zero-scale", K),
    "unknown ranks": Joined(
        "(float[] u, float[] v) => (float[] y) { y = Add (u, v) }", {0: ("shifts", 1)}, "unknown-shape"
    ),
    "broadcasting of old": Joined(
        f"{ONE} {{ y = Add <broadcast = 1, axis = 1> (x, k) }}",
        {0: ("shifts", 1)},
        "legacy-broadcast",
        {"k": normal(8)},
        6,
    ),
    "a default that may be overridden": Joined(
        f"({SHAPE} x, float[8, 1, 1] k) => (float[] y) {{ y = Add (x, k) }}", {0: ("scales", 1)}, "one-branch", K
    ),
}


@pytest.mark.parametrize("case", REFUSED_SUMS.values(), ids=REFUSED_SUMS)
def test_sum_is_refused(case: Joined) -> None:
    assert code(case.model, case.placed) == case.expects


UNEVEN = "(float[2, 8, 3, 4] u, float[2, 5, 3, 4] v) => (float[] y)"
OPEN_SIDE = "(float[2, 8, 3, 4] u, float[2, M, 3, 4] v) => (float[] y)"
WIDE_K: dict[str, Any] = {"k": normal(2, 3, 3, 4)}
ALONG_K: dict[str, Any] = {"k": normal(2, 8, 3, 5)}
CONCATS = {
    "one of two": Joined(f"{UNEVEN} {{ y = Concat <axis = 1> (u, v) }}", {0: ("mixed both", 1)}, ()),
    "both": Joined(f"{TWO} {{ y = Concat <axis = -3> (u, v) }}", {0: ("both", 1), 1: ("mixed both", 1)}, ()),
    "one per channel, one uniform": Joined(
        f"{UNEVEN} {{ y = Concat <axis = 1> (u, v) }}", {0: ("some zero", 1), 1: ("uniform zero", 0)}, ()
    ),
    "the same wire twice": Joined(f"{ONE} {{ y = Concat <axis = 2> (x, x) }}", {0: ("both", 1), 1: ("both", 1)}, ()),
    "a uniform one of two": Joined(f"{TWO} {{ y = Concat <axis = 2> (u, v) }}", {1: ("uniform", 0)}, ()),
    "the same uniform ones": Joined(
        f"{OPEN_SIDE} {{ y = Concat <axis = 1> (u, v) }}", {0: ("uniform", 0), 1: ("uniform", 0)}, ()
    ),
    "beside a constant": Joined(f"{ONE} {{ y = Concat <axis = 1> (k, x) }}", {1: ("mixed both", 1)}, (), WIDE_K),
    "uniform beside a constant": Joined(f"{ONE} {{ y = Concat <axis = 1> (k, x) }}", {1: ("uniform", 0)}, (0,), WIDE_K),
    "zero beside a constant": Joined(f"{ONE} {{ y = Concat <axis = 1> (k, x) }}", {1: ("uniform zero", 0)}, (), WIDE_K),
    "along space": Joined(f"{TWO} {{ y = Concat <axis = 3> (u, v) }}", {0: ("some zero", 1), 1: ("some zero", 1)}, ()),
    "a constant along space": Joined(
        f"{ONE} {{ y = Concat <axis = 3> (x, k) }}", {0: ("mixed both", 1)}, (1,), ALONG_K
    ),
    "in opset 3, by default": Joined(f"{UNEVEN} {{ y = Concat (u, v) }}", {0: ("mixed both", 1)}, (), {}, 3),
}


def concatenated(model: ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """Concat by numpy, which has one for every opset."""
    (node,) = model.graph.node
    values = {**feeds, **{tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}}
    axis = next((attribute.i for attribute in node.attribute), 1)
    return [np.concatenate([values[name] for name in node.input], axis)]


@pytest.mark.parametrize("case", CONCATS.values(), ids=CONCATS)
def test_concat_owes_the_maps_of_its_branches(case: Joined) -> None:
    taken = carried(case.model, case.placed, run=concatenated)
    assert tuple(taken.constants) == case.expects


REFUSED_CONCATS = {
    "one of two along space": Joined(f"{TWO} {{ y = Concat <axis = 2> (u, v) }}", {0: ("scales", 1)}, "one-branch"),
    "other maps along space": Joined(
        f"{TWO} {{ y = Concat <axis = 2> (u, v) }}", {0: ("scales", 1), 1: ("both", 1)}, "one-branch"
    ),
    "a uniform one along space": Joined(
        f"{TWO} {{ y = Concat <axis = 2> (u, v) }}", {0: ("scales", 1), 1: ("uniform", 1)}, "one-branch"
    ),
    "zeros beside a constant": Joined(
        f"{ONE} {{ y = Concat <axis = 3> (x, k) }}", {0: ("some zero", 1)}, "zero-scale", ALONG_K
    ),
    "unknown channels": Joined(f"{OPEN_SIDE} {{ y = Concat <axis = 1> (u, v) }}", {0: ("both", 1)}, "unknown-shape"),
    "unknown rank": Joined(
        "(float[] u, float[] v) => (float[] y) { y = Concat <axis = -1> (u, v) }", {0: ("both", 1)}, "unknown-shape"
    ),
}


@pytest.mark.parametrize("case", REFUSED_CONCATS.values(), ids=REFUSED_CONCATS)
def test_concat_is_refused(case: Joined) -> None:
    assert code(case.model, case.placed) == case.expects


def test_split_owes_nothing_on_a_piece_whose_channels_are_as_they_were() -> None:
    model = graph_model(f"{X[:-1]}, float[] z) {{ y, z = Split <axis = 1, num_outputs = 2> (x) }}")
    affine = Affine.concat([Affine.identity(4), Affine.of(np.full(4, 2.0), 1)])
    assert set(carried(model, {0: Placed.of(affine, 1)}).moves) == {1}
