"""Affines that only a call of a function settles: its arguments are the parameters, or its attributes are.

Within a function an input is no constant, since calls may differ. So the body is put in the place of the call, where
the arguments are what they are, and the plan is made for that model. It is taken only if more affines go than in the
plan of the model as it is, and only those calls are put in that it needs: it does something else in them than the plan
of the model does in the function, for all of its calls. In all other cases the model stays as it came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from onnx import FunctionProto, ModelProto

from bnfold.folding.plan import Change, Plan
from bnfold.folding.sources import BATCH_NORMALIZATION, ELEMENTWISE
from bnfold.model.call_paths import MAX_DEPTH, MAX_NODES, Pending, call_paths, calls_of_main
from bnfold.model.calls import Calls, outermost
from bnfold.model.graph import ONNX_DOMAIN, Address, Node, Scope
from bnfold.model.inlining import CallPath, Inlined, inline, node_at
from bnfold.ops.registry import Maps, pull, push


@dataclass(frozen=True, eq=False)
class Specialized:
    """The plan to take.

    Attributes:
        plan: of the model as it came, or of the one with bodies in the place of calls.
        remarks: which calls those are.
    """

    plan: Plan
    remarks: tuple[str, ...] = ()


def specialized(plan: Plan, planned: Callable[[ModelProto], Plan]) -> Specialized:
    """The plan of the model as it came, or a better one of the model with the bodies of functions put in.

    Args:
        plan: of the model as it came.
        planned: makes the plan of another model.
    """
    if not plan.graph.model.functions:
        return Specialized(plan)
    within = _improved(plan, planned, within_functions=True)
    outside = _improved(within.plan, planned, within_functions=False)
    return Specialized(outside.plan, within.remarks + outside.remarks)


def _improved(plan: Plan, planned: Callable[[ModelProto], Plan], *, within_functions: bool) -> Specialized:
    """As `specialized`, with calls in functions alone, or with those in the main graph and what they lead to.

    What is settled within a function is put in there, once for all of its calls.
    """
    calls = Calls(plan.graph)
    roots = _roots(calls, within_functions=within_functions)
    depth = 1 if within_functions else MAX_DEPTH
    chosen = frozenset(call_paths(calls, roots, _has_a_part, depth=depth, limit=MAX_NODES))
    if not chosen:
        return Specialized(plan)
    made = _Attempt.of(calls, chosen, planned)
    if made.gain <= _gain(plan, calls):
        return Specialized(plan)
    for keep in (_touched, _needed):  # the second drops more, at times too many
        fewer = keep(made, plan)
        if fewer and fewer != made.chosen:
            other = _Attempt.of(calls, fewer, planned)
            made = other if other.gain >= made.gain else made
    return Specialized(made.plan, tuple(_remarks(calls, made.chosen)))


class _Gain(NamedTuple):
    """What a plan comes to over all runs of each function; the first number that differs tells which is better."""

    normalizations: int
    nodes: int


@dataclass(frozen=True, eq=False)
class _Attempt:
    """Calls that are put in, and the plan for what comes of it."""

    chosen: frozenset[CallPath]
    inlined: Inlined
    plan: Plan
    gain: _Gain

    @classmethod
    def of(cls, calls: Calls, chosen: frozenset[CallPath], planned: Callable[[ModelProto], Plan]) -> _Attempt:
        inlined = inline(calls, chosen)
        plan = planned(inlined.model)
        return cls(chosen, inlined, plan, _gain(plan, Calls(plan.graph)))


def _gain(plan: Plan, calls: Calls) -> _Gain:
    runs = calls.runs or Counter[int]()

    def weight(scope: Scope) -> int:
        return runs[outermost(scope).number]

    left = plan.residuals.values()
    removed = plan.removed.values()
    added = sum(weight(c.op.node.scope) for c in plan.changes.values() if c.taken.behind is not None)
    added += sum(weight(residual.wire.scope) * len(residual.forms) for residual in left)
    normalizations = sum(weight(source.node.scope) for source in removed if source.is_normalization)
    normalizations -= sum(weight(residual.wire.scope) for residual in left if residual.is_normalization)
    return _Gain(normalizations, sum(weight(source.node.scope) for source in removed) - added)


def _roots(calls: Calls, *, within_functions: bool) -> list[Pending]:
    """The calls in the main graph, or those in functions that have parameters of their own there."""
    if not calls.is_sound:
        return []
    if not within_functions:
        return calls_of_main(calls)
    return [
        ((node.address,), node, function)
        for root in calls.functions.values()
        if _states_opsets(root) and calls.runs and calls.runs[root.number]
        for node, function in calls.calls_in(root)
        if node.proto.attribute or any(v and v.producer and not v.producer.inputs for v in node.inputs)
    ]


def _states_opsets(root: Scope) -> bool:
    return isinstance(root.proto, FunctionProto) and bool(root.proto.opset_import)


def _has_a_part(node: Node) -> bool:
    if pull.rule(node) is not None or push.rule(node) is not None:
        return True
    return node.domain == ONNX_DOMAIN and node.op_type in ELEMENTWISE | {BATCH_NORMALIZATION}


def _touched(made: _Attempt, _: Plan) -> frozenset[CallPath]:
    """The calls in which the plan does anything, and those that lead to them."""
    nodes = [made.plan.graph.scopes[a.scope].nodes[a.place] for a in (*made.plan.removed, *made.plan.changes)]
    return _leading_to(
        made.inlined.origins[node.proto.name] for node in nodes if node.proto.name in made.inlined.origins
    )


def _needed(made: _Attempt, plan: Plan) -> frozenset[CallPath]:
    """The calls in which the plan does anything else than the one for the model as it came does in their functions."""
    paths: dict[CallPath, Address] = {}
    for node in made.plan.graph.nodes():
        path = made.inlined.origins.get(node.proto.name)
        if path is not None:
            paths[path] = node.address
    different = (path for path, address in paths.items() if not _same(made.plan, address, plan, path[-1]))
    return _leading_to(different)


def _leading_to(nodes: Iterator[CallPath]) -> frozenset[CallPath]:
    """The calls from which nodes come, and those that lead to them."""
    return frozenset(path[:length] for path in nodes for length in range(1, len(path)))


def _same(one: Plan, address: Address, other: Plan, place: Address) -> bool:
    """Whether two plans do the same to a node, which stands in a different place in each."""
    if (address in one.removed) != (place in other.removed):
        return False
    changes = (one.changes.get(address), other.changes.get(place))
    if changes[0] is None or changes[1] is None:
        return changes[0] is changes[1]
    return _same_maps(changes[0], changes[1])


def _same_maps(one: Change, other: Change) -> bool:
    pairs: tuple[tuple[Maps, Maps], ...] = ((one.pulled, other.pulled), (one.pushed, other.pushed))
    return all(a.keys() == b.keys() and all(placed.same_as(b[index]) for index, placed in a.items()) for a, b in pairs)


def _remarks(calls: Calls, chosen: Collection[CallPath]) -> Iterator[str]:
    """One per call in the model as it came; those within the functions that it calls come with it."""
    for (address,) in sorted(path for path in chosen if len(path) == 1):
        node = node_at(calls, address)
        yield (
            f"put the body of function '{node.op_type}' in the place of its call '{node.label}': "
            "more folds with the arguments of that call"
        )
