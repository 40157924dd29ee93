"""The search: where each affine goes. It changes nothing and gives back a frozen plan.

The state of the search is one map per wire: *what the readers of this wire want, as an affine of what its producer
makes today*. Pulling a source asks its wire for the source's map; the producer's rule turns that into requests for the
producer's own input wires, and so on upwards until every request is absorbed. An attempt succeeds or fails as a whole,
so several branches are all taken or none. Requests are totals, not increments: when a later attempt reaches an
operator again, its rule is asked anew with the total, and a constant is rounded once, from float64.

Sources are tried from the last to the first, so that a chain of affines goes in one attempt, and so are the requests
of an attempt, so that an operator is asked once, with all that its outputs are to get. A wire that nothing can
pass, whatever the map, is remembered, so that the work stays linear for ordinary networks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from types import MappingProxyType
from typing import NamedTuple

from bnfold.folding.plan import Change, Outcome, Plan
from bnfold.folding.rounding import refuse_rounding
from bnfold.folding.sources import Source, source_of
from bnfold.model.constants import Constants
from bnfold.model.graph import Address, Graph, Node, Value
from bnfold.model.order import ranks
from bnfold.model.shapes import Shapes
from bnfold.ops.registry import Maps, pull
from bnfold.ops.rule import Operator, Placed, Refusal, Taken

MAX_DETOURS = 64
"""How often one attempt may try the other branch for a shift: bounds the work on graphs made to be slow."""


def make_plan(graph: Graph, constants: Constants, shapes: Shapes) -> Plan:
    """Decide for every affine of the graph whether it goes, and where.

    Raises:
        ExternalDataError, ModelError: a tensor that the decision needs can not be read.
    """
    search = _Search(graph, constants, shapes)
    found = [(node, source_of(search.operator(node))) for node in graph.nodes()]
    search.sources = {node.address: source for node, source in found if isinstance(source, Source)}
    refusals: dict[Address, Refusal] = {node.address: made for node, made in found if isinstance(made, Refusal)}
    for address in reversed(list(search.sources)):
        if address not in search.state.removed and address not in search.state.changes:
            refusal = search.try_to_pull(search.sources[address])
            if refusal is not None:
                refusals[address] = refusal
    outcomes = tuple(
        _outcome(node, source, search.state, refusals.get(node.address)) for node, source in found if source is not None
    )
    return Plan(graph, MappingProxyType(search.state.removed), MappingProxyType(search.state.changes), outcomes)


def _outcome(node: Node, source: Source | Refusal, state: _State, refusal: Refusal | None) -> Outcome:
    channels = source.channels if isinstance(source, Source) else 0
    if isinstance(source, Source) and node.address in state.removed:
        return Outcome(node, channels, _absorbers(source, state))
    return Outcome(node, channels, refusal=refusal)


def _absorbers(source: Source, state: _State) -> tuple[Node, ...]:
    """The operators at which the requests that start at the source end."""
    found: dict[Address, Node] = {}
    pending, seen = [source.wire], set[Node]()
    while pending:
        node = pending.pop().producer
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.address in state.removed:
            pending.append(state.removed[node.address].wire)
            continue
        taken = state.changes[node.address].taken
        if taken.constants or not taken.moves:
            found[node.address] = node
        pending += [value for index in taken.moves if (value := node.inputs[index]) is not None]
    return tuple(found[address] for address in sorted(found))


@dataclass
class _State:
    """What has been decided: sources that go, and what operators get."""

    removed: dict[Address, Source] = field(default_factory=dict)
    changes: dict[Address, Change] = field(default_factory=dict)

    def copy(self) -> _State:
        return _State(dict(self.removed), dict(self.changes))

    def adopt(self, other: _State) -> None:
        self.removed.update(other.removed)
        self.changes.update(other.changes)


@dataclass(frozen=True)
class _Request:
    """A map that has to appear on a wire; `cause` is the request that it came from."""

    wire: Value
    placed: Placed
    cause: _Request | None = None


class _Pending(NamedTuple):
    """A queued request: the latest node first, then its outputs in order."""

    negative_rank: int
    output_index: int
    request: _Request


@dataclass
class _Detour:
    """A state to come back to, and the other answer to try from there."""

    state: _State
    pending: list[_Pending]
    request: _Request
    op: Operator
    pulled: Maps
    taken: Taken


class _Blocked(Exception):
    """An attempt came to a refusal; never leaves this module."""

    def __init__(self, refusal: Refusal, request: _Request, *, always: bool = False) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal
        self.request = request
        self.always = always  # no map at all passes here


class _Search:
    def __init__(self, graph: Graph, constants: Constants, shapes: Shapes) -> None:
        self.graph = graph
        self.constants = constants
        self.shapes = shapes
        self.rank = ranks(graph)
        self.sources: dict[Address, Source] = {}
        self.state = _State()
        self._blocked: dict[Value, Refusal] = {}

    def operator(self, node: Node) -> Operator:
        return Operator(node, self.constants, self.shapes)

    def try_to_pull(self, source: Source) -> Refusal | None:
        """Pull one source as far as it has to go; the refusal if it can not go at all."""
        attempt = _Attempt(self, source)
        try:
            attempt.run()
        except _Blocked as blocked:
            if blocked.always:
                self._remember(blocked)
            return blocked.refusal
        refusal = self._refuse_no_gain(source, attempt.state)
        if refusal is None:
            self.state.adopt(attempt.state)
        return refusal

    def _remember(self, blocked: _Blocked) -> None:
        """No map passes the wire, so none passes the wires that depend on it."""
        request: _Request | None = blocked.request
        while request is not None:
            self._blocked[request.wire] = blocked.refusal
            request = request.cause

    def _refuse_no_gain(self, source: Source, made: _State) -> Refusal | None:
        """A graph never gets more expensive: more nodes go than come, or a BatchNormalization goes."""
        gone = [found for address, found in made.removed.items() if address not in self.state.removed]
        before = [self.state.changes.get(address) for address in made.changes]
        added = sum(_adds(change) for change in made.changes.values()) - sum(_adds(change) for change in before)
        if len(gone) > added or any(found.is_normalization for found in gone):
            return None
        needing = next((change.op for change in made.changes.values() if _adds(change)), self.operator(source.node))
        return needing.refuse("no-gain", "would need an Add behind it in place of this node")

    def producer(self, request: _Request) -> Node:
        """The node that has to make the wire another.

        Raises:
            _Blocked: there is none, or no map at all passes the wire.
        """
        wire = request.wire
        refusal = self._blocked.get(wire) or _refuse_wire(wire)
        if refusal is not None or wire.producer is None:
            raise _Blocked(refusal or _refuse_front(wire), request, always=True)
        if wire.producer.address not in self.rank:
            text = f"{_named(wire.producer)} depends on itself"
            raise _Blocked(Refusal("cycle", wire.producer.label, text), request, always=True)
        return wire.producer


def _adds(change: Change | None) -> int:
    return int(change is not None and change.taken.behind is not None)


def _refuse_wire(wire: Value) -> Refusal | None:
    """Whether something besides the one reader would see the map."""
    node = wire.producer
    if node is None:
        return _refuse_front(wire)
    if wire.is_output:
        return Refusal(
            "graph-output", node.label, f"'{wire.name}', the output of {_named(node)}, is a graph output too"
        )
    if len(wire.value_readers) > 1:
        text = f"'{wire.name}', the output of {_named(node)}, is read by {_listed(wire)}"
        return Refusal("several-readers", node.label, text)
    if any(reader.scope is not wire.scope for reader, _ in wire.value_readers):
        return Refusal("captured", node.label, f"'{wire.name}' is made outside of the body that reads it")
    return None


def _refuse_front(wire: Value) -> Refusal:
    return Refusal("graph-input", wire.name, f"'{wire.name}' is an input or a constant: nothing in front absorbs it")


def _listed(wire: Value, most: int = 3) -> str:
    """The readers of a wire, the first few by name."""
    names = list(dict.fromkeys(_named(reader) for reader, _ in wire.value_readers))
    if len(names) == 1:
        return f"{names[0]} {len(wire.value_readers)} times"
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _named(node: Node) -> str:
    return f"{node.op_type} '{node.label}'"


class _Attempt:
    """One source pulled upwards, until every request is absorbed or one is refused."""

    def __init__(self, search: _Search, source: Source) -> None:
        self.search = search
        self.state = _State({source.node.address: source})
        self._pending: list[_Pending] = []
        self._detours: list[_Detour] = []
        self._detours_left = MAX_DETOURS
        self._first = _Request(source.wire, source.placed)

    def run(self) -> None:
        """Work off the requests.

        Raises:
            _Blocked: one of them is refused, and no detour for its shift is left.
        """
        first: _Blocked | None = None
        self._enter(self._first)
        while self._pending:
            try:
                self._follow(self._next())
            except _Blocked as blocked:
                first = first or blocked
                if blocked.refusal.code != "shift" or not self._take_detour():
                    raise (blocked if blocked.always else first) from None

    def _take_detour(self) -> bool:
        """Back to the last choice of a branch for a shift, to the other branch; whether there was one."""
        if not self._detours or not self._detours_left:
            return False
        self._detours_left -= 1
        detour = self._detours.pop()
        self.state, self._pending = detour.state, detour.pending
        self._accept(detour.request, detour.op, detour.pulled, detour.taken)
        return True

    def _enter(self, request: _Request) -> None:
        """Queue a request behind those that concern later nodes.

        So a node is asked once, when all that its readers want is known: branches that part at a Split and join again
        would otherwise double the work at each of them.
        """
        node = self.search.producer(request)
        heappush(self._pending, _Pending(-self.search.rank[node.address], request.wire.output_index, request))

    def _next(self) -> list[_Request]:
        """The requests to the outputs of the latest node."""
        first = heappop(self._pending).request
        requests = [first]
        while self._pending and self._pending[0].request.wire.producer is first.wire.producer:
            requests.append(heappop(self._pending).request)
        return requests

    def _follow(self, requests: list[_Request]) -> None:
        node = self.search.producer(requests[0])
        source = self.search.sources.get(node.address)
        if source is not None:
            self._compose(requests[0], source)
        else:
            self._ask(requests, node)

    def _compose(self, request: _Request, source: Source) -> None:
        """An affine on the way: the two become one."""
        total = source.placed.then(request.placed)
        if total is None:
            # Over another axis they do not compose; but an Add lets the scale pass and takes the shift itself.
            self._ask([request], source.node)
            return
        self.state.removed[source.node.address] = source
        self._request(source.wire, total, request)

    def _ask(self, requests: list[_Request], node: Node) -> None:
        op, request = self.search.operator(node), requests[0]
        rule = pull.rule(node)
        if node.refers_to_function_attributes:
            raise _Blocked(
                op.refuse("function-attribute", "gets an attribute from its function's call"), request, always=True
            )
        missing = node.missing_attribute
        if missing is not None:
            raise _Blocked(op.refuse("malformed", f"lacks its attribute '{missing}'"), request, always=True)
        if rule is None:
            raise _Blocked(_refuse_barrier(op), request, always=True)
        pulled = {**self._pulled(node), **{made.wire.output_index: made.placed for made in requests}}
        taken = rule(op, pulled)
        if isinstance(taken, Refusal):
            raise _Blocked(taken, request)
        self._accept(request, op, pulled, taken)

    def _pulled(self, node: Node) -> Maps:
        """The maps that the node's outputs are to get by now."""
        change = self.state.changes.get(node.address) or self.search.state.changes.get(node.address)
        return {} if change is None else change.pulled

    def _accept(self, request: _Request, op: Operator, pulled: Maps, taken: Taken) -> None:
        if taken.otherwise is not None:
            other = _Detour(self.state.copy(), list(self._pending), request, op, pulled, taken.otherwise)
            self._detours.append(other)
        refusal = refuse_rounding(op, taken)
        if refusal is not None:
            raise _Blocked(refusal, request)
        self.state.changes[op.node.address] = Change(op, pulled, taken)
        for index, placed in taken.moves.items():
            wire = op.input(index)
            if wire is not None:
                self._request(wire, placed, request)

    def _request(self, wire: Value, placed: Placed, cause: _Request) -> None:
        if not placed.affine.is_finite:
            producer = wire.producer.label if wire.producer else wire.name
            raise _Blocked(Refusal("not-finite", producer, f"the affines in front of '{wire.name}' overflow"), cause)
        self._enter(_Request(wire, placed, cause))


def _refuse_barrier(op: Operator) -> Refusal:
    node = op.node
    if node.domain == "" and node.since_version == 0:
        return op.refuse("opset", f"is no operator of opset {node.opset} that the installed onnx knows")
    return op.refuse("barrier", "lets no affine pass")
