"""The search: where each affine goes. It changes nothing and gives back a frozen plan.

First every source is pulled towards the inputs, from the last to the first, so that a chain of affines goes in one
attempt. What can not go that way is pushed towards the outputs, from the first to the last; then its scale is pulled
and its shift pushed. Where pulling would need a new node, pushing is tried as well, and the cheaper one is taken. What
still stays is merged with an affine in front of it or behind it.

A wire up which no map at all can be pulled is remembered, so that the work stays linear for ordinary networks.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from bnfold.affine import Affine
from bnfold.folding.attempt import Attempt, Blocked, Request, State, named
from bnfold.folding.plan import Change, Outcome, Plan
from bnfold.folding.pulling import PullAttempt
from bnfold.folding.pushing import PushAttempt
from bnfold.folding.sources import Source, source_of
from bnfold.model.constants import Constants
from bnfold.model.graph import Address, Graph, Node, Value
from bnfold.model.order import ranks
from bnfold.model.shapes import Shapes
from bnfold.ops.registry import pull
from bnfold.ops.rule import Operator, Placed, Refusal


def make_plan(graph: Graph, constants: Constants, shapes: Shapes) -> Plan:
    """Decide for every affine of the graph whether it goes, and where.

    Raises:
        ExternalDataError, ModelError: a tensor that the decision needs can not be read.
    """
    search = _Search(graph, constants, shapes)
    found = [(node, source_of(search.operator(node))) for node in graph.nodes()]
    search.sources = {node.address: source for node, source in found if isinstance(source, Source)}
    search.refusals = {node.address: made for node, made in found if isinstance(made, Refusal)}
    for address in reversed(search.sources):
        search.pull(search.sources[address])
    for address in search.sources:
        search.push(search.sources[address])
    for address in reversed(search.sources):
        search.merge(search.sources[address])
    outcomes = tuple(_outcome(node, made, search) for node, made in found if made is not None)
    state = search.state
    return Plan(
        graph, MappingProxyType(state.removed), frozenset(state.pushed), MappingProxyType(state.changes), outcomes
    )


def _outcome(node: Node, source: Source | Refusal, search: _Search) -> Outcome:
    channels = source.channels if isinstance(source, Source) else 0
    if isinstance(source, Source) and node.address in search.state.removed:
        return Outcome(node, channels, _absorbers(source, search.state))
    merged = Refusal("merged", node.label, f"{named(node)} has taken in another affine")
    return Outcome(node, channels, refusal=search.refusals.get(node.address, merged))


def _absorbers(source: Source, state: State) -> tuple[Node, ...]:
    """The operators at which the requests that start at the source end."""
    pushed = source.node.address in state.pushed
    found: dict[Address, Node] = {}
    pending, seen = [source.output if pushed else source.wire], set[Node]()
    while pending:
        for node in _next_nodes(pending.pop(), pushed=pushed):
            if node in seen:
                continue
            seen.add(node)
            if node.address in state.removed:
                gone = state.removed[node.address]
                pending.append(gone.output if pushed else gone.wire)
                continue
            change = state.changes.get(node.address)
            if change is None:
                continue
            if change.taken.constants or change.taken.behind or not (change.wanted or change.owed):
                found[node.address] = node
            pending += _next_wires(change, pushed=pushed)
    return tuple(found[address] for address in sorted(found))


def _next_nodes(wire: Value, *, pushed: bool) -> list[Node]:
    if pushed:
        return [reader for reader, _ in wire.value_readers]
    return [] if wire.producer is None else [wire.producer]


def _next_wires(change: Change, *, pushed: bool) -> list[Value]:
    node = change.op.node
    wires = [node.outputs[k] for k in change.owed] if pushed else [node.inputs[k] for k in change.wanted]
    return [wire for wire in wires if wire is not None]


class _Search:
    """What has been decided so far, and one source after the other."""

    def __init__(self, graph: Graph, constants: Constants, shapes: Shapes) -> None:
        self.constants = constants
        self.shapes = shapes
        self.rank = ranks(graph)
        self.sources: dict[Address, Source] = {}
        self.refusals: dict[Address, Refusal] = {}
        self.state = State()
        self._blocked: dict[Value, Refusal] = {}

    def operator(self, node: Node) -> Operator:
        """The node with its constants and shapes."""
        return Operator(node, self.constants, self.shapes)

    def remembered(self, wire: Value) -> Refusal | None:
        """Why no map at all can be pulled up that wire, if an earlier attempt found out."""
        return self._blocked.get(wire)

    def pull(self, source: Source) -> None:
        """Take the source out towards the inputs, or towards the outputs if that is cheaper."""
        if self._is_settled(source):
            return
        pulled = self._pulled(source, source.placed)
        if isinstance(pulled, Refusal):
            self.refusals[source.node.address] = pulled
            return
        if self._added(pulled):
            pushed = self._pushed(source, source.placed, State())
            if isinstance(pushed, State) and self._gain(pushed) > self._gain(pulled):
                pulled = pushed
        self._adopt(source, pulled)

    def push(self, source: Source) -> None:
        """Take the source out towards the outputs; failing that, its scale one way and its shift the other."""
        if self._is_settled(source):
            return
        pushed = self._pushed(source, source.placed, State())
        if isinstance(pushed, Refusal):
            self._explain(source, pushed)
            pushed = self._parted(source)
        if isinstance(pushed, State):
            self._adopt(source, pushed)

    def merge(self, source: Source) -> None:
        """Let another affine, in front or behind, take in a source that stays otherwise: two become one."""
        if self._is_settled(source):
            return
        made = self._pulled(source, source.placed, merging=True)
        if isinstance(made, Refusal):
            made = self._pushed(source, source.placed, State(), merging=True)
        if isinstance(made, State):
            self._adopt(source, made)

    def _is_settled(self, source: Source) -> bool:
        address = source.node.address
        return address in self.state.removed or address in self.state.changes

    def _explain(self, source: Source, pushed: Refusal) -> None:
        """A source that stays was refused in both directions: say both."""
        pulled = self.refusals.get(source.node.address)
        if pulled is not None and pulled.text != pushed.text:
            text = f"{pulled.text}; the other way, {pushed.text}"
            self.refusals[source.node.address] = Refusal(pulled.code, pulled.node, text)

    def _parted(self, source: Source) -> State | Refusal:
        """The scale pulled, the shift pushed."""
        affine = source.placed.affine
        if affine.is_scaling or bool((affine.scale == 1.0).all()):
            return self.refusals[source.node.address]
        scaled = self._pulled(source, source.placed.scaling)
        if isinstance(scaled, Refusal):
            return scaled
        shift = Placed.of(Affine.of(1.0, affine.shift), source.placed.axis)
        return self._pushed(source, shift, scaled)

    def _pulled(self, source: Source, placed: Placed, *, merging: bool = False) -> State | Refusal:
        attempt = PullAttempt(self, State({source.node.address: source}), merging=merging)
        return self._tried(attempt, source.wire, placed)

    def _pushed(self, source: Source, placed: Placed, state: State, *, merging: bool = False) -> State | Refusal:
        parted = bool(state.removed)
        attempt = PushAttempt(self, state, merging=merging)
        attempt.state.removed[source.node.address] = source
        if not parted:
            attempt.state.pushed.add(source.node.address)
        return self._tried(attempt, source.output, placed)

    def _tried(self, attempt: Attempt, wire: Value, placed: Placed) -> State | Refusal:
        try:
            attempt.run(wire, placed)
        except Blocked as blocked:
            if isinstance(attempt, PullAttempt):
                for barrier in attempt.barriers:
                    self._remember(barrier)
            return blocked.refusal
        return attempt.state

    def _remember(self, barrier: Blocked) -> None:
        """No map passes the wire, nor those that led to it, down to an affine that could take a map itself."""
        request: Request | None = barrier.request
        while request is not None:
            node = request.wire.producer
            if request is not barrier.request and node and node.address in self.sources and pull.rule(node):
                return
            self._blocked[request.wire] = barrier.refusal
            request = request.cause

    def _adopt(self, source: Source, made: State) -> None:
        """Keep what an attempt decided, unless the graph would get more expensive."""
        if self._gain(made) > 0 or self._takes_a_normalization(made):
            self.state.adopt(made)
            for address in made.removed:
                self.refusals.pop(address, None)
            return
        needing = next((c.op for c in made.changes.values() if c.taken.behind), self.operator(source.node))
        refusal = needing.refuse("no-gain", "would need an Add behind it in place of this node")
        self.refusals[source.node.address] = refusal

    def _gain(self, made: State) -> int:
        """Nodes that go, less nodes that come."""
        return sum(address not in self.state.removed for address in made.removed) - self._added(made)

    def _added(self, made: State) -> int:
        before = (self.state.changes.get(address) for address in made.changes)
        return _behind(made.changes.values()) - _behind(change for change in before if change)

    def _takes_a_normalization(self, made: State) -> bool:
        return any(s.is_normalization for address, s in made.removed.items() if address not in self.state.removed)


def _behind(changes: Iterable[Change]) -> int:
    """How many nodes the changes add."""
    return sum(change.taken.behind is not None for change in changes)
