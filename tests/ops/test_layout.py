"""Transpose, Reshape, Flatten, Squeeze, Unsqueeze, DepthToSpace, SpaceToDepth, Slice, Pad."""

from typing import Any

import numpy as np
import onnx.version_converter
import pytest
from onnx import ModelProto, numpy_helper
from support import Array, Feeds, check_fold, graph_model, normal, op_types, refusal, run_ort, statistics

import bnfold

BN = "y = BatchNormalization(z, s, b, m, v)"
SPATIAL = "float[2, 3, 4, 6] x"


def spread(*, repeat: int = 1, tile: int = 1) -> dict[str, Any]:
    """Parameters of 8 channels, spread as a reshape spreads them."""
    return {name: np.tile(np.repeat(v, repeat), tile) for name, v in zip("sbmv", statistics(8), strict=True)}


def behind_conv(nodes: str, *, x: str = SPATIAL, opset: int = 20, channels: int = 8, **constants: Any) -> ModelProto:
    """Conv to c, (2, 8, 4, 6) by default; `nodes` from c to z; a BatchNormalization, unless `nodes` make y."""
    kernel = [3] * (x.partition("]")[0].count(",") - 1)
    mode = "<is_test = 1>" if opset < 7 else ""
    parameters: dict[str, Any] = dict(zip("sbmv", statistics(channels), strict=True))
    last = "" if " y =" in f" {nodes}" else BN.replace("(", f" {mode} (", 1)
    given: dict[str, Any] = {"w": normal(8, 3, *kernel), **(parameters if last else {}), **constants}
    return graph_model(
        f'({x}) => (float[] y) {{ c = Conv <auto_pad = "SAME_UPPER"> (x, w) {nodes} {last} }}', opset=opset, **given
    )


def run_converted(model: ModelProto, feeds: Feeds) -> list[Array]:
    """For opsets that neither onnxruntime nor onnx.reference runs: onnx's converter says what the operators mean."""
    return run_ort(onnx.version_converter.convert_version(model, 9), feeds)


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


TRANSPOSED = {
    "space": {"nodes": "z = Transpose <perm = [0, 1, 3, 2]> (c)"},
    "without perm, reversed": {"x": "float[2, 3, 5] x", "nodes": "z = Transpose (c)"},
    "channels last": {"nodes": "t = Transpose <perm = [0, 2, 3, 1]> (c) y = Mul (t, k)", "k": normal(8)},
    "channels first of all": {
        "nodes": "t = Transpose <perm = [1, 0, 2, 3]> (c) y = Add (t, k)",
        "k": normal(8, 1, 1, 1),
    },
    "there and back": {
        "nodes": "t = Transpose <perm = [0, 2, 3, 1]> (c) r = Transpose <perm = [0, 3, 1, 2]> (t) z = Identity (r)"
    },
}


@pytest.mark.parametrize("case", TRANSPOSED.values(), ids=TRANSPOSED)
def test_transpose_moves_the_channel_axis(case: dict[str, Any]) -> None:
    model = behind_conv(**case)
    check_fold(model, leaves=[op for op in op_types(model) if op not in ("Mul", "Add", "BatchNormalization")])


def test_transpose_of_another_axis_to_the_channels_is_refused() -> None:
    model = behind_conv("z = Transpose <perm = [0, 2, 1, 3]> (c)", channels=4)
    assert refusal(model).code == "axis"


def test_transpose_without_perm_of_an_unknown_rank_is_refused() -> None:
    model = behind_conv("r = Reshape (c, n) z = Transpose (r)", x=f"{SPATIAL}, int64[k] n")
    feeds = {"x": normal(2, 3, 4, 6), "n": ints(24, 8, 2)}
    check_fold(model, kept=["unknown-shape"], feeds=feeds)


