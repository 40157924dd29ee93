"""What has broken folding in the field: graphs that must come out as they went in, or with care."""

from collections.abc import Callable

from onnx import ModelProto, TensorProto, helper

from corpus.case import Family
from corpus.network import drawn
from corpus.running import run_by_formula

traps = Family("traps")

CONV = "c = Conv<pads = [1,1,1,1]>(x, @W[4,3,3,3])"
TRAINS = "normalizes by its own batch: no affine"
traps.trap(
    "training_mode = 1",
    f"{CONV} y, mean, var = bn<training_mode = 1>(c, 4)",
    TRAINS,
    exact_reference=False,
    pitfalls=(3,),
)
traps.trap(
    "training_mode = 1, opset 14",
    f"{CONV} y, mean, var = bn<training_mode = 1>(c, 4)",
    TRAINS,
    opset=14,
    exact_reference=False,
    pitfalls=(3,),
)
traps.trap(
    "opset 6, is_test = 0",
    f"{CONV} y = bn<is_test = 0>(c, 4)",
    TRAINS,
    opset=6,
    run=run_by_formula,
    note="run as inference: what counts is that it is not touched",
)
traps.trap(
    "opset 6, is_test left out",
    f"{CONV} y = bn(c, 4)",
    TRAINS,
    opset=6,
    run=run_by_formula,
    note="run as inference: what counts is that it is not touched",
)
traps.trap(
    "opset 9, statistics listed",
    f"{CONV} y, mean, var, sm, sv = bn(c, 4)",
    "five outputs mean training",
    opset=9,
    exact_reference=False,
    pitfalls=(3,),
)
PER_ELEMENT = {name: drawn(name, 4, 6, 6, positive=True) for name in ("s", "b", "m", "v")}
for opset in (7, 8):
    traps.trap(
        f"spatial = 0, opset {opset}",
        f"{CONV} y = BatchNormalization<spatial = 0>(c, s, b, m, v)",
        "statistics per element, which no channel of a Conv takes",
        opset=opset,
        constants=PER_ELEMENT,
        run=run_by_formula,
        exact_reference=False,
    )

FED = "a parameter that is fed is no constant"
for name in ("scale", "bias", "mean", "var"):
    order = ["@+s[4]", "@b[4]", "@m[4]", "@+v[4]"]
    order[["scale", "bias", "mean", "var"].index(name)] = "e"
    traps.trap(
        f"dynamic {name}",
        f"e = Exp(q) {CONV} y = BatchNormalization(c, {', '.join(order)})",
        FED,
        x="float[2,3,6,6] x, float[4] q",
    )
traps.trap("dynamic factor", f"{CONV} y = Mul(c, q)", FED, left=0, x="float[2,3,6,6] x, float[4,1,1] q")


def also_input(name: str, *dims: int) -> Callable[[ModelProto], None]:
    """Lists an initializer among the inputs, so that a caller may override it."""

    def edit(model: ModelProto) -> None:
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))

    return edit


def renamed(old: str, new: str) -> Callable[[ModelProto], None]:
    """Another name for a value."""
    return lambda model: _rename(model, old, new)


def _rename(model: ModelProto, old: str, new: str) -> None:
    for entry in model.graph.input:
        entry.name = new if entry.name == old else entry.name
    for tensor in model.graph.initializer:
        tensor.name = new if tensor.name == old else tensor.name
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = new if name == old else name


def to_own_domain(model: ModelProto) -> None:
    """A function of the model, called Mul, that takes the larger of two."""
    model.graph.node[-1].domain = "own"
    model.opset_import.append(helper.make_opsetid("own", 1))
    larger = helper.make_node("Max", ["a", "b"], ["o"])
    model.functions.append(
        helper.make_function("own", "Mul", ["a", "b"], ["o"], [larger], [helper.make_opsetid("", 20)])
    )


BN = "BatchNormalization(c, @+s[4], @b[4], @m[4], @+v[4])"
OVERRIDABLE = "from IR version 4 on a caller may override an initializer that is an input"
traps.trap(
    "an overridable weight",
    f"{CONV} y = {BN}",
    OVERRIDABLE,
    edit=also_input("W", 4, 3, 3, 3),
    exact_reference=False,
    pitfalls=(18,),
)
traps.trap(
    "an overridable scale",
    f"{CONV} y = {BN}",
    OVERRIDABLE,
    edit=also_input("s", 4),
    exact_reference=False,
    pitfalls=(18,),
)
traps.trap(
    "an overridable variance, IR version 4",
    f"{CONV} y = {BN}",
    OVERRIDABLE,
    edit=also_input("v", 4),
    ir=4,
    opset=9,
    exact_reference=False,
    pitfalls=(18,),
)
traps.trap(
    "an overridable factor",
    f"{CONV} y = Mul(c, @k[4,1,1])",
    OVERRIDABLE,
    left=0,
    edit=also_input("k", 4, 1, 1),
    exact_reference=False,
    pitfalls=(18,),
    note="not a constant, so no affine",
)
traps.pull(
    "an overridable weight, frozen",
    f"{CONV} y = {BN}",
    "the user says that nobody overrides it",
    edit=also_input("W", 4, 3, 3, 3),
    freeze=True,
    exact_reference=False,
    pitfalls=(18,),
)

