"""An affine in front of a convolution or a transposed one: towards the outputs."""

from support import normal

from corpus.case import Family

push = Family("push into conv", "float[2,4,6,6] x")
up = Family("push into convtranspose", "float[2,4,6,6] x")

IN = "W (a x + b) = (W a) x + W b: every output element sees every tap"
FORMS = {
    "no bias": "Conv(n, @W[3,4,3,3])",
    "a bias": "Conv(n, @W[3,4,3,3], @B[3])",
    "an empty bias": 'Conv(n, @W[3,4,3,3], "")',
    "pointwise": "Conv(n, @W[3,4,1,1])",
    "strides and dilations": "Conv<strides = [2,1], dilations = [1,2]>(n, @W[3,4,3,3], @B[3])",
    "two groups": "Conv<group = 2>(n, @W[6,2,3,3], @B[6])",
    "depthwise": "Conv<group = 4>(n, @W[4,1,3,3])",
    "depthwise, two outputs each": "Conv<group = 4>(n, @W[8,1,3,3], @B[8])",
    "VALID": 'Conv<auto_pad = "VALID">(n, @W[3,4,3,3])',
    "SAME_UPPER, pointwise": 'Conv<auto_pad = "SAME_UPPER">(n, @W[3,4,1,1], @B[3])',
    "SAME_LOWER, strides that leave no padding": 'Conv<auto_pad = "SAME_LOWER", strides = [2,2]>(n, @W[3,4,2,2])',
}
for name, node in FORMS.items():
    note = "the static height and width say that no padding takes effect" if "strides that leave" in name else ""
    push.push(name, f"n = bn(x, 4) y = {node}", IN, pitfalls=(13,), note=note)
push.push("one axis of space", "n = bn(x, 4) y = Conv(n, @W[3,4,3], @B[3])", IN, x="float[2,4,9] x", pitfalls=(13,))
push.push("three axes of space", "n = bn(x, 4) y = Conv<group = 2>(n, @W[2,2,2,2,2])", IN, x="float[1,4,4,4,3] x")
push.push(
    "open height and width",
    "n = bn(x, 4) y = Conv(n, @W[3,4,3,3])",
    IN,
    x="float[N,4,H,W] x",
    feeds={"x": normal(2, 4, 5, 6)},
)
push.push("open batch", "n = bn(x, 4) y = Conv(n, @W[3,4,3,3])", IN, x="float[N,4,6,6] x")
PADDED = {
    "zero padding": "Conv<pads = [1,1,1,1]>(n, @W[3,4,3,3], @B[3])",
    "zero padding on one side": "Conv<pads = [0,0,0,1]>(n, @W[5,4,3,3])",
    "SAME_UPPER": 'Conv<auto_pad = "SAME_UPPER">(n, @W[3,4,3,3])',
    "SAME_LOWER": 'Conv<auto_pad = "SAME_LOWER">(n, @W[3,4,2,2])',
    "depthwise, padded": "Conv<group = 4, pads = [1,1,1,1]>(n, @W[4,1,3,3])",
    "pointwise, padded": "Conv<pads = [1,1,1,1]>(n, @W[3,4,1,1])",
}
for name, node in PADDED.items():
    push.push(f"{name}: a scale", f"n = bnn(x, 4) y = {node}", "a scale leaves zeros zero")
    push.stays(
        f"{name}: a shift",
        f"n = bn(x, 4) y = {node}",
        "the shift is missing at the border; one BN stays",
        pitfalls=(13,),
    )
push.push(
    "zero padding: Mul, Add",
    "m = Mul(x, @k[4,1,1]) n = Add(m, @l[4,1,1]) y = Conv<pads = [1,1,1,1]>(n, @W[3,4,3,3])",
    "the scale goes into W when the shift is divided by it, the shift stays",
    left=1,
)
push.push("Sub", "n = Sub(@k[4,1,1], x) y = Conv(n, @W[3,4,3,3])", IN)
push.push("Div", "n = Div(x, @k[1,4,1,1]) y = Conv(n, @W[3,4,3,3])", IN)
push.push("one number for all", "m = Mul(x, @k[]) n = Add(m, @l[]) y = Conv(n, @W[3,4,3,3], @B[3])", IN)
push.push(
    "a row of affines", "m = bn(x, 4) o = Mul(m, @k[4,1,1]) n = bn(o, 4) y = Conv(n, @W[3,4,3,3])", "affines compose"
)
push.trap(
    "a weight that is fed", "n = bn(x, 4) y = Conv(n, W)", "W is no constant", x="float[2,4,6,6] x, float[3,4,3,3] W"
)
push.push(
    "a weight that another Conv reads",
    "n = bn(x, 4) u = Conv(n, @W[3,4,3,3]) v = Conv(x, W) y = Sub(u, v)",
    "the weight is cloned",
    pitfalls=(5,),
)
push.push("opset 7", "n = bn(x, 4) y = Conv(n, @W[3,4,3,3])", IN, opset=7)
push.push("on both sides", "n = bn(x, 4) c = Conv(n, @W[3,4,3,3]) y = bn(c, 3)", "one BN each way into the same weight")

UP = "every output element sees every tap, so the shift is the same everywhere"
GAPS = "at the border or between the taps the shift is missing; one BN stays"
up.push("pointwise", "n = bn(x, 4) y = ConvTranspose(n, @W[4,3,1,1], @B[3])", UP)
up.push("pointwise, two groups", "n = bn(x, 4) y = ConvTranspose<group = 2>(n, @W[4,3,1,1])", UP, exact_reference=False)
up.push("the border cut off", "n = bn(x, 4) y = ConvTranspose<pads = [2,2,2,2]>(n, @W[4,3,3,3], @B[3])", UP)
up.push(
    "a scale", "n = bnn(x, 4) y = ConvTranspose<strides = [2,2]>(n, @W[4,3,3,3], @B[3])", "a scale by input channel"
)
up.push(
    "a scale, two groups",
    "n = bnn(x, 4) y = ConvTranspose<group = 2, strides = [2,2]>(n, @W[4,3,2,2])",
    "axis 0 of W",
    pitfalls=(2,),
    exact_reference=False,
)
up.push("a scale, depthwise", "n = bnn(x, 4) y = ConvTranspose<group = 4>(n, @W[4,1,3,3])", "axis 0 of W")
up.stays("a shift at the border", "n = bn(x, 4) y = ConvTranspose(n, @W[4,3,3,3])", GAPS)
up.stays(
    "a shift, half of the border cut off", "n = bn(x, 4) y = ConvTranspose<pads = [1,1,1,1]>(n, @W[4,3,3,3])", GAPS
)
up.stays("a shift, gaps", "n = bn(x, 4) y = ConvTranspose<strides = [2,2]>(n, @W[4,3,1,1])", GAPS)
up.stays(
    "a shift, output_padding",
    "n = bn(x, 4) y = ConvTranspose<strides = [2,2], pads = [2,2,2,2], output_padding = [1,1]>(n, @W[4,3,4,4])",
    GAPS,
    note="even outputs see other taps than odd ones; equal only by chance of W",
)
up.stays(
    "a shift, tiles",
    "n = bn(x, 4) y = ConvTranspose<strides = [2,2]>(n, @W[4,3,2,2])",
    "each output element sees one tap of four: another shift at each place of the tile",
)
