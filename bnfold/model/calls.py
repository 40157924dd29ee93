"""Which nodes call which model-local functions, and how often each scope runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias

from onnx import FunctionProto, ModelProto, NodeProto

from bnfold.model.graph import ONNX_DOMAIN, Address, Graph, Node, Scope, subgraphs

FunctionKey: TypeAlias = tuple[str, str, str]
"""Domain, name and overload: what tells a model's functions apart (ONNX IR, functions)."""

MOST_PUT_IN = 2**20
"""How many nodes there may be once every body stands in the place of its calls: forty functions, each of which calls
the next one twice, come to 2^40."""

DEEPEST = 100
"""How many calls may lead to another one: onnxruntime takes no more, and onnx follows them by recursion."""


class Calls:
    """The calls of one model.

    Args:
        graph: the view.

    Attributes:
        functions: the scope of every function.
        bodies: the bodies that a control-flow node holds, in the order of its attributes.
        inside: per function, and for the main graph, its nodes and those of the bodies in it, in the order of the walk.
        runs: how many chains of calls lead from the main graph to each of them, by number of the scope.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.functions: dict[FunctionKey, Scope] = {
            key_of(scope.proto): scope for scope in graph.scopes if isinstance(scope.proto, FunctionProto)
        }
        self.bodies = _bodies(graph)
        self.inside: dict[int, list[Node]] = {}
        for node in graph.nodes():
            self.inside.setdefault(outermost(node.scope).number, []).append(node)
        self.runs = self._count_runs()

    @property
    def is_sound(self) -> bool:
        """Whether every function has a name of its own and none, by whatever way, calls itself; ONNX forbids both."""
        return self.runs is not None and len(self.functions) == len(self.graph.model.functions)

    @property
    def can_all_be_put_in(self) -> bool:
        """Whether onnx's shape inference and onnxruntime come to an end, which put every body in place of its calls."""
        if not self.is_sound or self.runs is None:
            return False
        nodes = sum(self.runs[number] * len(nodes) for number, nodes in self.inside.items())
        return nodes <= MOST_PUT_IN and self._depth() <= DEEPEST

    def _depth(self) -> int:
        depths: Counter[int] = Counter()
        for root in self.callers_first() or ():
            for _, function in self.calls_in(root):
                depths[function.number] = max(depths[function.number], depths[root.number] + 1)
        return max(depths.values(), default=0)

    def called(self, node: Node) -> Scope | None:
        """The function that the node calls."""
        return self.functions.get(call_key(node.proto))

    def calls_in(self, root: Scope) -> list[tuple[Node, Scope]]:
        """The calls in a function or the main graph, and in the bodies there."""
        found = ((node, self.called(node)) for node in self.inside.get(root.number, ()))
        return [(node, function) for node, function in found if function is not None]

    def callers_first(self) -> list[Scope] | None:
        """The main graph and the functions, each before those it calls; None where functions call each other."""
        roots = [self.graph.main, *self.functions.values()]
        waiting = Counter(function.number for root in roots for _, function in self.calls_in(root))
        order = [root for root in roots if not waiting[root.number]]
        for root in order:  # grows by the functions all of whose callers stand in it
            for _, function in self.calls_in(root):
                waiting[function.number] -= 1
                if not waiting[function.number]:
                    order.append(function)
        return order if len(order) == len(roots) else None

    def _count_runs(self) -> Counter[int] | None:
        order = self.callers_first()
        if order is None:
            return None
        runs = Counter({self.graph.main.number: 1})
        for root in order:
            for _, function in self.calls_in(root):
                runs[function.number] += runs[root.number]
        return runs


def key_of(function: FunctionProto) -> FunctionKey:
    """What a call says to mean the function."""
    return (_domain(function.domain), function.name, function.overload)


def call_key(node: NodeProto) -> FunctionKey:
    """The function that the node calls if the model has it."""
    return (_domain(node.domain), node.op_type, node.overload)


def called_keys(model: ModelProto) -> Counter[FunctionKey]:
    """Every operator that any node of the model names, in functions, bodies and training graphs too; how often."""
    roots: list[Iterable[NodeProto]] = [model.graph.node, *(function.node for function in model.functions)]
    for info in model.training_info:
        roots += [info.initialization.node, info.algorithm.node]
    return called_by(node for nodes in roots for node in nodes)


def called_by(nodes: Iterable[NodeProto]) -> Counter[FunctionKey]:
    """Every operator that the nodes name, and those in their bodies; how often."""
    found: Counter[FunctionKey] = Counter()
    pending = [nodes]
    while pending:
        for node in pending.pop():
            found[call_key(node)] += 1
            pending += [body.node for body in subgraphs(node)]
    return found


def outermost(scope: Scope) -> Scope:
    """The main graph or the function that the scope lies in, or is."""
    while scope.parent is not None:
        scope = scope.parent
    return scope


def _domain(domain: str) -> str:
    return ONNX_DOMAIN if domain == "ai.onnx" else domain


def _bodies(graph: Graph) -> dict[Address, list[Scope]]:
    """The walk numbers the bodies of a scope in the order of the nodes that hold them."""
    children: dict[int, list[Scope]] = {}
    for scope in graph.scopes:
        if scope.parent is not None:
            children.setdefault(scope.parent.number, []).append(scope)
    found: dict[Address, list[Scope]] = {}
    for scope in graph.scopes:
        rest = iter(children.get(scope.number, ()))
        for node in scope.nodes:
            count = len(subgraphs(node.proto))
            if count:
                found[node.address] = [next(rest) for _ in range(count)]
    return found
