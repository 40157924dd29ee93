"""Pushing: a wire comes without its map, and the map goes to every node that reads it, and on to their outputs."""

from __future__ import annotations

from bnfold.folding.asking import refuse_edits
from bnfold.folding.attempt import NO_MAP, Attempt
from bnfold.folding.plan import Change
from bnfold.folding.requests import Blocked, Part, Pending, Request, named
from bnfold.folding.sources import Source
from bnfold.folding.state import Edges
from bnfold.model.graph import Node, Value
from bnfold.ops.registry import push
from bnfold.ops.rule import Placed, Refusal, Taken


class PushAttempt(Attempt):
    """Maps that are owed on wires; the earliest reader is asked first."""

    def _refuse_bare(self, wire: Value) -> Refusal | None:
        decided = self.context.state
        for reader, _ in wire.value_readers:
            if reader.address in decided.removed and reader.address not in decided.pushed:
                return Refusal("taken", reader.label, f"{named(reader)} is gone the other way")
        return _refuse_output(wire)

    def _edges_of(self, pending: Pending) -> Edges:
        return [(pending.node, pending.port)]

    def _has_map(self, wire: Value, edges: Edges) -> bool:
        earlier = None if wire.producer is None else self.context.state.changes.get(wire.producer.address)
        changes = ((self._decided(node), index) for node, index in edges)
        owed = earlier is not None and wire.output_index in earlier.owed
        return owed or any(change is not None and index in change.pushed for change, index in changes)

    def _is_shown(self, request: Request) -> bool:
        return request.wire.is_output

    def _parts(self, placed: Placed, *, staying: Part) -> tuple[Placed, Placed] | None:
        """What stays comes first: ``a (x + b / a)`` where the shift does, ``a x, + b`` where the scale does."""
        if staying == "scale":
            return placed.scaling, placed.shifting
        inner = placed.shifting_first
        return None if inner is None else (inner, placed.scaling)

    def _enter(self, request: Request) -> None:
        if request.wire in self.context.state.residuals:
            text = f"another affine stays at '{request.wire.name}'"
            raise Blocked(Refusal("taken", request.wire.name, text), request, final=True)
        refusal = refuse_readers(request.wire)
        if refusal is not None:
            raise Blocked(refusal, request, always=True)
        for reader, index in request.wire.value_readers:
            if reader.address not in self.context.rank:
                raise Blocked(
                    Refusal("cycle", reader.label, f"{named(reader)} depends on itself"), request, always=True
                )
            self._queue(self.context.rank[reader.address], index, request, reader)

    def _follow(self, requests: list[Pending]) -> None:
        first = requests[0]
        node = first.node
        source = self._source(node, first.request, pushing=True)
        if source is not None:
            self._compose(first, source)
        else:
            self._ask(requests, node)

    def _compose(self, pending: Pending, source: Source) -> None:
        """An affine on the way: the two become one. Where that can not go on, the second may take the first in."""
        self._may_stay_before(source, pending.request, self._edges_of(pending))
        total = pending.request.placed.then(source.placed)
        if total is None:
            self._over_another_axis(source, pending.request)
            self._ask([pending], source.node)
            return
        # What a MatMul owes behind it goes into the Add that stands there; that is no merging of two affines.
        owed = pending.request.depth > 0
        if (self.manner.merging or owed) and not self._is_gone(source) and push.rule(source.node) is not None:
            self._offer(lambda: self._ask([pending], source.node), for_shifts_only=False)
        self.state.removed[source.node.address] = source
        self.state.pushed.add(source.node.address)
        beyond = pending.request.beyond or self._is_gone(source)
        self._arrive(source.output, total, pending.request, beyond=beyond)

    def _ask(self, requests: list[Pending], node: Node) -> None:
        known, request = self._change(node), requests[0].request
        pushed = {**known.pushed, **{pending.port: pending.request.placed for pending in requests}}
        change = self._settle(node, Change(known.op, known.pulled, pushed), request)
        other = change.taken.otherwise
        if other is not None:
            self._offer(lambda: self._take(change, other(), request), for_shifts_only=False)
        self._pass_on(change, request)

    def _take(self, change: Change, taken: Taken, request: Request) -> None:
        """Another answer of the rule, in place of the first."""
        refuse_edits(change.op, taken, request, self.context)
        made = Change(change.op, change.pulled, change.pushed, taken, owed=taken.moves)
        self.state.changes[change.op.node.address] = made
        self._pass_on(made, request)

    def _pass_on(self, change: Change, request: Request) -> None:
        node = change.op.node
        earlier = self._earlier(node)
        ceased = {index: NO_MAP for index in (earlier.owed if earlier else ()) if index not in change.pulled}
        for index, placed in {**ceased, **change.owed}.items():
            wire = node.outputs[index]
            if wire is not None:
                self._pass_on_to(wire, placed, request)


def refuse_readers(wire: Value) -> Refusal | None:
    """Whether something besides nodes of the same scope would miss the map. Where nothing reads, nothing does."""
    if wire.is_output:
        return _refuse_output(wire)
    outside = next((reader for reader, _ in wire.value_readers if reader.scope is not wire.scope), None)
    if outside is not None:
        return Refusal("captured", outside.label, f"{named(outside)} reads '{wire.name}' from inside a body")
    return None


def _refuse_output(wire: Value) -> Refusal | None:
    if not wire.is_output:
        return None
    return Refusal("graph-output", wire.name, f"'{wire.name}' is a graph output, which would miss the affine")