SQUARE = "c = Conv(x, @W[4,3,3,3])"  # [2, 4, 4, 4]
LAST = "lies along the width, which is as long as the channels are many"
traps.trap("Mul by [W], W = C", f"{SQUARE} y = Mul(c, @k[4])", LAST)
traps.trap("Add of [W], W = C", f"{SQUARE} y = Add(c, @k[4])", LAST)
traps.trap("Mul by [H,1], H = C", f"{SQUARE} y = Mul(c, @k[4,1])", "lies along the height")
traps.trap("Mul by [N,1,1,1], N = C", f"{SQUARE} y = Mul(c, @k[4,1,1,1])", "lies along the batch", x="float[4,3,6,6] x")
traps.trap("Mul by [1,1,1,W]", f"{SQUARE} y = Mul(@k[1,1,1,4], c)", LAST)
GROWS = "broadcasts the wire: it is more than a map of its channels"
traps.trap("the batch grows", f"{SQUARE} y = Mul(c, @k[8,1,1,1])", GROWS, left=0, x="float[1,3,6,6] x")
traps.trap("the rank grows", f"{SQUARE} y = Mul(c, @k[1,1,4,1,1])", GROWS, left=0)
traps.trap("the channels grow", "c = Conv(x, @W[1,3,3,3]) y = Mul(c, @k[4,1,1])", GROWS, left=0)
traps.trap("the space grows", "p = GlobalAveragePool(x) c = Conv(p, @W[4,3,1,1]) y = Add(c, @k[1,1,5])", GROWS, left=0)
traps.trap("two axes", f"{SQUARE} y = Mul(c, @k[4,4,1])", "differs along height too", left=0)
traps.trap("the whole shape", f"{SQUARE} y = Mul(c, @k[2,4,4,4])", "a number per element", left=0)
traps.trap("c / x", f"{SQUARE} e = Exp(c) y = Div(@k[4,1,1], e)", "an inverse is no affine", left=0)
traps.trap("c / x at once", f"{SQUARE} s = Softplus(c) y = Div(@+k[], s)", "an inverse is no affine", left=0)
traps.pull("k - x", f"{SQUARE} y = Sub(@k[4,1,1], c)", "the scale is -1")
traps.pull(
    "a variance of zero",
    f"{SQUARE} y = BatchNormalization(c, @+s[4], @b[4], @m[4], v)",
    "epsilon keeps it finite",
    constants={"v": [0.0, 1.0, 0.0, 2.0]},
)
traps.pull(
    "a scale of zero",
    f"{SQUARE} y = BatchNormalization(c, s, @b[4], @m[4], @+v[4])",
    "a channel that is only its bias",
    constants={"s": [0.0, 1.0, -1.0, 0.0]},
)
traps.pull(
    "epsilon = 0 is not the default",
    f"{SQUARE} y = BatchNormalization<epsilon = 0.0>(c, @+s[4], @b[4], @m[4], v)",
    "epsilon is what is written",
    constants={"v": [1e-6, 2e-6, 1e-6, 1e-5]},
)

CLONED = "whoever else reads the weight sees the old one"
TWO = "float[] y, float[] z"
traps.pull("a shared weight", f"{CONV} y = bn(c, 4) z = Conv<pads = [1,1,1,1]>(x, W)", CLONED, y=TWO, pitfalls=(5,))
traps.pull(
    "a shared bias",
    "c = Conv(x, @W[4,3,3,3], @B[4]) y = bn(c, 4) z = Conv(x, @V[4,3,3,3], B)",
    CLONED,
    y=TWO,
    pitfalls=(5,),
)
traps.pull(
    "a weight behind two BNs",
    f"{CONV} y = bn(c, 4) d = Conv<pads = [1,1,1,1]>(x, W) z = bn(d, 4)",
    "one weight becomes two",
    y=TWO,
    pitfalls=(5,),
)
traps.pull(
    "a weight that is a graph output", f"{CONV} y = bn(c, 4)", CLONED, y="float[] y, float[4,3,3,3] W", pitfalls=(5, 7)
)
traps.pull(
    "the bias is the BN's bias",
    "c = Conv(x, @W[4,3,3,3], @b[4]) y = BatchNormalization(c, @+s[4], b, @m[4], @+v[4])",
    "constants are read, not consumed",
    pitfalls=(5, 15),
)
traps.pull(
    "the name of the new bias is taken",
    f"{CONV} y = bn(c, 4) t = Relu(q)",
    "new names are new in every scope",
    x="float[2,3,6,6] x, float[2] q",
    y="float[] y, float[2] t",
    edit=renamed("q", "W.bias"),
    pitfalls=(19,),
)
for odd in ("a/b:0", "with space", "Größe", "conv.weight"):
    traps.pull(
        f"a name like '{odd}'", f"{CONV} y = bn(c, 4)", "names are any strings", edit=renamed("W", odd), pitfalls=(19,)
    )
traps.pull(
    "the graph output is a BN's", "c = Conv(x, @W[4,3,3,3]) y = bn(c, 4)", "the output keeps its name", pitfalls=(7,)
)
traps.pull("nodes without names", f"{CONV} n = bn(c, 4) y = Relu(n)", "names of nodes are optional", pitfalls=(19,))
for barrier in ("Relu", "Sigmoid", "Tanh", "Elu"):
    traps.stays(
        f"across {barrier}",
        f"{CONV} r = {barrier}(c) y = bn(r, 4)",
        "glow#5892, opencv#28689: not across a nonlinearity",
        pitfalls=(1,),
    )
traps.trap(
    "a channel count that does not fit",
    "c = Gemm(x, @W[3,4]) t = Transpose(c) y = bn(t, 5)",
    "behind the transposition the channels are the rows of a fed matrix",
    x="float[5,3] x",
)
traps.trap(
    "a custom operator of the same name",
    f"{CONV} y = Mul(c, @k[4,1,1])",
    "another domain, another meaning",
    left=0,
    edit=to_own_domain,
)
