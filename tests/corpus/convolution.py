"""An affine behind a convolution or a transposed one: their output channels have weights and biases of their own."""

from support import run_reference

from corpus.case import Family

conv = Family("conv")
transposed = Family("transposed")

ROWS = "each output channel has a row of the weight and a bias of its own"
X1, X3 = "float[2,3,9] x", "float[1,3,4,5,4] x"
X4 = "float[2,4,6,6] x"

FORMS = {
    "no bias": "Conv(x, @W[4,3,3,3])",
    "a bias": "Conv(x, @W[4,3,3,3], @B[4])",
    "an empty bias": 'Conv(x, @W[4,3,3,3], "")',
    "one channel": "Conv(x, @W[1,3,3,3])",
    "pointwise": "Conv(x, @W[4,3,1,1], @B[4])",
    "zero padding": "Conv<pads = [1,1,1,1]>(x, @W[4,3,3,3], @B[4])",
    "uneven padding": "Conv<pads = [0,1,2,0]>(x, @W[4,3,3,3])",
    "strides and dilations": "Conv<strides = [2,1], dilations = [1,2]>(x, @W[4,3,3,3], @B[4])",
    "SAME_UPPER": 'Conv<auto_pad = "SAME_UPPER">(x, @W[4,3,3,3])',
    "SAME_LOWER, strides": 'Conv<auto_pad = "SAME_LOWER", strides = [2,2]>(x, @W[4,3,2,2])',
    "VALID": 'Conv<auto_pad = "VALID">(x, @W[4,3,3,3], @B[4])',
    "a kernel that is not square": "Conv<kernel_shape = [1,5], pads = [0,2,0,2]>(x, @W[4,3,1,5])",
}
for name, node in FORMS.items():
    size = 1 if name == "one channel" else 4
    conv.pull(name, f"c = {node} y = bn(c, {size})", f"{ROWS}; padding and strides act on x", pitfalls=(1,))

conv.pull(
    "DeformConv",
    "c = DeformConv<kernel_shape = [3,3]>(x, @W[4,3,3,3], o, @B[4]) y = bn(c, 4)",
    f"{ROWS}; offsets act on x",
    x="float[2,3,6,6] x, float[2,18,4,4] o",
    run=run_reference,  # onnxruntime 1.24 has no DeformConv on the CPU
)

GROUPED = {
    "two groups": ("Conv<group = 2>(x, @W[6,2,3,3], @B[6])", X4, 6),
    "depthwise": ("Conv<group = 4, pads = [1,1,1,1]>(x, @W[4,1,3,3])", X4, 4),
    "depthwise, two outputs each": ("Conv<group = 4>(x, @W[8,1,3,3], @B[8])", X4, 8),
    "one axis of space": ("Conv<pads = [1,1]>(x, @W[4,3,3], @B[4])", X1, 4),
    "one axis, depthwise": ("Conv<group = 3>(x, @W[3,1,3])", X1, 3),
    "three axes of space": ("Conv(x, @W[4,3,2,2,2], @B[4])", X3, 4),
    "three axes, two groups": ("Conv<group = 3, pads = [1,1,1,1,1,1]>(x, @W[6,1,3,3,3])", X3, 6),
}
for name, (node, x, size) in GROUPED.items():
    conv.pull(name, f"c = {node} y = bn(c, {size})", f"{ROWS}, whatever the groups and axes", x=x)

for opset in (7, 11, 22):
    conv.pull(f"opset {opset}", "c = Conv(x, @W[4,3,3,3], @B[4]) y = bn(c, 4)", ROWS, opset=opset)