RESHAPED = {
    "height and width": {"nodes": "z = Reshape (c, to)", "to": ints(2, 8, 24)},
    "opset 1, an attribute": {"nodes": "z = Reshape <shape = [2, 8, 24]> (c)", "opset": 1},
    "opset 1, 0 and -1": {"nodes": "z = Reshape <shape = [0, 8, -1]> (c)", "opset": 1},
    "opset 5": {"nodes": "z = Reshape (c, to)", "to": ints(2, 8, 24), "opset": 5},
    "opset 7": {"nodes": "t = Reshape (c, to) y = Mul (t, k)", "to": ints(2, 8, 24), "k": normal(8, 1), "opset": 7},
    "opset 14, allowzero": {"nodes": "z = Reshape <allowzero = 1> (c, to)", "to": ints(2, 8, -1), "opset": 14},
    "0 and -1": {"nodes": "z = Reshape (c, to)", "to": ints(0, 0, -1)},
    "channels split, affine on the first part": {
        "nodes": "z = Reshape (c, to)",
        "to": ints(2, 2, 4, 4, 6),
        "channels": 2,
    },
    "channels split, affine on the second part": {
        "nodes": "t = Reshape (c, to) y = Mul (t, k)",
        "to": ints(2, 2, 4, 4, 6),
        "k": normal(4, 1, 1),
    },
    "flattened": dict(nodes="z = Reshape (c, to)", to=ints(2, -1), **spread(repeat=24)),
    "flattened, channels last": dict(
        nodes="t = Transpose <perm = [0, 2, 3, 1]> (c) z = Reshape (t, to)", to=ints(0, -1), **spread(tile=24)
    ),
    "flattened whole": {
        "nodes": "t = Reshape (c, to) y = Mul (t, k)",
        "to": ints(-1),
        "k": np.tile(np.repeat(normal(8), 24), 2),
    },
    "dynamic batch, -1 first": {"x": "float[N, 3, 4, 6] x", "nodes": "z = Reshape (c, to)", "to": ints(-1, 8, 24)},
    "dynamic batch, 0 first": {"x": "float[N, 3, 4, 6] x", "nodes": "z = Reshape (c, to)", "to": ints(0, 8, 24)},
    "dynamic batch, flattened": dict(
        x="float[N, 3, 4, 6] x", nodes="z = Reshape (c, to)", to=ints(-1, 192), **spread(repeat=24)
    ),
    "dynamic batch, channels last, flattened": dict(
        x="float[N, 3, 4, 6] x",
        nodes="t = Transpose <perm = [0, 2, 3, 1]> (c) z = Reshape (t, to)",
        to=ints(-1, 192),
        **spread(tile=24),
    ),
    "dynamic batch, height and width": {
        "x": "float[N, 3, H, W] x",
        "nodes": "z = Reshape (c, to)",
        "to": ints(0, 0, -1),
    },
    "dynamic everything, 8 spelled out": {
        "x": "float[N, 3, H, W] x",
        "nodes": "z = Reshape (c, to)",
        "to": ints(0, 8, -1),
    },
    "target computed from the shape": {
        "x": "float[N, 3, 4, 6] x",
        "nodes": """h = Shape (x) n = Gather (h, at) u = Unsqueeze (n, front) t = Concat <axis = 0> (u, rest)
                 z = Reshape (c, t)""",
        "at": np.int64(0),
        "front": ints(0),
        "rest": ints(8, 24),
    },
    "target computed, flattened": dict(
        x="float[N, 3, 4, 6] x",
        nodes="""h = Shape (x) n = Gather (h, at) u = Unsqueeze (n, front) t = Concat <axis = 0> (u, rest)
                 z = Reshape (c, t)""",
        at=np.int64(0),
        front=ints(0),
        rest=ints(-1),
        **spread(repeat=24),
    ),
}


@pytest.mark.parametrize("case", RESHAPED.values(), ids=RESHAPED)
def test_reshape_spreads_the_map_over_what_the_channels_became(case: dict[str, Any]) -> None:
    model = behind_conv(**case)
    left = [op for op in op_types(model) if op not in ("Mul", "BatchNormalization")]
    old = case.get("opset", 20) < 7
    check_fold(model, leaves=left, run=run_converted if old else run_ort, exact_reference=not old)


