"""The order in which the nodes of a graph can run."""

from __future__ import annotations

from collections import deque

from bnfold.model.graph import Address, Graph, Node, Scope


def ranks(graph: Graph) -> dict[Address, int]:
    """A number per node: higher than that of every node it depends on in its own scope. Nodes on a cycle have none.

    ONNX asks for nodes in that order in the file; onnxruntime does not insist, and neither does this.
    """
    found: dict[Address, int] = {}
    for scope in graph.scopes:
        found.update(_ranks_of(scope))
    return found


def _ranks_of(scope: Scope) -> dict[Address, int]:
    if _is_in_order(scope):
        return {node.address: node.address.place for node in scope.nodes}
    waiting = {node.address: len(_needs(node)) for node in scope.nodes}
    ready = deque(node for node in scope.nodes if not waiting[node.address])
    found: dict[Address, int] = {}
    while ready:
        node = ready.popleft()
        found[node.address] = len(found)
        for reader in dict.fromkeys(reader for value in node.outputs if value for reader, _ in value.readers):
            if reader.scope is scope:
                waiting[reader.address] -= 1
                if not waiting[reader.address]:
                    ready.append(reader)
    return found


def _needs(node: Node) -> set[Node]:
    """The nodes of the same scope whose outputs the node reads itself."""
    producers = (value.producer for value in node.inputs if value is not None)
    return {producer for producer in producers if producer is not None and producer.scope is node.scope}


def _is_in_order(scope: Scope) -> bool:
    """Whether every node stands behind all that it needs, as ONNX asks for."""
    for node in scope.nodes:
        for value in node.inputs:
            producer = value.producer if value is not None else None
            if producer is not None and producer.scope is scope and producer.address >= node.address:
                return False
    return True
