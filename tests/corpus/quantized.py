"""Weights in integers behind DequantizeLinear."""

import ml_dtypes
import numpy as np

from corpus.case import Family
from corpus.network import Tensors, drawn

quantized = Family("quantized")

SCALES = "the scales of the quantized weight take the map, the integers stay"
INT8: Tensors = {"Q": np.random.default_rng(8).integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)}
PER_AXIS: Tensors = {**INT8, "qs": drawn("qs", 4, positive=True) / np.float32(64), "z": np.zeros(4, np.int8)}
PER_TENSOR: Tensors = {**INT8, "qs": np.float32(1 / 64), "z": np.int8(3)}
UINT8: Tensors = {
    "Q": np.random.default_rng(9).integers(0, 256, (4, 3, 3, 3)).astype(np.uint8),
    "qs": np.float32(1 / 64),
    "z": np.uint8(128),
}
W = "W = DequantizeLinear<axis = 0>(Q, qs, z)"
CONV = "c = Conv(x, W)"
for opset in (13, 19, 21, 23):
    quantized.pull(
        f"int8 per axis, opset {opset}",
        f"{W} {CONV} y = bn(c, 4)",
        SCALES,
        opset=opset,
        exact_reference=opset >= 19,
        constants=PER_AXIS,
        pitfalls=(16,),
    )
INT4: Tensors = {
    "Q": np.random.default_rng(4).integers(-8, 8, (4, 3, 3, 3)).astype(ml_dtypes.int4),
    "qs": PER_AXIS["qs"] * np.float32(16),
}
quantized.pull(
    "int4 per axis",
    f"W = DequantizeLinear<axis = 0>(Q, qs) {CONV} y = bn(c, 4)",
    SCALES,
    opset=21,
    constants=INT4,
    pitfalls=(16,),
)
quantized.pull(
    "int8 per tensor",
    f"{W} {CONV} y = bn(c, 4)",
    f"{SCALES}; one scale becomes one per axis",
    constants=PER_TENSOR,
    pitfalls=(16,),
)
quantized.pull(
    "uint8 per tensor",
    f"{W} {CONV} y = bn(c, 4)",
    f"{SCALES}; the zero point becomes one per axis",
    constants=UINT8,
    pitfalls=(16,),
)
quantized.pull(
    "no zero point",
    f"W = DequantizeLinear<axis = 0>(Q, qs) {CONV} y = bn(c, 4)",
    SCALES,
    constants={k: v for k, v in PER_AXIS.items() if k != "z"},
)
quantized.pull(
    "per tensor, one scale for all",
    f"W = DequantizeLinear(Q, qs, z) {CONV} y = Mul(c, @k[])",
    SCALES,
    opset=10,
    exact_reference=False,
    constants=PER_TENSOR,
)
quantized.pull(
    "a bias in int32",
    f"{W} B = DequantizeLinear<axis = 0>(bq, bs) c = Conv(x, W, B) y = bn(c, 4)",
    "the bias is a constant expression",
    constants={
        **PER_AXIS,
        "bq": np.array([1000, -2000, 3, 400], np.int32),
        "bs": drawn("bs", 4, positive=True) / np.float32(1000),
    },
)
quantized.pull(
    "depthwise",
    "W = DequantizeLinear<axis = 0>(Q, qs) c = Conv<group = 4>(x, W) y = bn(c, 4)",
    SCALES,
    x="float[2,4,6,6] x",
    constants={"Q": INT8["Q"][:, :1], "qs": PER_AXIS["qs"]},
)
MATRIX: Tensors = {"Q": INT8["Q"][:3, :, 0, 0].repeat(2, 1)[:, :4], "qs": PER_AXIS["qs"]}
quantized.pull(
    "Gemm, columns",
    "W = DequantizeLinear<axis = 1>(Q, qs) c = Gemm(x, W, @C[4]) y = bn(c, 4)",
    SCALES,
    x="float[5,3] x",
    constants=MATRIX,
)
quantized.pull(
    "Gemm, transB",
    "W = DequantizeLinear<axis = 0>(Q, qs) c = Gemm<transB = 1>(x, W, @C[4]) y = bn(c, 4)",
    SCALES,
    x="float[5,3] x",
    constants={"Q": np.ascontiguousarray(MATRIX["Q"].T), "qs": MATRIX["qs"]},
)
quantized.pull(
    "MatMul, columns",
    "W = DequantizeLinear<axis = 1>(Q, qs) c = MatMul(x, W) y = Mul(c, @k[4])",
    SCALES,
    x="float[5,3] x",
    constants=MATRIX,
)
quantized.pull(
    "ConvTranspose",
    "W = DequantizeLinear<axis = 1>(Q, qs) c = ConvTranspose(x, W) y = bn(c, 3)",
    "axis 1 holds the outputs",
    x="float[2,4,6,6] x",
    constants={"Q": INT8["Q"], "qs": drawn("qs", 3, positive=True) / np.float32(64)},
)
quantized.push(
    "pushed into a weight per tensor",
    "W = DequantizeLinear<axis = 1>(Q, qs, z) n = bn(x, 3) y = Conv(n, W)",
    f"{SCALES}: along the input channels",
    constants=PER_TENSOR,
)
quantized.push(
    "pushed into a matrix by rows",
    "W = DequantizeLinear<axis = 0>(Q, qs) n = bn(x, 3) y = Gemm(n, W, @C[4])",
    SCALES,
    x="float[5,3] x",
    constants={"Q": MATRIX["Q"], "qs": drawn("qs", 3, positive=True) / np.float32(64)},
)
quantized.trap(
    "an activation between",
    "c = Conv(x, @W[4,3,3,3]) q = QuantizeLinear(c, k, z) d = DequantizeLinear(q, k, z) y = bn(d, 4)",
    "quantizing rounds: a barrier",
    constants={"k": np.float32(0.1), "z": np.int8(1)},
    exact_reference=False,
    pitfalls=(16,),
)
KEPT = "the scale would lie along an axis that one list of scales can not hold beside its own"
quantized.stays(
    "per tensor, opset 10, a map per channel",
    f"W = DequantizeLinear(Q, qs, z) {CONV} y = bn(c, 4)",
    "before opset 13 there is one scale, and the integers stay",
    opset=10,
    exact_reference=False,
    constants=PER_TENSOR,
    pitfalls=(16,),
)
quantized.stays(
    "scales along the input channels",
    f"W = DequantizeLinear<axis = 1>(Q, qs) {CONV} y = bn(c, 4)",
    KEPT,
    constants={**INT8, "qs": drawn("qs", 3, positive=True) / np.float32(64)},
    pitfalls=(16,),
)
quantized.stays(
    "pushed against scales by output channel",
    f"{W} n = bn(x, 3) y = Conv(n, W)",
    KEPT,
    constants=PER_AXIS,
    pitfalls=(16,),
)
quantized.stays(
    "ConvTranspose in groups",
    "W = DequantizeLinear<axis = 1>(Q, qs) c = ConvTranspose<group = 2>(x, W) y = bn(c, 6)",
    "outputs of two groups share a scale",
    x="float[2,4,6,6] x",
    constants={"Q": INT8["Q"], "qs": drawn("qs", 3, positive=True) / np.float32(64)},
    exact_reference=False,
    pitfalls=(2, 16),
)
