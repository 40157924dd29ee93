"""Several affines and layers in a row, affines that merge, and scale and shift that part."""

from corpus.case import Family

chains = Family("chains")
merging = Family("merging", "float[2,4,6,6] x")
parting = Family("parting", "float[2,3,8,8] x, float[2,4,6,6] q")

CONV = "c = Conv<pads = [1,1,1,1]>(x, @W[4,3,3,3])"
NEXT = "Conv({}, @V[3,4,3,3], @B[3])"
TWO = "float[] y, float[] z"
FORWARDS = "c = Conv(x, @W[4,3,3,3]) r = Relu(c)"
COMPOSE = "affines compose"
chains.pull("BN, BN", f"{CONV} n = bn(c, 4) y = bn(n, 4)", COMPOSE, pitfalls=(15,))
chains.pull("BN, Mul, Add", f"{CONV} n = bn(c, 4) m = Mul(n, @k[4,1,1]) y = Add(m, @l[4,1,1])", COMPOSE, pitfalls=(14,))
chains.pull(
    "Mul, BN, Sub, Div", f"{CONV} m = Mul(c, @k[4,1,1]) n = bn(m, 4) s = Sub(@l[], n) y = Div(s, @d[1,4,1,1])", COMPOSE
)
chains.pull("with an Identity between", f"{CONV} n = bn(c, 4) i = Identity(n) y = bn(i, 4)", COMPOSE, pitfalls=(14,))
chains.pull(
    "Conv, BN, Relu three times",
    f"{CONV} n = bn(c, 4) r = Relu(n) d = Conv<pads = [1,1,1,1]>(r, @V[4,4,3,3]) m = bn(d, 4) s = Relu(m) "
    "e = Conv(s, @U[2,4,3,3]) o = bn(e, 2) y = Relu(o)",
    "each by itself",
)
chains.pull(
    "a second BN behind a pool", f"{CONV} n = bn(c, 4) p = AveragePool<kernel_shape = [2,2]>(n) y = bn(p, 4)", COMPOSE
)
chains.pull(
    "the first part of a chain",
    f"{CONV} a = Mul(c, @k[4,1,1]) z = Add(a, @l[4,1,1]) y = Mul(z, @m[4,1,1])",
    "what is in front of the output goes, what is behind it stays",
    left=1,
    y="float[] y, float[] z",
)
chains.pull(
    "up to a barrier",
    f"{CONV} n = bn(c, 4) t = Tanh(n) y = bn(t, 4)",
    "the second is behind a barrier",
    left=1,
    pitfalls=(1,),
)
chains.pull(
    "scale, Relu, scale",
    f"{CONV} a = Mul(c, @k[4,1,1]) r = Relu(a) y = Mul(r, @+m[4,1,1])",
    "the outer scale passes the Relu and joins the inner one",
)
chains.push(
    "Conv, Relu, BN, Conv",
    f"{FORWARDS} n = bn(r, 4) y = {NEXT.format('n')}",
    "the shift can not pass the Relu, the next layer takes all",
    pitfalls=(13,),
)
chains.push(
    "Conv, Relu, BN, MaxPool, Conv",
    f"{FORWARDS} n = bnp(r, 4) p = MaxPool<kernel_shape = [2,2]>(n) y = {NEXT.format('p')}",
    "the next layer takes all",
    x="float[2,3,8,8] x",
)
chains.push(
    "Conv, Relu, BN, GlobalAveragePool, Gemm",
    f"{FORWARDS} n = bn(r, 4) p = GlobalAveragePool(n) f = Flatten(p) y = Gemm(f, @V[4,5], @B[5])",
    "the next layer takes all",
)
chains.push(
    "MatMul, Add, Relu, BN, MatMul, Add",
    "p = MatMul(x, @W[3,4]) a = Add(p, @B[4]) r = Relu(a) n = bn(r, 4) q = MatMul(n, @V[4,2]) y = Add(q, @C[2])",
    "each MatMul keeps its bias as an Add",
    left=2,
    x="float[5,3] x",
)
chains.push(
    "MatMul, Add, MatMul, Add",
    "p = MatMul(x, @W[3,4]) a = Add(p, @B[4]) q = MatMul(a, @V[4,2]) y = Add(q, @C[2])",
    "the first bias goes into the second",
    left=1,
    x="float[5,3] x",
)
chains.either(
    "Gemm, BN, Gemm",
    "c = Gemm(x, @W[3,4], @B[4]) n = bn(c, 4) y = Gemm(n, @V[4,2], @C[2])",
    "either takes it",
    x="float[5,3] x",
)
chains.either("Conv, BN, Conv", f"c = Conv(x, @W[4,3,3,3]) n = bn(c, 4) y = {NEXT.format('n')}", "either takes it")
chains.either("Conv, scale, Relu, Conv", f"{CONV} n = bns(c, 4) r = Relu(n) y = {NEXT.format('r')}", "either takes it")
chains.pull(
    "Conv, BN, padded Conv",
    f"{CONV} n = bn(c, 4) y = Conv<pads = [1,1,1,1]>(n, @V[3,4,3,3])",
    "only the first can take the shift",
)
chains.either(
    "Conv, scale, padded Conv",
    f"{CONV} n = bnn(c, 4) y = Conv<pads = [1,1,1,1]>(n, @V[3,4,3,3])",
    "either takes a scale",
)
chains.stays(
    "Conv, Relu, BN, padded Conv",
    f"{FORWARDS} n = bnp(r, 4) y = Conv<pads = [1,1,1,1]>(n, @V[3,4,3,3])",
    "the shift is missing at the border: one BN in front of zero padding stays by default",
    pitfalls=(13, 1),
)
chains.pull(
    "Conv, Relu, Mul, Add, padded Conv",
    f"{FORWARDS} m = Mul(r, @+k[4,1,1]) n = Add(m, @l[4,1,1]) y = Conv<pads = [1,1,1,1]>(n, @V[3,4,3,3])",
    "the scale passes the Relu, the shift can go nowhere",
    left=1,
)
chains.split(
    "scale back, shift on",
    f"{FORWARDS} m = Mul(r, @+k[4,1,1]) p = GlobalMaxPool(m) n = Add(p, @l[4,1,1]) q = Conv(p, "
    "@U[2,4,1,1]) y = Conv(n, @V[2,4,1,1]) z = Sigmoid(q)",
    "the scale passes pool and Relu to the first layer, the shift goes into the last",
    y=TWO,
)
chains.split(
    "scale back through Relu, shift into the Gemm",
    f"{FORWARDS} m = Mul(r, @+k[4,1,1]) z = Identity(m) n = Add(m, @l[4,1,1]) p = GlobalAveragePool(n) f = "
    "Flatten(p) y = Gemm(f, @V[4,5], @B[5])",
    "m is shown, so the scale can only go back; the shift can only go on",
    y=TWO,
)