def test_reshape_to_a_target_computed_from_the_shape_of_what_it_reshapes_folds() -> None:
    model = behind_conv(
        """h = Shape (c) n = Gather (h, at) t = Concat <axis = 0> (n, rest)
                           z = Reshape (c, t)""",
        x="float[N, 3, 4, 6] x",
        at=ints(0),
        rest=ints(8, 24),
    )
    check_fold(model, leaves=["Conv", "Shape", "Gather", "Concat", "Reshape"])


def test_reshape_of_dynamic_space_keeps_channels_that_are_last() -> None:
    body = "p = MatMul (x, w) t = Reshape (p, to) y = Mul (t, k)"
    constants: dict[str, Any] = {"w": normal(3, 8), "to": ints(0, -1, 8), "k": normal(8)}
    check_fold(
        graph_model(f"(float[N, H, W, 3] x) => (float[] y) {{ {body} }}", **constants), leaves=["MatMul", "Reshape"]
    )


NOT_RESHAPED = {
    "differs inside of a channel": ("axes", {"to": ints(2, 192), "channels": 192}),
    "on what was height": (
        "axis",
        {
            "to": ints(2, 2, 4, 4, 6),
            "nodes": "r = Reshape (c, to) z = Transpose <perm = [0, 3, 1, 2, 4]> (r)",
            "channels": 4,
        },
    ),
    "channels mixed with the batch": ("reshape", {"to": ints(4, 4, -1), "channels": 4, "x": "float[N, 3, H, W] x"}),
    "dynamic height and width, flattened": (
        "reshape",
        dict(to=ints(0, -1), x="float[N, 3, H, W] x", **spread(repeat=4)),
    ),
}


@pytest.mark.parametrize(("code", "case"), NOT_RESHAPED.values(), ids=NOT_RESHAPED)
def test_reshape_that_mixes_the_channels_is_refused(code: str, case: dict[str, Any]) -> None:
    assert refusal(behind_conv(**{"nodes": "z = Reshape (c, to)", **case})).code == code


def test_reshape_to_a_shape_that_the_caller_feeds_is_refused() -> None:
    model = behind_conv("z = Reshape (c, n)", x=f"{SPATIAL}, int64[3] n")
    check_fold(model, kept=["reshape"], feeds={"x": normal(2, 3, 4, 6), "n": ints(2, 8, 24)})


FLATTENED = {
    "axis 1": ("z = Flatten (c)", spread(repeat=24)),
    "axis -3": ("z = Flatten <axis = -3> (c)", spread(repeat=24)),
    "axis 0": ("z = Flatten <axis = 0> (c)", spread(repeat=24, tile=2)),
    "axis 2": ("t = Flatten <axis = 2> (c) y = Mul (t, k)", {"k": np.tile(normal(8), 2)[:, None]}),
    "axis 3": ("t = Flatten <axis = 3> (c) y = Mul (t, k)", {"k": np.tile(np.repeat(normal(8), 4), 2)[:, None]}),
    "axis -1": ("t = Flatten <axis = -1> (c) y = Mul (t, k)", {"k": np.tile(np.repeat(normal(8), 4), 2)[:, None]}),
    "axis 4": ("t = Flatten <axis = 4> (c) y = Mul (t, k)", {"k": np.tile(np.repeat(normal(8), 24), 2)[:, None]}),
}


@pytest.mark.parametrize(("nodes", "constants"), FLATTENED.values(), ids=FLATTENED)
def test_flatten_spreads_the_map(nodes: str, constants: dict[str, Any]) -> None:
    check_fold(behind_conv(nodes, **constants), leaves=["Conv", "Flatten"])


