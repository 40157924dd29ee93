"""Element types, and mixtures of them."""

import numpy as np
from support import normal, run_reference

from corpus.case import Family
from corpus.network import KINDS, drawn
from corpus.running import run_by_formula

types = Family("types")

ROUNDED = "exact in real arithmetic; one rounding, in the type of the weight"
for kind in KINDS:
    run = run_by_formula
    x4, x2 = f"{kind}[2,3,6,6] x", f"{kind}[5,3] x"
    types.pull(
        f"{kind}: Conv",
        "c = Conv(x, @W[4,3,3,3], @B[4]) y = bn(c, 4)",
        ROUNDED,
        x=x4,
        kind=kind,
        opset=22,
        run=run,
        pitfalls=(10,),
    )
    types.pull(
        f"{kind}: Gemm", "c = Gemm<alpha = 0.5>(x, @W[3,4], @C[4]) y = bn(c, 4)", ROUNDED, x=x2, kind=kind, run=run
    )
    types.pull(
        f"{kind}: MatMul, Add",
        "p = MatMul(x, @W[3,4]) c = Add(p, @B[4]) y = bn(c, 4)",
        ROUNDED,
        left=1,
        x=x2,
        kind=kind,
        run=run,
    )
    types.push(f"{kind}: into Gemm", "n = bn(x, 3) y = Gemm(n, @W[3,4], @C[4])", ROUNDED, x=x2, kind=kind, run=run)
for kind, parameters in (("float16", "float"), ("bfloat16", "float"), ("float", "double"), ("float16", "double")):
    types.pull(
        f"{kind}, parameters in {parameters}",
        "c = Conv(x, @W[4,3,3,3]) y = bn(c, 4)",
        ROUNDED,
        x=f"{kind}[2,3,6,6] x",
        kind=kind,
        statistics_kind=parameters,
        opset=22,
        run=run_by_formula,
        pitfalls=(9,),
    )

HALF = {"W": drawn("W", 4, 3, 3, 3, dtype=np.float16)}
THROUGH = "a Cast between floats rounds elsewhere, and is exact in real arithmetic"
types.pull(
    "half precision, Cast, BN",
    "c = Conv(x, W) f = Cast<to = 1>(c) y = bn(f, 4)",
    THROUGH,
    x="float16[2,3,6,6] x",
    constants=HALF,
    run=run_by_formula,
    pitfalls=(9,),
)
types.push(
    "BN, Cast, half precision",
    "n = bn(x, 3) f = Cast<to = 10>(n) y = Conv(f, W)",
    THROUGH,
    x="float[2,3,6,6] x",
    y="float16[] y",
    constants=HALF,
    run=run_by_formula,
    pitfalls=(9,),
)
types.push(
    "double, Cast, single",
    "n = Mul(x, k) f = Cast<to = 1>(n) y = Conv(f, @W[4,3,3,3])",
    THROUGH,
    x="double[2,3,6,6] x",
    constants={"k": drawn("k", 3, 1, 1, dtype=np.float64)},
)
types.pull(
    "a weight kept in half precision",
    "V = Cast<to = 1>(W) c = Conv(x, V) y = bn(c, 4)",
    "a constant expression is a constant",
    constants=HALF,
)
types.pull(
    "double: digits that single precision has not",
    "c = Gemm(x, @W[3,4], @C[4]) y = Mul(c, k)",
    ROUNDED,
    x="double[5,3] x",
    kind="double",
    constants={"k": np.array([1 + 1e-12, 1, 1 - 1e-12, 2.0])},
)
LARGE = {"W": np.full((4, 3, 3, 3), 60000, np.float16), "k": np.full((4, 1, 1), 4, np.float16)}
types.trap(
    "half precision: the weight would overflow",
    "c = Conv(x, W) y = Mul(c, k)",
    "W a is no number of its type",
    x="float16[2,3,6,6] x",
    y="float16[] y",
    constants=LARGE,
    feeds={"x": (normal(2, 3, 6, 6) * 1e-3).astype(np.float16)},
    run=run_reference,
    pitfalls=(10,),
)
types.trap(
    "integers",
    "m = Mul(x, k) y = Relu(x2)",
    "no float, no affine",
    left=0,
    x="int64[2,3] x, float[2,3] x2",
    y="int64[] m, float[] y",
    constants={"k": np.int64(3)},
)
