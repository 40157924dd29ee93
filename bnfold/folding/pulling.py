"""Pulling: a map goes from a wire to the node that produces it, and on to that node's inputs."""

from __future__ import annotations

from bnfold.folding.asking import refuse_edits
from bnfold.folding.attempt import NO_MAP, Attempt
from bnfold.folding.plan import Change
from bnfold.folding.requests import Blocked, Part, Pending, Request, named, readers_named
from bnfold.folding.sources import Source
from bnfold.folding.state import Edges
from bnfold.model.graph import Node, Value
from bnfold.ops.registry import pull
from bnfold.ops.rule import Placed, Refusal, Taken


class PullAttempt(Attempt):
    """Requests to make wires other than they are; the latest node is asked first."""

    def _refuse_bare(self, wire: Value) -> Refusal | None:
        producer = wire.producer
        if producer is not None and producer.address in self.context.state.pushed:
            return Refusal("taken", producer.label, f"{named(producer)} is gone the other way")
        return refuse_wire(wire)

    def _edges_of(self, pending: Pending) -> Edges:
        return pending.request.edges

    def _has_map(self, wire: Value, edges: Edges) -> bool:
        change = None if wire.producer is None else self._decided(wire.producer)
        before = ((self.context.state.changes.get(node.address), index) for node, index in edges)
        wanted = any(earlier is not None and index in earlier.wanted for earlier, index in before)
        return wanted or (change is not None and wire.output_index in change.pulled)

    def _is_shown(self, request: Request) -> bool:
        return False  # the map is for one reader, who is no graph output

    def _parts(self, placed: Placed, *, staying: Part) -> tuple[Placed, Placed] | None:
        """What goes on comes first: ``a x, + b`` where the shift stays, ``a (x + b / a)`` where the scale does."""
        if staying == "shift":
            return placed.shifting, placed.scaling
        inner = placed.shifting_first
        return None if inner is None else (placed.scaling, inner)

    def _enter(self, request: Request) -> None:
        node = self._producer(request)
        self._queue(-self.context.rank[node.address], request.wire.output_index, request, node)

    def _producer(self, request: Request) -> Node:
        """The node that has to make the wire another.

        Raises:
            Blocked: there is none, or no map at all passes the wire.
        """
        wire = request.wire
        # What stays may stay anywhere on the way, so that it matters where exactly the way ends.
        remembered = None if self.manner.leaving else self.context.remembered(wire)
        refusal = remembered or self.context.seen_by_others(wire)
        if wire in self.context.state.residuals:
            raise Blocked(_refuse_residual(wire), request, final=True)
        if refusal is not None or wire.producer is None:
            raise Blocked(refusal or _refuse_front(wire), request, always=True)
        if wire.producer.address not in self.context.rank:
            refusal = Refusal("cycle", wire.producer.label, f"{named(wire.producer)} depends on itself")
            raise Blocked(refusal, request, always=True)
        return wire.producer

    def _follow(self, requests: list[Pending]) -> None:
        request = requests[0].request
        node = self._producer(request)
        source = self._source(node, request, pushing=False)
        if source is not None:
            self._compose(request, source)
        else:
            self._ask([pending.request for pending in requests], node)

    def _compose(self, request: Request, source: Source) -> None:
        """An affine on the way: the two become one. Where that can not go on, the first may take the second in."""
        self._may_stay_before(source, request, request.edges)
        total = source.placed.then(request.placed)
        if total is None:
            self._over_another_axis(source, request)
            self._ask([request], source.node)
            return
        if self.manner.merging and not self._is_gone(source) and pull.rule(source.node) is not None:
            self._offer(lambda: self._ask([request], source.node), for_shifts_only=False)
        self.state.removed[source.node.address] = source
        beyond = request.beyond or self._is_gone(source)
        self._arrive(source.wire, total, request, [source.edge], beyond=beyond)

    def _ask(self, requests: list[Request], node: Node) -> None:
        known = self._change(node)
        pulled = {**known.pulled, **{request.wire.output_index: request.placed for request in requests}}
        maps = Change(known.op, pulled, known.pushed)
        self._pass_on(self._settle(node, maps, requests[0]), maps, requests[0])

    def _pass_on(self, change: Change, maps: Change, request: Request) -> None:
        """Go on to the node's inputs; where its rule knows another way, keep that in mind."""
        op = change.op
        if change.taken.otherwise is not None:
            other = change.taken.otherwise
            self._offer(lambda: self._take(maps, other(), request), for_shifts_only=True)
        earlier = self._earlier(op.node)
        ceased = dict.fromkeys(earlier.wanted if earlier else (), NO_MAP)
        for index, placed in {**ceased, **change.wanted}.items():
            wire = op.input(index)
            if wire is None:
                raise Blocked(op.refuse("malformed", f"has no input {index}"), request)
            self._pass_on_to(wire, placed, request, [(op.node, index)])

    def _take(self, maps: Change, taken: Taken, request: Request) -> None:
        refuse_edits(maps.op, taken, request, self.context)
        change = Change(maps.op, maps.pulled, maps.pushed, taken, taken.moves)
        self.state.changes[maps.op.node.address] = change
        self._pass_on(change, maps, request)


def refuse_wire(wire: Value) -> Refusal | None:
    """Whether something besides the one reader would see the map."""
    node = wire.producer
    if node is None:
        return _refuse_front(wire)
    if wire.is_output:
        return Refusal("graph-output", node.label, f"'{wire.name}', the output of {named(node)}, is a graph output too")
    if len(wire.value_readers) > 1:
        text = f"'{wire.name}', the output of {named(node)}, is read by {readers_named(wire)}"
        return Refusal("several-readers", node.label, text)
    if any(reader.scope is not wire.scope for reader, _ in wire.value_readers):
        return Refusal("captured", node.label, f"'{wire.name}' is made outside of the body that reads it")
    return None


def _refuse_front(wire: Value) -> Refusal:
    return Refusal("graph-input", wire.name, f"'{wire.name}' is an input or a constant: nothing in front absorbs it")


def _refuse_residual(wire: Value) -> Refusal:
    return Refusal("taken", wire.name, f"another affine stays at '{wire.name}'")
