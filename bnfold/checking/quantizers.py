"""Models that quantize their activations, so that they can be compared: with a hair in front, and without quantizers.

A QuantizeLinear takes what differs by a rounding to two different integers where it lies at the border between them:
one whole step, however small the cause. Two graphs that are equal in real arithmetic then differ by what a few steps
do to the outputs, which nothing in the types of the graph tells. So it is measured: every activation gets a hair, a
64th of the step, on its way into its QuantizeLinear, once upwards and once downwards. That sends 1 in 64 of its
elements to another integer. A fold sends fewer there: its roundings are below a thousandth of a step, those of a bias
in int32 below a hundredth.

Steps hide small errors. So the two graphs are compared once more with the quantizers taken out: what stands behind a
DequantizeLinear then is what stands in front of the QuantizeLinear, and nothing steps. The hair is a 512th of a step
here, which is what a bias in int32 may be off by.

Where the other model has biases in int32 of its own, the sums that they belong to get half a step as well
(`bnfold.checking.integer_sums`): behind the last quantizer, nothing else tells what rounding them does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnfold.checking.integer_sums import constants_of, has_new_biases, sums_in_integers
from bnfold.checking.subject import Subject, every_node

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

HAIR = 2.0**-6
"""In steps of the quantizer."""

FINE_HAIR = 2.0**-9
"""Where the quantizers are taken out."""


@dataclass(frozen=True)
class _Quantizer:
    """A QuantizeLinear of an activation, with one scale.

    Attributes:
        node: The node, in the graph.
        readers: The nodes that read it, all of which are DequantizeLinear; empty where something else sees it too.
        scale_type: The element type of its scale.
    """

    node: NodeProto
    readers: tuple[NodeProto, ...]
    scale_type: int


def nudged(before: Subject, after: Subject) -> tuple[bytes, ...]:
    """The original with its activations a hair higher, and a hair lower; none of a model in which nothing can step.

    A model that does not fit into one message with its weights gives none either: the check is stricter then.
    """
    half = _half(before, after)
    if not (half or _quantizers(before.proto.graph)) or not before.fits_into_one_message:
        return ()
    return tuple(_edited(before, sign * HAIR, sign * half) for sign in (1, -1))


def without_quantizers(before: Subject, after: Subject) -> tuple[bytes, ...]:
    """The other model with its quantizers taken out, behind the original without them: as it is, a hair higher, lower.

    None where one of them has no quantizers, or where steps would remain: something else than a DequantizeLinear reads
    one.
    """
    if not all(_can_be_taken_out(model) for model in (before, after)):
        return ()
    half = _half(before, after)
    variants = [_edited(before, sign * FINE_HAIR, sign * half, take_out=True) for sign in (0, 1, -1)]
    return (*variants, _edited(after, 0.0, 0.0, take_out=True))


def _half(before: Subject, after: Subject) -> float:
    """Half a step for the sums in integers, if the other model has rounded biases."""
    return 0.5 if has_new_biases(before, after) else 0.0


def _can_be_taken_out(model: Subject) -> bool:
    quantizers = _quantizers(model.proto.graph)
    if not quantizers or not model.fits_into_one_message:
        return False
    steps = [node for node in every_node(model.loaded()) if node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear")]
    return sum(bool(quantizer.readers) for quantizer in quantizers) == len(steps)


def _quantizers(graph: GraphProto) -> list[_Quantizer]:
    """Each QuantizeLinear in the graph that an input of the graph moves, and that has one constant scale."""
    tensors = constants_of(graph)
    moving = {entry.name for entry in graph.input} - {tensor.name for tensor in graph.initializer}
    found: list[_Quantizer] = []
    for node in graph.node:
        if not moving.intersection(node.input):
            continue
        moving.update(node.output)
        if _is_standard(node, "QuantizeLinear") and node.input[0] in moving:
            scale = tensors.get(node.input[1])
            if scale is not None and tuple(scale.dims) in ((), (1,)):
                found.append(_Quantizer(node, tuple(_readers(graph, node)), scale.data_type))
    return found


def _is_standard(node: NodeProto, op_type: str) -> bool:
    return node.op_type == op_type and node.domain in ("", "ai.onnx")


def _readers(graph: GraphProto, quantizer: NodeProto) -> Iterator[NodeProto]:
    name = quantizer.output[0]
    readers = [node for node in graph.node if name in node.input]
    if name not in {entry.name for entry in graph.output} and all(
        _is_standard(node, "DequantizeLinear") and node.input[0] == name for node in readers
    ):
        yield from readers


def _edited(model: Subject, by: float, half: float, *, take_out: bool = False) -> bytes:
    """The model with `by` steps added in front of each quantizer, which stays or is taken out, and `half` to sums."""
    proto = model.loaded()
    if half:
        _add_to_sums(proto.graph, half)
    quantizers = {quantizer.node.output[0]: quantizer for quantizer in _quantizers(proto.graph)}
    replaced = {reader.output[0]: name for name, q in quantizers.items() if take_out for reader in q.readers}
    nodes: list[NodeProto] = []
    for node in proto.graph.node:
        quantizer = quantizers.get(node.output[0]) if node.output else None
        if quantizer is not None:
            nodes += _hair(proto.graph, quantizer, by, _moved(node.output[0]))
        if quantizer is None or not take_out:
            nodes.append(_rewired(node, quantizer, replaced))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return bytes(proto.SerializeToString())


def _add_to_sums(graph: GraphProto, half: float) -> None:
    """Let every sum in integers be half a step larger, or smaller."""
    from onnx import helper

    sums = {entry.node.output[0]: entry for entry in sums_in_integers(graph)}
    nodes: list[NodeProto] = []
    for node in graph.node:
        nodes.append(node)
        entry = sums.get(node.output[0]) if node.output else None
        if entry is not None:
            name, amount = node.output[0], f"{node.output[0]}/bnfold/half"
            graph.initializer.append(helper.make_tensor(amount, entry.elem_type, [], [half * entry.step]))
            node.output[0] = f"{name}/bnfold/sum"
            nodes.append(helper.make_node("Add", [node.output[0], amount], [name]))
    del graph.node[:]
    graph.node.extend(nodes)


def _moved(name: str) -> str:
    """What the input of the quantizer with that output is called, once it is moved."""
    return f"{name}/bnfold/moved"


def _hair(graph: GraphProto, quantizer: _Quantizer, by: float, moved: str) -> list[NodeProto]:
    from onnx import helper

    node = quantizer.node
    hair, amount = f"{moved}/hair", f"{moved}/amount"
    graph.initializer.append(helper.make_tensor(hair, quantizer.scale_type, [], [by]))
    return [
        helper.make_node("Mul", [node.input[1], hair], [amount]),
        helper.make_node("Add", [node.input[0], amount], [moved]),
    ]


def _rewired(node: NodeProto, quantizer: _Quantizer | None, replaced: Mapping[str, str]) -> NodeProto:
    """The quantizer behind its hair, an Identity in place of a DequantizeLinear, every other node as it is."""
    from onnx import helper

    if quantizer is not None:
        node.input[0] = _moved(node.output[0])
    elif node.output and node.output[0] in replaced:
        return helper.make_node("Identity", [_moved(replaced[node.output[0]])], node.output, node.name)
    return node
