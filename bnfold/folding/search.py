"""The search: where each affine goes. It changes nothing and gives back a frozen plan.

First every source is pulled towards the inputs, from the last to the first, so that a chain of affines goes in one
attempt; those that meet at one node go together (`bnfold.folding.meeting`). What can not go that way goes into an
operator beside it (`bnfold.folding.parallel`), or is pushed towards the outputs, from the first to the last; then its
scale is pulled and its shift pushed. Where pulling would need a new node or write new constants, pushing is tried as
well, and the cheaper one is taken. What still stays is merged with an affine in front of it or behind it, or a part of
it stays in a cheaper form or place: see `bnfold.folding.residuals`.

A wire up which no map at all can be pulled is remembered, so that the work stays linear for ordinary networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from bnfold.folding.attempt import MAX_CHAIN, Attempt
from bnfold.folding.cost import Price, saved_by
from bnfold.folding.meeting import Meeting, behind, in_front, pulled_towards, pushed_towards
from bnfold.folding.options import Options
from bnfold.folding.outcomes import absorbers_of, outcome_of
from bnfold.folding.parallel import taken_beside
from bnfold.folding.plan import Plan, Settled
from bnfold.folding.pulling import PullAttempt, refuse_wire
from bnfold.folding.pushing import PushAttempt
from bnfold.folding.requests import Blocked, Manner, Request, named
from bnfold.folding.residuals import depths, formed, manners
from bnfold.folding.sources import Source, may_be_source, source_of
from bnfold.folding.state import Edges, State
from bnfold.model.constants import Constants
from bnfold.model.graph import Address, Graph, Node, Value
from bnfold.model.order import ranks
from bnfold.model.shapes import Shapes
from bnfold.ops.registry import pull
from bnfold.ops.rule import Operator, Placed, Refusal


def make_plan(graph: Graph, constants: Constants, shapes: Shapes, options: Options | None = None) -> Plan:
    """Decide for every affine of the graph whether it goes, and where.

    Raises:
        ExternalDataError, ModelError: a tensor that the decision needs can not be read.
        UsageError: an option names a node that is not there.
    """
    options = options or Options()
    options.refuse_unknown(graph.nodes())
    search = _Search(graph, constants, shapes, options)
    found = [(node, search.source_of(node)) for node in graph.nodes()]
    search.sources = {node.address: source for node, source in found if isinstance(source, Source)}
    search.refusals = {node.address: made for node, made in found if isinstance(made, Refusal)}
    for address in reversed(search.sources):
        search.pull(search.sources[address])
    for address in search.sources:
        search.take_beside(search.sources[address])
    for address in search.sources:
        search.push(search.sources[address])
    for address in search.in_order_of_settling():
        search.settle(search.sources[address])
    state, absorbers = search.state, absorbers_of(search.state)
    outcomes = tuple(
        outcome_of(node, made, state, search.refusals, search.left_by, absorbers)
        for node, made in found
        if made is not None
    )
    return Plan(
        graph,
        MappingProxyType(state.removed),
        frozenset(state.pushed),
        MappingProxyType(state.changes),
        MappingProxyType(state.residuals),
        outcomes,
        tuple(search.settled),
        search.folds,
        frozenset(state.dropped),
    )


class _Search:
    """What has been decided so far, and one source after the other."""

    def __init__(self, graph: Graph, constants: Constants, shapes: Shapes, options: Options) -> None:
        self.constants = constants
        self.shapes = shapes
        self.options = options
        self.rank = ranks(graph)
        self.sources: dict[Address, Source] = {}
        self.refusals: dict[Address, Refusal] = {}
        self.left_by: dict[Address, tuple[Value, ...]] = {}
        self.settled: list[Settled] = []
        self.state = State()
        self._blocked: dict[Value, Refusal] = {}
        self._seen: dict[Value, Refusal | None] = {}
        self._met: set[tuple[type[Attempt], bool, Node]] = set()
        self.folds = 0

    def operator(self, node: Node) -> Operator:
        """The node with its constants and shapes."""
        return Operator(node, self.constants, self.shapes)

    def source_of(self, node: Node) -> Source | Refusal | None:
        """The affine that a node is, unless the caller wants it left."""
        found = source_of(self.operator(node)) if may_be_source(node) else None
        chosen = self.options.refuse_source(node) if isinstance(found, Source) else None
        return chosen or found

    def remembered(self, wire: Value) -> Refusal | None:
        """Why no map at all can be pulled up that wire, if an earlier attempt found out."""
        return self._blocked.get(wire)

    def seen_by_others(self, wire: Value) -> Refusal | None:
        """Why no map can be pulled up that wire, as the graph stands; found out once: it may have many readers."""
        if wire not in self._seen:
            self._seen[wire] = refuse_wire(wire)
        return self._seen[wire]

    def protected(self, node: Node) -> Refusal | None:
        """Why the caller wants the node left as it is, if that is so."""
        return self.options.refuse_change(node) if self.options.skip else None

    def pull(self, source: Source) -> None:
        """Take the source out towards the inputs, or towards the outputs if that is cheaper."""
        if self._is_settled(source) or self._go_together(in_front(source), pulled_towards, PullAttempt):
            return
        pulled = self._pulled(source, source.placed)
        if isinstance(pulled, Refusal):
            self.refusals[source.node.address] = pulled
            return
        saved = self._saved(pulled)
        if saved.nodes < len(pulled.removed) or saved.bytes < 0:
            pushed = self._pushed(source, source.placed, State())
            if isinstance(pushed, State) and self.options.preference.is_better(self._saved(pushed), saved):
                pulled, saved = pushed, self._saved(pushed)
        self._adopt(source, pulled, saved)

    def push(self, source: Source) -> None:
        """Take the source out towards the outputs; failing that, its scale one way and its shift the other."""
        if self._is_settled(source) or self._go_together(behind(source), pushed_towards, PushAttempt):
            return
        pushed = self._pushed(source, source.placed, State())
        if isinstance(pushed, Refusal):
            self._explain(source, pushed)
            pushed = self._parted(source)
        if isinstance(pushed, State):
            self._adopt(source, pushed, self._saved(pushed))

    def take_beside(self, source: Source) -> None:
        """Put what can not be pulled into a linear operator beside it, which reads the same value."""
        if self._is_settled(source):
            return
        made = taken_beside(source, self)
        if isinstance(made, State):
            self._adopt(source, made, self._saved(made))
        elif made is not None:
            self.refusals[source.node.address] = self.refusals[source.node.address].with_operator_beside(made)

    def _go_together(self, node: Node | None, found: Meeting, kind: type[Attempt]) -> bool:
        """Take out all affines that meet at a node, if they go at no cost. Whether they did."""
        made = self._met_at(node, found, kind, Manner())
        if not isinstance(made, State):
            return False
        saved = self._saved(made)
        if saved.nodes < len(made.removed) or saved.bytes < 0:
            return False
        self._keep(made)
        return True

    def _met_at(self, node: Node | None, found: Meeting, kind: type[Attempt], manner: Manner) -> State | Refusal | None:
        """What an attempt for all affines that meet at a node comes to; None for one alone, and the second time."""
        if node is None or (kind, manner.leaving, node) in self._met:
            return None
        self._met.add((kind, manner.leaving, node))
        parts = [(each, each.placed) for each in found(node, self.sources) if not self._is_settled(each)]
        return self._run(parts, manner, kind, State())[1] if len(parts) > 1 else None

    def in_order_of_settling(self) -> list[Address]:
        """From the last to the first; where no BatchNormalization is to stay, those before all others."""
        addresses = list(reversed(self.sources))
        if self.options.preference.avoids_normalizations:
            addresses.sort(key=lambda address: not self.sources[address].is_normalization)
        return addresses

    def settle(self, source: Source) -> None:
        """What stays of a source that can not go altogether: in another affine, or as a residual that costs less."""
        if self._is_settled(source):
            return
        best: tuple[Source, State, Price] | None = None
        for start in dict.fromkeys((source, self._first_of_chain(source))):
            for made in self._ways(start):
                saved = self._saved(made)
                if not self.options.preference.gains(saved):
                    continue
                if best is None or self.options.preference.is_better(saved, best[2]):
                    best = start, made, saved
        if best is not None:
            self._note(*best)
            self._keep(best[1])

    def _first_of_chain(self, source: Source) -> Source:
        """The first of the affines in a row that the source ends: pushing takes them all from there."""
        for _ in range(MAX_CHAIN):
            producer = source.wire.producer
            before = None if producer is None else self.sources.get(producer.address)
            if before is None or self._is_settled(before):
                break
            source = before
        return source

    def _note(self, source: Source, made: State, saved: Price) -> None:
        """Remember for the report what is done with a source that can not go altogether."""
        changed = [(change.op.node, change.taken) for change in made.changes.values()]
        replaced = [(node, t) for node, t in changed if t.op_type or isinstance(t.behind, np.ndarray)]
        if not made.residuals and not replaced:
            return
        settled = Settled(
            nodes=tuple(self.sources[k].node for k in sorted(made.removed) if k not in self.state.removed),
            wires=tuple(made.residuals),
            replaced=tuple(node for node, _ in replaced),
            became=tuple(taken.op_type or f"{node.op_type}, Add" for node, taken in replaced),
            nodes_saved=saved.nodes,
            elements_saved=MappingProxyType(saved.elements),
            bytes_added=-saved.bytes,
            refusal=self.refusals.get(source.node.address),
        )
        self.settled.append(settled)

    def _ways(self, source: Source) -> Iterator[State]:
        """Every way for a part of the source to stay; what merges it into another affine first."""
        for made in (self._merged(source, PullAttempt), self._merged(source, PushAttempt)):
            if isinstance(made, State) and not self._keeps_a_normalization(made):
                yield made
        if not self.options.residuals:
            return
        met = self._met_at(behind(source), pushed_towards, PushAttempt, Manner(leaving=True))
        if isinstance(met, State) and len(met.residuals) < len(met.removed):
            yield from self._formed(source, met)
        pulling, pushing = State({source.node.address: source}), State()
        plain = Manner(leaving=True)
        moves = False
        for made, deepest in self._left(source, source.placed, plain, PullAttempt, pulling):
            moves = moves or deepest > 0 or len(made.removed) > 1
            yield made
        for made, deepest in self._left(source, source.placed, plain, PushAttempt, pushing):
            moves = moves or deepest > 0 or len(made.removed) > 1
            yield made
        for manner in manners(self.options.preference, moves=moves):
            for kind, state in ((PullAttempt, pulling), (PushAttempt, pushing)):
                yield from self._formed(source, self._attempted(source, source.placed, manner, kind, state.copy())[1])
        scaled = self._scale_pulled(source)
        if isinstance(scaled, State):
            for manner in (plain, replace(plain, replacing=True)):
                for made, _ in self._left(source, source.placed.shifting, manner, PushAttempt, scaled):
                    yield made

    def _left(
        self, source: Source, placed: Placed, manner: Manner, kind: type[Attempt], state: State
    ) -> Iterator[tuple[State, int]]:
        """What an attempt comes to that may leave residuals, as far as it goes, and stopped on the way; and how far."""
        attempt, whole = self._attempted(source, placed, manner, kind, state.copy())
        for made in self._formed(source, whole):
            yield made, attempt.deepest
        for depth in depths(attempt.deepest):
            _, part = self._attempted(source, placed, replace(manner, depth=depth), kind, state.copy())
            for made in self._formed(source, part):
                yield made, attempt.deepest

    def _formed(self, source: Source, made: State | Refusal) -> Iterator[State]:
        written = None if isinstance(made, Refusal) else formed(made, source, self.shapes, self.options.preference)
        if written is not None:
            yield written

    def _merged(self, source: Source, kind: type[Attempt]) -> State | Refusal:
        state = State({source.node.address: source}) if kind is PullAttempt else State()
        return self._attempted(source, source.placed, Manner(merging=True), kind, state)[1]

    def _keeps_a_normalization(self, made: State) -> bool:
        """Whether it would fasten a BatchNormalization that the caller does not want."""
        if not self.options.preference.avoids_normalizations:
            return False
        return any(self.sources[address].is_normalization for address in made.changes if address in self.sources)

    def _is_settled(self, source: Source) -> bool:
        address = source.node.address
        if address in self.state.removed or address in self.state.changes:
            return True
        if self.options.is_enough(self.folds):
            text = f"{named(source.node)} comes after the largest number of folds, {self.options.max_folds}"
            self.refusals[address] = Refusal("max-folds", source.node.label, text)
            return True
        return False

    def _explain(self, source: Source, pushed: Refusal) -> None:
        """A source that stays was refused in both directions: say both."""
        pulled = self.refusals.get(source.node.address)
        if pulled is not None:
            self.refusals[source.node.address] = pulled.beside(pushed)

    def _parted(self, source: Source) -> State | Refusal:
        """The scale pulled, the shift pushed."""
        scaled = self._scale_pulled(source)
        if isinstance(scaled, Refusal):
            return scaled
        return self._attempted(source, source.placed.shifting, Manner(), PushAttempt, scaled)[1]

    def _scale_pulled(self, source: Source) -> State | Refusal:
        affine = source.placed.affine
        if affine.is_scaling or affine.is_shift:
            return self.refusals[source.node.address]
        return self._pulled(source, source.placed.scaling)

    def _pulled(self, source: Source, placed: Placed) -> State | Refusal:
        return self._attempted(source, placed, Manner(), PullAttempt, State({source.node.address: source}))[1]

    def _pushed(self, source: Source, placed: Placed, state: State) -> State | Refusal:
        return self._attempted(source, placed, Manner(), PushAttempt, state)[1]

    def _attempted(
        self, source: Source, placed: Placed, manner: Manner, kind: type[Attempt], state: State
    ) -> tuple[Attempt, State | Refusal]:
        """One attempt, and what it came to.

        Args:
            source: what is to go.
            placed: its map, or the part of it that goes this way.
            manner: what the attempt may do besides.
            kind: the direction.
            state: what an earlier part of it has come to; empty for one that goes as a whole.
        """
        return self._run([(source, placed)], manner, kind, state)

    def _run(
        self, parts: Sequence[tuple[Source, Placed]], manner: Manner, kind: type[Attempt], state: State
    ) -> tuple[Attempt, State | Refusal]:
        attempt, source = kind(self, state, manner), parts[0][0]
        if kind is PushAttempt and not state.removed:
            state.pushed.update(source.node.address for source, _ in parts)
        state.removed.update((source.node.address, source) for source, _ in parts)
        try:
            attempt.run(_start(source, placed, kind) for source, placed in parts)
        except Blocked as blocked:
            blocked.__traceback__ = None  # it is among the barriers, and its traceback holds all that was computed
            if kind is PullAttempt:
                for barrier in attempt.barriers:
                    self._remember(barrier)
            return attempt, blocked.refusal
        if attempt.state.residuals and self._goes_over_again(attempt.state):
            return attempt, Refusal("taken", source.node.label, f"{named(source.node)} meets what is decided already")
        return attempt, attempt.state

    def _goes_over_again(self, made: State) -> bool:
        """Whether an attempt changes what an earlier one has decided: what stays would hold a part of that as well."""
        again = made.changes.keys() & self.state.changes.keys()
        return bool(again or made.removed.keys() & self.state.removed.keys())

    def _remember(self, barrier: Blocked) -> None:
        """No map passes the wire, nor those that led to it, down to an affine that could take a map itself."""
        request: Request | None = barrier.request
        while request is not None:
            node = request.wire.producer
            if request is not barrier.request and node and node.address in self.sources and pull.rule(node):
                return
            self._blocked[request.wire] = barrier.refusal
            request = request.cause

    def _adopt(self, source: Source, made: State, saved: Price) -> None:
        """Keep what an attempt decided, unless the graph would get more expensive."""
        if saved.nodes > 0 or self._takes_a_normalization(made):
            self._keep(made)
            return
        needing = next((c.op for c in made.changes.values() if c.taken.behind is not None), self.operator(source.node))
        refusal = needing.refuse("no-gain", "would need an Add behind it in place of this node")
        self.refusals[source.node.address] = refusal

    def _keep(self, made: State) -> None:
        """Take over what an attempt has decided."""
        for address in made.removed:
            if address not in self.state.removed:
                self.left_by[address] = tuple(made.residuals)
            if not made.residuals:
                self.refusals.pop(address, None)
        self.state.adopt(made)
        self.folds += 1

    def _saved(self, made: State) -> Price:
        return saved_by(made, self.state, self.shapes, self.options.preference)

    def _takes_a_normalization(self, made: State) -> bool:
        return any(s.is_normalization for address, s in made.removed.items() if address not in self.state.removed)


def _start(source: Source, placed: Placed, kind: type[Attempt]) -> tuple[Value, Placed, Edges]:
    """Where an attempt to take a source out begins."""
    return (source.wire, placed, [source.edge]) if kind is PullAttempt else (source.output, placed, ())
