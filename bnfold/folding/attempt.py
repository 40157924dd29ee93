"""One attempt to take a source out of the graph: its map, followed along the wires until every operator has taken it.

Pulling asks the producer of a wire to make the wire another; pushing tells the readers of a wire that it comes without
its map. Either way the state is one map per wire and an attempt succeeds or fails as a whole, so several branches are
all taken or none. Maps are totals, not increments: where a later attempt reaches an operator again, its rules are asked
anew with the totals, against the constants of the file, and a constant is rounded once, from float64.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple, Protocol

from bnfold.folding.plan import Change
from bnfold.folding.rounding import refuse_rounding
from bnfold.folding.sources import Source
from bnfold.model.graph import ONNX_DOMAIN, Address, Node, Value
from bnfold.ops.registry import EachRule, Maps, Registry, pull, push
from bnfold.ops.rule import Operator, Placed, Refusal, Taken

MAX_DETOURS = 64
"""How often one attempt may go another way: bounds the work on graphs made to be slow."""


class Context(Protocol):
    """What attempts need to know of the search that makes them."""

    sources: dict[Address, Source]
    rank: dict[Address, int]
    state: State

    def operator(self, node: Node) -> Operator:
        """The node with its constants and shapes."""

    def remembered(self, wire: Value) -> Refusal | None:
        """Why no map at all can be pulled up that wire, if an earlier attempt found out."""


@dataclass
class State:
    """What has been decided: sources that go, and what operators get.

    Attributes:
        removed: sources that go, by address.
        pushed: those of them whose readers read what stands in front.
        changes: what becomes of operators that stay, by address.
    """

    removed: dict[Address, Source] = field(default_factory=dict)
    pushed: set[Address] = field(default_factory=set)
    changes: dict[Address, Change] = field(default_factory=dict)

    def copy(self) -> State:
        """A state of its own."""
        return State(dict(self.removed), set(self.pushed), dict(self.changes))

    def adopt(self, other: State) -> None:
        """Take over what an attempt has decided."""
        self.removed.update(other.removed)
        self.pushed |= other.pushed
        self.changes.update(other.changes)


@dataclass(frozen=True)
class Request:
    """A map on a wire: to appear there (pull), or owed there (push); `cause` is the request that it came from."""

    wire: Value
    placed: Placed
    cause: Request | None = None


class Blocked(Exception):
    """An attempt came to a refusal; the search turns it into data."""

    def __init__(self, refusal: Refusal, request: Request, *, always: bool = False) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal
        self.request = request
        self.always = always  # no map at all passes here


class _Pending(NamedTuple):
    """A queued request: in the order of the node that is to be asked, then of its inputs or outputs, then of coming."""

    order: int
    port: int
    number: int
    request: Request


@dataclass
class _Detour:
    """A state to come back to, and another way to go from there."""

    state: State
    pending: list[_Pending]
    resume: Callable[[], None]
    for_shifts_only: bool


class Attempt(ABC):
    """What pulling and pushing have in common: a queue of requests, and other ways to come back to.

    Attributes:
        context: the search that makes the attempt.
        state: what the attempt has decided.
        merging: whether an affine on the way may stay and take the source in.
        barriers: where it found that no map at all passes.
    """

    def __init__(self, context: Context, state: State, *, merging: bool = False) -> None:
        self.context = context
        self.state = state
        self.merging = merging
        self.barriers: list[Blocked] = []
        self._numbers = count()
        self._pending: list[_Pending] = []
        self._detours: deque[_Detour] = deque(maxlen=MAX_DETOURS)
        self._detours_left = MAX_DETOURS

    def run(self, wire: Value, placed: Placed) -> None:
        """Start with a map on a wire, and work off all that follows.

        Raises:
            Blocked: a request is refused, and no other way is left.
        """
        first: Blocked | None = None
        try:
            self._arrive(wire, placed, None)
        except Blocked as blocked:
            self._note(blocked)
            raise
        while self._pending:
            try:
                self._follow(self._next())
            except Blocked as blocked:
                first = first or blocked
                if not self._take_detour(blocked):
                    raise first from None

    def _take_detour(self, blocked: Blocked) -> bool:
        """Back to the last choice, to go the other way; whether there was one."""
        self._note(blocked)
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
        return False

    def _note(self, blocked: Blocked) -> None:
        if blocked.always:
            self.barriers.append(blocked)

    def _offer(self, resume: Callable[[], None], *, for_shifts_only: bool) -> None:
        """Remember another way, to be gone from here if this one is refused."""
        self._detours.append(_Detour(self.state.copy(), list(self._pending), resume, for_shifts_only))

    def _arrive(self, wire: Value, placed: Placed, cause: Request | None) -> None:
        """Go on from a source that is gone: even where no map is left to take, the wire has to be free.

        Raises:
            Blocked: something else sees it.
        """
        if not placed.affine.is_identity:
            self._request(wire, placed, cause)
            return
        refusal = self._refuse_bare(wire)
        if refusal is not None:
            raise Blocked(refusal, Request(wire, placed, cause), always=True)

    def _request(self, wire: Value, placed: Placed, cause: Request | None) -> None:
        request = Request(wire, placed, cause)
        if not placed.affine.is_finite:
            label = wire.producer.label if wire.producer else wire.name
            raise Blocked(Refusal("not-finite", label, f"the affines at '{wire.name}' overflow"), request)
        if not placed.affine.is_identity:
            self._enter(request)

    def _queue(self, order: int, port: int, request: Request) -> None:
        heappush(self._pending, _Pending(order, port, next(self._numbers), request))

    def _next(self) -> list[_Pending]:
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
            Blocked: the node went in the other direction.
        """
        if node.address in self.context.state.removed and (node.address in self.context.state.pushed) != pushing:
            raise Blocked(Refusal("taken", node.label, f"{named(node)} goes the other way"), request)
        if node.address in self.context.state.changes or node.address in self.state.changes:
            return None
        return self.context.sources.get(node.address)

    def _is_gone(self, source: Source) -> bool:
        """Whether an earlier attempt took the source out already; then it can be composed with, and take nothing in."""
        return source.node.address in self.context.state.removed

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
        found = self.state.changes.get(node.address) or self.context.state.changes.get(node.address)
        return found or Change(self.context.operator(node))

    def _settle(self, node: Node, maps: Change, request: Request) -> Change:
        """What becomes of an operator whose outputs are to get maps, and whose inputs come without theirs.

        First the rule for the inputs is asked, then the one for the outputs, which sees the operator as the first
        leaves it; what the first one owes on an output is due before the map that the output is to get.
        """
        op, pushed, pulled = maps.op, maps.pushed, dict(maps.pulled)
        taken, owed = Taken(), dict[int, Placed]()
        if pushed:
            taken = self._asked(push, op, pushed, request)
            owed = {index: placed for index, placed in taken.moves.items() if index not in pulled}
            for index in pulled.keys() & taken.moves.keys():
                pulled[index] = self._then(op, taken.moves[index], pulled[index], request)
        wanted: Maps = {}
        if pulled:
            second = self._asked(pull, op.after(taken), pulled, request)
            wanted, taken = second.moves, taken.edits_then(second) if pushed else second
            if pushed and wanted:
                raise Blocked(op.refuse("both", "can not pass maps on in both directions"), request)
        change = Change(op, maps.pulled, pushed, taken, wanted, owed)
        refusal = refuse_rounding(op, taken)
        if refusal is not None:
            raise Blocked(refusal, request)
        self.state.changes[node.address] = change
        return change

    def _then(self, op: Operator, first: Placed, second: Placed, request: Request) -> Placed:
        total = first.then(second)
        if total is None:
            raise Blocked(op.refuse("axis", "has affines over different axes behind it"), request)
        return total

    def _asked(self, registry: Registry, op: Operator, maps: Maps, request: Request) -> Taken:
        taken = self._rule(registry, op, request)(op, maps)
        if isinstance(taken, Refusal):
            raise Blocked(taken, request)
        return taken

    def _rule(self, registry: Registry, op: Operator, request: Request) -> EachRule:
        """The rule for the operator; what has none, or can not be read, is a barrier for every map."""
        node, rule = op.node, registry.rule(op.node)
        if node.refers_to_function_attributes:
            refusal = op.refuse("function-attribute", "gets an attribute from its function's call")
        elif node.missing_attribute is not None:
            refusal = op.refuse("malformed", f"lacks its attribute '{node.missing_attribute}'")
        elif rule is None:
            refusal = _barrier(op)
        else:
            return rule
        raise Blocked(refusal, request, always=True)

    @abstractmethod
    def _refuse_bare(self, wire: Value) -> Refusal | None:
        """Whether a source at that wire could not even go if it did nothing."""

    @abstractmethod
    def _enter(self, request: Request) -> None:
        """Queue a request with the nodes that it concerns."""

    @abstractmethod
    def _follow(self, requests: list[_Pending]) -> None:
        """Take the requests to one node to that node."""


def _barrier(op: Operator) -> Refusal:
    node = op.node
    if node.domain == ONNX_DOMAIN and node.since_version == 0:
        return op.refuse("opset", f"is no operator of opset {node.opset} that the installed onnx knows")
    return op.refuse("barrier", "lets no affine pass")


def named(node: Node) -> str:
    """A node in a sentence."""
    return f"{node.op_type} '{node.label}'"


def readers_named(wire: Value, most: int = 3) -> str:
    """The readers of a wire in a sentence, the first few by name."""
    names = list(dict.fromkeys(named(reader) for reader, _ in wire.value_readers))
    if len(names) == 1:
        return f"{names[0]} {len(wire.value_readers)} times"
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