@pytest.mark.parametrize(("axis", "channels"), [(1, 192), (2, 24), (0, 384)])
def test_flatten_under_a_map_that_differs_inside_of_a_channel_is_refused(axis: int, channels: int) -> None:
    assert refusal(behind_conv(f"z = Flatten <axis = {axis}> (c)", channels=channels)).code == "axes"


THIN = "float[2, 3, 1, 6] x"
SQUEEZED = {
    "squeeze, attribute": {"nodes": "z = Squeeze <axes = [2]> (c)", "x": THIN, "opset": 11},
    "squeeze, negative attribute": {"nodes": "z = Squeeze <axes = [-2]> (c)", "x": THIN, "opset": 11},
    "squeeze, input": {"nodes": "z = Squeeze (c, axes)", "x": THIN, "axes": ints(2)},
    "squeeze, negative input": {"nodes": "z = Squeeze (c, axes)", "x": THIN, "axes": ints(-2)},
    "squeeze, no axes": {"nodes": "z = Squeeze (c)", "x": THIN},
    "squeeze, no axes, opset 11": {"nodes": "z = Squeeze (c)", "x": THIN, "opset": 11},
    "squeeze in front of the channels": {
        "nodes": "t = Squeeze (c, axes) y = Mul (t, k)",
        "x": "float[1, 3, 4, 6] x",
        "axes": ints(0),
        "k": normal(8, 1, 1),
    },
    "squeeze in front of the channels, counted from the end": {
        "nodes": "t = Squeeze (c, axes) y = Mul (t, k)",
        "x": "float[1, 3, 4, 6] x",
        "axes": ints(-4),
        "k": normal(8, 1, 1),
    },
    "unsqueeze, attribute": {"nodes": "z = Unsqueeze <axes = [2, 4]> (c)", "opset": 11},
    "unsqueeze, input": {"nodes": "z = Unsqueeze (c, axes)", "axes": ints(2)},
    "unsqueeze, negative input": {"nodes": "z = Unsqueeze (c, axes)", "axes": ints(-1)},
    "unsqueeze in front of the channels": {
        "nodes": "t = Unsqueeze (c, axes) y = Mul (t, k)",
        "axes": ints(0, -1),
        "k": normal(8, 1, 1, 1),
    },
}


@pytest.mark.parametrize("case", SQUEEZED.values(), ids=SQUEEZED)
def test_squeeze_and_unsqueeze_keep_the_channels_where_they_are(case: dict[str, Any]) -> None:
    model = behind_conv(**case)
    check_fold(model, leaves=op_types(model)[:2])


NOT_SQUEEZED = {
    "squeeze without axes of a dynamic shape": ("unknown-shape", "z = Squeeze (c)", "float[N, 3, 1, W] x", {}),
    "squeeze along axes that are fed": ("dynamic-axes", "z = Squeeze (c, n)", f"{THIN}, int64[1] n", {"n": ints(2)}),
    "unsqueeze along axes that are fed": (
        "dynamic-axes",
        "z = Unsqueeze (c, n)",
        f"{SPATIAL}, int64[1] n",
        {"n": ints(2)},
    ),
}


@pytest.mark.parametrize(("code", "nodes", "x", "fed"), NOT_SQUEEZED.values(), ids=NOT_SQUEEZED)
def test_squeezing_along_axes_that_are_not_known_is_refused(code: str, nodes: str, x: str, fed: Feeds) -> None:
    feeds = {"x": normal(2, 3, 4 if x.startswith(SPATIAL) else 1, 6), **fed}
    check_fold(behind_conv(nodes, x=x), kept=[code], feeds=feeds)


def test_squeeze_along_an_empty_list_of_axes_is_refused() -> None:
    # onnxruntime squeezes every axis of size 1 then, onnx.reference none.
    kept = bnfold.fold(behind_conv("z = Squeeze (c, axes)", x=THIN, axes=ints())).kept
    assert [entry.code for entry in kept] == ["dynamic-axes"]


