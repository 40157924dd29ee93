"""Elementwise arithmetic and activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bnfold.torch.registry import Run, Spec, operator
from bnfold.torch.stored import dtype_of
from bnfold.torch.values import Context, Host, number

UNARY: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = {
    "Abs": (torch.abs, (6, 13)),
    "Acos": (torch.acos, (7, 22)),
    "Acosh": (torch.acosh, (9, 22)),
    "Asin": (torch.asin, (7, 22)),
    "Asinh": (torch.asinh, (9, 22)),
    "Atan": (torch.atan, (7, 22)),
    "Atanh": (torch.atanh, (9, 22)),
    "Ceil": (torch.ceil, (6, 13)),
    "Cos": (torch.cos, (7, 22)),
    "Cosh": (torch.cosh, (9, 22)),
    "Erf": (torch.erf, (9, 13)),
    "Exp": (torch.exp, (6, 13)),
    "Floor": (torch.floor, (6, 13)),
    "HardSwish": (F.hardswish, (14, 22)),
    "Identity": (lambda x: x, (1, 13, 14, 16, 19, 21, 23, 24, 25)),
    "Log": (torch.log, (6, 13)),
    "Mish": (F.mish, (18, 22)),
    "Neg": (torch.neg, (6, 13)),
    "Reciprocal": (torch.reciprocal, (6, 13)),
    "Relu": (torch.relu, (6, 13, 14)),
    "Round": (torch.round, (11, 22)),
    "Sigmoid": (torch.sigmoid, (6, 13)),
    "Sign": (torch.sign, (9, 13)),
    "Sin": (torch.sin, (7, 22)),
    "Sinh": (torch.sinh, (9, 22)),
    "Softplus": (lambda x: torch.logaddexp(x, torch.zeros_like(x)), (1, 22)),
    "Softsign": (F.softsign, (1, 22)),
    "Sqrt": (torch.sqrt, (6, 13)),
    "Tan": (torch.tan, (7, 22)),
    "Tanh": (torch.tanh, (6, 13)),
}


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[[Spec], Run]:
    return lambda _: lambda _, x: function(x)


for _name, (_function, _versions) in UNARY.items():
    operator(_name, *_versions)(_unary(_function))


def _divide(a: Tensor, b: Tensor) -> Tensor:
    """ONNX Div cuts integers towards zero."""
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


BINARY: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...]]] = {
    "Add": (torch.add, (7, 13, 14)),
    "Sub": (torch.sub, (7, 13, 14)),
    "Mul": (torch.mul, (7, 13, 14)),
    "Div": (_divide, (7, 13, 14)),
}


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Spec], Run]:
    return lambda _: lambda _, a, b: function(a, b)


for _name, (_of_two, _versions) in BINARY.items():
    operator(_name, *_versions, pointwise=True)(_binary(_of_two))


@operator("Pow", 7, 12, 13, 15, numbers=(1,), pointwise=True)
def _pow(_: Spec) -> Run:
    """The result has the base's type, whatever the exponent's (from version 12 on they may differ)."""

    def run(context: Context, x: Tensor, exponent: Tensor | Host) -> Tensor:
        if isinstance(exponent, Host) and exponent.is_scalar:
            value = number(exponent)
            if x.is_floating_point() or (isinstance(value, int) and value >= 0):
                return torch.pow(x, value)
        power: Tensor = context.tensor(exponent)
        if x.is_floating_point():
            return torch.pow(x, power.to(x.dtype))
        return torch.pow(x.to(torch.float64), power.to(torch.float64)).to(x.dtype)

    return run


def _fold(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Spec], Run]:
    return lambda _: lambda _, *xs: reduce(function, xs)


operator("Sum", 6, 8, 13, pointwise=True)(_fold(torch.add))
operator("Max", 6, 8, 12, 13, pointwise=True)(_fold(torch.maximum))
operator("Min", 6, 8, 12, 13, pointwise=True)(_fold(torch.minimum))


@operator("Mean", 6, 8, 13, pointwise=True)
def _mean(_: Spec) -> Run:
    def run(_: Context, *xs: Tensor) -> Tensor:
        return reduce(torch.add, xs) / len(xs)

    return run


@operator("Clip", 6, 11, 12, 13, numbers=(1, 2))
def _clip(spec: Spec) -> Run:
    """Everything is the upper bound where the bounds cross."""
    attributes = [spec.get(name) for name in ("min", "max")] if spec.version < 11 else [None, None]

    def run(_: Context, x: Tensor, low: Tensor | Host | None = None, high: Tensor | Host | None = None) -> Tensor:
        lowest, highest = _bound(low, attributes[0]), _bound(high, attributes[1])
        x = x if lowest is None else torch.clamp(x, min=lowest)
        return x if highest is None else torch.clamp(x, max=highest)

    return run


def _bound(given: Tensor | Host | None, attribute: float | None) -> Any:  # noqa: ANN401 (torch.clamp takes both)
    if isinstance(given, Host):
        return number(given)
    return attribute if given is None else given


@operator("LeakyRelu", 6, 16)
def _leaky_relu(spec: Spec) -> Run:
    alpha = spec.get("alpha", 0.01)
    return lambda _, x: F.leaky_relu(x, alpha)


@operator("PRelu", 7, 9, 16)
def _prelu(_: Spec) -> Run:
    """The slope broadcasts towards x."""
    return lambda _, x, slope: torch.where(x < 0, x * slope, x)


@operator("Elu", 6, 22)
def _elu(spec: Spec) -> Run:
    alpha = spec.get("alpha", 1.0)
    return lambda _, x: F.elu(x, alpha)


@operator("Celu", 12, 28)
def _celu(spec: Spec) -> Run:
    alpha = spec.get("alpha", 1.0)
    return lambda _, x: F.celu(x, alpha)


@operator("Selu", 6, 22)
def _selu(spec: Spec) -> Run:
    alpha, gamma = spec.get("alpha"), spec.get("gamma")
    return lambda _, x: gamma * F.elu(x, alpha)


@operator("HardSigmoid", 6, 22)
def _hard_sigmoid(spec: Spec) -> Run:
    alpha, beta = spec.get("alpha", 0.2), spec.get("beta", 0.5)
    return lambda _, x: torch.clamp(alpha * x + beta, 0, 1)


@operator("ThresholdedRelu", 10, 22)
def _thresholded_relu(spec: Spec) -> Run:
    alpha = spec.get("alpha", 1.0)
    return lambda _, x: torch.where(x > alpha, x, 0)


@operator("Shrink", 9)
def _shrink(spec: Spec) -> Run:
    bias, limit = spec.get("bias", 0.0), spec.get("lambd", 0.5)

    def run(_: Context, x: Tensor) -> Tensor:
        shrunk = torch.where(x < -limit, x + bias, torch.where(x > limit, x - bias, torch.zeros_like(x)))
        return shrunk.to(x.dtype)

    return run


@operator("Gelu", 20)
def _gelu(spec: Spec) -> Run:
    approximate = spec.get("approximate", "none")
    spec.refuse_unless(approximate in {"none", "tanh"}, f"has an approximation '{approximate}' that is unknown")
    return lambda _, x: F.gelu(x, approximate=approximate)


@operator("Swish", 24)
def _swish(spec: Spec) -> Run:
    alpha = spec.get("alpha", 1.0)
    return lambda _, x: x * torch.sigmoid(alpha * x)


@operator("Cast", 6, 9, 13, 19, 21, 23, 24, 25, 28)
def _cast(spec: Spec) -> Run:
    """Saturation and rounding modes say something of the 8-bit floats alone, which are refused."""
    to = dtype_of(spec.get("to"), f"the result of {spec.node.label}")
    for name in ("saturate", "round_mode"):
        spec.get(name)
    return lambda context, x: x.to(context.dtype(to))


@operator("CastLike", 15, 19, 21, 23, 24, 25, fixed=(1,))
def _cast_like(spec: Spec) -> Run:
    for name in ("saturate", "round_mode"):
        spec.get(name)
    return lambda _, x, like: x.to(like.dtype)


@operator("Where", 9, 16, fixed=(0,), pointwise=True)
def _where(_: Spec) -> Run:
    return lambda _, condition, a, b: torch.where(condition, a, b)


def softmax_like(function: Callable[..., Tensor]) -> Callable[[Spec], Run]:
    """Along one axis from version 13 on; before, over all axes from `axis` on together."""

    def build(spec: Spec) -> Run:
        axis = spec.get("axis", 1 if spec.version < 13 else -1)
        if spec.version >= 13:
            return lambda _, x: function(x, dim=axis)

        def run(_: Context, x: Tensor) -> Tensor:
            rows = math.prod(x.shape[: axis % x.ndim if axis < 0 else axis])
            return function(x.reshape(rows, -1), dim=1).reshape(x.shape)

        return run

    return build


def _hardmax(x: Tensor, dim: int) -> Tensor:
    """One where the first maximum is."""
    first = torch.argmax(x, dim, keepdim=True)
    return torch.zeros_like(x).scatter(dim, first, 1)


operator("Softmax", 1, 11, 13)(softmax_like(torch.softmax))
operator("LogSoftmax", 1, 11, 13)(softmax_like(torch.log_softmax))
operator("Hardmax", 1, 11, 13, is_differentiable=False)(softmax_like(_hardmax))
