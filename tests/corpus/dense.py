"""An affine behind Gemm and MatMul: matrices with a constant on either side."""

import numpy as np

from corpus.case import Family

gemm = Family("gemm", "float[5,3] x")
matmul = Family("matmul", "float[5,3] x")

COLUMNS = "the columns of the matrix are the output channels, and C takes the shift"
BIAS = "the scale goes into the matrix; MatMul has no bias, so the shift is an Add"

FORMS = {
    "no C": "Gemm(x, @W[3,4])",
    "C: [N]": "Gemm(x, @W[3,4], @C[4])",
    "C: [1,N]": "Gemm(x, @W[3,4], @C[1,4])",
    "C: [M,N]": "Gemm(x, @W[3,4], @C[5,4])",
    "C: [M,1]": "Gemm(x, @W[3,4], @C[5,1])",
    "C: [1]": "Gemm(x, @W[3,4], @C[1])",
    "C: a scalar": "Gemm(x, @W[3,4], @C[])",
    "alpha": "Gemm<alpha = 0.5>(x, @W[3,4], @C[4])",
    "beta": "Gemm<beta = -2.0>(x, @W[3,4], @C[4])",
    "beta = 0": "Gemm<beta = 0.0>(x, @W[3,4], @C[4])",
    "alpha, beta, transB": "Gemm<alpha = 2.0, beta = 0.25, transB = 1>(x, @W[4,3], @C[1,4])",
    "transB": "Gemm<transB = 1>(x, @W[4,3], @C[4])",
    "transB, no C": "Gemm<transB = 1>(x, @W[4,3])",
    "an empty C": 'Gemm(x, @W[3,4], "")',
}
for name, node in FORMS.items():
    gemm.pull(name, f"c = {node} y = bn(c, 4)", COLUMNS, pitfalls=(11, 12))
for opset in (7, 9, 11, 13):
    gemm.pull(f"opset {opset}", "c = Gemm<beta = 0.5>(x, @W[3,4], @C[4]) y = bn(c, 4)", COLUMNS, opset=opset)
gemm.pull("transA", "c = Gemm<transA = 1>(x, @W[3,4], @C[4]) y = bn(c, 4)", COLUMNS, x="float[3,5] x")
gemm.pull("a square matrix", "c = Gemm(x, @W[3,3], @C[3]) y = bn(c, 3)", COLUMNS)
gemm.pull("an open batch", "c = Gemm(x, @W[3,4], @C[4]) y = bn(c, 4)", COLUMNS, x="float[N,3] x")
gemm.pull("Mul and Add along the columns", "c = Gemm(x, @W[3,4], @C[4]) m = Mul(c, @k[4]) y = Add(m, @l[1,4])", COLUMNS)
ROWS = "the rows of a constant A are the rows of Y"
gemm.pull("rows, A constant", "c = Gemm(@A[4,5], x, @C[4,1]) m = Mul(c, @k[4,1]) y = Add(m, @l[4,1])", ROWS)
gemm.pull("rows, A transposed", "c = Gemm<transA = 1>(@A[5,4], x) y = Mul(@k[4,1], c)", ROWS)
gemm.pull("A constant, one number for all", "c = Gemm(@A[4,5], x) m = Mul(c, @k[]) y = Add(m, @l[])", ROWS)
gemm.pull(
    "C is another Gemm",
    "t = Gemm(x, @V[3,4]) c = Gemm<beta = 0.5>(x, @W[3,4], t) y = bn(c, 4)",
    "C of full shape takes (a, b / beta), and the Gemm that makes it absorbs that",
)
gemm.trap("C is fed", "c = Gemm(x, @W[3,4], C) y = bn(c, 4)", "a C + b would be computed", x="float[5,3] x, float[4] C")
gemm.trap("both matrices are fed", "c = Gemm(x, W) y = bn(c, 4)", "W is no constant", x="float[5,3] x, float[3,4] W")
gemm.trap("rows of a fed A", "c = Gemm(x, @W[3,4]) y = Mul(c, @k[5,1])", "the rows are those of x, which is fed")

