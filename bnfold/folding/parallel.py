"""An affine on one branch of a sum, beside a linear operator that reads the same value: that operator takes it in.

Given: ``y = L(x) + u + (a x + b)``, the three added by one sum or by several. Result: ``y = L'(x) + u`` with
``L'(x) = L(x) + a x + b`` (`bnfold.ops.parallel`); the affine goes, and a sum of two with it.

That is no map on a wire: x is read by both, and y stays what it is. So it is looked at when all that can be pulled is,
and what was decided of the operator by then comes first; later attempts leave it alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from bnfold.affine import Affine
from bnfold.folding.asking import CONTRADICTIONS, refuse_unreadable
from bnfold.folding.attempt import MAX_CHAIN, NO_MAP
from bnfold.folding.plan import Change, Edge
from bnfold.folding.requests import Context
from bnfold.folding.rounding import refuse_rounding
from bnfold.folding.sources import Source
from bnfold.folding.state import State
from bnfold.model.graph import ONNX_DOMAIN, Node, Value
from bnfold.model.shapes import Shape
from bnfold.ops.registry import parallel, pull
from bnfold.ops.rule import Placed, Refusal, Taken

MAX_ADDED = 256
"""How many values are looked at that are added to an affine: bounds the work where thousands are added."""

Order: TypeAlias = tuple[int, ...] | None
"""Which axis of a value each axis of another one is, that has its elements; None where all are as they were."""


class Entry(NamedTuple):
    """Where a value comes into a sum, and the sign (1 or -1) with which it is part of what comes out."""

    node: Node
    port: int
    sign: int


class Added(NamedTuple):
    """An operator whose output is added to an affine.

    Attributes:
        node: the operator.
        sign: with which the affine is to be part of its output.
        is_alone: it is all that is added to the affine in the first sum behind that.
        is_negated: the sum is the affine less the output, which has to be turned around then.
        order: which axis of the output each axis of what is added is; None where it is laid out as it was.
    """

    node: Node
    sign: int
    is_alone: bool
    is_negated: bool
    order: Order


def taken_beside(source: Source, context: Context) -> State | Refusal | None:
    """What it comes to when an operator beside the affine takes it; why none does; None where there is none.

    Args:
        source: the affine, or the last of several in a row.
        context: what the search has decided.
    """
    try:
        return _taken_beside(source, context)
    except CONTRADICTIONS:
        return None  # a node contradicts itself: onnxruntime runs none that does


def _taken_beside(source: Source, context: Context) -> State | Refusal | None:
    ways = list(_sums(source.output, context))
    added = list(_added(ways, context))
    refusal: Refusal | None = None
    for sources, placed in _rows(source, context) if added else ():
        for each in added:
            maps = _maps(each, sources[-1].wire, placed, context)
            if not maps:
                continue
            taken = _taken(each, maps, context)
            if isinstance(taken, Refusal):
                refusal = refusal or taken
                continue
            made = _made(sources, taken)
            if _take_out(ways[0], made, context, is_alone=each.is_alone):
                return made
    return refusal


def _rows(source: Source, context: Context) -> Iterator[tuple[list[Source], Placed]]:
    """The affine, then the two with the one in front of it, and so on, as long as nothing else sees what is between."""
    sources, total = [source], source.placed
    while len(sources) <= MAX_CHAIN:
        wire = sources[-1].wire
        if wire not in context.state.residuals:
            yield sources, total
        before = None if wire.producer is None else context.sources.get(wire.producer.address)
        if before is None or _only_reader(wire, context) is None or _is_decided(before.node, context):
            return
        both = before.placed.then(total)
        if both is None or not both.affine.is_finite:
            return
        sources, total = [*sources, before], both


def _is_decided(node: Node, context: Context) -> bool:
    return node.address in context.state.removed or node.address in context.state.changes


def _made(sources: list[Source], taken: Change) -> State:
    """The affines gone, and the operator as it is then."""
    node, addresses = taken.op.node, [source.node.address for source in sources]
    made = State(dict(zip(addresses, sources, strict=True)), set(addresses), {node.address: taken})
    made.parallel = dict.fromkeys(addresses, node)
    made.fixed = {node.address, *addresses}
    return made


def _sums(value: Value | None, context: Context) -> Iterator[Entry]:
    """The sums that a value comes into, one behind the other, as long as nothing else sees what it is part of."""
    sign = 1
    for _ in range(MAX_CHAIN):
        edge = None if value is None else _only_reader(value, context)
        if edge is None or not _is_open_sum(edge[0], context):
            return
        node, port = edge
        sign *= _sign_at(node, port)
        yield Entry(node, port, sign)
        value = node.outputs[0]


def _only_reader(value: Value, context: Context) -> Edge | None:
    """Who reads the value, if nothing else sees it and nothing is to be put behind it."""
    if value.is_output or value in context.state.residuals or len(value.value_readers) != 1:
        return None
    ((node, port),) = value.value_readers
    return (node, port) if node.scope is value.scope and node.address in context.rank else None


def _is_open_sum(node: Node, context: Context) -> bool:
    """Whether it is a sum of values of which nothing is decided yet, nor by the caller."""
    if node.domain != ONNX_DOMAIN or node.op_type not in ("Add", "Sub", "Sum") or not node.outputs:
        return False
    if not all(node.inputs) or (node.op_type != "Sum" and node.since_version < 7):
        return False
    if node.address in context.sources or _is_decided(node, context):
        return False
    return context.protected(node) is None


def _sign_at(node: Node, port: int) -> int:
    return -1 if node.op_type == "Sub" and port == 1 else 1


def _added(ways: list[Entry], context: Context) -> Iterator[Added]:
    """The operators whose outputs are added to the affine, the nearest first."""
    seen = {entry.node for entry in ways}
    turns = bool(ways) and ways[0].node.op_type == "Sub" and ways[0].port == 0  # ``u - v`` can not do without u
    pending = deque(part for entry in ways for part in _parts(entry.node, entry.sign, is_first=entry is ways[0]))
    for _ in range(MAX_ADDED):
        if not pending:
            return
        value, sign, is_first = pending.popleft()
        node, order = _maker(value, context)
        if node is None or node in seen or (turns and not is_first):
            continue
        if parallel.rule(node) is not None and len(node.outputs) == 1:
            yield Added(node, -sign if turns else sign, is_first, turns, order)
        elif _is_open_sum(node, context) and order is None:
            pending.extend(_parts(node, sign, is_first=False))


def _parts(node: Node, sign: int, *, is_first: bool) -> Iterator[tuple[Value | None, int, bool]]:
    return ((value, sign * _sign_at(node, port), is_first) for port, value in enumerate(node.inputs[:MAX_ADDED]))


def _maker(value: Value | None, context: Context) -> tuple[Node | None, Order]:
    """What makes the value, for the sum alone, laid out anew or not; or what the affines behind that went into."""
    order: Order = None
    for _ in range(MAX_CHAIN):
        if value is None or value.producer is None or _only_reader(value, context) is None:
            break
        node = value.producer
        if node.address not in context.state.removed:
            if not _lays_out(node):
                return (node if node.address in context.rank else None), order
            order, value = _through(node, order, context), node.inputs[0]
        elif node.address in context.state.pushed or node.address not in context.sources:
            break
        else:
            value = context.sources[node.address].wire
    return None, None


def _lays_out(node: Node) -> bool:
    known = node.domain == ONNX_DOMAIN and node.op_type in ("Identity", "Transpose")
    return known and not node.refers_to_function_attributes


def _through(node: Node, order: Order, context: Context) -> Order:
    """The order seen from the input of a node that lays out; the one at its output is given."""
    if node.op_type == "Identity":
        return order
    turned = node.attribute("perm")
    if turned is None:
        turned = range(context.operator(node).rank(0) or 0)[::-1]
    axes = tuple(int(axis) for axis in turned)
    found = axes if order is None else tuple(axes[axis] for axis in order if axis < len(axes))
    return None if found == tuple(range(len(found))) and found else found


def _maps(added: Added, wire: Value, placed: Placed, context: Context) -> dict[int, Placed]:
    """The affine at those inputs of the operator that are the wire, laid out so that its output undoes it."""
    found: dict[int, Placed] = {}
    for port, value in enumerate(added.node.inputs):
        read, order = _read(value, wire, context)
        if not read or not _undoes(added.order, order):
            continue
        if order is None:
            found[port] = placed
        elif set(placed.axes) <= set(order):
            found[port] = placed.on(*(order.index(axis) for axis in placed.axes))
    return found


def _read(value: Value | None, wire: Value, context: Context) -> tuple[bool, Order]:
    """Whether the value is the wire, laid out anew or not."""
    order: Order = None
    for _ in range(MAX_CHAIN):
        if value is None or value in context.state.residuals or value is wire:
            break
        if value.producer is None or not _lays_out(value.producer):
            break
        order, value = _through(value.producer, order, context), value.producer.inputs[0]
    return value is wire, order


def _undoes(behind: Order, before: Order) -> bool:
    """Whether the elements come out where they came in."""
    if behind is None or before is None:
        return behind is before
    return len(behind) == len(before) and all(before[axis] == place for place, axis in enumerate(behind))


def _signed(placed: Placed, sign: int) -> Placed:
    negated = Affine(sign * placed.affine.scale, sign * placed.affine.shift)
    return placed if sign > 0 else Placed.over(negated, placed.axes, placed.sizes)


def _taken(added: Added, maps: dict[int, Placed], context: Context) -> Change | Refusal:
    """What becomes of the operator, on top of what has been decided of it."""
    before = context.state.changes.get(added.node.address) or Change(context.operator(added.node))
    op, rule = before.op, parallel.rule(added.node)
    if rule is None or before.pushed or before.wanted or before.owed:
        return op.refuse("taken", "has taken in an affine that stands elsewhere")
    first = refuse_unreadable(op) or (_turned(before) if added.is_negated else before.taken)
    if isinstance(first, Refusal):
        return first
    second = rule(op.after(first), {port: _signed(placed, added.sign) for port, placed in maps.items()})
    if isinstance(second, Refusal):
        return second
    behind = second.behind
    if isinstance(first.behind, Placed):
        behind = first.behind.then(behind) if isinstance(behind, Placed) else first.behind
    taken = replace(first.edits_then(second), behind=behind)
    refusal = context.protected(added.node) or refuse_rounding(op, taken)
    return refusal or Change(op, before.pulled, {}, taken)


def _turned(before: Change) -> Taken | Refusal:
    """The operator with the other sign at its output."""
    op, rule = before.op, pull.rule(before.op.node)
    if rule is None or before.taken.behind is not None:
        return op.refuse("taken", "has a shift behind it already")
    turned = rule(op.after(before.taken), {0: Placed.of(Affine.of(-1.0), 0)})
    return turned if isinstance(turned, Refusal) else before.taken.edits_then(turned)


def _take_out(entry: Entry, made: State, context: Context, *, is_alone: bool) -> bool:
    """Let the sum do without the branch; whether it can.

    Args:
        entry: the sum, and where the branch comes into it.
        made: gets what is decided.
        context: what has been decided before.
        is_alone: nothing but the operator is on the other branch, which is as large as the sum then.
    """
    node = entry.node
    made.fixed.add(node.address)
    if len(node.inputs) > 2:
        made.dropped.add((node, entry.port))
        return True
    rest, result = node.inputs[1 - entry.port], node.outputs[0]
    if rest is None or result is None:
        return False
    made.removed[node.address] = Source(node, rest, NO_MAP, 1)
    op = context.operator(node)
    is_as_large = is_alone or _are_known_and_same(op.shape(1 - entry.port), op.output_shape())
    if is_as_large and _may_be_renamed(rest, context):
        return True
    made.pushed.add(node.address)
    pulled = context.state.removed.keys() - context.state.pushed
    behind = [reader for reader, _ in result.readers]
    return not result.is_output and all(r.scope is result.scope and r.address not in pulled for r in behind)


def _may_be_renamed(value: Value, context: Context) -> bool:
    """Whether what makes the value can make it under another name."""
    producer = value.producer
    return (
        producer is not None
        and producer.scope is value.scope
        and producer.address not in context.state.pushed
        and _only_reader(value, context) is not None
    )


def _are_known_and_same(one: Shape | None, other: Shape | None) -> bool:
    return one is not None and one == other and None not in one
