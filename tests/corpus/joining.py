"""Sums, concatenations and splits: several branches between layers and the affine."""

from corpus.case import Family

joining = Family("joining")

LEFT = "c = Conv<pads = [1,1,1,1]>(x, @W[4,3,3,3])"
RIGHT = "d = Conv(x, @V[4,3,1,1], @B[4])"
BOTH = f"{LEFT} {RIGHT}"
SUM = "a (u + v) + b = (a u + b) + a v: both branches take the scale, one the shift"
PARTS = "each branch takes its part of the map"

joining.pull("Add", f"{BOTH} u = Add(c, d) y = bn(u, 4)", SUM, pitfalls=(14,))
joining.pull("Sub", f"{BOTH} u = Sub(c, d) y = bn(u, 4)", SUM)
joining.pull("Sum of three", f"{BOTH} e = Conv(x, @U[4,3,1,1]) u = Sum(c, d, e) y = bn(u, 4)", SUM)
joining.pull("Add, one branch normalized", f"{BOTH} n = bn(d, 4) u = Add(c, n) y = bn(u, 4)", SUM)
joining.pull("Add, both normalized", f"{BOTH} m = bn(c, 4) n = bn(d, 4) y = Add(m, n)", "each branch by itself")
joining.pull(
    "Add behind Relus: a scale",
    f"{BOTH} r = Relu(c) s = Relu(d) u = Add(r, s) y = bns(u, 4)",
    "a positive scale passes both",
)
joining.pull(
    "the shift goes where it can",
    f"{LEFT} r = Relu(c) {RIGHT} u = Add(r, d) y = bnp(u, 4)",
    "the scale passes the Relu, the other branch takes the shift",
)
joining.pull(
    "Add of a branch without space",
    f"{LEFT} g = GlobalAveragePool(x) d = Conv(g, @V[4,3,1,1]) u = Add(c, d) y = bn(u, 4)",
    "[N,C,1,1] has the channels too",
)
joining.pull(
    "Add of Gemms", "c = Gemm(x, @W[3,4]) d = Gemm(x, @V[3,4], @B[4]) u = Add(c, d) y = bn(u, 4)", SUM, x="float[5,3] x"
)
joining.pull(
    "Add of MatMuls",
    "c = MatMul(x, @W[3,4]) d = MatMul(x, @V[3,4]) u = Add(c, d) y = bn(u, 4)",
    f"{SUM}, as an Add",
    left=1,
    x="float[5,3] x",
)
joining.pull(
    "a residual block",
    "c = Conv<pads = [1,1,1,1]>(x, @W[3,3,3,3]) n = bn(c, 3) r = Relu(n) d = Conv<pads = [1,1,1,1]>(r, "
    "@V[3,3,3,3]) m = bn(d, 3) u = Add(m, x) y = Relu(u)",
    "each BN has its convolution in front",
)
joining.stays(
    "Add of the input",
    f"{LEFT} u = Add(c, q) y = bn(u, 4)",
    "the input can not take the scale",
    x="float[2,3,6,6] x, float[2,4,6,6] q",
)
joining.stays("Add behind a barrier", f"{BOTH} t = Tanh(d) u = Add(c, t) y = bn(u, 4)", "all branches or none")
joining.stays(
    "Add of what a gate reads too",
    f"{BOTH} g = Sigmoid(d) u = Add(c, d) n = bn(u, 4) y = Mul(n, g)",
    "d has a second reader, which would see the scale",
    pitfalls=(6,),
)
joining.pull(
    "a shift with a fed branch",
    f"{LEFT} u = Add(c, q) y = Add(u, @k[4,1,1])",
    "a pure shift needs one branch only",
    x="float[2,3,6,6] x, float[2,4,6,6] q",
)
joining.trap(
    "Add of a value without channels",
    f"{LEFT} g = GlobalAveragePool(x) d = Conv(g, @V[1,3,1,1]) u = Add(c, d) y = bn(u, 4)",
    "one channel can not take four scales",
)
joining.stays(
    "a squeeze-and-excitation gate",
    f"{LEFT} g = Sigmoid(c2) u = Mul(c, g) y = bn(u, 4)",
    "a product of two wires has no rule",
    x="float[2,3,6,6] x, float[2,4,1,1] c2",
)