merging.push(
    "Mul, Mul between barriers",
    "s = Sigmoid(x) m = Mul(s, @k[4,1,1]) n = Mul(m, @l[4,1,1]) y = Tanh(n)",
    "two affines in a row become one",
    left=1,
)
merging.push(
    "Add, Sub between barriers",
    "s = Sigmoid(x) m = Add(s, @k[4,1,1]) n = Sub(m, @l[]) y = Tanh(n)",
    "two affines in a row become one",
    left=1,
)
merging.push(
    "BN, BN between barriers",
    "s = Sigmoid(x) m = bn(s, 4) n = bn(m, 4) y = Tanh(n)",
    "two affines in a row become one",
    left=1,
    pitfalls=(15,),
)
merging.push(
    "BN, Mul, Add between barriers",
    "s = Sigmoid(x) m = bn(s, 4) n = Mul(m, @k[4,1,1]) o = Add(n, @l[4,1,1]) y = Tanh(o)",
    "three affines in a row become one",
    left=1,
)
merging.push(
    "Sub, Mul, Add between barriers",
    "s = Sigmoid(x) m = Sub(s, @k[4,1,1]) n = Mul(m, @l[4,1,1]) o = Add(n, @j[4,1,1]) y = Tanh(o)",
    "one BatchNormalization does what three nodes do",
    left=1,
    note="as Keras 3 writes it; axis 1, so that a BatchNormalization can stand there",
)
merging.push(
    "times one",
    "s = Sigmoid(x) n = Mul(s, k) y = Tanh(n)",
    "an affine that is the identity goes",
    left=0,
    constants={"k": [[[1.0]]] * 4},
)
merging.push(
    "plus nothing",
    "s = Sigmoid(x) n = Add(s, k) y = Tanh(n)",
    "an affine that is the identity goes",
    left=0,
    constants={"k": [0.0]},
)
merging.push(
    "there and back",
    "s = Sigmoid(x) m = Mul(s, k) n = Div(m, k) y = Tanh(n)",
    "two affines that are each other's inverse go",
    left=0,
    constants={"k": [[[2.0]], [[4.0]], [[0.5]], [[-8.0]]]},
)

JOINED = f"u = Add(n, q) y = {NEXT.format('u')}"
APART = "back goes the scale, on goes the shift: q is fed and can not take a scale, and"
parting.split("Relu, then a sum", f"{FORWARDS} n = bnp(r, 4) {JOINED}", f"{APART} a Relu lets no shift pass")
parting.split(
    "LeakyRelu, then a sum",
    f"c = Conv(x, @W[4,3,3,3]) r = LeakyRelu(c) n = bnp(r, 4) {JOINED}",
    f"{APART} a LeakyRelu lets no shift pass",
)
parting.split(
    "Mul and Add apart",
    f"{FORWARDS} m = Mul(r, @+k[4,1,1]) n = Add(m, @l[4,1,1]) {JOINED}",
    f"{APART} a Relu lets no shift pass",
)
parting.split(
    "padding that counts, then a sum",
    "c = Conv(x, @W[4,3,3,3]) p = AveragePool<kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = "
    f"1>(c) n = bn(p, 4) {JOINED}",
    f"{APART} the zeros would get the shift",
)
parting.split(
    "a sum, then a Gemm",
    f"{FORWARDS} n = bnp(r, 4) u = Add(n, q) p = GlobalAveragePool(u) f = Flatten(p) y = Gemm(f, @V[4,5], @B[5])",
    f"{APART} a Relu lets no shift pass",
)
parting.split(
    "zeros around, then negative scales into a maximum",
    f"c = Conv(x, @W[4,3,3,3]) p = Pad(c, n0) n = bn(p, 4) m = MaxPool<kernel_shape = [2,2]>(n) y = {NEXT.format('m')}",
    "the scale passes the Pad, but not the maximum; the shift passes the maximum, but not the Pad",
    x="float[2,3,8,8] x",
    constants={"n0": [0, 0, 1, 1, 0, 0, 1, 1]},
)
parting.pull(
    "a sum and no layer behind it",
    f"{FORWARDS} m = Mul(r, @+k[4,1,1]) n = Add(m, @l[4,1,1]) y = Add(n, q)",
    "the scale goes back, the shift finds no layer",
    left=1,
)
