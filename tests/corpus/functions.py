"""Model-local functions."""

import numpy as np
from support import Array

from corpus.case import Family
from corpus.network import drawn, normalization_parameters

functions = Family("functions")

ONCE = "the constants of a function serve all of its calls"


def written(**tensors: Array) -> str:
    """Constant nodes, which is how a function has constants of its own."""
    return " ".join(
        f"{name} = Constant<value = float[{','.join(map(str, values.shape))}] "
        f"{{{', '.join(repr(float(v)) for v in values.flat)}}}>()"
        for name, values in tensors.items()
    )


def normalization(channels: int, seed: int = 0) -> str:
    parameters = normalization_parameters("", channels, seed=seed, dtype=np.float32)
    return written(**dict(zip(["s", "b", "m", "v"], parameters, strict=True)))


def function(signature: str, nodes: str) -> str:
    return f'<domain: "own", opset_import: ["" : 20]> {signature} {{ {nodes} }}'


BN = "BatchNormalization({}, s, b, m, v)"
WEIGHT = written(W=drawn("W", 4, 3, 1, 1))
functions.pull(
    "a layer with its constants",
    "h = own.layer(x) y = Relu(h)",
    ONCE,
    functions=function("layer (a) => (o)", f"{WEIGHT} {normalization(4)} c = Conv(a, W) o = {BN.format('c')}"),
)
functions.pull(
    "called twice",
    "h = own.layer(x) i = own.layer(x2) y = Sub(h, i)",
    ONCE,
    x="float[2,3,6,6] x, float[2,3,6,6] x2",
    functions=function("layer (a) => (o)", f"{WEIGHT} {normalization(4)} c = Conv(a, W) o = {BN.format('c')}"),
)
functions.push(
    "pushed inside",
    "h = own.layer(x) y = Relu(h)",
    ONCE,
    functions=function(
        "layer (a) => (o)", f"{WEIGHT} {normalization(3)} r = Relu(a) n = {BN.format('r')} o = Conv(n, W)"
    ),
)
functions.pull(
    "beside a function",
    "c = Conv(x, @W[4,3,3,3]) n = bn(c, 4) y = own.double(n)",
    "the function is not touched",
    functions=function("double (a) => (o)", "o = Add(a, a)"),
    pitfalls=(19,),
)
functions.pull(
    "the parameters are arguments",
    "y = own.layer(x, @W[4,3,3,3], @+s[4], @b[4], @m[4], @+v[4])",
    "each call has constants for its parameters",
    functions=function("layer (a, W, s, b, m, v) => (o)", f"c = Conv(a, W) o = {BN.format('c')}"),
)
functions.pull(
    "the parameters are arguments, two calls",
    "h = own.layer(x, @W[4,3,3,3], @+s[4], @b[4], @m[4], @+v[4]) y = own.layer(h, @V[4,4,1,1], v, m, b, s)",
    "each call has constants of its own",
    functions=function("layer (a, W, s, b, m, v) => (o)", f"c = Conv(a, W) o = {BN.format('c')}"),
)
functions.trap(
    "what a function reads",
    "c = Conv(x, @W[4,3,3,3]) y = bn(c, 4) z = own.double(c)",
    "a call is a reader",
    y="float[] y, float[] z",
    functions=function("double (a) => (o)", "o = Add(a, a)"),
    pitfalls=(6,),
)
functions.trap(
    "an output of a function is read inside",
    "z, y = own.layer(x)",
    "both are outputs of the function",
    y="float[] y, float[] z",
    functions=function("layer (a) => (c, o)", f"{WEIGHT} {normalization(4)} c = Conv(a, W) o = {BN.format('c')}"),
    pitfalls=(6,),
)
