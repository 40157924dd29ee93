"""Arithmetic on sizes: what exporters write to keep a batch dynamic runs on Python's integers."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor

from bnfold.torch.axes import axes_of, squeezed, unsqueezed
from bnfold.torch.registry import HostRun, Run, Spec, hosted, operator
from bnfold.torch.roles import MOST_NUMBERS
from bnfold.torch.stored import dtype_of
from bnfold.torch.values import Context, Host, Number, integers, number, sizes


@operator("Shape", 1, 13, 15, 19, 21, 23, 24, 25, is_differentiable=False)
def _shape(spec: Spec) -> Run:
    start, end = (spec.get("start", 0), spec.get("end")) if spec.version >= 15 else (0, None)
    return lambda _, x: sizes(x.shape[start:end])


@operator("Size", 1, 13, 19, 21, 23, 24, 25, is_differentiable=False)
def _size(_: Spec) -> Run:
    return lambda _, x: Host((prod(x.shape),), True, torch.int64)


@operator("ConstantOfShape", 9, 20, 21, 23, 24, 25, numbers=(0,))
def _constant_of_shape(spec: Spec) -> Run:
    tensor = spec.get("value")
    value, dtype = 0.0, torch.float32
    if tensor is not None:
        dtype = dtype_of(tensor.data_type, f"the value of {spec.node.label}")
        value = numpy_helper.to_array(tensor).reshape(-1)[0].item()

    def run(context: Context, shape: Tensor | Host) -> Tensor:
        return torch.full(integers(shape), value, dtype=context.dtype(dtype), device=context.device)

    return run


def _result_shape(*operands: Host) -> tuple[int, bool]:
    """How many numbers come of operands that broadcast, and whether they make a scalar."""
    vectors = [len(operand.values) for operand in operands if not operand.is_scalar]
    return next((n for n in vectors if n != 1), 1 if vectors or operands else 0), not vectors


def _spread(operand: Host, count: int) -> tuple[Number, ...]:
    return operand.values * count if len(operand.values) == 1 else operand.values


ARITHMETIC: dict[str, Callable[..., Number]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a // b if (a >= 0) == (b > 0) else -(-a // b),  # towards zero
    "Max": max,
    "Min": min,
    "Neg": lambda a: -a,
    "Identity": lambda a: a,
}


def _elementwise(function: Callable[..., Number]) -> Callable[[Spec], HostRun]:
    def run(*operands: Host) -> Host | None:
        if any(operand.dtype != torch.int64 for operand in operands):
            return None
        count, is_scalar = _result_shape(*operands)
        columns = zip(*(_spread(operand, count) for operand in operands), strict=True)
        return Host(tuple(function(*column) for column in columns), is_scalar, torch.int64)

    return lambda _: run


for _name, _function in ARITHMETIC.items():
    hosted(_name)(_elementwise(_function))


@hosted("Cast")
def _cast(spec: Spec) -> HostRun:
    to = dtype_of(spec.get("to"), f"the result of {spec.node.label}")
    return lambda x: x if x.dtype == to == torch.int64 else None


@hosted("Gather")
def _gather(spec: Spec) -> HostRun:
    spec.get("axis")

    def run(x: Host, indices: Host) -> Host | None:
        if x.is_scalar:
            return None
        picked = tuple(x.values[int(index)] for index in indices.values)
        return Host(picked, indices.is_scalar, x.dtype)

    return run


@hosted("Concat")
def _concat(spec: Spec) -> HostRun:
    spec.get("axis")
    return lambda *xs: Host(tuple(value for x in xs for value in x.values), False, xs[0].dtype)


@hosted("Squeeze")
def _squeeze(spec: Spec) -> HostRun:
    axes = axes_of(spec, input_since=13)

    def run(x: Host, given: Host | None = None) -> Host:
        shape = squeezed([] if x.is_scalar else [len(x.values)], axes(given))
        return x._replace(is_scalar=not shape)

    return run


@hosted("Unsqueeze")
def _unsqueeze(spec: Spec) -> HostRun:
    axes = axes_of(spec, input_since=13)

    def run(x: Host, given: Host | None = None) -> Host | None:
        shape = unsqueezed([] if x.is_scalar else [len(x.values)], axes(given) or [])
        return x._replace(is_scalar=not shape) if len(shape) < 2 else None

    return run


@hosted("Reshape")
def _reshape(_: Spec) -> HostRun:
    def run(x: Host, shape: Host) -> Host | None:
        wanted = integers(shape)
        return x._replace(is_scalar=not wanted) if wanted in ([], [-1], [len(x.values)]) else None

    return run


@hosted("Slice")
def _slice(spec: Spec) -> HostRun:
    fixed = [spec.get("starts"), spec.get("ends")] if spec.version < 10 else []

    def run(x: Host, *given: Host | None) -> Host:
        start, end, _, step = (*(fixed or given), None, None, None)[:4]
        first, last = (int(part[0] if isinstance(part, list) else number(part)) for part in (start, end))
        stride = 1 if step is None or fixed else int(number(step))
        return x._replace(values=x.values[first:last:stride])

    return run


COMPARISONS: dict[str, Callable[[Number, Number], bool]] = {
    "Equal": lambda a, b: a == b,
    "Less": lambda a, b: a < b,
    "Greater": lambda a, b: a > b,
}


def _comparison(function: Callable[[Number, Number], bool]) -> Callable[[Spec], HostRun]:
    def run(a: Host, b: Host) -> Host:
        count, is_scalar = _result_shape(a, b)
        pairs = zip(_spread(a, count), _spread(b, count), strict=True)
        return Host(tuple(function(*pair) for pair in pairs), is_scalar, torch.bool)

    return lambda _: run


for _name, _compare in COMPARISONS.items():
    hosted(_name)(_comparison(_compare))


@hosted("Where")
def _where(_: Spec) -> HostRun:
    def run(condition: Host, a: Host, b: Host) -> Host:
        count, is_scalar = _result_shape(condition, a, b)
        rows = zip(*(_spread(operand, count) for operand in (condition, a, b)), strict=True)
        return Host(tuple(yes if holds else no for holds, yes, no in rows), is_scalar, a.dtype)

    return run


@hosted("ConstantOfShape")
def _filled(spec: Spec) -> HostRun:
    """A vector of ones, say, as long as a shape; more than a vector is a tensor."""
    tensor = spec.get("value")
    if tensor is None or tensor.data_type != TensorProto.INT64:
        return lambda shape: None
    value = numpy_helper.to_array(tensor).reshape(-1)[0].item()

    def run(shape: Host) -> Host | None:
        if len(shape.values) != 1 or not isinstance(shape.values[0], int) or shape.values[0] > MOST_NUMBERS:
            return None
        return Host((value,) * shape.values[0], False, torch.int64)

    return run


@hosted("ReduceProd")
def _reduce_prod(spec: Spec) -> HostRun:
    keep, leaves = bool(spec.get("keepdims", 1)), bool(spec.get("noop_with_empty_axes", 0))

    def run(x: Host, _: Host | None = None) -> Host | None:
        return None if leaves or x.dtype != torch.int64 else Host((prod(x.values),), x.is_scalar or not keep, x.dtype)

    return run