joining.pull("Max", f"{BOTH} u = Max(c, d) y = bnp(u, 4)", "a positive scale keeps the order: one map for both")
joining.pull("Min of a constant", f"{LEFT} u = Min(c, @k[4,1,1]) y = bnp(u, 4)", "the constant takes the map itself")
joining.pull("Mean", f"{BOTH} u = Mean(c, d) y = bn(u, 4)", "a mean is linear, and its weights add up to 1")
joining.pull(
    "the larger half of the channels",
    "c = Conv(x, @W[8,3,3,3]) u, v = Split<axis = 1, num_outputs = 2>(c) w = Max(u, v) y = bnp(w, 4)",
    "both halves take the map",
)
joining.push(
    "Max of two normalized by one",
    f"{BOTH} u = Sigmoid(c) v = Tanh(d) n = BatchNormalization(u, s, b, m, v0) o = BatchNormalization(v, s, b, m, v0) "
    "w = Max(n, o) y = Conv(w, @Z[2,4,1,1])",
    "one map on both is one behind them",
    constants={
        "s": [0.5, 1.5, 2.0, 1.0],
        "b": [0.1, -0.3, 0.2, 0.7],
        "m": [0.2, 0.1, -0.4, 0.3],
        "v0": [1.5, 0.5, 2.0, 1.1],
    },
)
joining.trap("Max, a negative scale", f"{BOTH} u = Max(c, d) y = bn(u, 4)", "a negative scale turns the order around")

joining.pull("Concat of channels", f"{BOTH} u = Concat<axis = 1>(c, d) y = bn(u, 8)", PARTS)
joining.pull("Concat of space", f"{BOTH} u = Concat<axis = 2>(c, d) y = bn(u, 4)", "every branch has all channels")
joining.pull(
    "Concat of batches, negative axis",
    f"{BOTH} u = Concat<axis = -4>(c, d) y = bn(u, 4)",
    "every branch has all channels",
)
joining.pull(
    "Concat with a constant",
    f"{LEFT} u = Concat<axis = 1>(c, @K[2,2,6,6]) y = bn(u, 6)",
    "the constant takes its part itself",
)
joining.pull(
    "Concat of Concats",
    f"{BOTH} e = Conv(x, @U[2,3,1,1]) u = Concat<axis = 1>(c, d) w = Concat<axis = 1>(e, u) y = bn(w, 10)",
    PARTS,
)
joining.pull(
    "Concat behind Relus and pools",
    f"{BOTH} r = Relu(c) p = MaxPool<kernel_shape = [3,3], pads = [1,1,1,1]>(d) u = Concat<axis = 1>(r, p) "
    "y = bns(u, 8)",
    PARTS,
)
joining.pull(
    "Concat, each branch normalized",
    f"{BOTH} m = bn(c, 4) n = bn(d, 4) y = Concat<axis = 1>(m, n)",
    "each branch by itself",
)
joining.stays(
    "Concat with the input",
    f"{LEFT} u = Concat<axis = 1>(c, x) y = bn(u, 7)",
    "the input's part has nowhere to go",
    note="a residual on that branch alone is cheaper",
)
joining.stays(
    "Concat with a barrier",
    f"{BOTH} t = Tanh(d) u = Concat<axis = 1>(c, t) y = bn(u, 8)",
    "the barrier's part has nowhere to go",
    note="a residual on that branch alone is cheaper",
)
joining.stays(
    "a dense block",
    f"{LEFT} u = Concat<axis = 1>(x, c) n = bnp(u, 7) r = Relu(n) d = Conv(r, @U[2,7,1,1]) y = Concat<axis = 1>(u, d)",
    "u has two readers, and the Relu blocks the other way",
)

SPLIT = "p, q = Split<axis = 1, num_outputs = 2>(c)"
joining.pull(
    "Split, one piece", f"{LEFT} {SPLIT} n = bn(p, 2) y = Concat<axis = 1>(n, q)", "the other piece gets the identity"
)
joining.pull("Split, both pieces", f"{LEFT} {SPLIT} m = bn(p, 2) n = bn(q, 2) y = Sub(m, n)", PARTS)
joining.pull(
    "Split, a barrier behind the other piece",
    f"{LEFT} {SPLIT} n = bn(p, 2) g = Sigmoid(q) y = Mul(n, g)",
    "the other piece gets the identity",
)
joining.pull(
    "Split, sizes given",
    f"{LEFT} p, q = Split<axis = 1>(c, n) m = bn(q, 3) y = Concat<axis = 1>(p, m)",
    "the other piece gets the identity",
    constants={"n": [1, 3]},
)
joining.pull(
    "Split, attribute",
    f"{LEFT} p, q = Split<axis = 1, split = [1,3]>(c) m = bn(q, 3) y = Concat<axis = 1>(p, m)",
    "the other piece gets the identity",
    opset=11,
)
joining.stays(
    "Split of space, one piece",
    f"{LEFT} p, q = Split<axis = 2, num_outputs = 2>(c) n = bn(p, 4) y = Mul(n, q)",
    "both pieces have the same channels, and only one has the map",
)
