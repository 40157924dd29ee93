"""What becomes of one operator: its rules are asked, and their answers put together. Nothing is decided here."""

from __future__ import annotations

from dataclasses import replace

from bnfold.folding.plan import Change
from bnfold.folding.requests import Blocked, Context, Manner, Request
from bnfold.folding.rounding import refuse_rounding
from bnfold.model.graph import ONNX_DOMAIN
from bnfold.ops.registry import EachRule, Maps, Registry, pull, push, replacing_pull, replacing_push
from bnfold.ops.rule import Operator, Placed, Refusal, Taken, scaled_behind

CONTRADICTIONS = (ValueError, IndexError, ZeroDivisionError, OverflowError, TypeError)
"""What numpy and Python say where sizes, ranks and lists that a rule puts together do not fit. onnxruntime runs no such
node; of what it runs, no rule may raise one, as `tests/random_graphs/check.py` insists."""


def settled(maps: Change, request: Request, context: Context, manner: Manner) -> Change:
    """What becomes of an operator whose outputs are to get maps, and whose inputs come without theirs.

    Args:
        maps: the operator, with those maps.
        request: what it is asked for.
        context: knows what the caller wants left alone.
        manner: what the attempt may do.

    Raises:
        Blocked: a rule refuses, or can not be asked, as the sizes and lists of the node contradict each other.
    """
    try:
        return _settled(maps, request, context, manner)
    except CONTRADICTIONS as error:
        text = f"contradicts itself: {error or type(error).__name__}"
        raise Blocked(maps.op.refuse("inconsistent", text), request) from error


def _settled(maps: Change, request: Request, context: Context, manner: Manner) -> Change:
    """The same for a node whose parts fit each other.

    First the rule for the inputs is asked, then the one for the outputs, which sees the operator as the first leaves
    it; what the first one owes on an output is due before the map that the output is to get.
    """
    op, pushed, pulled = maps.op, maps.pushed, dict(maps.pulled)
    if manner.depth is not None and request.depth > manner.depth:
        raise Blocked(op.refuse("depth", "is not asked in this attempt"), request)
    taken, owed = Taken(), dict[int, Placed]()
    if pushed:
        taken = _asked(push, op, pushed, request, manner)
        owed = {index: placed for index, placed in taken.moves.items() if index not in pulled}
        for index in pulled.keys() & taken.moves.keys():
            pulled[index] = _then(op, taken.moves[index], pulled[index], request)
    wanted: Maps = {}
    if pulled:
        second = _asked(pull, op.after(taken) if pushed else op, pulled, request, manner)
        if taken.behind is not None:
            second = replace(second, behind=scaled_behind(op, taken.behind, pulled[0]))
        wanted, taken = second.moves, taken.edits_then(second) if pushed else second
        if pushed and wanted:
            raise Blocked(op.refuse("both", "can not pass maps on in both directions"), request)
    refuse_edits(op, taken, request, context)
    return Change(op, maps.pulled, pushed, taken, wanted, owed)


def refuse_edits(op: Operator, taken: Taken, request: Request, context: Context) -> None:
    """See that an answer can be written, and changes nothing that the caller wants left as it is.

    Raises:
        Blocked: it can not, or does.
    """
    refusal = refuse_rounding(op, taken)
    changed = taken.constants or taken.attributes or taken.behind is not None or taken.op_type is not None
    if refusal is None and changed:
        refusal = context.protected(op.node)
    if refusal is not None:
        raise Blocked(refusal, request)


def _then(op: Operator, first: Placed, second: Placed, request: Request) -> Placed:
    total = first.then(second)
    if total is None:
        raise Blocked(op.refuse("axis", "has affines over different axes behind it"), request)
    return total


def _asked(registry: Registry, op: Operator, maps: Maps, request: Request, manner: Manner) -> Taken:
    taken = _rule(registry, op, request)(op, maps)
    if isinstance(taken, Refusal) and manner.replacing:
        rule = (replacing_pull if registry is pull else replacing_push).rule(op.node)
        taken = taken if rule is None else rule(op, maps)
    if isinstance(taken, Refusal):
        raise Blocked(taken, request)
    return taken


def _rule(registry: Registry, op: Operator, request: Request) -> EachRule:
    """The rule for the operator; what has none, or can not be read, is a barrier for every map."""
    rule, refusal = registry.rule(op.node), refuse_unreadable(op)
    if rule is not None and refusal is None:
        return rule
    raise Blocked(refusal or _barrier(op), request, always=True)


def refuse_unreadable(op: Operator) -> Refusal | None:
    """Whether what the node says is not all that there is to know of it, or less than there has to be."""
    if op.node.refers_to_function_attributes:
        return op.refuse("function-attribute", "gets an attribute from its function's call")
    if not op.node.outputs:
        return op.refuse("malformed", "has no output")
    if op.node.missing_attribute is not None:
        return op.refuse("malformed", f"lacks its attribute '{op.node.missing_attribute}'")
    return None


def _barrier(op: Operator) -> Refusal:
    node = op.node
    if node.domain == ONNX_DOMAIN and node.since_version == 0:
        return op.refuse("opset", f"is no operator of opset {node.opset} that the installed onnx knows")
    return op.refuse("barrier", "lets no affine pass")
