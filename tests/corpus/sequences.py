"""Sequences: recurrent networks, tables of embeddings, and what is taken of a value by its place."""

import numpy as np

from corpus.case import Family

sequences = Family("sequences", x="float[5,2,4] x")

GATES = "x W + W_B is all that is made of x: W takes the scale, W_B the shift"
LAYER = "z = Transpose<perm = [2,0,1]>(n)"
NAMED = "a channel that is taken has its own map"

sequences.push(
    "a layer of Deep Speech 2",
    "h = GRU<hidden_size = 4>(x, @W[1,12,4], @R[1,12,4], @B[1,24]) q = Squeeze(h, one) "
    "t = Transpose<perm = [1,2,0]>(q) "
    f"n = bn(t, 4) {LAYER} y = GRU<hidden_size = 3>(z, @V[1,9,4], @U[1,9,3], @C[1,18])",
    GATES,
    constants={"one": [1]},
)
for operator, rows in (("LSTM", 12), ("GRU", 9), ("RNN", 3)):
    sequences.push(
        f"a normalization in front of {operator}",
        f"s = Sigmoid(x) t = Transpose<perm = [1,2,0]>(s) n = bn(t, 4) {LAYER} "
        f"y = {operator}<hidden_size = 3>(z, @W[1,{rows},4], @R[1,{rows},3])",
        GATES,
    )
sequences.stays(
    "a normalization behind an RNN",
    "h = RNN<hidden_size = 4>(x, @W[1,4,4], @R[1,4,4]) q = Squeeze(h, one) "
    "t = Transpose<perm = [1,2,0]>(q) y = bn(t, 4)",
    "what comes out has been through the gates",
    constants={"one": [1]},
)
sequences.pull(
    "a table of embeddings",
    "g = Gather(@E[10,4], i) t = Transpose<perm = [0,2,1]>(g) y = bn(t, 4)",
    "every row of the table becomes a x + b",
    x="int64[2,7] i",
    feeds={"i": np.array([[0, 3, 9, 1, 1, 2, 5], [4, 4, 8, 7, 6, 0, 2]])},
)
sequences.push(
    "the last step",
    "s = Sigmoid(x) t = Transpose<perm = [1,2,0]>(s) n = bn(t, 4) g = Gather<axis = 2>(n, last) y = Gemm(g, @W[4,3])",
    "the places are of another axis",
    constants={"last": -1},
)
sequences.pull(
    "channels in another order",
    "t = Transpose<perm = [1,2,0]>(x) c = Conv(t, @W[4,4,1]) g = Gather<axis = 1>(c, order) y = bn(g, 4)",
    NAMED,
    constants={"order": [2, 0, 3, 1]},
)
sequences.push(
    "some of the channels",
    "t = Transpose<perm = [1,2,0]>(x) s = Sigmoid(t) n = bn(s, 4) g = Gather<axis = 1>(n, some) y = Conv(g, @W[3,2,1])",
    NAMED,
    constants={"some": [3, 0]},
)
sequences.trap(
    "one channel for two",
    "t = Transpose<perm = [1,2,0]>(x) c = Conv(t, @W[4,4,1]) g = Gather<axis = 1>(c, order) y = bn(g, 4)",
    "two maps for one channel",
    constants={"order": [2, 0, 2, 1]},
)
sequences.pull("Neg", "t = Transpose<perm = [1,2,0]>(x) c = Conv(t, @W[4,4,1]) g = Neg(c) y = bn(g, 4)", "-(a x - b)")