BLOCKS = {
    "depth to space, DCR": {"nodes": "z = DepthToSpace <blocksize = 2> (c)", "channels": 2},
    "depth to space, DCR spelled out": {"nodes": 'z = DepthToSpace <blocksize = 2, mode = "DCR"> (c)', "channels": 2},
    "depth to space, CRD": {"nodes": 'z = DepthToSpace <blocksize = 2, mode = "CRD"> (c)', "channels": 2},
    "depth to space, opset 11": {
        "nodes": 'z = DepthToSpace <blocksize = 2, mode = "CRD"> (c)',
        "channels": 2,
        "opset": 11,
    },
    "depth to space, opset 7 without mode": {
        "nodes": "t = DepthToSpace <blocksize = 2> (c) y = Mul (t, k)",
        "k": normal(2, 1, 1),
        "opset": 7,
    },
    "space to depth": dict(nodes="z = SpaceToDepth <blocksize = 2> (c)", **spread(tile=4)),
    "space to depth, opset 7": {
        "nodes": "t = SpaceToDepth <blocksize = 2> (c) y = Add (t, k)",
        "k": np.tile(normal(8), 4)[:, None, None],
        "opset": 7,
    },
    "space to depth, opset 28": dict(
        nodes='z = SpaceToDepth <blocksize = 2, mode = "DCR"> (c)', **spread(tile=4), opset=28
    ),
    "space to depth, opset 28, CRD": dict(
        nodes='z = SpaceToDepth <blocksize = 2, mode = "CRD"> (c)', **spread(repeat=4), opset=28
    ),
}


@pytest.mark.parametrize("case", BLOCKS.values(), ids=BLOCKS)
def test_blocks_of_space_and_channels_share_the_map(case: dict[str, Any]) -> None:
    model = behind_conv(**case)
    check_fold(model, leaves=op_types(model)[:2])


@pytest.mark.parametrize(
    "case",
    [
        pytest.param({"channels": 32}, id="all different"),
        pytest.param(spread(repeat=4), id="runs where tiles are due"),
        pytest.param(dict(opset=28, mode="CRD", **spread(tile=4)), id="tiles where runs are due"),
    ],
)
def test_space_to_depth_under_a_map_that_differs_inside_of_a_block_is_refused(case: dict[str, Any]) -> None:
    mode = f', mode = "{case["mode"]}"' if "mode" in case else ""
    options = {key: value for key, value in case.items() if key != "mode"}
    model = behind_conv(f"z = SpaceToDepth <blocksize = 2{mode}> (c)", **options)
    assert refusal(model).code == "reshape"


def slicing(
    starts: list[int], ends: list[int], axes: list[int] | None = None, steps: list[int] | None = None, **options: Any
) -> dict[str, Any]:
    """Slice from opset 10 on, its bounds initializers."""
    given: dict[str, Any] = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
    names = ", ".join(name if numbers is not None else '""' for name, numbers in given.items())
    arrays = {name: np.array(numbers, np.int64) for name, numbers in given.items() if numbers is not None}
    return {"nodes": f"z = Slice (c, {names})", **arrays, **options}


