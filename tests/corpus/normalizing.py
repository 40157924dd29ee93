"""Operators that normalize by statistics of their input, with an affine behind or in front of them."""

from corpus.case import Family

normalizing = Family("normalizing", x="float[2,4,5,6] x")

OWN = "the scale and the bias of the normalization take the map"
INSTANCE = "InstanceNormalization({}, @S[4], @B[4])"
PER_CHANNEL = "GroupNormalization<num_groups = 2>({}, @S[4], @B[4])"
LAYER = "LayerNormalization<axis = {}>({}, @S[{}], @B[{}])"
Y = "float[2,4,5,6] y"
"""Of GroupNormalization, of whose output onnx infers nothing."""
REFINED = "r = Relu(x) i = {}(r, {}) y = "

for opset in (14, 20, 22):
    normalizing.pull(
        f"InstanceNormalization, opset {opset}", f"c = {INSTANCE.format('x')} y = bn(c, 4)", OWN, opset=opset
    )
normalizing.pull("GroupNormalization per channel", f"c = {PER_CHANNEL.format('x')} y = bn(c, 4)", OWN, opset=21, y=Y)
normalizing.pull("LayerNormalization of rows", f"c = {LAYER.format(-1, 'x', 4, 4)} y = bn(c, 4)", OWN, x="float[5,4] x")
normalizing.pull(
    "LayerNormalization over channels and places",
    f"c = {LAYER.format(1, 'x', '4,5,6', '4,5,6')} y = bn(c, 4)",
    OWN,
)
normalizing.stays(
    "LayerNormalization over the places alone",
    f"c = {LAYER.format(-1, 'x', 6, 6)} y = bn(c, 4)",
    "its scale is the same in every channel",
)
normalizing.push(
    "a shift in front of InstanceNormalization",
    f"{REFINED.format('Add', '@k[4,1,1]')} {INSTANCE.format('i')}",
    "each channel's mean takes its shift away",
)
normalizing.push(
    "one scale in front of InstanceNormalization",
    f"{REFINED.format('Mul', '@k[1]')} {INSTANCE.format('i')}",
    "its size divides the epsilon, its sign goes into the scale",
)
normalizing.stays(
    "scales that differ in front of InstanceNormalization",
    f"{REFINED.format('Mul', '@k[4,1,1]')} {INSTANCE.format('i')}",
    "there is one epsilon for all channels",
)
normalizing.stays(
    "a shift in front of GroupNormalization",
    f"{REFINED.format('Add', '@k[4,1,1]')} {PER_CHANNEL.format('i')}",
    "the mean of a group keeps the differences between its channels",
    opset=21,
    y=Y,
)
