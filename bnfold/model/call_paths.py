"""Which calls of functions can be put in place: those of functions that hold an operator of interest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from bnfold.model.calls import Calls, outermost
from bnfold.model.graph import Node, Scope
from bnfold.model.inlining import CallPath, may_inline

MAX_NODES = 20_000
"""How many nodes the bodies may have that are put in: calls within functions can multiply without end."""

MAX_DEPTH = 64
"""How many calls may lead to one that is put in."""

Pending: TypeAlias = tuple[CallPath, Node, Scope]
"""A call and what it calls, with the calls that lead to it."""


def calls_of_main(calls: Calls) -> list[Pending]:
    """The calls in the main graph and its bodies, as roots for `call_paths`; none where the calls are not sound."""
    if not calls.is_sound:
        return []
    return [((node.address,), node, function) for node, function in calls.calls_in(calls.graph.main)]


def call_paths(
    calls: Calls,
    roots: Iterable[Pending],
    is_concerned: Callable[[Node], bool],
    *,
    depth: int = MAX_DEPTH,
    limit: int = MAX_NODES,
) -> Iterator[CallPath]:
    """The calls that may be put in, each behind those that lead to it.

    They are of functions that hold an operator of interest, directly or in what they call.

    Args:
        calls: of the model, sound.
        roots: the calls to start from.
        is_concerned: whether an operator is of interest.
        depth: how many calls may lead to one that is put in.
        limit: how many nodes may be put in.
    """
    concerned, left, pending = _concerned(calls, is_concerned), limit, deque(roots)
    imports = {number: dict(calls.graph.scopes[number].opsets) for number in calls.inside}
    while pending:
        path, node, function = pending.popleft()
        size = len(calls.inside.get(function.number, ()))
        opsets = imports[outermost(calls.graph.scopes[path[0].scope]).number]
        if function.number not in concerned or size > left or not may_inline(node, function, opsets):
            continue
        left -= size
        opsets.update(function.opsets)
        yield path
        if len(path) < depth:
            pending += [((*path, inner.address), inner, called) for inner, called in calls.calls_in(function)]


def _concerned(calls: Calls, is_concerned: Callable[[Node], bool]) -> set[int]:
    """The functions that hold an operator of interest, directly or in what they call."""
    found: set[int] = set()
    for root in reversed(calls.callers_first() or []):
        holds = any(is_concerned(node) for node in calls.inside.get(root.number, ()))
        if holds or any(function.number in found for _, function in calls.calls_in(root)):
            found.add(root.number)
    return found
