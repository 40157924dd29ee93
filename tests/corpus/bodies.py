"""Bodies of If, Loop and Scan."""

from __future__ import annotations

import numpy as np
from support import normal

from corpus.case import Family
from corpus.network import Tensors

bodies = Family("subgraphs")

OWN = "a body is a graph like any other"
COND = "float[2,3,6,6] x, bool cond"
CONV = "c = Conv(x, @W[4,3,3,3])"
ELSE = "else_branch = e () => (float[2,4,4,4] o) { o = Conv(x, @U[4,3,3,3]) }"
FED = {"x": normal(2, 3, 6, 6), "cond": np.array(True)}


def branch(nodes: str, other: str = ELSE) -> str:
    return f"y = If(cond) <then_branch = t () => (float[2,4,4,4] p) {{ {nodes} }}, {other}>"


bodies.pull(
    "If: the weight is captured",
    branch("c = Conv(x, @W[4,3,3,3]) p = bn(c, 4)"),
    OWN,
    x=COND,
    feeds=FED,
    pitfalls=(19,),
)
bodies.pull(
    "If: both branches",
    branch(
        "c = Conv(x, @W[4,3,3,3]) p = bn(c, 4)",
        "else_branch = e () => (float[2,4,4,4] o) { d = Conv(x, W) o = bn(d, 4) }",
    ),
    "the branches share a weight, which is cloned",
    x=COND,
    feeds=FED,
    pitfalls=(5, 19),
)
bodies.push(
    "If: pushed in a branch", branch("r = Relu(x) n = bn(r, 3) p = Conv(n, @W[4,3,3,3])"), OWN, x=COND, feeds=FED
)
bodies.pull(
    "If: constants of the body",
    branch("k = Constant<value = float {1.5}>() c = Conv(x, @W[4,3,3,3]) p = Mul(c, k)"),
    OWN,
    x=COND,
    feeds=FED,
)
bodies.pull(
    "If: in a branch of a branch",
    branch(
        "p = If(cond) <then_branch = tt () => (float[2,4,4,4] q) { c = Conv(x, @W[4,3,3,3]) q = bn(c, 4) "
        "}, else_branch = ee () => (float[2,4,4,4] w) { w = Conv(x, @V[4,3,3,3]) }>"
    ),
    OWN,
    x=COND,
    feeds=FED,
)
bodies.trap(
    "If: the wire is captured by a branch",
    f"{CONV} n = bn(c, 4) {branch('p = Sigmoid(c)', 'else_branch = e () => (float[2,4,4,4] o) { o = Identity(n) }')}",
    "a value that a body captures is read",
    x=COND,
    feeds=FED,
    pitfalls=(6, 19),
)
bodies.pull(
    "If: the BN's output is captured",
    f"{CONV} n = bn(c, 4) {branch('p = Sigmoid(n)', 'else_branch = e () => (float[2,4,4,4] o) { o = Identity(n) }')}",
    "who reads the affine's output sees the same as before",
    x=COND,
    feeds=FED,
)
bodies.trap(
    "If: the output of a body is read in the body",
    "y, z = If(cond) <then_branch = t () => (float[2,4,4,4] p, float[2,4,4,4] c) { c = Conv(x, "
    "@W[4,3,3,3]) p = bn(c, 4) }, "
    "else_branch = e () => (float[2,4,4,4] o, float[2,4,4,4] w) { o = Conv(x, @U[4,3,3,3]) w = Identity(o) }>",
    "an output of the body is seen outside",
    x=COND,
    y="float[] y, float[] z",
    feeds=FED,
    pitfalls=(6,),
)
bodies.trap(
    "If: behind it",
    f"{branch('p = Conv(x, @W[4,3,3,3])').replace('y = If', 'i = If')} y = bn(i, 4)",
    "If has no rule: a barrier",
    x=COND,
    feeds=FED,
    note="both branches could take the map",
)
bodies.trap(
    "If: the parameters are chosen",
    "k = If(cond) <then_branch = t () => (float[4] p) { p = Identity(@+a[4]) }, else_branch = e () => "
    "(float[4] o) { o = Neg(a) }> c = Conv(x, @W[4,3,3,3]) y = BatchNormalization(c, k, a, a, a)",
    "the scale is computed when the model runs",
    x=COND,
    feeds=FED,
)

LOOP = (
    "y = Loop(trips, go, h0) <body = b (int64 i, bool g, float[2,3,6,6] h) => (bool go_on, float[2,3,6,6] o) "
    "{{ go_on = Identity(g) {} }}>"
)
TURNS: Tensors = {"trips": np.int64(3), "go": np.array(True)}
X = "float[2,3,6,6] h0"
bodies.pull(
    "Loop",
    LOOP.format("c = Conv<pads = [1,1,1,1]>(h, @W[3,3,3,3]) n = bn(c, 3) o = Tanh(n)"),
    OWN,
    x=X,
    y="float[2,3,6,6] y",
    constants=TURNS,
)
bodies.push(
    "Loop: pushed in the body",
    LOOP.format("n = bn(h, 3) c = Conv(n, @W[3,3,1,1]) o = Tanh(c)"),
    OWN,
    x=X,
    y="float[2,3,6,6] y",
    constants=TURNS,
)
bodies.trap(
    "Loop: what is carried around",
    LOOP.format("t = Tanh(h) o = bn(t, 3)"),
    "nothing in the body absorbs it",
    x=X,
    y="float[2,3,6,6] y",
    constants=TURNS,
)
bodies.pull(
    "Scan",
    "h, y = Scan<num_scan_inputs = 1, body = b (float[2,4] s, float[2,3] e) => (float[2,4] t, float[2,4] "
    "o) { c = Gemm(e, @W[3,4], @B[4]) n = bn(c, 4) t = Add(s, n) o = Relu(t) }>(h0, x)",
    OWN,
    x="float[5,2,3] x, float[2,4] h0",
    y="float[] y, float[] h",
)