INT_MIN, INT64_MIN, INT64_MAX = -(2**31), -(2**63), 2**63 - 1
SLICED = {
    "opset 9, space": {"nodes": "z = Slice <axes = [2, 3], starts = [1, 0], ends = [3, -1]> (c)", "opset": 9},
    "opset 9, channels": {"nodes": "z = Slice <axes = [1], starts = [2], ends = [7]> (c)", "opset": 9, "channels": 5},
    "opset 9, without axes": {"nodes": "z = Slice <starts = [0, 3], ends = [2, 100]> (c)", "opset": 9, "channels": 5},
    "space": slicing([1, 0], [3, 5], [2, 3]),
    "space, negative axis": slicing([1], [INT64_MAX], [-1]),
    "opset 10, channels": slicing([1], [4], [1], opset=10, channels=3),
    "channels": slicing([2], [7], [1], channels=5),
    "channels, negative axis": slicing([2], [INT64_MAX], [-3], channels=6),
    "channels, negative bounds": slicing([-5], [-2], [1], channels=3),
    "channels, every third": slicing([1], [8], [1], [3], channels=3),
    "channels, backwards to INT_MIN": slicing([7], [INT_MIN], [1], [-1], channels=8),
    "channels, backwards to INT64_MIN": slicing([INT64_MAX], [INT64_MIN], [1], [-1], channels=8),
    "channels, backwards to just below": slicing([-1], [-9], [1], [-1], channels=8),
    "channels, backwards by two": slicing([6], [0], [1], [-2], channels=3),
    "channels, backwards to the second but last": slicing([7], [-3], [1], [-1], channels=2),
    "without axes": slicing([0, 1], [2, 5], channels=4),
    "without axes, not as far as the channels": slicing([1], [2]),
    "channels and space": slicing([1, 2], [3, 7], [2, 1], channels=5),
    "dynamic batch": slicing([2], [7], [1], channels=5, x="float[N, 3, H, W] x"),
}


@pytest.mark.parametrize("case", SLICED.values(), ids=SLICED)
def test_slice_takes_the_map_back_to_the_channels_that_it_left(case: dict[str, Any]) -> None:
    check_fold(behind_conv(**case), leaves=["Conv", "Slice"])


def test_slice_of_space_between_fed_bounds_folds() -> None:
    model = behind_conv("z = Slice (c, begin, n, axes)", x=f"{SPATIAL}, int64[1] n", axes=ints(3), begin=ints(0))
    check_fold(model, leaves=["Conv", "Slice"], feeds={"x": normal(2, 3, 4, 6), "n": ints(3)})


FED_BOUNDS = {
    "the end": ("dynamic-slice", "begin, n, axes", {"begin": ints(0), "axes": ints(1)}, ints(8)),
    "the ends of all axes": ("dynamic-slice", "begin, n", {"begin": ints(0, 0)}, ints(2, 8)),
    "the step": ("dynamic-slice", "begin, end, axes, n", {"begin": ints(0), "end": ints(8), "axes": ints(1)}, ints(1)),
    "the axis": ("dynamic-axes", "begin, end, n", {"begin": ints(0), "end": ints(8)}, ints(3)),
}


@pytest.mark.parametrize(("code", "bounds", "constants", "fed"), FED_BOUNDS.values(), ids=FED_BOUNDS)
def test_slice_of_channels_between_fed_bounds_is_refused(
    code: str, bounds: str, constants: dict[str, Any], fed: Array
) -> None:
    model = behind_conv(f"z = Slice (c, {bounds})", x=f"{SPATIAL}, int64[{fed.size}] n", **constants)
    check_fold(model, kept=[code], feeds={"x": normal(2, 3, 4, 6), "n": fed})


def test_slice_of_an_unknown_number_of_channels_is_refused() -> None:
    nodes = "r = Reshape (c, n) z = Slice (r, begin, end, axes)"
    model = behind_conv(nodes, x=f"{SPATIAL}, int64[3] n", axes=ints(1), end=ints(8), begin=ints(0))
    check_fold(model, kept=["unknown-shape"], feeds={"x": normal(2, 3, 4, 6), "n": ints(2, 8, 24)})


def test_slice_with_step_zero_does_not_crash() -> None:
    model = behind_conv(**slicing([0], [8], [1], [0]))
    assert [kept.code for kept in bnfold.fold(model).kept] == ["malformed"]


