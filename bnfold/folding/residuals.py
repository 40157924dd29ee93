"""What stays of an affine that can not go altogether: the ways to part it, to move it, and to write it.

A residual is exact by construction: the map stays, whole or in part, on a wire between operators that take the rest.
Which wire, and which operators it is written as, the cost decides (`bnfold.folding.cost`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from onnx import TensorProto

from bnfold.folding.cost import Preference
from bnfold.folding.plan import Residual
from bnfold.folding.requests import Manner, Part
from bnfold.folding.sources import BATCH_NORMALIZATION, Source
from bnfold.folding.state import State
from bnfold.model.graph import ONNX_DOMAIN
from bnfold.model.shapes import Shapes
from bnfold.model.tensors import FLOATS, keeps_range, round_to, smallest_normal

MAX_DEPTH = 8
"""How many operators a residual is moved past at most: bounds the work per affine."""

_COMMON = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE})
"""Types in which every runtime has a BatchNormalization; in others one is only written where there was one."""


def manners(preference: Preference, *, moves: bool) -> Iterator[Manner]:
    """The ways to let a part stay besides the plain one.

    Args:
        preference: what the fold is to come to.
        moves: whether the map passes anything, or has taken in another affine: one alone that does not gains nothing
            by being parted, but that it is no BatchNormalization any more.
    """
    yield Manner(leaving=True, replacing=True)
    if not moves and not preference.avoids_normalizations:
        return
    parts: tuple[Part, ...] = ("shift", "scale")
    for splitting in parts:
        for replacing in (False, True):
            yield Manner(leaving=True, splitting=splitting, replacing=replacing)


def depths(deepest: int) -> range:
    """How many operators to pass before a map stays, where it could pass more."""
    return range(-1, min(deepest, MAX_DEPTH))


def formed(made: State, origin: Source, shapes: Shapes, preference: Preference) -> State | None:
    """The state with every residual written as operators; None where one of them can not be."""
    normalizations = [source for source in made.removed.values() if source.is_normalization]
    formed_ones = dict(made.residuals)
    for wire, residual in made.residuals.items():
        found = _formed(residual, origin, normalizations, shapes, preference)
        if found is None:
            return None
        formed_ones[wire] = found
    return State(made.removed, made.pushed, made.changes, formed_ones)


def _formed(
    residual: Residual, origin: Source, normalizations: list[Source], shapes: Shapes, preference: Preference
) -> Residual | None:
    wire, placed = residual.wire, residual.placed
    if not preference.avoids_normalizations:
        moved = next((source for source in normalizations if _is_unchanged(source, residual, shapes)), None)
        if moved is not None:
            return replace(residual, forms=(BATCH_NORMALIZATION,), origin=origin, moved=moved)
    shape = shapes.shape(wire)
    kind, opset = shapes.elem_type(wire), wire.scope.opsets.get(ONNX_DOMAIN, 0)
    if kind not in FLOATS or opset < 7 or not _fits(residual, kind) or len(placed.axes) > 1:
        return None
    if not placed.is_uniform and (shape is None or max(placed.axes) >= len(shape)):
        return None
    size = shape[1] if shape is not None and len(shape) >= 2 else None
    residual = replace(
        residual,
        elem_type=kind,
        rank=0 if shape is None else len(shape),
        channels=size if isinstance(size, int) else 0,
        origin=origin,
    )
    may_normalize = not preference.avoids_normalizations and (bool(normalizations) or kind in _COMMON)
    return replace(residual, forms=_forms(residual, may_normalize=may_normalize))


def _is_unchanged(source: Source, residual: Residual, shapes: Shapes) -> bool:
    """Whether the residual is the map of that BatchNormalization, on a value that the node itself can stand behind."""
    if source.wire.scope is not residual.wire.scope or not source.placed.same_as(residual.placed):
        return False
    if not _has_its_parameters_there(source, residual):
        return False
    shape = shapes.shape(residual.wire)
    same_type = shapes.elem_type(source.wire) == shapes.elem_type(residual.wire)
    return shape is not None and len(shape) >= 2 and shape[1] == source.channels and same_type


def _has_its_parameters_there(source: Source, residual: Residual) -> bool:
    """Whether no parameter is computed further down the file, as a Cast of a constant may be."""
    beside = residual.wire.producer
    computing = [value.producer for value in source.node.inputs[1:] if value is not None and value.producer is not None]
    return all(
        node.scope is not residual.wire.scope or (beside is not None and node.address.place < beside.address.place)
        for node in computing
    )


def _forms(residual: Residual, *, may_normalize: bool) -> tuple[str, ...]:
    affine = residual.placed.affine
    if affine.is_shift:
        return ("Add",)
    if affine.is_scaling:
        return ("Mul",)
    if bool((affine.scale == -1.0).all()):
        return ("Sub",)
    on_channels = residual.channels > 0 and (residual.placed.is_uniform or residual.placed.axis == 1)
    return (BATCH_NORMALIZATION,) if may_normalize and on_channels else ("Mul", "Add")


def _fits(residual: Residual, kind: int) -> bool:
    """Whether the numbers of the map are finite in that type, and no scale is lost below its smallest normal one."""
    affine = residual.placed.affine
    if not all(np.isfinite(round_to(vector, kind)).all() for vector in (affine.scale, affine.shift)):
        return False
    small = (affine.scale != 0.0) & (np.abs(affine.scale) < smallest_normal(kind))
    return keeps_range(kind) or not bool(small.any())
