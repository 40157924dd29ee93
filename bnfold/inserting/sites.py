"""Where a BatchNormalization may go, and why not elsewhere.

A site is the wire behind a linear operator with constant weights: behind the Add that is its bias, where there is one,
and behind the activation, where the caller asks for that. Nothing goes where a normalization follows already, behind
the last linear operator of a path to an output (its outputs are scores, whose scale means something), or where the
numbers are those of a quantizer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from onnx import TensorProto

from bnfold.inserting.following import Following
from bnfold.inserting.options import AFTER, Options
from bnfold.inserting.view import View
from bnfold.model.calls import outermost
from bnfold.model.constants import Constant
from bnfold.model.graph import ONNX_DOMAIN, Node, Value
from bnfold.model.tensors import FLOATS, type_name
from bnfold.ops.rule import Operator

_WEIGHTS = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (1, 0), "MatMul": (1, 0)}
"""For each linear operator, the inputs that may be its weight."""

EARLIEST_OPSET = 7
"""BatchNormalization has had its present inputs and outputs since opset 7."""

BFLOAT16_OPSET = 14
"""BatchNormalization takes bfloat16 since opset 14; Gemm and MatMul take it since 13."""


@dataclass(frozen=True, eq=False)
class Site:
    """A place for a BatchNormalization.

    Attributes:
        linear: the linear operator.
        value: the wire that it goes on; what reads the wire will read the normalized value, under the same name.
        weight: the name of the weight, or of what it is made of.
        channels: how many channels there are.
        axis: the axis of the wire along which they lie.
        rank: the rank of the wire.
        elem_type: the element type of the wire, as ONNX numbers them.
        bias: the node that adds the bias, if it is none of the linear operator's inputs.
        is_behind_activation: whether there is an activation in between, so that the bias can not be moved.
    """

    linear: Node
    value: Value
    weight: str
    channels: int
    axis: int
    rank: int
    elem_type: int
    bias: Node | None = None
    is_behind_activation: bool = False


@dataclass(frozen=True)
class Skipped:
    """A linear operator behind which no BatchNormalization goes.

    Attributes:
        node: its name, or operator and output where it has none.
        op_type: its operator.
        code: a stable word for why.
        reason: a sentence.
    """

    node: str
    op_type: str
    code: str
    reason: str


def find_sites(view: View, options: Options) -> tuple[list[Site], list[Skipped]]:
    """The sites of a graph in the order of the file, and the linear operators that get nothing, with reasons.

    Raises:
        UsageError: an option names an operator that is not there.
    """
    candidates = list(_candidates(view, options))
    options.refuse_unknown(node for node, _ in candidates)
    following = Following(view, frozenset(node.address for node, _ in candidates))
    sites: list[Site] = []
    skipped: list[Skipped] = []
    for node, index in candidates:
        found = _site(view, following, node, index, options)
        if isinstance(found, Site):
            sites.append(found)
        else:
            skipped.append(found)
    return sites, skipped


def _candidates(view: View, options: Options) -> Iterator[tuple[Node, int]]:
    """Each linear operator with a constant weight, and which input that is; in functions, with one that may be."""
    for node in view.graph.nodes():
        if node.domain != ONNX_DOMAIN or node.op_type not in options.ops or not any(node.outputs[:1]):
            continue
        op = view.operator(node)
        function = outermost(node.scope)
        if function.is_function:
            if view.is_run(function) and any(_may_be_weight(op, index) for index in _WEIGHTS[node.op_type]):
                yield node, _WEIGHTS[node.op_type][0]
            continue
        known = [op.constant(index) is not None for index in (0, 1)]
        index = next((index for index in _WEIGHTS[node.op_type] if known[index] and not known[1 - index]), None)
        if index is not None or _is_quantized(op):
            yield node, 1 if index is None else index


def _may_be_weight(op: Operator, index: int) -> bool:
    value = op.input(index)
    return value is not None and (value.is_input or op.constant(index) is not None)


def _is_quantized(op: Operator) -> bool:
    return any(_produced_by(op.input(index), "DequantizeLinear") for index in (0, 1))


def _produced_by(value: Value | None, op_type: str) -> bool:
    return value is not None and value.producer is not None and value.producer.op_type == op_type


def _site(view: View, following: Following, node: Node, index: int, options: Options) -> Site | Skipped:
    op = view.operator(node)

    def skip(code: str, text: str) -> Skipped:
        return Skipped(node.label, node.op_type, code, f"{node.op_type} '{node.label}' {text}")

    if not options.is_chosen(node):
        return skip("not-asked", "is none that was asked for")
    if outermost(node.scope).is_function:
        return skip("function", "stands in a function that can not be put in the place of its calls")
    if _is_quantized(op):
        return skip("quantized", "has weights or inputs in integers behind DequantizeLinear")
    site = _measured(op, index)
    if isinstance(site, str):
        return skip(*site.split(": ", 1))
    site = _behind_bias(view, site)
    if not site.value.readers and not site.value.is_output:
        return skip("unread", "computes what nothing reads")
    normalization = following.normalization(site.value)
    if normalization is not None:
        return skip("normalized", f"is followed by {normalization} already")
    if following.quantizer(site.value):
        return skip("quantized", "gives its output to a QuantizeLinear, whose scale was chosen for it as it is")
    if not options.include_classifier and following.reaches_output(site.value):
        return skip("classifier", "is the last linear operator on a path to an output; --include-classifier adds one")
    return _behind_activation(following, site) if options.position == AFTER else site


def _measured(op: Operator, index: int) -> Site | str:
    """The site right behind an operator; a code and a reason where its channels can not be told."""
    node, value, weight = op.node, op.node.outputs[0], op.constant(index)
    if value is None or weight is None:
        return "weight: has no constant weight"
    rank = _rank(op, index)
    if rank is None or rank < 2:
        return "unknown-shape: has an output whose rank is not known, or is 1; run onnx.shape_inference on the model"
    found = _channels(op, index, weight, rank)
    if found is None:
        return "weight: has a weight of a shape that leaves the number of channels open"
    channels, axis = found
    if weight.elem_type not in FLOATS:
        return f"type: computes in {type_name(weight.elem_type)}, which BatchNormalization does not"
    if weight.elem_type == TensorProto.BFLOAT16 and node.opset < BFLOAT16_OPSET:
        return f"type: computes in bfloat16, which BatchNormalization does from opset {BFLOAT16_OPSET} on"
    return Site(node, value, _weight_name(op, index), channels, axis, rank, weight.elem_type)


def _weight_name(op: Operator, index: int) -> str:
    """The name of the initializer, or of the value, that the weight is made of."""
    value = op.input(index)
    while value is not None and value.producer is not None and any(value.producer.inputs[:1]):
        value = value.producer.inputs[0]
    return op.node.label if value is None else value.name


def _rank(op: Operator, index: int) -> int | None:
    """The rank of the output: that of the weight, for convolutions; 2 for a Gemm; that of the data, for a matrix."""
    weight = op.constant(index)
    if op.node.op_type in ("Conv", "ConvTranspose"):
        return None if weight is None else weight.rank
    if op.node.op_type == "Gemm":
        return 2
    data = op.shapes.rank(op.input(1 - index))  # shape inference knows no sparse initializers
    return data if weight is not None and weight.rank == 2 and data else op.output_rank()


def _channels(op: Operator, index: int, weight: Constant, rank: int) -> tuple[int, int] | None:
    """How many channels the output has, and along which axis.

    Conv: ``W: [O, I/g, *k]``, axis 1; ConvTranspose: ``W: [I, O/g, *k]``, axis 1; Gemm: columns of B', axis 1, or rows
    of A', axis 0; MatMul: columns of the right matrix, last axis, or rows of the left one, the axis before.
    """
    shape, op_type = weight.shape, op.node.op_type
    if op_type == "Conv":
        return (shape[0], 1) if weight.rank >= 3 else None
    if op_type == "ConvTranspose":
        return (shape[1] * int(op.attribute("group", 1)), 1) if weight.rank >= 3 else None
    if weight.rank != 2:
        return None
    if op_type == "Gemm":
        transposed = bool(op.attribute("transB" if index else "transA", 0))
        return (shape[index ^ transposed], index)
    return (shape[1], rank - 1) if index else (shape[0], rank - 2)


def _behind_bias(view: View, site: Site) -> Site:
    """The site behind the Add of a constant per channel, where that alone reads the linear operator."""
    adder = _only_reader(site.value, "Add")
    if adder is None or not any(adder.outputs[:1]):
        return site
    op = view.operator(adder)
    constants = [op.constant(0), op.constant(1)]
    constant = constants[0] or constants[1]
    output = adder.outputs[0]
    if constant is None or output is None or all(constants) or adder.since_version < EARLIEST_OPSET:
        return site
    laid = (1,) * (site.rank - constant.rank) + constant.shape
    sizes = [site.channels if axis == site.axis else 1 for axis in range(site.rank)]
    fits = len(laid) == site.rank and all(size in (1, wanted) for size, wanted in zip(laid, sizes, strict=True))
    return replace(site, value=output, bias=adder) if fits else site


def _behind_activation(following: Following, site: Site) -> Site:
    behind = following.activation(site.value)
    return site if behind is None else replace(site, value=behind, is_behind_activation=True)


def _only_reader(value: Value, op_type: str) -> Node | None:
    if len(value.readers) != 1 or value.is_output:
        return None
    node = value.readers[0][0]
    return node if node.op_type == op_type and node.domain == ONNX_DOMAIN and node.scope is value.scope else None