SCALE_ONLY: dict[str, Any] = dict(
    zip("sbmv", (statistics(8)[0], np.zeros(8, "f"), np.zeros(8, "f"), statistics(8)[3]), strict=True)
)
SAME_SHIFT: dict[str, Any] = SCALE_ONLY | {"b": np.full(8, 0.5, "f")}
PER_CHANNEL = normal(8, 1, 1)
PADS = ints(0, 0, 1, 0, 0, 0, 2, 1)
ATTRIBUTE = "pads = [0, 0, 1, 0, 0, 0, 2, 1]"
PADDED = {
    "constant 0, scale alone": dict(nodes="z = Pad (c, pads)", pads=PADS, **SCALE_ONLY),
    "constant 0, scale alone, opset 7": {
        "nodes": f"t = Pad <{ATTRIBUTE}> (c) y = Mul (t, k)",
        "opset": 7,
        "k": PER_CHANNEL,
    },
    "constant 0, scale alone, opset 11": dict(nodes="z = Pad (c, pads)", pads=PADS, opset=11, **SCALE_ONLY),
    "reflect": {"nodes": 'z = Pad <mode = "reflect"> (c, pads)', "pads": PADS},
    "reflect, opset 7": {
        "nodes": f't = Pad <mode = "reflect", {ATTRIBUTE}> (c) y = Add (t, k)',
        "opset": 7,
        "k": PER_CHANNEL,
    },
    "edge": {"nodes": 'z = Pad <mode = "edge"> (c, pads)', "pads": PADS},
    "edge, opset 13": {"nodes": 'z = Pad <mode = "edge"> (c, pads)', "pads": PADS, "opset": 13},
    "wrap": {"nodes": 'z = Pad <mode = "wrap"> (c, pads)', "pads": PADS},
    "edge, axes": {
        "nodes": 'z = Pad <mode = "edge"> (c, pads, "", at)',
        "pads": ints(1, 2),
        "at": ints(-1),
        "opset": 18,
    },
}


@pytest.mark.parametrize("case", PADDED.values(), ids=PADDED)
def test_pad_of_space_carries_the_map(case: dict[str, Any]) -> None:
    check_fold(behind_conv(**case), leaves=["Conv", "Pad"])


CROPPED = {
    "cropped": {"nodes": "z = Pad (c, pads)", "pads": -PADS},
    "cropped, opset 7": {"nodes": "z = Pad <pads = [0, 0, -1, 0, 0, 0, 0, -2]> (c)", "opset": 7},
    "padded on the one side and cropped on the other": {
        "nodes": 'z = Pad <mode = "edge"> (c, pads)',
        "pads": ints(0, 0, 1, -1, 0, 0, -1, 2),
    },
}


@pytest.mark.parametrize("case", CROPPED.values(), ids=CROPPED)
def test_negative_pads_carry_the_map(case: dict[str, Any]) -> None:
    # onnx.reference leaves Pad to numpy.pad, which takes no negative widths.
    check_fold(behind_conv(**case), leaves=["Conv", "Pad"], exact_reference=False)


BORDERS = {
    "no value": {"nodes": "z = Pad (c, pads)", "pads": PADS},
    "no value, axes": {"nodes": 'z = Pad (c, pads, "", at)', "pads": ints(1, 1), "at": ints(2), "opset": 18},
    "value 0": {"nodes": "z = Pad (c, pads, zero)", "pads": PADS, "zero": np.float32(0), "opset": 13},
    "shared value": {"nodes": "a = Pad (c, pads, zero) z = Pad (a, pads, zero)", "pads": PADS, "zero": np.float32(0)},
}


@pytest.mark.parametrize("case", BORDERS.values(), ids=BORDERS)
def test_border_that_is_one_number_under_the_map_is_edited(case: dict[str, Any]) -> None:
    model = behind_conv(**case, **SAME_SHIFT)
    folded = check_fold(model, leaves=op_types(model)[:-1]).model
    numbers = {tensor.name: numpy_helper.to_array(tensor) for tensor in folded.graph.initializer}
    assert numbers[folded.graph.node[1].input[2]] == 0.5


def test_border_that_is_an_attribute_is_edited() -> None:
    model = behind_conv(
        f"p = Pad <{ATTRIBUTE}> (c) a = Mul (p, k) y = Add (a, half)", opset=7, k=PER_CHANNEL, half=np.array([0.5], "f")
    )
    pad = check_fold(model, leaves=["Conv", "Pad"]).model.graph.node[1]
    assert {a.name: a.f for a in pad.attribute}["value"] == 0.5


