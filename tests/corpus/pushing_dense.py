"""An affine in front of Gemm and MatMul: towards the outputs."""

from corpus.case import Family

gemm = Family("push into gemm", "float[5,3] x")
matmul = Family("push into matmul", "float[5,3] x")

ROWS = "the channels are the rows of B, and C takes b B"
GEMMS = {
    "no C": "Gemm(n, @W[3,4])",
    "C: [N]": "Gemm(n, @W[3,4], @C[4])",
    "C: [M,N]": "Gemm(n, @W[3,4], @C[5,4])",
    "C: [M,1]": "Gemm(n, @W[3,4], @C[5,1])",
    "C: a scalar": "Gemm(n, @W[3,4], @C[])",
    "alpha and beta": "Gemm<alpha = 0.5, beta = -2.0>(n, @W[3,4], @C[4])",
    "beta = 0": "Gemm<beta = 0.0>(n, @W[3,4], @C[4])",
    "transB": "Gemm<alpha = 2.0, transB = 1>(n, @W[4,3], @C[4])",
    "transB, no C": "Gemm<transB = 1>(n, @W[4,3])",
}
for name, node in GEMMS.items():
    gemm.push(name, f"n = bn(x, 3) y = {node}", ROWS, pitfalls=(11,))
gemm.push(
    "transA",
    "n = Mul(x, @k[3,1]) y = Gemm<transA = 1>(n, @W[3,4], @C[4])",
    "behind the transposition the rows are the columns",
    x="float[3,5] x",
)
gemm.push(
    "the right operand",
    "n = Mul(x, @k[3,1]) m = Add(n, @l[3,1]) y = Gemm(@A[4,3], m)",
    "the rows of B are the columns of A; C gets a column",
    x="float[3,5] x",
)
gemm.push(
    "the right operand transposed",
    "n = bn(x, 3) y = Gemm<transB = 1>(@A[4,3], n, @C[4,1])",
    "the columns of x are the columns of A",
)
gemm.push("Sub, Div", "m = Sub(x, @k[3]) n = Div(m, @+d[3]) y = Gemm(n, @W[3,4], @C[4])", ROWS)
gemm.push("C is fed", "n = bnn(x, 3) y = Gemm(n, @W[3,4], C)", "a scale needs no C", x="float[5,3] x, float[4] C")
gemm.stays(
    "C is fed: a shift",
    "n = bn(x, 3) y = Gemm(n, @W[3,4], C)",
    "the shift has no constant to go to: an Add instead of the BN at best",
    x="float[5,3] x, float[4] C",
)

NO_BIAS = "the scale goes into the rows; what W b comes to is an Add behind"
matmul.push("a scale", "n = Mul(x, @k[3]) y = MatMul(n, @W[3,4])", "the rows of W")
matmul.push("a BN that only scales", "n = bnn(x, 3) y = MatMul(n, @W[3,4])", "the rows of W")
matmul.stays("BN", "n = bn(x, 3) y = MatMul(n, @W[3,4])", NO_BIAS, note="an Add of [N] in its place is cheaper")
matmul.push(
    "BN, with an Add",
    "n = bn(x, 3) p = MatMul(n, @W[3,4]) y = Add(p, @B[4])",
    "the Add takes W b and stays the bias",
    left=1,
)
matmul.push(
    "three axes",
    "m = Mul(x, @k[3]) n = Add(m, @l[3]) p = MatMul(n, @W[3,4]) y = Add(@B[4], p)",
    "the last axis is the rows'",
    left=1,
    x="float[2,5,3] x",
)
matmul.push("Mul and Add, no bias", "m = Mul(x, @k[3]) n = Add(m, @l[3]) y = MatMul(n, @W[3,4])", NO_BIAS, left=1)
matmul.push(
    "a batch of matrices", "n = Mul(x, @k[3]) y = MatMul(n, @W[2,3,4])", "rows of each matrix", x="float[2,5,3] x"
)
matmul.push(
    "constant on the left",
    "n = bn(x, 5) p = MatMul(@W[4,5], n) y = Add(p, @B[4,1])",
    "axis 1 of x is W's columns; W b is a column",
    left=1,
    x="float[2,5,6] x",
)
matmul.push(
    "constant on the left, a scale", "n = Mul(x, @k[5,1]) y = MatMul(@W[4,5], n)", "W's columns", x="float[2,5,6] x"
)
matmul.trap("two fed matrices", "n = bn(x, 3) y = MatMul(n, W)", "no constant", x="float[5,3] x, float[3,4] W")
matmul.push("then BN", "n = bn(x, 3) p = MatMul(n, @W[3,4]) y = bn(p, 4)", "both into W, one Add behind", left=1)
