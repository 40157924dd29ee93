"""Affines that pass other operators before a layer absorbs them."""

import numpy as np

from corpus.case import Family
from corpus.network import Tensors

through = Family("push through", "float[2,4,6,6] x")

CONV = "Conv({}, @W[3,4,3,3], @B[3])"
HOMOGENEOUS = "r(a x) = a r(x) for a >= 0"
CARRIED = {
    "Relu": ("bns(x, 4)", "r = Relu(n)", HOMOGENEOUS),
    "LeakyRelu": ("bns(x, 4)", "r = LeakyRelu<alpha = 0.2>(n)", HOMOGENEOUS),
    "PRelu": ("bns(x, 4)", "r = PRelu(n, @slope[4,1,1])", HOMOGENEOUS),
    "Identity": ("bn(x, 4)", "r = Identity(n)", "the identity"),
    "Dropout": ("bn(x, 4)", "r = Dropout(n)", "the identity at inference"),
    "MaxPool": ("bnp(x, 4)", "r = MaxPool<kernel_shape = [2,2], pads = [1,1,1,1]>(n)", "a maximum, a > 0"),
    "AveragePool": ("bn(x, 4)", "r = AveragePool<kernel_shape = [2,2]>(n)", "a mean"),
    "AveragePool, pads that count": (
        "bnn(x, 4)",
        "r = AveragePool<kernel_shape = [2,2], pads = [1,1,1,1], count_include_pad = 1>(n)",
        "a mean with zeros",
    ),
    "Pad reflect": ("bn(x, 4)", 'r = Pad<mode = "reflect">(n, pads)', "copies"),
    "Pad with zeros: a scale": ("bnn(x, 4)", "r = Pad(n, pads)", "a zero stays zero"),
    "Resize": ("bn(x, 4)", 'r = Resize<mode = "linear">(n, "", factors)', "weights that sum to one"),
    "Slice of space": ("bn(x, 4)", "r = Slice(n, starts, ends, axes)", "a choice of places"),
    "Concat with the input": ("bn(x, 2)", "r = Concat<axis = 1>(n, q)", "the other branch has the identity"),
    "Transposes": (
        "Mul(x, @k[6])",
        "r = Transpose<perm = [0,3,1,2]>(n)",
        "the last axis becomes the channels",
    ),
}
NEEDED: Tensors = {
    "pads": [0, 0, 1, 1, 0, 0, 1, 1],
    "factors": np.array([1, 1, 2, 2], np.float32),
    "starts": [1, 1],
    "ends": [5, 6],
    "axes": [2, 3],
}
for name, (affine, nodes, why) in CARRIED.items():
    given = {key: value for key, value in NEEDED.items() if f"{key})" in nodes or f"{key}," in nodes}
    x = {"Concat with the input": "float[2,2,6,6] x, float[2,2,6,6] q", "Transposes": "float[2,5,5,6] x"}.get(
        name, through.x
    )
    layer = CONV.format("r") if name != "Transposes" else "Conv(r, @W[3,6,3,3])"
    through.push(name, f"n = {affine} {nodes} y = {layer}", f"{why}; then the Conv absorbs it", x=x, constants=given)