conv.pull("an open batch", "c = Conv(x, @W[4,3,3,3]) y = bn(c, 4)", ROWS, x="float[N,3,6,6] x")
conv.pull(
    "open height and width", "c = Conv<pads = [1,1,1,1]>(x, @W[4,3,1,1]) y = bn(c, 4)", ROWS, x="float[N,3,H,W] x"
)
conv.pull("only a scale", "c = Conv(x, @W[4,3,3,3]) y = bnn(c, 4)", "b = 0 makes no bias")
conv.pull("one map for all channels", "c = Conv(x, @W[4,3,3,3]) y = bnu(c, 4)", "one map is every channel's map")
conv.pull(
    "a bias written as Add", "c = Conv(x, @W[4,3,3,3]) y = Add(c, @k[4,1,1])", "a shift is a bias", pitfalls=(14,)
)
conv.pull(
    "the weight is computed",
    "t = Mul(@V[4,3,3,3], @k[4,1,1,1]) W = Neg(t) c = Conv(x, W) y = bn(c, 4)",
    "a constant expression is a constant; its own Mul has two constants and is no affine of a wire",
)
conv.pull(
    "the bias is computed",
    "B = Reshape(@b[2,2], n) c = Conv(x, @W[4,3,3,3], B) y = bn(c, 4)",
    "a constant expression is a constant",
    constants={"n": [-1]},
)
conv.trap(
    "a weight that is fed", "c = Conv(x, W) y = bn(c, 4)", "W is no constant", x="float[2,3,6,6] x, float[4,3,3,3] W"
)
conv.trap(
    "a bias that is fed",
    "c = Conv(x, @W[4,3,3,3], B) y = bn(c, 4)",
    "a B + b would be computed at run time",
    x="float[2,3,6,6] x, float[4] B",
)

UPWARDS = {
    "no bias": ("ConvTranspose(x, @W[4,3,3,3])", 3),
    "a bias": ("ConvTranspose(x, @W[4,3,2,2], @B[3])", 3),
    "as many inputs as outputs": ("ConvTranspose(x, @W[4,4,3,3], @B[4])", 4),
    "strides": ("ConvTranspose<strides = [2,2], pads = [1,1,1,1]>(x, @W[4,3,3,3], @B[3])", 3),
    "two groups": ("ConvTranspose<group = 2>(x, @W[4,3,3,3], @B[6])", 6),
    "two groups of as many": ("ConvTranspose<group = 2>(x, @W[4,2,3,3])", 4),
    "depthwise": ("ConvTranspose<group = 4, strides = [2,2]>(x, @W[4,1,2,2])", 4),
    "output_padding": ("ConvTranspose<strides = [2,2], output_padding = [1,1]>(x, @W[4,3,2,2])", 3),
    "output_shape": ("ConvTranspose<strides = [2,2], output_shape = [12,12]>(x, @W[4,3,3,3])", 3),
    "SAME_UPPER": ('ConvTranspose<strides = [2,2], auto_pad = "SAME_UPPER">(x, @W[4,3,3,3])', 3),
    "dilations": ("ConvTranspose<dilations = [2,2]>(x, @W[4,3,2,2], @B[3])", 3),
    "gaps between the taps": ("ConvTranspose<strides = [3,3]>(x, @W[4,3,2,2], @B[3])", 3),
}
for name, (node, size) in UPWARDS.items():
    transposed.pull(
        name,
        f"c = {node} y = bn(c, {size})",
        "output channels are axis 1 within each group; the bias is added everywhere, in gaps too",
        x=X4,
        pitfalls=(2,),
        exact_reference="groups" not in name and name != "output_shape",  # onnx.reference fails there,
    )
transposed.pull("one axis", "c = ConvTranspose<strides = [2]>(x, @W[3,4,3]) y = bn(c, 4)", "axis 1 of W", x=X1)
transposed.pull("three axes", "c = ConvTranspose(x, @W[3,4,2,2,2]) y = bn(c, 4)", "axis 1 of W", x=X3)
transposed.pull(
    "Mul and Add behind",
    "c = ConvTranspose(x, @W[4,3,2,2]) m = Mul(c, @k[3,1,1]) y = Add(m, @l[3,1,1])",
    "axis 1 of W",
    x=X4,
)
transposed.trap(
    "a weight that is fed", "c = ConvTranspose(x, W) y = bn(c, 3)", "W is no constant", x=f"{X4}, float[4,3,2,2] W"
)
