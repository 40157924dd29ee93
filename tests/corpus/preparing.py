"""What prepares the inputs of a network: it can only go towards the outputs."""

import numpy as np

from corpus.case import Family

inputs = Family("from graph inputs")

PREPARED = "what prepares the images goes into the first layer"
inputs.push(
    "(x - mean) / std",
    "s = Sub(x, @m[3,1,1]) d = Div(s, @+d0[3,1,1]) y = Conv(d, @W[4,3,3,3], @B[4])",
    PREPARED,
    pitfalls=(13,),
)
inputs.push(
    "x / 255, then (x - mean) / std",
    "u = Div(x, k) s = Sub(u, @m[1,3,1,1]) d = Div(s, @+d0[1,3,1,1]) y = Conv(d, @W[4,3,3,3])",
    PREPARED,
    constants={"k": np.float32(255)},
)
inputs.push("2 x - 1", "u = Mul(x, @k[]) s = Sub(u, @l[]) y = Conv<strides = [2,2]>(s, @W[4,3,3,3])", PREPARED)
inputs.push(
    "bytes",
    "f = Cast<to = 1>(x) s = Sub(f, @m[3,1,1]) d = Mul(s, k) y = Conv(d, @W[4,3,3,3])",
    "the affine stands behind the Cast from integers",
    x="uint8[2,3,6,6] x",
    feeds={"x": np.arange(216, dtype=np.uint8).reshape(2, 3, 6, 6)},
    constants={"k": np.float32(1 / 58)},
)
inputs.push(
    "channels last",
    "s = Sub(x, @m[3]) d = Div(s, @+d0[3]) t = Transpose<perm = [0,3,1,2]>(d) y = Conv(t, @W[4,3,3,3])",
    "the map moves with its axis",
    x="float[2,6,6,3] x",
)
inputs.push(
    "a padded first layer",
    "s = Sub(x, @m[3,1,1]) d = Div(s, @+d0[3,1,1]) y = Conv<pads = [1,1,1,1]>(d, @W[4,3,3,3])",
    "the scale goes, the shift is missing at the border",
    left=1,
)
inputs.push(
    "a scaler in front of a Gemm",
    "s = Sub(x, @m[3]) d = Div(s, @+d0[3]) c = Gemm(d, @W[3,4], @B[4]) y = Relu(c)",
    "as scikit-learn writes it",
    x="float[N,3] x",
)
inputs.push(
    "a scaler in front of a MatMul",
    "s = Sub(x, @m[3]) d = Div(s, @+d0[3]) p = MatMul(d, @W[3,4]) a = Add(p, @B[4]) y = Relu(a)",
    "the bias takes W b",
    left=1,
    x="float[5,3] x",
)
inputs.push(
    "two readers",
    "s = Sub(x, @m[3,1,1]) d = Div(s, @+d0[3,1,1]) u = Conv(d, @W[4,3,3,3]) v = Conv(d, @V[4,3,3,3], "
    "@B[4]) y = Mul(u, v)",
    "each reader takes the whole map",
)
inputs.push(
    "an input that is read elsewhere too",
    "n = bn(x, 3) u = Conv(n, @W[4,3,3,3]) v = MaxPool<kernel_shape = [3,3]>(x) y = Concat<axis = 1>(u, v)",
    "pushing looks at the readers of the affine, not of its input",
)
inputs.push(
    "a whole network",
    "n = bn(x, 3) c = Conv(n, @W[4,3,3,3]) m = bn(c, 4) r = Relu(m) p = GlobalAveragePool(r) f = "
    "Flatten(p) y = Gemm(f, @V[4,5], @B[5])",
    "one goes forwards, one backwards",
)
inputs.stays("nothing behind it", "n = bn(x, 3) y = Relu(n)", "no layer at all")
inputs.stays("an affine alone", "y = bn(x, 3)", "no layer at all")
inputs.stays("a pooled input", "p = AveragePool<kernel_shape = [2,2]>(x) y = bn(p, 3)", "no layer at all")
