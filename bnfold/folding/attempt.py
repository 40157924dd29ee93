"""One attempt to take a source out of the graph: its map, followed along the wires until every operator has taken it.

Pulling asks the producer of a wire to make the wire another; pushing tells the readers of a wire that it comes without
its map. Either way the state is one map per wire and an attempt succeeds or fails as a whole, so several branches are
all taken or none. Maps are totals, not increments: where a later attempt reaches an operator again, its rules are asked
anew with the totals, against the constants of the file, and a constant is rounded once, from float64.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from heapq import heappop, heappush
from itertools import count

from bnfold.affine import Affine
from bnfold.folding.asking import settled
from bnfold.folding.plan import Change, Residual
from bnfold.folding.requests import Blocked, Context, Detour, Manner, Part, Pending, Request, named
from bnfold.folding.sources import Source
from bnfold.folding.state import Edges, State
from bnfold.model.graph import Node, Value
from bnfold.ops.rule import Placed, Refusal

NO_MAP = Placed.of(Affine.identity(), 0)

MAX_CHAIN = 64
"""How many affines in a row are looked at together: bounds the work on chains of thousands."""

MAX_DETOURS = 64
"""How often one attempt may go another way: bounds the work on graphs made to be slow."""


class Attempt(ABC):
    """What pulling and pushing have in common: a queue of requests, and other ways to come back to.

    Attributes:
        context: the search that makes the attempt.
        state: what the attempt has decided.
        manner: what it may do besides.
        barriers: where it found that no map at all passes.
        deepest: how many operators a map has passed at most.
    """

    def __init__(self, context: Context, state: State, manner: Manner) -> None:
        self.context = context
        self.state = state
        self.manner = manner
        self.barriers: list[Blocked] = []
        self.deepest = 0
        self._numbers = count()
        self._pending: list[Pending] = []
        self._detours: deque[Detour] = deque(maxlen=MAX_DETOURS)
        self._detours_left = MAX_DETOURS

    def run(self, starts: Iterable[tuple[Value, Placed, Edges]]) -> None:
        """Start with maps on wires, and work off all that follows.

        Raises:
            Blocked: a request is refused, and no other way is left.
        """
        try:
            for wire, placed, edges in starts:
                self._arrive(wire, placed, None, edges)
        except Blocked as blocked:
            self._note(blocked)
            raise
        try:
            self._work_off()
        finally:
            self._detours.clear()  # they know this attempt: together they would wait for Python to look for cycles

    def _work_off(self) -> None:
        first: Blocked | None = None
        try:
            while self._pending:
                requests = self._next()
                try:
                    self._follow(requests)
                except Blocked as blocked:
                    first = first or blocked
                    if not self._take_detour(blocked) and not self._leave_all(requests, blocked):
                        raise first from None
        finally:
            first = None  # its traceback knows this frame, which is not to know it

    def _leave_all(self, requests: list[Pending], blocked: Blocked) -> bool:
        """Let what a node has refused stay in front of it (push) or behind it (pull); whether that is allowed.

        Raises:
            Blocked: another map stands there already.
        """
        if not self.manner.leaving or blocked.final:
            return False
        for pending in requests:
            self._refuse_second_map(pending.request, self._edges_of(pending))
        if len(requests) > 1 or not self._split(requests[0]):
            for pending in requests:
                self._leave(pending.request, self._edges_of(pending), blocked)
        return True

    def _split(self, pending: Pending) -> bool:
        """Leave a part of the map and take the rest on; whether the node has taken it."""
        affine = pending.request.placed.affine
        if not self.manner.splitting or affine.is_scaling or affine.is_shift:
            return False
        parts = self._parts(pending.request.placed, staying=self.manner.splitting)
        if parts is None:
            return False
        stays, goes = parts
        state, waiting = self.state.copy(), list(self._pending)
        try:
            # First what stays: another way that the rest offers is to be gone with it.
            self._leave(replace(pending.request, placed=stays), self._edges_of(pending), None)
            self._follow([pending._replace(request=replace(pending.request, placed=goes))])
        except Blocked:
            self.state, self._pending = state, waiting
            return False
        return True

    def _leave(self, request: Request, edges: Edges, blocked: Blocked | None, *, shown: bool = False) -> None:
        """Let a map stay on its wire, for those who read it.

        Raises:
            Blocked: another map stands there already.
        """
        residual = Residual(request.wire, request.placed, edges=frozenset(edges), shown=shown)
        if not residual.edges and not shown:
            return  # nobody sees it
        if request.wire in self.context.state.residuals or not self.state.leave(residual):
            text = f"another affine stays at '{request.wire.name}'"
            refusal = blocked.refusal if blocked else Refusal("taken", request.wire.name, text)
            raise Blocked(refusal, request, final=True)

    def _take_detour(self, blocked: Blocked) -> bool:
        """Back to the last choice, to go the other way; whether there was one."""
        self._note(blocked)
        here = self.state, self._pending
        while self._detours and self._detours_left:
            detour = self._detours.pop()
            if detour.for_shifts_only and blocked.refusal.code != "shift":
                continue
            self._detours_left -= 1
            self.state, self._pending = detour.state, detour.pending
            try:
                detour.resume()
            except Blocked as next_blocked:
                blocked = next_blocked
                self._note(blocked)
                continue
            return True
        self.state, self._pending = here  # what was refused may stay where it is
        return False

    def _note(self, blocked: Blocked) -> None:
        blocked.__traceback__ = None  # else what was refused would hold all that the attempt has computed
        if blocked.always:
            self.barriers.append(blocked)

    def _offer(self, resume: Callable[[], None], *, for_shifts_only: bool) -> None:
        """Remember another way, to be gone from here if this one is refused."""
        self._detours.append(Detour(self.state.copy(), list(self._pending), resume, for_shifts_only))

    def _arrive(
        self, wire: Value, placed: Placed, cause: Request | None, edges: Edges = (), *, beyond: bool = False
    ) -> None:
        """Go on from a source that is gone: even where no map is left to take, the wire has to be free.

        Raises:
            Blocked: something else sees it.
        """
        depth, row = (cause.depth, cause.row + 1) if cause else (0, 1)
        request = Request(wire, placed, cause, frozenset(edges), depth, beyond, row)
        if row > MAX_CHAIN:
            raise Blocked(Refusal("row", wire.name, f"more than {MAX_CHAIN} affines stand in a row"), request)
        if not placed.affine.is_identity or self._replaces(request):
            self._request(request)
            return
        refusal = self._refuse_bare(wire)
        if refusal is not None:
            raise Blocked(refusal, Request(wire, placed, cause), always=True, final=True)

    def _request(self, request: Request) -> None:
        """Queue a request; one that can not even be queued stays where it is, if that is allowed.

        Raises:
            Blocked: it is refused.
        """
        wire, placed = request.wire, request.placed
        if not placed.affine.is_finite:
            label = wire.producer.label if wire.producer else wire.name
            refusal = Refusal("not-finite", label, f"the affines at '{wire.name}' overflow")
            raise Blocked(refusal, request, final=True)
        if placed.affine.is_identity and not self._replaces(request):
            return
        self.deepest = max(self.deepest, request.depth)
        try:
            self._enter(request)
        except Blocked as blocked:
            if not self.manner.leaving or blocked.final:
                raise
            self._note(blocked)
            edges = request.edges or wire.value_readers
            self._refuse_second_map(request, edges)
            self._leave(request, edges, blocked, shown=self._is_shown(request))

    def _refuse_second_map(self, request: Request, edges: Edges) -> None:
        """Where an operator already has a map at that place, a request says the total: it can not stay beside it.

        Raises:
            Blocked: there is one.
        """
        if request.beyond or self._has_map(request.wire, edges):
            text = f"'{request.wire.name}' has another affine already"
            raise Blocked(Refusal("taken", request.wire.name, text), request, final=True)

    def _replaces(self, request: Request) -> bool:
        """Whether an earlier attempt took a map there, so that a total which is none has to take its place."""
        return request.beyond or self._has_map(request.wire, request.edges or request.wire.value_readers)

    def _decided(self, node: Node) -> Change | None:
        """What has been decided of an operator by now; None for nothing."""
        return self.state.changes.get(node.address) or self.context.state.changes.get(node.address)

    def _pass_on_to(self, wire: Value, placed: Placed, cause: Request, edges: Edges = ()) -> None:
        """A request to the next wire behind an operator."""
        self._request(Request(wire, placed, cause, frozenset(edges), cause.depth + 1))

    def _earlier(self, node: Node) -> Change | None:
        """What earlier attempts have decided of an operator: of a map that these passed on, nothing may be left."""
        return self.context.state.changes.get(node.address)

    def _queue(self, order: int, port: int, request: Request, node: Node) -> None:
        heappush(self._pending, Pending(order, port, next(self._numbers), request, node))

    def _next(self) -> list[Pending]:
        """The requests to the next node: it is asked once, when all that it is to get is known.

        Branches that part and join again would otherwise double the work at each of them.
        """
        found = [heappop(self._pending)]
        while self._pending and self._pending[0].order == found[0].order:
            found.append(heappop(self._pending))
        return found

    def _source(self, node: Node, request: Request, *, pushing: bool) -> Source | None:
        """The affine that a node is, if it can still be composed with: one that took in another is an operator by now.

        Raises:
            Blocked: the node went in the other direction, or something is decided of it that is no map.
        """
        if node.address in self.context.state.fixed:
            raise Blocked(Refusal("taken", node.label, f"{named(node)} has taken in an affine beside it"), request)
        if node.address in self.context.state.removed and (node.address in self.context.state.pushed) != pushing:
            raise Blocked(Refusal("taken", node.label, f"{named(node)} goes the other way"), request)
        if node.address in self.context.state.changes or node.address in self.state.changes:
            return None
        return self.context.sources.get(node.address)

    def _is_gone(self, source: Source) -> bool:
        """Whether an earlier attempt took the source out already; then it can be composed with, and take nothing in."""
        return source.node.address in self.context.state.removed

    def _may_stay_before(self, source: Source, request: Request, edges: Edges) -> None:
        """Beyond a source that is gone only the total with its map goes on; failing that, the request stays here."""
        if (
            self.manner.leaving
            and self._is_gone(source)
            and not request.beyond
            and not self._has_map(request.wire, edges)
        ):
            self._offer(lambda: self._leave(request, edges, None), for_shifts_only=False)

    def _over_another_axis(self, source: Source, request: Request) -> None:
        """Affines over different axes do not compose; the one on the way may take the other in.

        Raises:
            Blocked: it is gone already.
        """
        if self._is_gone(source):
            text = f"{named(source.node)} is an affine over another axis"
            raise Blocked(Refusal("axis", source.node.label, text), request)

    def _change(self, node: Node) -> Change:
        """What has been decided of an operator by now."""
        return self._decided(node) or Change(self.context.operator(node))

    def _settle(self, node: Node, maps: Change, request: Request) -> Change:
        """Decide what becomes of an operator whose outputs are to get maps, and whose inputs come without theirs.

        Raises:
            Blocked: a rule refuses, or can not be asked.
        """
        change = settled(maps, request, self.context, self.manner)
        self.state.changes[node.address] = change
        return change

    @abstractmethod
    def _edges_of(self, pending: Pending) -> Edges:
        """Who reads the mapped value when the map of that request stays."""

    @abstractmethod
    def _has_map(self, wire: Value, edges: Edges) -> bool:
        """Whether an operator that would stand beside what stays there has a map there already."""

    @abstractmethod
    def _is_shown(self, request: Request) -> bool:
        """Whether the mapped value is a graph output when the map stays on that wire for all readers."""

    @abstractmethod
    def _parts(self, placed: Placed, *, staying: Part) -> tuple[Placed, Placed] | None:
        """(the part that stays, the part that goes on), of which the map is made; None when it can not be parted so."""

    @abstractmethod
    def _refuse_bare(self, wire: Value) -> Refusal | None:
        """Whether a source at that wire could not even go if it did nothing."""

    @abstractmethod
    def _enter(self, request: Request) -> None:
        """Queue a request with the nodes that it concerns."""

    @abstractmethod
    def _follow(self, requests: list[Pending]) -> None:
        """Take the requests to one node to that node."""