HEAD = "Gemm({}, @W[{},3], @B[3])"
through.push(
    "GlobalAveragePool, Flatten, Gemm",
    f"n = bn(x, 4) p = GlobalAveragePool(n) f = Flatten(p) y = {HEAD.format('f', 4)}",
    "a mean, then moved; Gemm absorbs it",
)
through.push(
    "GlobalMaxPool, Squeeze, Gemm",
    f"n = bnp(x, 4) p = GlobalMaxPool(n) f = Squeeze(p, s) y = {HEAD.format('f', 4)}",
    "a maximum, then moved",
    constants={"s": [2, 3]},
)
through.push(
    "ReduceMean, MatMul, Add",
    "n = bn(x, 4) f = ReduceMean<keepdims = 0>(n, s) p = MatMul(f, @W[4,3]) y = Add(p, @B[3])",
    "the Add takes W b",
    left=1,
    constants={"s": [2, 3]},
)
through.push(
    "Flatten of space, Gemm",
    f"n = bn(x, 4) f = Flatten(n) y = {HEAD.format('f', 36)}",
    "the map repeats: np.repeat(a, H W)",
    x="float[2,4,3,3] x",
)
through.push(
    "Reshape, Gemm",
    f"n = bn(x, 4) f = Reshape(n, s) y = {HEAD.format('f', 36)}",
    "the map repeats",
    x="float[N,4,3,3] x",
    constants={"s": [-1, 36]},
)
through.push(
    "Reshape channels last, Gemm",
    f"n = Mul(x, @k[4]) m = Add(n, @l[4]) f = Reshape(m, s) y = {HEAD.format('f', 36)}",
    "the map tiles",
    x="float[2,3,3,4] x",
    constants={"s": [0, -1]},
)
through.push(
    "BN per feature, Gemm",
    f"c = Conv(x, @V[4,4,3,3]) f = Flatten(c) n = bn(f, 64) y = {HEAD.format('n', 64)}",
    "the features are the rows of W",
)
through.push(
    "Split, two Convs",
    "n = bn(x, 4) p, q = Split<axis = 1, num_outputs = 2>(n) u = Conv(p, @W[3,2,3,3]) v = Conv(q, "
    "@V[3,2,3,3], @B[3]) y = Sub(u, v)",
    "each piece takes its part",
)
through.push(
    "Slice of the channels",
    "n = bn(x, 4) p = Slice(n, s, e, a) y = Conv(p, @W[3,2,3,3])",
    "the slice takes its part",
    constants={"s": [1], "e": [3], "a": [1]},
)
through.push(
    "Add of the input: a shift",
    f"n = Add(x, @k[4,1,1]) u = Add(n, q) y = {CONV.format('u')}",
    "a shift passes a sum",
    x="float[2,4,6,6] x, float[2,4,6,6] q",
)
through.stays(
    "Add of the input: a scale",
    f"n = bn(x, 4) u = Add(n, q) y = {CONV.format('u')}",
    "q would need 1/a",
    x="float[2,4,6,6] x, float[2,4,6,6] q",
)
ONE: Tensors = {
    "s": np.array([0.5, 2, -1.5, 1], np.float32),
    "b": np.array([0.3, -0.2, 0.1, 0.7], np.float32),
    "m": np.array([0.1, 0.4, -0.6, 0], np.float32),
    "v": np.array([0.5, 1.5, 2, 0.8], np.float32),
}
TWICE = "n = BatchNormalization(x, s, b, m, v) o = BatchNormalization(q, s, b, m, v)"
MEETING = {
    "Add": ("u = Add(n, o)", "a x + b + a q + b = a (x + q) + 2 b"),
    "Sub": ("u = Sub(n, o)", "a x + b - (a q + b) = a (x - q)"),
    "Concat of space": ("u = Concat<axis = 2>(n, o)", "both have the same map"),
}
for name, (node, why) in MEETING.items():
    through.push(
        f"{name} of two branches with one BN",
        f"{TWICE} {node} y = {CONV.format('u')}",
        f"{why}; then the Conv absorbs it",
        x="float[2,4,6,6] x, float[2,4,6,6] q",
        constants=ONE,
    )
through.push(
    "Add of two branches with one scale",
    f"n = Mul(x, k) o = Mul(q, k) u = Add(n, o) y = {CONV.format('u')}",
    "k x + k q = k (x + q); then the Conv absorbs it",
    x="float[2,4,6,6] x, float[2,4,6,6] q",
    constants={"k": np.array(0.7, np.float32)},
)
through.stays(
    "Relu: a shift", f"n = bnp(x, 4) r = Relu(n) y = {CONV.format('r')}", "the shift would move the bend", pitfalls=(1,)
)
through.stays(
    "MaxPool: negative scales",
    f"n = bn(x, 4) r = MaxPool<kernel_shape = [2,2]>(n) y = {CONV.format('r')}",
    "maxima would be minima; the shift alone can go, one node is left",
)
through.push(
    "MaxPool: Mul by negatives, Add",
    f"m = Mul(x, @k[4,1,1]) n = Add(m, @l[4,1,1]) r = MaxPool<kernel_shape = [2,2]>(n) y = {CONV.format('r')}",
    "the shift goes into the Conv, the scale stays",
    left=1,
)
through.push(
    "Relu, padded MaxPool, padded Conv: a scale",
    "n = bns(x, 4) r = Relu(n) p = MaxPool<kernel_shape = [3,3], pads = [1,1,1,1]>(r) y = Conv<pads = "
    "[1,1,1,1]>(p, @W[3,4,3,3])",
    "a positive scale passes all of them",
)
through.trap("Sigmoid", f"n = bn(x, 4) r = Sigmoid(n) y = {CONV.format('r')}", "not linear: a barrier", pitfalls=(1,))
