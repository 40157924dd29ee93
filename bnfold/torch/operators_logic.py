"""Comparisons, logic, bits, and the remainder."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bnfold.torch.registry import Run, Spec, operator

OF_TWO: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...]]] = {
    "Equal": (torch.eq, (7, 11, 13, 19)),
    "Less": (torch.lt, (7, 9, 13)),
    "LessOrEqual": (torch.le, (12, 16)),
    "Greater": (torch.gt, (7, 9, 13)),
    "GreaterOrEqual": (torch.ge, (12, 16)),
    "And": (torch.logical_and, (7,)),
    "Or": (torch.logical_or, (7,)),
    "Xor": (torch.logical_xor, (7,)),
    "BitwiseAnd": (torch.bitwise_and, (18,)),
    "BitwiseOr": (torch.bitwise_or, (18,)),
    "BitwiseXor": (torch.bitwise_xor, (18,)),
}
OF_ONE: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = {
    "Not": (torch.logical_not, (1,)),
    "BitwiseNot": (torch.bitwise_not, (18,)),
    "IsNaN": (torch.isnan, (9, 13, 20)),
}


def _of_two(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Spec], Run]:
    return lambda _: lambda _, a, b: function(a, b)


def _of_one(function: Callable[[Tensor], Tensor]) -> Callable[[Spec], Run]:
    return lambda _: lambda _, x: function(x)


for _name, (_function, _versions) in OF_TWO.items():
    operator(_name, *_versions, is_differentiable=False)(_of_two(_function))
for _name, (_single, _versions) in OF_ONE.items():
    operator(_name, *_versions, is_differentiable=False)(_of_one(_single))


@operator("IsInf", 10, 20, is_differentiable=False)
def _is_inf(spec: Spec) -> Run:
    signs = [sign for sign, name in ((-1, "detect_negative"), (1, "detect_positive")) if spec.get(name, 1)]

    def run(_: object, x: Tensor) -> Tensor:
        found = torch.zeros_like(x, dtype=torch.bool)
        for sign in signs:
            found = found | (x == sign * torch.inf)
        return found

    return run


@operator("Mod", 10, 13, 28, pointwise=True)
def _mod(spec: Spec) -> Run:
    """The sign is the divisor's, or with `fmod` the dividend's."""
    function = torch.fmod if spec.get("fmod", 0) else torch.remainder
    return lambda _, a, b: function(a, b)


@operator("BitShift", 11, 28, is_differentiable=False)
def _bit_shift(spec: Spec) -> Run:
    """A shift by no number of bits of the type leaves what the sign fills in: -1 or 0."""
    goes_left = spec.get("direction") == "LEFT"
    shift = torch.bitwise_left_shift if goes_left else torch.bitwise_right_shift

    def run(_: object, x: Tensor, by: Tensor) -> Tensor:
        is_valid = (by >= 0) & (by < torch.iinfo(x.dtype).bits)
        filled = torch.where((x < 0) & (not goes_left), -1, 0).to(x.dtype)
        return torch.where(is_valid, shift(x, torch.where(is_valid, by, 0)), filled)

    return run