X3 = "float[2,5,3] x"
matmul.pull("BN", "c = MatMul(x, @W[3,4]) y = bn(c, 4)", BIAS, left=1, pitfalls=(12,))
matmul.pull("Add, BN", "p = MatMul(x, @W[3,4]) c = Add(p, @B[4]) y = bn(c, 4)", BIAS, left=1, pitfalls=(12,))
matmul.pull("Add of another order", "p = MatMul(x, @W[3,4]) c = Add(@B[1,4], p) y = bn(c, 4)", BIAS, left=1)
matmul.pull("a scale", "c = MatMul(x, @W[3,4]) y = Mul(c, @k[4])", "no shift, no Add")
matmul.pull("a BN that only scales", "c = MatMul(x, @W[3,4]) y = bnn(c, 4)", "no shift, no Add")
matmul.pull("one number for all", "c = MatMul(x, @W[3,4]) y = Div(c, @k[])", "no shift, no Add")
matmul.pull("three axes", "c = MatMul(x, @W[3,4]) y = Mul(c, @k[4])", "columns are the last axis", x=X3)
matmul.pull("three axes, Mul, Add", "c = MatMul(x, @W[3,4]) m = Mul(c, @k[4]) y = Add(m, @l[4])", BIAS, left=1, x=X3)
matmul.pull(
    "three axes, Add, Mul, Add",
    "p = MatMul(x, @W[3,4]) c = Add(p, @B[4]) m = Mul(c, @k[4]) y = Sub(m, @l[4])",
    BIAS,
    left=1,
    x=X3,
)
matmul.pull("a batch of matrices", "c = MatMul(x, @W[2,3,4]) y = Mul(c, @k[4])", "columns of each matrix", x=X3)
LEFT = "float[2,5,6] x"
matmul.pull("constant on the left", "c = MatMul(@W[4,5], x) y = bn(c, 4)", f"rows of W; {BIAS}", left=1, x=LEFT)
matmul.pull("constant on the left, a scale", "c = MatMul(@W[4,5], x) y = Mul(c, @k[4,1])", "rows of W", x=LEFT)
matmul.pull("a vector", "c = MatMul(x, @W[3]) y = Mul(c, @k[1])", "one number for all scales a vector too")
matmul.pull(
    "constant on the left, Add",
    "p = MatMul(@W[4,5], x) c = Add(p, @B[4,1]) y = bn(c, 4)",
    f"rows of W; {BIAS}",
    left=1,
    x=LEFT,
)
matmul.pull("then a Relu", "p = MatMul(x, @W[3,4]) c = Add(p, @B[4]) n = bn(c, 4) y = Relu(n)", BIAS, left=1)
matmul.trap("two fed matrices", "c = MatMul(x, W) y = bn(c, 4)", "no constant", x="float[5,3] x, float[3,4] W")
matmul.trap("the other axis", "c = MatMul(x, @W[3,4]) y = Mul(c, @k[5,1])", "the rows are those of x, which is fed")
matmul.trap(
    "BN over the rows",
    "c = MatMul(x, @W[3,5]) y = bn(c, 5)",
    "axis 1 is x's, the columns are axis 2: as long as the channels, and yet another axis",
    x=X3,
)
matmul.trap(
    "an Add of the whole shape",
    "p = MatMul(x, @W[3,4]) c = Add(p, q) y = bn(c, 4)",
    "q is fed and would need the scale",
    x="float[5,3] x, float[5,4] q",
)
matmul.pull(
    "a bias of the whole shape",
    "p = MatMul(x, @W[3,4]) c = Add(p, @B[5,4]) y = bn(c, 4)",
    "the Add's own constant becomes a B + b; being of two axes it is no affine",
)
matmul.pull(
    "the matrix behind a Transpose",
    "W = Transpose(@V[4,3]) c = MatMul(x, W) y = Mul(c, @k[4])",
    "a constant expression is a constant",
)
matmul.pull(
    "integers behind a Cast",
    "W = Cast<to = 1>(V) c = MatMul(x, W) y = Mul(c, @k[4])",
    "a constant expression is a constant",
    constants={"V": np.arange(-6, 6).reshape(3, 4)},
)
