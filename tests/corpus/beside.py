"""Branches of a sum of which one is an affine alone, and another one a linear operator that reads the same value."""

from corpus.case import Family

beside = Family("beside an operator", x="float[2,4,6,6] x")

READ = "r = Relu(x)"
SAME = "Conv<pads = [1,1,1,1]>(r, @W[4,4,3,3])"
ADDED = "W x + a x = (W + diag(a)) x, at the tap that sees each element at its own place"
SEEN = "something else sees the value that the affine would go into"

beside.push("Conv and a normalization", f"{READ} c = {SAME} n = bn(r, 4) y = Add(c, n)", ADDED)
beside.push(
    "a block of RepVGG",
    f"{READ} c = {SAME} d = bn(c, 4) e = Conv(r, @V[4,4,1,1]) f = bn(e, 4) g = Add(d, f) n = bn(r, 4) h = Add(g, n) "
    "y = Relu(h)",
    f"two have their convolution in front; {ADDED}",
)
beside.push(
    "a depthwise block of MobileOne",
    f"{READ} c = Conv<pads = [1,1,1,1], group = 4>(r, @W[4,1,3,3]) d = bn(c, 4) n = bn(r, 4) h = Add(n, d) y = Relu(h)",
    ADDED,
)
beside.push(
    "the token mixer of FastViT",
    f"{READ} c = {SAME} d = bn(c, 4) n = bn(r, 4) h = Sub(d, n) y = Add(r, h)",
    "the same with the other sign",
)
beside.push(
    "groups, dilated",
    f"{READ} c = Conv<pads = [2,2,2,2], dilations = [2,2], group = 2>(r, @W[4,2,3,3]) n = bn(r, 4) y = Add(c, n)",
    ADDED,
)
beside.push("a sum of three", f"{READ} c = {SAME} t = Tanh(x) n = bn(r, 4) y = Sum(t, n, c)", ADDED)
beside.push("added later", f"{READ} c = {SAME} t = Tanh(x) n = bn(r, 4) u = Add(n, t) y = Add(c, u)", ADDED)
beside.push(
    "written out",
    f"{READ} c = {SAME} p = Mul(r, @k[4,1,1]) n = Add(p, @l[4,1,1]) y = Add(c, n)",
    f"the two are one affine; {ADDED}",
)
beside.push("one number", f"{READ} c = {SAME} n = Mul(r, @k[1]) y = Add(c, n)", ADDED)
beside.push(
    "ConvTranspose",
    f"{READ} c = ConvTranspose<pads = [1,1,1,1]>(r, @W[4,4,3,3]) n = bn(r, 4) y = Add(c, n)",
    ADDED,
)
beside.push(
    "Gemm",
    "r = Relu(x) c = Gemm<alpha = 0.5>(r, @W[4,4], @B[4]) n = bn(r, 4) y = Add(c, n)",
    "alpha x (W + diag(a) / alpha)",
    x="float[5,4] x",
)
beside.push(
    "MatMul",
    "r = Relu(x) c = MatMul(r, @W[4,4]) n = bn(r, 4) y = Add(c, n)",
    "the scale is taken, the shift is an Add",
    left=1,
    x="float[5,4] x",
)
beside.push(
    "the affine, less what the operator makes",
    f"{READ} c = {SAME} n = bn(r, 4) y = Sub(n, c)",
    "a x - W x = (diag(a) - W) x",
)
beside.trap(
    "another value",
    f"{READ} t = Tanh(x) c = Conv<pads = [1,1,1,1]>(t, @W[4,4,3,3]) n = bn(r, 4) y = Add(c, n)",
    "the operator does not read it",
)
beside.trap(
    "a second reader of what the operator makes", f"{READ} c = {SAME} n = bn(r, 4) u = Add(c, n) y = Mul(u, c)", SEEN
)
beside.trap("a product", f"{READ} c = {SAME} n = bn(r, 4) y = Mul(c, n)", "they are not added")
beside.trap(
    "windows beside the place",
    f"{READ} c = Conv<pads = [1,1,1,1], dilations = [2,1]>(r, @W[4,4,2,3]) n = bn(r, 4) y = Add(c, n)",
    "no tap sees an element at its own place",
)
beside.trap("one channel out", f"{READ} c = Conv(r, @W[1,4,1,1]) n = bn(r, 4) y = Add(c, n)", "W has no diagonal")
