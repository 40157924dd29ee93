"""Pooling, reductions, padding and resampling between the layer and the affine."""

import numpy as np

from corpus.case import Family

pooling = Family("pooling")

CONV = "c = Conv<pads = [1,1,1,1]>(x, @W[4,3,3,3], @B[4])"
MONOTONE = "max(a x + b) = a max(x) + b for a >= 0; the padding is -inf"
MEAN = "the mean of a x + b is a times the mean + b"

MAXIMA = {
    "MaxPool": "MaxPool<kernel_shape = [2,2], strides = [2,2]>(c)",
    "MaxPool, padded, ceil_mode": "MaxPool<kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1], ceil_mode = 1>(c)",
    "MaxPool, dilations, SAME_UPPER": 'MaxPool<kernel_shape = [2,2], auto_pad = "SAME_UPPER">(c)',
    "GlobalMaxPool": "GlobalMaxPool(c)",
    "ReduceMax": "ReduceMax<keepdims = 1>(c, axes)",
    "ReduceMin": "ReduceMin<keepdims = 1>(c, axes)",
}
for name, node in MAXIMA.items():
    given = {"axes": [2, 3]} if "axes" in node else {}
    pooling.pull(f"{name}: a positive scale", f"{CONV} p = {node} y = bnp(p, 4)", MONOTONE, constants=given)
    pooling.stays(
        f"{name}: negative scales", f"{CONV} p = {node} y = bn(p, 4)", "a negative scale makes minima", constants=given
    )
pooling.pull(
    "MaxPool: its indices are used",
    f"{CONV} p, i = MaxPool<kernel_shape = [2,2]>(c) y = bnp(p, 4)",
    "a > 0 keeps the places of the maxima",
    y="float[] y, int64[] i",
)

MEANS = {
    "AveragePool": "AveragePool<kernel_shape = [2,2]>(c)",
    "AveragePool, pads that do not count": "AveragePool<kernel_shape = [3,3], pads = [1,1,1,1]>(c)",
    "AveragePool, no pads that would count": "AveragePool<kernel_shape = [3,3], count_include_pad = 1>(c)",
    "GlobalAveragePool": "GlobalAveragePool(c)",
    "ReduceMean": "ReduceMean(c, axes)",
    "ReduceMean, keepdims = 0": "ReduceMean<keepdims = 0>(c, axes)",
    "ReduceMean over height": "ReduceMean(c, height)",
}
for name, node in MEANS.items():
    given = {key: [2, 3][: 1 if key == "height" else 2] for key in ("axes", "height") if key in node}
    pooling.pull(name, f"{CONV} p = {node} y = bn(p, 4)", MEAN, constants=given)
pooling.pull(
    "ReduceMean, axes as attribute",
    f"{CONV} p = ReduceMean<axes = [-1,-2], keepdims = 0>(c) y = bn(p, 4)",
    MEAN,
    opset=13,
)
COUNTED = f"{CONV} p = AveragePool<kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1>(c)"
pooling.pull("AveragePool, pads that count: a scale", f"{COUNTED} y = bnn(p, 4)", "b = 0 leaves zeros zero")
pooling.stays(
    "AveragePool, pads that count: a shift", f"{COUNTED} y = bn(p, 4)", "zeros of the padding would get the shift"
)
pooling.pull(
    "LpPool: a positive scale", f"{CONV} p = LpPool<kernel_shape = [2,2]>(c) y = bns(p, 4)", "a norm is homogeneous"
)
pooling.stays(
    "LpPool: a shift", f"{CONV} p = LpPool<kernel_shape = [2,2]>(c) y = bnp(p, 4)", "a norm with a shift is another"
)
pooling.pull(
    "ReduceSum, a static count",
    f"{CONV} p = ReduceSum(c, axes) y = bn(p, 4)",
    "each term takes b / n",
    constants={"axes": [2, 3]},
)
pooling.pull(
    "ReduceSum: a scale",
    f"{CONV} p = ReduceSum<keepdims = 0>(c, axes) y = Mul(p, @k[4])",
    "a sum is linear",
    constants={"axes": [2, 3]},
    x="float[N,3,H,W] x",
    note="height and width are open",
)
pooling.stays(
    "ReduceSum of an open size: a shift",
    f"{CONV} p = ReduceSum(c, axes) y = bn(p, 4)",
    "n is not known",
    constants={"axes": [2, 3]},
    x="float[N,3,H,W] x",
)
pooling.trap(
    "ReduceMean over the channels",
    f"{CONV} p = ReduceMean(c, axes) y = Mul(p, @k[4,1])",
    "the axis of 4 is the batch's",
    x="float[4,3,4,4] x",
    constants={"axes": [1]},
    left=1,
    note="[4,1] lies along height here: an affine over axis 2, which is not the channels'",
)

INTO_SPACE = "copies and means of space: each channel stays itself"
for mode in ("reflect", "edge", "wrap"):
    pooling.pull(
        f"Pad {mode}",
        f'{CONV} p = Pad<mode = "{mode}">(c, n) y = bn(p, 4)',
        INTO_SPACE,
        constants={"n": [0, 0, 1, 2, 0, 0, 0, 1]},
    )
PAD = {"n": [0, 0, 1, 2, 0, 0, 0, 1]}
pooling.pull("Pad with zeros: a scale", f"{CONV} p = Pad(c, n) y = bnn(p, 4)", "a zero stays zero", constants=PAD)
pooling.stays(
    "Pad with zeros: a shift per channel",
    f"{CONV} p = Pad(c, n) y = bn(p, 4)",
    "the border would need a value per channel",
    constants=PAD,
)
pooling.pull(
    "Pad with a constant: one map",
    f"{CONV} p = Pad(c, n, v) m = Mul(p, @k[]) y = Add(m, @l[])",
    "the border is a v + b, one number",
    constants={**PAD, "v": np.float32(3)},
)
RESIZED = {
    "nearest": '<mode = "nearest">',
    "linear": '<mode = "linear">',
    "cubic": '<mode = "cubic">',
    "cubic, exclude_outside": '<mode = "cubic", exclude_outside = 1>',
    "linear, align_corners": '<mode = "linear", coordinate_transformation_mode = "align_corners">',
    "linear, antialias": '<mode = "linear", antialias = 1>',
}
FACTORS = np.array([1, 1, 2, 1.5], np.float32)
for name, attributes in RESIZED.items():
    pooling.pull(
        f"Resize {name}",
        f'{CONV} p = Resize{attributes}(c, "", f) y = bn(p, 4)',
        "weights that sum to one",
        constants={"f": FACTORS},
    )
pooling.stays(
    "Resize with a value outside",
    f'{CONV} p = Resize<mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize", '
    "extrapolation_value = 1.0>(c, r, f) y = bn(p, 4)",
    "the value outside is one for all channels",
    constants={"f": FACTORS, "r": np.array([0, 0, -0.5, 0, 1, 1, 1.5, 1], np.float32)},
)
pooling.pull(
    "Upsample, opset 9",
    f"{CONV} p = Upsample(c, f) y = bn(p, 4)",
    INTO_SPACE,
    opset=9,
    constants={"f": np.array([1, 1, 2, 2], np.float32)},
    exact_reference=False,
)
pooling.pull(
    "MaxPool behind Relu",
    f"{CONV} r = Relu(c) p = MaxPool<kernel_shape = [2,2]>(r) y = bns(p, 4)",
    "both let a positive scale pass",
)
