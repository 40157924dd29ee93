"""Resize and Upsample."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto
from support import Array, check_fold, graph_model, normal, refusal, statistics

X = "float[2, 3, 4, 6] x"
BN = "y = BatchNormalization (z, s, b, m, v)"


def behind_conv(
    resize: str, *, x: str = X, opset: int = 20, channels: int = 8, last: str = BN, **constants: Any
) -> ModelProto:
    """Conv to c, shape (2, 8, 4, 6); the resampling from c to z; a BatchNormalization."""
    parameters: dict[str, Any] = dict(zip("sbmv", statistics(channels), strict=True)) if last == BN else {}
    nodes = f"c = Conv <pads = [1, 1, 1, 1]> (x, w) z = {resize} {last}"
    return graph_model(
        f"({x}) => (float[] y) {{ {nodes} }}", opset=opset, w=normal(8, 3, 3, 3), **parameters, **constants
    )


def factors(*numbers: float) -> Array:
    return np.array(numbers, np.float32)


def sizes(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


UP, DOWN = factors(1, 1, 2, 1.5), factors(1, 1, 0.5, 0.5)
COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]
RESIZED = {
    **{
        f"{mode}, {coordinates}": {
            "resize": f'Resize <mode = "{mode}", coordinate_transformation_mode = "{coordinates}"> (c, "", k)',
            "k": UP,
        }
        for mode in ("nearest", "linear", "cubic")
        for coordinates in COORDINATES
    },
    "nearest, ceil": {"resize": 'Resize <mode = "nearest", nearest_mode = "ceil"> (c, "", k)', "k": UP},
    "smaller": {"resize": 'Resize <mode = "linear"> (c, "", k)', "k": DOWN},
    "cubic, exclude_outside": {"resize": 'Resize <mode = "cubic", exclude_outside = 1> (c, "", k)', "k": UP},
    "cubic, other coefficient": {"resize": 'Resize <mode = "cubic", cubic_coeff_a = -0.5> (c, "", k)', "k": UP},
    "sizes": {"resize": 'Resize <mode = "linear"> (c, "", "", n)', "n": sizes(2, 8, 7, 5)},
    "sizes, dynamic batch": {
        "resize": 'Resize <mode = "nearest"> (c, "", "", n)',
        "n": sizes(2, 8, 7, 5),
        "x": "float[N, 3, 4, 6] x",
    },
    "dynamic height and width": {"resize": 'Resize <mode = "linear"> (c, "", k)', "k": UP, "x": "float[N, 3, H, W] x"},
    "opset 10": {"resize": 'Resize <mode = "linear"> (c, k)', "k": UP, "opset": 10},
    "opset 10, nearest": {"resize": "Resize (c, k)", "k": UP, "opset": 10},
    "opset 11": {"resize": 'Resize <mode = "linear"> (c, roi, k)', "k": UP, "roi": factors(), "opset": 11},
    "opset 11, sizes": {
        "resize": 'Resize <mode = "linear"> (c, roi, none, n)',
        "roi": factors(),
        "none": factors(),
        "n": sizes(2, 8, 7, 5),
        "opset": 11,
    },
    "opset 13": {"resize": 'Resize <mode = "cubic"> (c, "", k)', "k": UP, "opset": 13},
    "opset 18, axes": {
        "resize": 'Resize <mode = "linear", axes = [2, 3]> (c, "", k)',
        "k": factors(2, 1.5),
        "opset": 18,
    },
    "opset 18, axes and sizes": {
        "resize": 'Resize <mode = "linear", axes = [2, 3]> (c, "", "", n)',
        "n": sizes(7, 5),
        "opset": 18,
    },
    "opset 19, not larger": {
        "resize": 'Resize <axes = [2, 3], keep_aspect_ratio_policy = "not_larger"> (c, "", "", n)',
        "n": sizes(8, 8),
        "opset": 19,
    },
    "axes, the channels kept by their size": {
        "resize": 'Resize <mode = "nearest", axes = [1, 2, 3]> (c, "", "", n)',
        "n": sizes(8, 7, 5),
    },
}


@pytest.mark.parametrize("case", RESIZED.values(), ids=RESIZED)
def test_resize_of_space_carries_the_map(case: dict[str, Any]) -> None:
    # onnx.reference reads the second input of opset 10, the factors, as the region of opset 11.
    check_fold(behind_conv(**case), leaves=["Conv", "Resize"], exact_reference=case.get("opset") != 10)


ANTIALIASED = {
    "linear": 'Resize <mode = "linear", antialias = 1> (c, "", k)',
    "cubic": 'Resize <mode = "cubic", antialias = 1> (c, "", k)',
    "cubic, exclude_outside": 'Resize <mode = "cubic", antialias = 1, exclude_outside = 1> (c, "", k)',
}


@pytest.mark.parametrize("resize", ANTIALIASED.values(), ids=ANTIALIASED)
def test_antialiased_resize_carries_the_map(resize: str) -> None:
    check_fold(behind_conv(resize, k=DOWN), leaves=["Conv", "Resize"])


def test_sizes_that_the_caller_feeds_do_not_block_where_the_axes_leave_the_channels_alone() -> None:
    model = behind_conv('Resize <mode = "linear", axes = [2, 3]> (c, "", "", n)', x=f"{X}, int64[2] n")
    check_fold(model, leaves=["Conv", "Resize"], feeds={"x": normal(2, 3, 4, 6), "n": sizes(7, 5)})


UPSAMPLED = {
    "opset 7, nearest": {"resize": "Upsample <scales = [1.0, 1.0, 2.0, 3.0]> (c)", "opset": 7},
    "opset 7, linear": {"resize": 'Upsample <mode = "linear", scales = [1.0, 1.0, 2.0, 2.0]> (c)', "opset": 7},
    "opset 9, nearest": {"resize": "Upsample (c, k)", "opset": 9, "k": factors(1, 1, 2, 3)},
    "opset 9, linear": {"resize": 'Upsample <mode = "linear"> (c, k)', "opset": 9, "k": factors(1, 1, 2, 2)},
}


@pytest.mark.parametrize("case", UPSAMPLED.values(), ids=UPSAMPLED)
def test_upsample_of_space_carries_the_map(case: dict[str, Any]) -> None:
    # onnx.reference has no Upsample.
    check_fold(behind_conv(**case), leaves=["Conv", "Upsample"], exact_reference=False)


def test_uniform_map_passes_a_resampling_of_the_channels() -> None:
    last = "a = Mul (z, k) y = Add (a, l)"
    model = behind_conv(
        'Resize <mode = "nearest"> (c, "", f)', f=factors(1, 2, 1, 1), last=last, k=np.float32(-2), l=np.float32(0.5)
    )
    check_fold(model, leaves=["Conv", "Resize"])


CROP = 'coordinate_transformation_mode = "tf_crop_and_resize"'
ROI = factors(0, 0, -0.2, 0.1, 1, 1, 1.3, 0.9)
REFUSED = {
    "crop and resize": (
        "extrapolation",
        {"resize": f'Resize <mode = "linear", {CROP}> (c, roi, "", n)', "roi": ROI, "n": sizes(2, 8, 5, 5)},
    ),
    "crop and resize, opset 11": (
        "extrapolation",
        {
            "resize": f'Resize <mode = "linear", {CROP}> (c, roi, e, n)',
            "roi": ROI,
            "e": factors(),
            "n": sizes(2, 8, 5, 5),
            "opset": 11,
        },
    ),
    "the channels, by a factor": ("axis", {"resize": 'Resize (c, "", k)', "k": factors(1, 2, 1, 1), "channels": 16}),
    "the channels, by a size": ("axis", {"resize": 'Resize (c, "", "", n)', "n": sizes(2, 4, 4, 6), "channels": 4}),
    "the channels, among axes": (
        "axis",
        {"resize": 'Resize <axes = [-3, 2]> (c, "", k)', "k": factors(2, 1), "channels": 16},
    ),
    "the channels, opset 10": (
        "axis",
        {"resize": "Resize (c, k)", "k": factors(1, 2, 1, 1), "opset": 10, "channels": 16},
    ),
    "the channels, Upsample": (
        "axis",
        {"resize": "Upsample (c, k)", "k": factors(1, 2, 1, 1), "opset": 9, "channels": 16},
    ),
}


@pytest.mark.parametrize(("code", "case"), REFUSED.values(), ids=REFUSED)
def test_resampling_that_mixes_channels_or_puts_constants_is_refused(code: str, case: dict[str, Any]) -> None:
    assert refusal(behind_conv(**case)).code == code


@pytest.mark.parametrize(
    ("resize", "fed", "values"),
    [
        pytest.param('Resize <mode = "nearest"> (c, "", f)', "float[4] f", factors(1, 1, 2, 2), id="factors"),
        pytest.param('Resize <mode = "nearest"> (c, "", "", f)', "int64[4] f", sizes(2, 8, 7, 5), id="sizes"),
    ],
)
def test_resampling_of_unknown_axes_is_refused(resize: str, fed: str, values: Array) -> None:
    feeds = {"x": normal(2, 3, 4, 6), "f": values}
    check_fold(behind_conv(resize, x=f"{X}, {fed}"), kept=["axis"], feeds=feeds)
