"""Wires and affines with several readers."""

from corpus.case import Family

readers = Family("several readers")

CONV = "c = Conv<pads = [1,1,1,1]>(x, @W[4,3,3,3])"
NEXT = "Conv({}, @V[3,4,3,3], @B[3])"
ITS_READERS = "who reads the affine's output sees the same as before"
SEEN = "another reader of the wire would see the map"
TWO = "float[] y, float[] z"

readers.pull("two readers of the BN", f"{CONV} n = bn(c, 4) y = Relu(n) z = Sigmoid(n)", ITS_READERS, y=TWO)
readers.pull("the BN is an output and is read", f"{CONV} y = bn(c, 4) z = Sigmoid(y)", ITS_READERS, y=TWO)
readers.pull("Swish behind the BN", f"{CONV} n = bn(c, 4) g = Sigmoid(n) y = Mul(n, g)", ITS_READERS)
readers.pull(
    "the wire's shape is read",
    f"{CONV} n = bn(c, 4) h = Shape(c) r = Reshape(n, h) y = Relu(r)",
    "Shape does not look at the values",
)
readers.push(
    "the shape of the affine's output is read",
    "n = bn(x, 3) u = Conv(n, @W[4,3,3,3]) h = Shape(n) z = Identity(h) y = Relu(u)",
    "Shape does not look at the values",
    y="float[] y, int64[] z",
)
readers.trap("the wire is read by a barrier", f"{CONV} y = bn(c, 4) z = Sigmoid(c)", SEEN, y=TWO, pitfalls=(6,))
readers.trap("the wire is a graph output", f"{CONV} y = bn(c, 4)", SEEN, y="float[] y, float[] c", pitfalls=(6, 7))
readers.trap(
    "the wire is read by two BNs",
    f"{CONV} y = bn(c, 4) z = bn(c, 4)",
    "two different maps, and one weight",
    left=2,
    y=TWO,
    pitfalls=(6,),
    note="one could go when the other becomes their quotient; the law says that a wire with two readers is closed",
)
readers.trap(
    "the wire further up is read twice",
    f"{CONV} r = Relu(c) p = MaxPool<kernel_shape = [2,2]>(r) y = bns(p, 4) z = Sigmoid(r)",
    SEEN,
    y=TWO,
    pitfalls=(6,),
)
readers.trap(
    "the wire is read twice by one node",
    f"{CONV} u = Mul(c, c) y = bn(u, 4)",
    "a product is no affine",
    pitfalls=(6,),
)
readers.push(
    "pushed where it can not be pulled",
    f"{CONV} n = bn(c, 4) y = {NEXT.format('n')} z = Sigmoid(c)",
    "the second reader of c does not matter in the other direction",
    y=TWO,
    pitfalls=(6,),
)
readers.push(
    "two layers read the affine",
    f"{CONV} r = Relu(c) n = bn(r, 4) y = {NEXT.format('n')} z = Conv(n, @U[2,4,1,1])",
    "every reader takes the whole map",
    y=TWO,
)
readers.push(
    "a Conv and a Gemm read the affine",
    "r = Relu(x) n = bn(r, 3) y = Conv(n, @W[4,3,3,3]) p = GlobalAveragePool(n) f = Flatten(p) z = Gemm(f, @V[3,2])",
    "every reader takes the whole map",
    y=TWO,
)
readers.push(
    "branches that part and join",
    "r = Relu(x) n = bn(r, 3) p = MaxPool<kernel_shape = [1,1]>(r) u = Conv(n, @W[4,3,1,1]) v = Conv(p, "
    "@V[4,3,1,1]) y = Sub(u, v)",
    "only one of the branches has the map",
)
for name, reader in {
    "a barrier": "z = Sigmoid(n)",
    "a padded Conv": "z = Conv<pads = [1,1,1,1]>(n, @U[2,4,3,3])",
}.items():
    readers.stays(
        f"a layer and {name} read the affine",
        f"{CONV} r = Relu(c) n = bnp(r, 4) y = {NEXT.format('n')} {reader}",
        "one reader still needs the shift: the BN stays for it",
        y=TWO,
    )
readers.stays(
    "the affine is an output and a layer reads it",
    f"{CONV} r = Relu(c) n = bnp(r, 4) y = {NEXT.format('n')}",
    "the output must show the map",
    y="float[] y, float[] n",
    pitfalls=(7,),
)
