"""Whether new numbers still fit the type of the constant they go into. Looked at before anything is decided."""

from __future__ import annotations

import numpy as np

from bnfold.folding.quantized import Requantized, requantized
from bnfold.model.constants import Constant
from bnfold.model.magnitudes import largest_magnitudes
from bnfold.model.quantized import largest_stored, type_of
from bnfold.model.tensors import FLOATS, Array, keeps_range, largest, round_to, smallest_normal, type_name
from bnfold.ops.rule import NOTHING, Operator, Refusal, Rescale, Taken


def refuse_rounding(op: Operator, taken: Taken) -> Refusal | None:
    """A refusal where a new number overflows its type, or is lost below its smallest normal number.

    Behind a DequantizeLinear the new numbers are scales; there is a refusal too where no scales say them.
    """
    for index, rescale in taken.constants.items():
        made = requantized(op, taken, index)
        if isinstance(made, Requantized):
            made = _refuse_scales(op, made)
        elif made is None and rescale is not None:
            made = _refuse_constant(op, index, rescale)
        if made is not None:
            return made
    return None


def _refuse_constant(op: Operator, index: int, rescale: Rescale) -> Refusal | None:
    op.rescaled_shape(index, rescale)  # to be sure that there is one
    kind = op.float_type(index)
    if kind not in FLOATS:
        return op.refuse("unknown-type", "has a type that is not known, so neither is that of its new constant")
    if _surely_fits(op, index, rescale, kind):
        return None
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused, not warned about
        before, after = _magnitudes(op, index, rescale)
    return _refuse_numbers(op, before, after, kind)


def _surely_fits(op: Operator, index: int, rescale: Rescale, kind: int) -> bool:
    """Whether the largest number of all times the largest factor, plus the largest offset, fits: then all do."""
    if not keeps_range(kind):
        return False
    bound = 0.0 if rescale.offset is None else _largest_of(rescale.offset)
    if rescale.of != NOTHING:
        constant = op.base(index, rescale)
        before: float = largest_magnitudes(constant, tuple(range(constant.rank))).item()
        bound += before * _largest_of(rescale.factor)
    return bound <= largest(kind)  # never so where one of them is no number


def _largest_of(values: Array) -> float:
    found: float = np.abs(values).max(initial=0.0).item()
    return found


def _is_sum(rescale: Rescale) -> bool:
    """Whether new numbers are more than multiples of old ones."""
    return rescale.offset is not None or rescale.of == NOTHING


def _refuse_scales(op: Operator, made: Requantized) -> Refusal | None:
    scales = np.abs(made.scales.values)
    if made.of is None:
        return _refuse_numbers(op, None, scales, made.scale_type)
    old = np.abs(made.of.scale.wide)
    if made.scales.axis is not None:  # they were one for the tensor
        old = np.broadcast_to(old.reshape(-1)[:1], scales.shape)
    refusal = _refuse_numbers(op, old, scales, made.scale_type)
    if refusal is not None:
        return refusal
    # A scale may fit its type, and the numbers that it makes of the integers not: looked at closely only where the
    # range of the integers leaves it open.
    kind = type_of(made.of)
    if np.all(np.isfinite(round_to(scales * largest_stored(made.of), kind))):
        return None
    return _refuse_numbers(op, None, np.abs(made.becomes(made.of).values), kind)


def _refuse_numbers(op: Operator, before: Array | None, after: Array, kind: int) -> Refusal | None:
    """A refusal for magnitudes that a type can not hold; `before` are those that became them, if there are any."""
    # A little more than the largest number still rounds to it.
    if not after.max(initial=0.0) <= largest(kind) and not np.all(np.isfinite(round_to(after, kind))):
        return op.refuse("overflow", f"would get a constant that is not finite in {type_name(kind)}")
    # float16 has so few exponents that a trained scale can take a weight out of them; the types with float32's
    # exponents lose precision only below 1e-38, where no activation makes it count.
    if before is None or keeps_range(kind):
        return None
    lost = (after > 0) & (after < smallest_normal(kind)) & (before >= smallest_normal(kind))
    if np.any(lost):
        return op.refuse("underflow", f"would get a weight below the smallest normal number of {type_name(kind)}")
    return None


def _magnitudes(op: Operator, index: int, rescale: Rescale) -> tuple[Array | None, Array]:
    """(largest magnitudes before, after), one per element of the factor; every element where there is an offset."""
    if _is_sum(rescale):
        return None, np.abs(op.rescaled(index, rescale))
    before = _largest_per(rescale.factor, op.base(index, rescale))
    return before, before * np.abs(rescale.factor)


def _largest_per(factor: Array, constant: Constant) -> Array:
    """The largest magnitude that each element of `factor` is multiplied with; shape of the factor, or its broadcast."""
    more = max(factor.ndim - constant.rank, 0)
    shape = (1,) * (constant.rank - factor.ndim) + factor.shape[more:]  # factor: [*] -> the rank of the constant
    found = largest_magnitudes(constant, tuple(k for k, size in enumerate(shape) if size == 1))
    return found.reshape((1,) * more + found.shape)  # [*] -> [1, ..., *], the rank of the factor
