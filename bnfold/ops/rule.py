"""The protocol that every rule speaks, and the registry of rules.

A *pull* rule is asked: your output is to become ``scale * output + shift``; which maps on your inputs, and which other
constants, make it so? A *push* rule is asked: your input comes without its ``scale * input + shift``; which maps are
owed on your outputs then, and with which other constants, to be what they were? Either answers `Taken`, which says
both, or a `Refusal`. An operator that answers without maps *absorbs* the affine; one that answers with maps *carries*
it. No rule means that the operator is a barrier.

Rules decide and change nothing. A rule holds from one version of an operator on, until a later one is registered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bnfold.model.broadcasting import broadcast
from bnfold.model.constants import Constant, Constants
from bnfold.model.graph import Node, Value
from bnfold.model.shapes import Dim, Shape, Shapes
from bnfold.model.tensors import FLOATS, Array
from bnfold.ops.placed import Placed as Placed
from bnfold.ops.placed import Spread as Spread
from bnfold.ops.refusal import Refusal as Refusal
from bnfold.values import frozen

Factor: TypeAlias = npt.NDArray[np.float64]

NOTHING = -1
"""In `Rescale.of`: there is no constant yet."""


@frozen
class Rescale:
    """New numbers for a constant input: ``factor * constant + offset``, rounded once.

    Attributes:
        factor: float64, broadcasts against the constant.
        offset: float64, broadcasts against both; None for no offset.
        of: the input whose present constant is meant, if not the one that is written; NOTHING for `offset` alone.
    """

    factor: Factor
    offset: Factor | None = None
    of: int | None = None


@frozen
class Taken:
    """What makes an operator's output the wanted one.

    Attributes:
        moves: for a pull rule, input index to the map that has to appear on that wire; for a push rule, output index
            to the map that is owed on that wire.
        constants: input index to the new numbers of that constant; None omits the input.
        attributes: attributes to set; None removes one.
        op_type: the operator that the node becomes; None for the one that it is.
        behind: a shift that remains to be added behind the operator: on the axis that it names, or an array that
            broadcasts against the output.
        remarks: what a person should know.
        otherwise: makes another way, to be tried when a shift in this one is refused.
    """

    moves: Mapping[int, Placed] = field(default_factory=dict)
    constants: Mapping[int, Rescale | None] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    op_type: str | None = None
    behind: Placed | Factor | None = None
    remarks: tuple[str, ...] = ()
    otherwise: Callable[[], Taken] | None = None

    def edits_then(self, following: Taken) -> Taken:
        """The edits of this answer, then those of one that was given to the operator as this one leaves it."""
        constants = dict(self.constants)
        constants.update({index: _composed(self, index, rescale) for index, rescale in following.constants.items()})
        return Taken(
            constants=constants,
            attributes={**self.attributes, **following.attributes},
            op_type=following.op_type or self.op_type,
            behind=following.behind,
            remarks=self.remarks + following.remarks,
        )


def _composed(first: Taken, index: int, second: Rescale | None) -> Rescale | None:
    """``f2 * (f1 * c + o1) + o2`` as one `Rescale` of the constant c that the operator has in the file."""
    if second is None or second.of == NOTHING:
        return second
    base = index if second.of is None else second.of
    before = first.constants.get(base)
    if before is None:
        return Rescale(second.factor, second.offset, of=base)
    with np.errstate(over="ignore", invalid="ignore"):  # a number that is not finite is refused, not warned about
        offset = None if before.offset is None else second.factor * before.offset
        if second.offset is not None:
            offset = second.offset if offset is None else offset + second.offset
        return Rescale(second.factor * before.factor, offset, of=base if before.of is None else before.of)


NO_EDITS = Taken()
"""An answer that changes nothing."""


@frozen
class Operator:
    """A node as a rule sees it: with its constants and shapes.

    Attributes:
        node: the node.
        constants: evaluates constant inputs.
        shapes: knows shapes and types.
        edits: what an earlier rule has already answered for it; the rule sees the operator as that leaves it.
    """

    node: Node
    constants: Constants
    shapes: Shapes
    edits: Taken = NO_EDITS

    def after(self, taken: Taken) -> Operator:
        """The operator as an answer leaves it."""
        return Operator(self.node, self.constants, self.shapes, self.edits.edits_then(taken))

    def input(self, index: int) -> Value | None:
        """The value at an input; None when it is omitted."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def has(self, index: int) -> bool:
        """Whether the operator has that input, in the file or by an earlier answer."""
        if index in self.edits.constants:
            return self.edits.constants[index] is not None
        return self.input(index) is not None

    def constant(self, index: int) -> Constant | None:
        """The constant at an input; None when the input is omitted or is no constant."""
        if index not in self.edits.constants:
            inputs = self.node.inputs
            return self.constants.get(inputs[index]) if index < len(inputs) else None
        rescale = self.edits.constants[index]
        return None if rescale is None else self._rescaled(index, rescale)

    def rescaled(self, index: int, rescale: Rescale) -> Array:
        """The new numbers of an input, float64: ``factor * constant + offset`` in the shape they broadcast to.

        The constant is the one in the file: earlier answers are part of `rescale`, see `Taken.edits_then`.
        """
        values = np.zeros(()) if rescale.of == NOTHING else self.base(index, rescale).wide
        result = values * rescale.factor
        return result if rescale.offset is None else result + rescale.offset

    def base(self, index: int, rescale: Rescale) -> Constant:
        """The constant of the file that a `Rescale` of that input speaks of."""
        constant = self.constants.get(self.input(index if rescale.of is None else rescale.of))
        if constant is None:
            raise AssertionError(f"the rule of {self.node.label} rescales input {index}, which is no constant")
        return constant

    def _rescaled(self, index: int, rescale: Rescale) -> Constant:
        """A constant as an earlier answer leaves it, in float64 and not rounded; computed when asked for."""
        base = None if rescale.of == NOTHING else self.base(index, rescale)
        kind = self.float_type(index) if base is None else base.elem_type
        return Constant(self.rescaled_shape(index, rescale), kind, lambda: self.rescaled(index, rescale))

    def rescaled_shape(self, index: int, rescale: Rescale) -> tuple[int, ...]:
        """The shape of the new numbers of an input.

        Raises:
            ValueError: the factor or the offset does not fit the constant.
        """
        base = () if rescale.of == NOTHING else self.base(index, rescale).shape
        return broadcast(base, rescale.factor.shape, () if rescale.offset is None else rescale.offset.shape)

    def float_type(self, index: int) -> int:
        """The element type for a constant input: its own, else that of the operator's floats; 0 when unknown."""
        for value in (self.input(index), *self.node.inputs):
            constant = self.constants.get(value)
            if constant is not None and constant.elem_type in FLOATS:
                return constant.elem_type
        return self.shapes.elem_type(self.input(0))

    def attribute(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 (an attribute is of any type)
        """An attribute, by default as the specification says."""
        if name not in self.edits.attributes:
            return self.node.attribute(name, default)
        value = self.edits.attributes[name]
        return default if value is None else value

    def shape(self, index: int) -> Shape | None:
        """The shape of an input."""
        return self.shapes.shape(self.input(index))

    def output_shape(self, index: int = 0) -> Shape | None:
        """The shape of an output."""
        return self.shapes.shape(self.node.outputs[index])

    def rank(self, index: int) -> int | None:
        """The rank of an input."""
        return self.shapes.rank(self.input(index))

    def output_rank(self) -> int | None:
        """The rank of the first output."""
        return self.shapes.rank(self.node.outputs[0])

    def dim(self, index: int, axis: int) -> Dim:
        """The size of an input along an axis; None when unknown."""
        shape = self.shape(index)
        return shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None

    def uses_output(self, index: int) -> bool:
        """Whether anything reads that output."""
        if index >= len(self.node.outputs) or self.node.outputs[index] is None:
            return False
        value = self.node.outputs[index]
        return value is not None and (bool(value.readers) or value.is_output)

    def refuse(self, code: str, text: str) -> Refusal:
        """A refusal in this node's name; `text` goes on after ``OpType 'name'``."""
        return Refusal(code, self.node.label, f"{self.node.op_type} '{self.node.label}' {text}")

    def refuse_overridable(self, value: Value, role: str) -> Refusal:
        """A refusal for an initializer that a caller may override."""
        return self.refuse(
            "overridable",
            f"has a {role} '{value.name}' that is a graph input too, so a caller may override it; "
            "--freeze-initializers makes such inputs constants",
        )


def scaled(index: int, factor: Factor) -> dict[int, Rescale]:
    """A constant input times `factor`; nothing to do where that is one everywhere, so that it stays what it is."""
    return {} if not np.count_nonzero(factor != 1.0) else {index: Rescale(factor)}


def scaled_behind(op: Operator, behind: Placed | Factor, following: Placed) -> Factor:
    """A shift behind the operator when a map follows it: ``a (y + s) + b = (a y + b) + a s``."""
    shift, factor = laid(op, behind), following.affine.scale
    if following.is_uniform:
        return shift * factor.reshape(())
    rank = op.output_rank() or shift.ndim
    return shift * along(factor, 0, rank - following.axis)  # [C] -> [C, 1, ..., 1]


def laid(op: Operator, shift: Placed | Factor) -> Factor:
    """A shift of the first output, so that it broadcasts there: ``[C] -> [C, 1, ...]``; a uniform one is a scalar."""
    if not isinstance(shift, Placed):
        return shift
    values = shift.affine.shift
    return values.reshape(()) if shift.is_uniform else along(values, 0, _rank(op) - shift.axis)


def _rank(op: Operator) -> int:
    return op.output_rank() or 0


def along(vector: npt.ArrayLike, axis: int, rank: int) -> Factor:
    """A vector laid along one axis: ``[C] -> [1, ..., C, ..., 1]``, so that it broadcasts there."""
    values = np.asarray(vector, np.float64)
    shape = [1] * rank
    if rank:
        shape[axis] = values.size
    return values.reshape(shape) if rank else values.reshape(())