def test_uniform_map_passes_a_border_on_every_axis() -> None:
    model = behind_conv(
        "p = Pad (c, pads, value) a = Mul (p, k) y = Add (a, l)",
        pads=ints(*[1] * 8),
        value=np.float32(2),
        k=np.float32(-3),
        l=np.float32(0.5),
    )
    folded = check_fold(model, leaves=["Conv", "Pad"]).model
    numbers = {tensor.name: numpy_helper.to_array(tensor) for tensor in folded.graph.initializer}
    assert numbers[folded.graph.node[1].input[2]] == -5.5


NOT_PADDED = {
    "zeros under a shift": ("shift", {"pads": PADS}),
    "zeros under a shift, opset 7": ("shift", {"nodes": f"z = Pad <{ATTRIBUTE}> (c)", "opset": 7}),
    "a number under a scale": (
        "shift",
        dict(nodes="z = Pad (c, pads, one)", pads=PADS, one=np.float32(1), **SCALE_ONLY),
    ),
    "on the channels": ("axis", {"pads": ints(0, 1, 0, 0, 0, 0, 0, 0), "channels": 9}),
    "on the channels, edge": (
        "axis",
        {"nodes": 'z = Pad <mode = "edge"> (c, pads, "", at)', "pads": ints(1, 1), "at": ints(1), "channels": 10},
    ),
    "on the channels, counted from the end": (
        "axis",
        {"nodes": 'z = Pad <mode = "edge"> (c, pads, "", at)', "pads": ints(1, 1), "at": ints(-3), "channels": 10},
    ),
}


@pytest.mark.parametrize(("code", "case"), NOT_PADDED.values(), ids=NOT_PADDED)
def test_border_that_would_differ_between_channels_is_refused(code: str, case: dict[str, Any]) -> None:
    assert refusal(behind_conv(**{"nodes": "z = Pad (c, pads)", **case})).code == code


@pytest.mark.parametrize(
    ("nodes", "fed"),
    [
        pytest.param('z = Pad <mode = "edge"> (c, n)', "int64[8] n", id="pads"),
        pytest.param("z = Pad (c, pads, n)", "float n", id="value"),
    ],
)
def test_border_that_the_caller_feeds_is_refused(nodes: str, fed: str) -> None:
    feeds = {"x": normal(2, 3, 4, 6), "n": PADS if "int64" in fed else np.float32(0)}
    pads: dict[str, Any] = {"pads": PADS} if "pads" in nodes else {}
    model = behind_conv(nodes, x=f"{SPATIAL}, {fed}", **pads, **SCALE_ONLY)
    check_fold(model, kept=["dynamic-pad"], feeds={name: np.asarray(value) for name, value in feeds.items()})


def test_reshape_that_splits_channels_and_merges_space_takes_no_memory_for_the_space() -> None:
    body = "c = Conv (x, w) t = Reshape (c, to) y = Mul (t, k)"
    model = graph_model(
        f"(float[1, 3, 65536, 65536] x) => (float[] y) {{ {body} }}",
        w=normal(64, 3, 1, 1),
        to=ints(1, 8, -1),
        k=normal(8, 1),
    )
    folded = bnfold.fold(model).model  # 64 * 65536 * 65536 numbers would be two terabytes
    assert op_types(folded) == ["Conv", "Reshape"]
    expected = normal(64, 3, 1, 1).reshape(8, -1) * normal(8, 1)
    assert np.array_equal(numpy_helper.to_array(folded.graph.initializer[0]).reshape(8, -1), expected)


def test_batch_normalization_of_another_length_than_a_reshape_made_does_not_crash() -> None:
    model = behind_conv("z = Reshape (c, to)", to=ints(2, 192), channels=6)
    assert [kept.code for kept in bnfold.fold(model).kept] == ["malformed"]
