"""What is an affine: BatchNormalization of every opset, and written out."""

from typing import Any

import numpy as np

from corpus.case import Family
from corpus.network import normalization_parameters
from corpus.running import run_by_formula

sources = Family("sources")

CONV = "c = Conv<pads = [1,1,1,1]>(x, @W[4,3,3,3])"
IS_ONE = "scale (x - mean) / sqrt(var + epsilon) + bias is an affine per channel"

for opset in (1, 5, 6):
    attributes = "is_test = 1" + (", consumed_inputs = [0, 0, 0, 1, 1]" if opset < 6 else "")
    sources.pull(
        f"BN, opset {opset}",
        f"{CONV} y = bn<{attributes}>(c, 4)",
        IS_ONE,
        opset=opset,
        y="float[2,4,6,6] y",
        run=run_by_formula,
    )
for opset in (7, 8, 9, 13, 14, 15, 21, 25):
    sources.pull(f"BN, opset {opset}", f"{CONV} y = bn(c, 4)", IS_ONE, opset=opset)
ATTRIBUTES = {
    "epsilon = 0": "epsilon = 0.0",
    "a large epsilon": "epsilon = 1.0",
    "momentum": "momentum = 0.1",
    "training_mode = 0": "training_mode = 0",
}
for name, text in ATTRIBUTES.items():
    sources.pull(f"BN, {name}", f"{CONV} y = bn<{text}>(c, 4)", IS_ONE)
sources.pull("BN, spatial = 1", f"{CONV} y = bn<spatial = 1>(c, 4)", IS_ONE, opset=7)
sources.pull("BN of a matrix", "c = Gemm(x, @W[3,4]) y = bn(c, 4)", IS_ONE, x="float[5,3] x")
sources.pull("BN over one axis", "c = Conv(x, @W[4,3,3]) y = bn(c, 4)", IS_ONE, x="float[2,3,9] x")
sources.pull(
    "BN, its scale is its variance",
    f"{CONV} y = BatchNormalization(c, @+k[4], @b[4], b, k)",
    "what is read twice is still a constant",
    pitfalls=(15,),
)
sources.pull(
    "two BNs that share their parameters",
    f"{CONV} n = BatchNormalization(c, @+k[4], @b[4], b, k) t = Conv(n, @V[4,4,1,1]) y = "
    "BatchNormalization(t, b, k, b, k)",
    "constants are read, not consumed",
    pitfalls=(15, 5),
)

STATISTICS = dict(zip("sbmv", normalization_parameters("", 4, seed=3, dtype=np.float32), strict=True))
COLUMNS = {name: values[:, None, None] for name, values in STATISTICS.items()}
WRITTEN_OUT = {
    "(x - m) / sqrt(v + e) * s + b": (
        "h = Add(v, @+e[]) r = Sqrt(h) a = Sub(c, m) d = Div(a, r) f = Mul(d, s) y = Add(f, b)"
    ),
    "(x - m) * (1 / sqrt(v + e)) * s + b": (
        "h = Add(v, @+e[]) r = Sqrt(h) q = Reciprocal(r) a = Sub(c, m) d = Mul(q, a) f = Mul(d, s) y = Add(b, f)"
    ),
    "x * g + (b - m * g)": (
        "h = Add(v, @+e[]) r = Sqrt(h) q = Reciprocal(r) g = Mul(q, s) d = Mul(c, g) M = Mul(m, g) t = Sub(b, M) "
        "y = Add(d, t)"
    ),
    "pow(v + e, -0.5)": ("h = Add(v, @+e[]) q = Pow(h, p) a = Sub(c, m) g = Mul(q, s) d = Mul(a, g) y = Add(d, b)"),
    "x * g - (m * g - b)": (
        "h = Add(v, @+e[]) r = Sqrt(h) g = Div(s, r) d = Mul(c, g) M = Mul(m, g) t = Sub(M, b) y = Sub(d, t)"
    ),
}
for name, nodes in WRITTEN_OUT.items():
    given: dict[str, Any] = {**COLUMNS, **({"p": np.float32(-0.5)} if "Pow" in nodes else {})}
    sources.pull(f"written out: {name}", f"{CONV} {nodes}", IS_ONE, constants=given, pitfalls=(8,))
