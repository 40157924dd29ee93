"""Operators that work on each element alone, between the layer and the affine."""

import numpy as np

from corpus.case import Family

pointwise = Family("pointwise")

CONV = "c = Conv<pads = [1,1,1,1]>(x, @W[4,3,3,3], @B[4])"
HOMOGENEOUS = "r(a x) = a r(x) for a >= 0"

SCALED = {
    "Relu": "Relu(c)",
    "LeakyRelu": "LeakyRelu<alpha = 0.3>(c)",
    "PRelu, a slope per channel": "PRelu(c, @slope[4,1,1])",
    "PRelu, one slope": "PRelu(c, @slope[])",
}
for name, node in SCALED.items():
    pointwise.pull(f"{name}: a positive scale", f"{CONV} r = {node} y = bns(r, 4)", HOMOGENEOUS)
    pointwise.stays(
        f"{name}: a shift",
        f"{CONV} r = {node} y = bnp(r, 4)",
        "a shift would move the bend; one BN stays",
        pitfalls=(1,),
    )
    pointwise.stays(
        f"{name}: a negative scale", f"{CONV} r = {node} y = bnn(r, 4)", "r(-x) is not -r(x)", pitfalls=(1,)
    )

pointwise.pull(
    "Relu: scale and shift written apart",
    f"{CONV} r = Relu(c) m = Mul(r, @+k[4,1,1]) y = Add(m, @l[4,1,1])",
    "the scale goes through the Relu, the shift has nowhere to go",
    left=1,
)
pointwise.pull(
    "Relu: a zero scale",
    f"{CONV} r = Relu(c) y = Mul(r, k)",
    HOMOGENEOUS,
    constants={"k": [[[0.0]], [[1.0]], [[2.0]], [[0.5]]]},
)
pointwise.pull("Identity", f"{CONV} r = Identity(c) y = bn(r, 4)", "the identity", pitfalls=(14,))
pointwise.pull("Dropout", f"{CONV} r = Dropout(c) y = bn(r, 4)", "does nothing at inference", opset=13)
pointwise.pull(
    "Dropout, opset 7", f"{CONV} r = Dropout<ratio = 0.9>(c) y = bn(r, 4)", "does nothing at inference", opset=7
)
pointwise.pull("Cast to the type it has", f"{CONV} r = Cast<to = 1>(c) y = bn(r, 4)", "the identity")
pointwise.pull("a row of them", f"{CONV} i = Identity(c) r = Relu(i) l = LeakyRelu(r) y = bns(l, 4)", HOMOGENEOUS)

BOUNDS = "c = Conv(x, @W[4,3,3,3]) r = Clip(c, lo, hi)"
LIMITS = {"lo": np.float32(-1.0), "hi": np.float32(2.0)}
ONE_MAP = "one map for all channels moves both bounds"
pointwise.pull("Clip: one map", f"{BOUNDS} m = Mul(r, @+k[]) y = Add(m, @l[])", ONE_MAP, constants=LIMITS)
pointwise.pull("Clip: one map, negative", f"{BOUNDS} y = Sub(@k[], r)", f"{ONE_MAP}, and swaps them", constants=LIMITS)
pointwise.pull("Clip: one BN for all", f"{BOUNDS} y = bnu(r, 4)", ONE_MAP, constants=LIMITS)
pointwise.pull(
    "Clip: no upper bound",
    "c = Conv(x, @W[4,3,3,3]) r = Clip(c, lo) m = Mul(r, @+k[]) y = Add(m, @l[])",
    ONE_MAP,
    constants={"lo": np.float32(-1.0)},
)
pointwise.pull(
    "Clip: attributes, opset 6",
    "c = Conv(x, @W[4,3,3,3]) r = Clip<min = -1.0, max = 2.0>(c) y = Mul(r, @+k[])",
    ONE_MAP,
    opset=10,
)
pointwise.stays(
    "Clip: a map per channel", f"{BOUNDS} y = bnp(r, 4)", "the bounds are scalars", constants=LIMITS, pitfalls=(1,)
)

for barrier in ("Sigmoid", "Tanh", "HardSwish", "Softplus", "Elu", "Abs", "Exp", "Erf", "Softmax<axis = 1>"):
    pointwise.trap(
        f"behind {barrier}", f"{CONV} r = {barrier}(c) y = bn(r, 4)", "not linear: a barrier", pitfalls=(1,), opset=21
    )
pointwise.trap(
    "behind a Mul of two wires",
    f"{CONV} g = Sigmoid(x1) r = Mul(c, g) y = bn(r, 4)",
    "a product of two wires has no rule",
    x="float[2,3,6,6] x, float[2,4,6,6] x1",
)
pointwise.trap(
    "Dropout that trains",
    f"{CONV} r = Dropout(c, q, t) y = bn(r, 4)",
    "drops at random",
    constants={"q": np.float32(0.0), "t": np.array(True)},
    opset=13,
)
pointwise.trap("Cast to integers", f"{CONV} i = Cast<to = 6>(c) r = Cast<to = 1>(i) y = bn(r, 4)", "integers round")
