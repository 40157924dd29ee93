"""Gemm and MatMul, the constant on either side."""

from __future__ import annotations

from random_graphs.affines import constant_operand
from random_graphs.builder import Builder, Wire
from random_graphs.numbers import vector, weight
from random_graphs.steps import step


@step("Gemm")
def gemm(b: Builder, wire: Wire) -> Wire:
    """With every shape of C that broadcasts, and the constant as either matrix."""
    b.require(wire.rank == 2)
    side, other = b.number(0, 1), b.number(1, 6)
    own_transposed, transposed = b.chance(0.3), b.chance(0.4)
    # x is A' [M, K] (side 0) or B' [K, N] (side 1) after its own transposition
    first, second = wire.shape[::-1] if own_transposed else wire.shape
    inner = second if side == 0 else first
    matrix = [inner, other] if side == 0 else [other, inner]
    name = weight(b, *(matrix[::-1] if transposed else matrix), terms=inner, kind=wire.kind)
    rows, columns = (first, other) if side == 0 else (other, second)
    inputs = [wire.name, name] if side == 0 else [name, wire.name]
    inputs += _addend(b, rows, columns, wire.kind)
    flags = (own_transposed, transposed) if side == 0 else (transposed, own_transposed)
    attributes: dict[str, float | int] = {f"trans{m}": 1 for m, flag in zip("AB", flags, strict=True) if flag}
    if b.chance(0.4):
        attributes["alpha"] = float(b.pick(0.5, -1.5, 2.0))
    if b.chance(0.4):
        attributes["beta"] = float(b.pick(0.5, -2.0, 0.0))
    return b.add("Gemm", inputs, (rows, columns), wire.kind, **attributes)


def _addend(b: Builder, rows: int, columns: int, kind: int) -> list[str]:
    """C; before opset 11 it is no choice."""
    if b.opset >= 11 and b.chance(0.35):
        return []
    shape = b.pick([], [1], [columns], [columns], [1, columns], [rows, 1], [rows, columns], [1, 1])
    return [vector(b, *shape, kind=kind)]


@step("Gemm, addend computed")
def gemm_onto(b: Builder, wire: Wire) -> Wire:
    """C is another product of the same input."""
    b.require(wire.rank == 2)
    inner, columns = wire.shape[1], b.number(1, 5)
    first = _addend(b, wire.shape[0], columns, wire.kind) if b.opset >= 11 else [vector(b, columns, kind=wire.kind)]
    matrices = [weight(b, inner, columns, terms=inner, kind=wire.kind) for _ in range(2)]
    addend = b.add("Gemm", [wire.name, matrices[0], *first], (wire.shape[0], columns), wire.kind)
    beta = float(b.pick(1.0, 0.5, -2.0))
    return b.add("Gemm", [wire.name, matrices[1], addend.name], (wire.shape[0], columns), wire.kind, beta=beta)


@step("MatMul")
def matmul(b: Builder, wire: Wire) -> Wire:
    """The constant on the right: columns are the channels."""
    b.require(wire.rank >= 2)
    inner, columns = wire.shape[-1], b.number(1, 6)
    batch = list(wire.shape[:-2]) if wire.rank > 2 and b.chance(0.2) and not b.whole.options.open_batch else []
    matrix = weight(b, *batch, inner, columns, terms=inner, kind=wire.kind)
    return _biased(b, b.add("MatMul", [wire.name, matrix], (*wire.shape[:-1], columns), wire.kind))


@step("MatMul, same", keeps=True)
def matmul_same(b: Builder, wire: Wire) -> Wire:
    b.require(wire.rank >= 2)
    inner = wire.shape[-1]
    matrix = weight(b, inner, inner, terms=inner, kind=wire.kind)
    return _biased(b, b.add("MatMul", [wire.name, matrix], wire.shape, wire.kind))


@step("MatMul, constant left")
def matmul_left(b: Builder, wire: Wire) -> Wire:
    b.require(wire.rank >= 2)
    inner, rows = wire.shape[-2], b.number(1, 6)
    batch = list(wire.shape[:-2]) if wire.rank > 2 and b.chance(0.2) and not b.whole.options.open_batch else []
    matrix = weight(b, *batch, rows, inner, terms=inner, kind=wire.kind)
    return _biased(b, b.add("MatMul", [matrix, wire.name], (*wire.shape[:-2], rows, wire.shape[-1]), wire.kind))


@step("MatMul, constant vector")
def matmul_vector(b: Builder, wire: Wire) -> Wire:
    """The last axis, or the last but one, is gone behind it."""
    b.require(wire.rank >= 3)
    if b.chance(0.5):
        vector_right = weight(b, wire.shape[-1], terms=wire.shape[-1], kind=wire.kind)
        return b.add("MatMul", [wire.name, vector_right], wire.shape[:-1], wire.kind)
    vector_left = weight(b, wire.shape[-2], terms=wire.shape[-2], kind=wire.kind)
    return b.add("MatMul", [vector_left, wire.name], (*wire.shape[:-2], wire.shape[-1]), wire.kind)


def _biased(b: Builder, wire: Wire) -> Wire:
    """An Add behind it, as exporters write the bias of a dense layer."""
    if not b.chance(0.4):
        return wire
    return constant_operand(b, wire, "Add", wire.rank - 1 if b.chance(0.8) else b.number(0, wire.rank - 1))
