"""The edits that put a BatchNormalization on a wire.

The producer gets a new name for what it computes, and the normalization produces the old one: so every reader, in
bodies too, reads the normalized value, and a graph output keeps its name with the normalization on the path.
Where the channels are not on axis 1, two Transposes stand around it, which a fold takes out again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from onnx import NodeProto, helper

from bnfold.inserting.bias import Bias
from bnfold.inserting.options import Options
from bnfold.inserting.parameters import Parameters
from bnfold.inserting.sites import Site
from bnfold.model.graph import Node
from bnfold.model.names import Names
from bnfold.model.patch import Patch


class Placed(NamedTuple):
    """A BatchNormalization that was put in: its node's name, and those of its four parameters and its input."""

    node: str
    scale: str
    bias: str
    mean: str
    variance: str
    input: str


def place(
    site: Site, parameters: Parameters, bias: Bias | None, patch: Patch, names: Names, options: Options
) -> Placed:
    """Put a BatchNormalization on the wire of a site.

    Args:
        site: the place.
        parameters: the numbers; their mean is that of the wire, `bias` included.
        bias: what goes into the mean, and out of the graph.
        patch: gets the edits.
        names: gives new names.
        options: the caller's.
    """
    producer = producer_of(site)
    raw = _bared(site, bias, patch) or names.fresh(f"{site.value.name}.raw")
    if bias is None or bias.adder is None:
        patch.produce_instead(producer, site.value.output_index, raw)
    node = names.fresh(f"{site.weight}.bn")
    scale, shift, mean, variance = (names.fresh(f"{node}.{role}") for role in ("scale", "bias", "mean", "var"))
    placed = Placed(node, scale, shift, mean, variance, raw)
    without = parameters if bias is None else replace(parameters, mean=parameters.mean - bias.values)
    for tensor in without.tensors(placed[1:5], site.elem_type):
        patch.add_constant(site.value.scope, tensor)
    for new in _nodes(site, placed, names, options):
        patch.insert_behind(producer, new)
    return placed


def _bared(site: Site, bias: Bias | None, patch: Patch) -> str | None:
    """Take a bias out; the name of what is left on the wire then, where an Add goes."""
    if bias is None:
        return None
    bias.remove(patch)
    output = site.linear.outputs[0]
    return output.name if bias.adder is not None and output is not None else None


def producer_of(site: Site) -> Node:
    """The node whose output the wire is."""
    if site.value.producer is None:
        raise AssertionError(f"the wire '{site.value.name}' of a site has no producer")
    return site.value.producer


def _nodes(site: Site, placed: Placed, names: Names, options: Options) -> list[NodeProto]:
    if site.axis == 1:
        return [_normalization(placed, placed.input, site.value.name, options)]
    order = list(range(site.rank))
    order[1], order[site.axis] = site.axis, 1  # [N, T, C] -> [N, C, T], its own inverse
    turned, normalized = names.fresh(f"{placed.node}.turned"), names.fresh(f"{placed.node}.normalized")
    return [
        helper.make_node("Transpose", [placed.input], [turned], names.fresh(f"{placed.node}.there"), perm=order),
        _normalization(placed, turned, normalized, options),
        helper.make_node("Transpose", [normalized], [site.value.name], names.fresh(f"{placed.node}.back"), perm=order),
    ]


def _normalization(placed: Placed, read: str, made: str, options: Options) -> NodeProto:
    return helper.make_node(
        "BatchNormalization",
        [read, placed.scale, placed.bias, placed.mean, placed.variance],
        [made],
        placed.node,
        epsilon=options.epsilon,
        momentum=options.momentum,
    )
