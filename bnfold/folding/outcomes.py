"""What has become of each affine, when the search is over."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from bnfold.folding.plan import Change, Outcome
from bnfold.folding.requests import named
from bnfold.folding.sources import Source
from bnfold.folding.state import State
from bnfold.model.graph import Address, Node, Value
from bnfold.ops.rule import Refusal


def outcome_of(
    node: Node,
    source: Source | Refusal,
    state: State,
    refusals: Mapping[Address, Refusal],
    left_by: Mapping[Address, tuple[Value, ...]],
    absorbers: Mapping[Address, tuple[Node, ...]],
) -> Outcome:
    """What has become of one affine, or why it is none.

    Args:
        node: the node.
        source: its map, or why it has none.
        state: all that has been decided.
        refusals: why affines could not go, by address.
        left_by: the wires on which a part of an affine stays, by address.
        absorbers: see `absorbers_of`.
    """
    channels = source.channels if isinstance(source, Source) else 0
    if isinstance(source, Source) and node.address in state.removed:
        residuals = tuple(state.residuals[wire] for wire in left_by.get(node.address, ()) if wire in state.residuals)
        into, refusal = absorbers[node.address], refusals.get(node.address)
        return Outcome(node, channels, into, gone=True, residuals=residuals, refusal=refusal)
    merged = Refusal("merged", node.label, f"{named(node)} has taken in another affine")
    return Outcome(node, channels, refusal=refusals.get(node.address, merged))


def absorbers_of(state: State) -> dict[Address, tuple[Node, ...]]:
    """The operators that take each affine that goes.

    A way leads from one to the next one in that direction, whose operators are known then: no way is gone twice.
    """
    known: dict[Address, tuple[Node, ...]] = {address: (node,) for address, node in state.parallel.items()}
    addresses = [address for address in sorted(state.removed) if address not in known]
    pulled = (address for address in addresses if address not in state.pushed)
    pushed = (address for address in reversed(addresses) if address in state.pushed)
    for address in chain(pulled, pushed):
        known[address] = _absorbers(state.removed[address], state, known)
    return known


def _absorbers(source: Source, state: State, known: Mapping[Address, tuple[Node, ...]]) -> tuple[Node, ...]:
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
                if node.address in known and (node.address in state.pushed) == pushed:
                    found.update((absorber.address, absorber) for absorber in known[node.address])
                else:
                    pending.append(gone.output if pushed else gone.wire)
                continue
            change = state.changes.get(node.address)
            if change is None:
                continue
            if change.taken.constants or change.taken.behind is not None or not (change.wanted or change.owed):
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
