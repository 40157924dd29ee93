"""Operators that only move elements, between the layer and the affine."""

from support import normal

from corpus.case import Family

layout = Family("layout")

CONV = "c = Conv(x, @W[4,3,3,3], @B[4])"  # [2, 4, 4, 4]
MOVED = "every element keeps its channel"


def numbers(**named: list[int]) -> dict[str, list[int]]:
    return named


layout.pull(
    "Transpose to channels last",
    f"{CONV} t = Transpose<perm = [0,2,3,1]>(c) m = Mul(t, @k[4]) y = Add(m, @l[4])",
    MOVED,
)
layout.pull(
    "Transpose and back",
    f"{CONV} t = Transpose<perm = [0,2,3,1]>(c) u = Transpose<perm = [0,3,1,2]>(t) y = bn(u, 4)",
    MOVED,
)
layout.pull(
    "Transpose, reversed by default", f"{CONV} t = Transpose(c) y = Mul(t, @k[4,1])", "axis 2 of the reverse is axis 1"
)
layout.pull(
    "as TensorFlow writes it",
    "t = Transpose<perm = [0,3,1,2]>(x) c = Conv(t, @W[4,3,3,3]) u = Transpose<perm = [0,2,3,1]>(c) s = "
    "Sub(u, @m[4]) d = Mul(s, @k[4]) a = Add(d, @b[4]) y = Relu(a)",
    MOVED,
    x="float[2,6,6,3] x",
)
layout.trap(
    "Transpose: the constant lies along width",
    f"{CONV} t = Transpose<perm = [0,1,3,2]>(c) y = Mul(t, @k[4])",
    "width is as long as the channels are many",
)
layout.pull(
    "Reshape, space flattened",
    f"{CONV} r = Reshape(c, n) y = bn(r, 4)",
    MOVED,
    constants=numbers(n=[0, 0, -1]),
    pitfalls=(14,),
)
layout.pull(
    "Reshape, all flattened, a map that repeats",
    f"{CONV} r = Reshape(c, n) y = Mul(r, k)",
    "16 elements in a row are of one channel",
    constants={"n": [2, -1], "k": [float(1 + i // 16) for i in range(64)]},
)
layout.pull(
    "Reshape and back",
    f"{CONV} r = Reshape(c, n) q = Reshape(r, p) y = bn(q, 4)",
    MOVED,
    constants=numbers(n=[2, -1], p=[2, 4, 4, 4]),
)
layout.pull(
    "Reshape that splits the channels",
    f"{CONV} r = Reshape(c, n) y = bn(r, 2)",
    "channel j of 4 lies in half j // 2",
    constants=numbers(n=[2, 2, 2, 4, 4]),
)
layout.pull(
    "Reshape that splits the channels, the inner part",
    f"{CONV} r = Reshape(c, n) y = Mul(r, @k[2,1,1])",
    "channel j of 4 has place j % 2",
    constants=numbers(n=[2, 2, 2, 4, 4]),
)
layout.pull(
    "channel shuffle",
    f"{CONV} r = Reshape(c, n) t = Transpose<perm = [0,2,1,3,4]>(r) q = Reshape(t, p) y = bn(q, 4)",
    "a permutation of the channels",
    constants=numbers(n=[2, 2, 2, 4, 4], p=[2, 4, 4, 4]),
    note="a map over two axes on the way: needs the axes that a Transpose of a split channel axis makes",
)
layout.pull("Flatten behind global pooling", f"{CONV} p = GlobalAveragePool(c) f = Flatten(p) y = bn(f, 4)", MOVED)
layout.pull(
    "Flatten, batch open", f"{CONV} p = GlobalMaxPool(c) f = Flatten(p) y = bnp(f, 4)", MOVED, x="float[N,3,6,6] x"
)
layout.stays(
    "Flatten of space: BN per feature",
    f"{CONV} f = Flatten(c) y = bn(f, 64)",
    "the features of one channel have different maps",
    pitfalls=(14,),
)
layout.stays(
    "Flatten of an open size",
    f"{CONV} f = Flatten(c) y = Mul(f, @k[64])",
    "64 features, of which channels nobody knows",
    x="float[N,3,H,W] x",
    feeds={"x": normal(2, 3, 6, 6)},
)
layout.pull(
    "Squeeze", f"{CONV} p = GlobalAveragePool(c) q = Squeeze(p, n) y = bn(q, 4)", MOVED, constants=numbers(n=[2, 3])
)
layout.pull(
    "Squeeze, axes as attribute",
    f"{CONV} p = GlobalAveragePool(c) q = Squeeze<axes = [3]>(p) y = bn(q, 4)",
    MOVED,
    opset=11,
)
layout.pull("Unsqueeze", f"{CONV} q = Unsqueeze(c, n) y = bn(q, 4)", MOVED, constants=numbers(n=[2]))
layout.pull(
    "Unsqueeze in front of the channels",
    f"{CONV} q = Unsqueeze(c, n) y = Mul(q, @k[4,1,1])",
    MOVED,
    constants=numbers(n=[1]),
)
layout.pull(
    "Gemm, then Unsqueeze",
    "c = Gemm(x, @W[3,4], @B[4]) q = Unsqueeze(c, n) y = bn(q, 4)",
    MOVED,
    x="float[5,3] x",
    constants=numbers(n=[2]),
)
layout.pull(
    "MatMul, Transpose",
    "p = MatMul(x, @W[3,4]) t = Transpose<perm = [0,2,1]>(p) y = bn(t, 4)",
    "the columns are axis 1 behind the Transpose; the shift is an Add",
    left=1,
    x="float[2,5,3] x",
    pitfalls=(12,),
)
layout.pull(
    "MatMul, Add, Transpose",
    "p = MatMul(x, @W[3,4]) a = Add(p, @B[4]) t = Transpose<perm = [0,2,1]>(a) y = bn(t, 4)",
    "the Add takes the shift",
    left=1,
    x="float[2,5,3] x",
    pitfalls=(12,),
)
for mode in ("DCR", "CRD"):
    layout.pull(
        f"DepthToSpace {mode}",
        f'c = Conv(x, @W[8,3,3,3]) d = DepthToSpace<blocksize = 2, mode = "{mode}">(c) y = bn(d, 2)',
        "the map repeats over the channels that make a block",
    )
layout.pull(
    "SpaceToDepth, one map for a block",
    f"{CONV} d = SpaceToDepth<blocksize = 2>(c) y = Mul(d, k)",
    "all places of a block have one map",
    constants={"k": [[[float(1 + i % 4)]] for i in range(16)]},
)
layout.stays(
    "SpaceToDepth, a map per place",
    f"{CONV} d = SpaceToDepth<blocksize = 2>(c) y = bn(d, 16)",
    "the places of one channel have different maps",
)
layout.pull(
    "Slice of space",
    f"{CONV} q = Slice(c, s, e, a) y = bn(q, 4)",
    MOVED,
    constants=numbers(s=[1, 0], e=[4, 3], a=[2, 3]),
)
layout.pull(
    "Slice of the channels",
    f"{CONV} q = Slice(c, s, e, a) y = bn(q, 2)",
    "the channels that are cut off get the identity",
    constants=numbers(s=[1], e=[3], a=[1]),
)
layout.pull(
    "Slice of every second channel, backwards",
    f"{CONV} q = Slice(c, s, e, a, t) y = bn(q, 2)",
    "a choice of channels",
    constants=numbers(s=[-1], e=[-9], a=[1], t=[-2]),
)
layout.pull(
    "Slice, attributes",
    f"{CONV} q = Slice<starts = [0], ends = [2], axes = [1]>(c) y = bn(q, 2)",
    "the channels that are cut off get the identity",
    opset=9,
)
