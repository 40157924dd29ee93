"""Which execution provider took which nodes of a graph, and whether that proves anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeAlias

Placement: TypeAlias = Mapping[str, tuple[str, ...]]
"""For each provider that took nodes, their operator types, one per node."""

_MOVES = frozenset(
    {
        "Constant",
        "Flatten",
        "Identity",
        "MemcpyFromHost",
        "MemcpyToHost",
        "Reshape",
        "Shape",
        "Size",
        "Squeeze",
        "Unsqueeze",
    }
)
"""Operators that compute nothing: a provider that took only these did not run the model."""


def placement_of(inference: Any) -> dict[str, tuple[str, ...]]:  # noqa: ANN401 - onnxruntime ships no types
    """What an onnxruntime.InferenceSession recorded under `session.record_ep_graph_assignment_info`."""
    taken: dict[str, tuple[str, ...]] = {}
    for subgraph in inference.get_provider_graph_assignment_info():
        operators = tuple(node.op_type for node in subgraph.get_nodes())
        taken[subgraph.ep_name] = taken.get(subgraph.ep_name, ()) + operators
    return taken


def computes(placement: Placement, provider: str) -> bool:
    """Whether a provider took a node that computes, or any node where the graph has none that does."""
    if not placement:
        return True  # not one node is left: nothing to place
    any_compute = any(_compute_nodes(nodes) for nodes in placement.values())
    taken = placement.get(provider, ())
    return bool(_compute_nodes(taken) if any_compute else taken)


def describe_placement(placement: Placement, provider: str) -> str:
    """A placement in words: `"41 of 43 nodes on CUDAExecutionProvider; on CPUExecutionProvider: 2 Shape"`."""
    total = sum(len(nodes) for nodes in placement.values())
    if not total:
        return f"no node is left to run on {provider}"
    words = f"{len(placement.get(provider, ()))} of {total} nodes on {provider}"
    others = ((name, nodes) for name, nodes in placement.items() if name != provider)
    return "; ".join([words, *(f"on {name}: {_counted(nodes)}" for name, nodes in others)])


def _compute_nodes(nodes: tuple[str, ...]) -> list[str]:
    return [op_type for op_type in nodes if op_type not in _MOVES]


def _counted(nodes: tuple[str, ...]) -> str:
    counts = sorted(Counter(nodes).items())
    return ", ".join(op_type if count == 1 else f"{count} {op_type}" for op_type, count in counts)
