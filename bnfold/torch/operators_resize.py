"""Resize and Upsample: one axis after the other, by torch's own interpolation where that is the same."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bnfold.errors import ModelError
from bnfold.torch.registry import Run, Spec, operator
from bnfold.torch.resampling import COORDINATES, LINEAR, ROUNDINGS, Axis, cubic, interpolated, nearest, places_in_input
from bnfold.torch.values import Host, integers, numbers

POLICIES = frozenset({"stretch", "not_larger", "not_smaller"})


@dataclass(frozen=True)
class Resizing:
    """The attributes of a Resize, with what the versions before knew none of."""

    mode: str
    coordinates: str = "asymmetric"
    nearest_mode: str = "floor"
    cubic_coeff_a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    extrapolation_value: float = 0.0
    axes: tuple[int, ...] | None = None
    policy: str = "stretch"

    def __call__(
        self,
        x: Tensor,
        roi: Tensor | Host | None = None,
        scales: Tensor | Host | None = None,
        sizes: Tensor | Host | None = None,
    ) -> Tensor:
        """X of any rank; roi begins then ends, scales or sizes, each per axis."""
        chosen = [axis % x.ndim for axis in self.axes or range(x.ndim)]
        axes = self._axes([x.shape[axis] for axis in chosen], roi, scales, sizes)
        resized = {k: axis for k, axis in zip(chosen, axes, strict=True) if self._changes(axis)}
        if not resized:
            return x
        own = self._by_torch(x, resized)
        if own is not None:
            return own
        outside = torch.zeros([1] * x.ndim, dtype=torch.bool, device=x.device)
        for k, axis in resized.items():
            places = places_in_input(axis, self.coordinates)
            matrix = torch.from_numpy(self._matrix(axis, places)).to(x.device, x.dtype)
            x = torch.tensordot(x, matrix, ([k], [1])).movedim(-1, k)
            beyond = torch.from_numpy((places < 0) | (places > axis.size - 1)).to(x.device)
            outside = outside | beyond.reshape([-1 if j == k else 1 for j in range(x.ndim)])
        return torch.where(outside, self.extrapolation_value, x) if self.coordinates == "tf_crop_and_resize" else x

    def _changes(self, axis: Axis) -> bool:
        return axis.scale != 1 or axis.size != axis.target or self.coordinates == "tf_crop_and_resize"

    def _axes(
        self, found: list[int], roi: Tensor | Host | None, scales: Tensor | Host | None, sizes: Tensor | Host | None
    ) -> list[Axis]:
        regions = [(0.0, 1.0)] * len(found)
        if self.coordinates == "tf_crop_and_resize" and roi is not None:
            bounds = numbers(roi)
            regions = list(zip(bounds[: len(found)], bounds[len(found) :], strict=True))
        factors = [] if scales is None else [float(scale) for scale in numbers(scales)]
        if factors:
            targets = [floor(size * scale) for size, scale in zip(found, factors, strict=True)]
            self._refuse_corners_between(found, factors)
        else:
            targets = self._kept_in_shape(found, integers(sizes) if sizes is not None else found)
            factors = [target / size for target, size in zip(targets, found, strict=True)]
            if self.policy != "stretch" and sizes is not None:
                factors = [self._common(found, integers(sizes))] * len(found)
        return [Axis(*of_axis) for of_axis in zip(found, targets, factors, regions, strict=True)]

    def _refuse_corners_between(self, found: list[int], factors: list[float]) -> None:
        """ONNX's tests put the last corner at ``scale * size - 1``, onnxruntime at its whole part: they differ."""
        between = any(size * scale != floor(size * scale) for size, scale in zip(found, factors, strict=True))
        if self.coordinates == "align_corners" and between:
            raise ModelError(
                f"a Resize aligns the corners of {found} by scales {factors}, which give no whole size: ONNX and "
                "onnxruntime differ there; give it sizes"
            )

    def _common(self, found: list[int], wanted: list[int]) -> float:
        """The one scale of all axes that keeps the aspect ratio."""
        ratios = [target / size for target, size in zip(wanted, found, strict=True)]
        return min(ratios) if self.policy == "not_larger" else max(ratios)

    def _kept_in_shape(self, found: list[int], wanted: list[int]) -> list[int]:
        if self.policy == "stretch":
            return wanted
        scale = self._common(found, wanted)
        return [floor(scale * size + 0.5) for size in found]

    def _matrix(
        self, axis: Axis, places: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        if self.mode == "nearest":
            return nearest(axis, places, self.nearest_mode)
        kernel = LINEAR if self.mode == "linear" else cubic(self.cubic_coeff_a)
        return interpolated(axis, places, kernel, antialias=self.antialias, exclude_outside=self.exclude_outside)

    def _by_torch(self, x: Tensor, resized: dict[int, Axis]) -> Tensor | None:
        """By torch.nn.functional.interpolate, which is faster, where it computes the same."""
        if x.ndim not in {3, 4, 5} or not x.is_floating_point() or min(resized) < 2 or self.antialias:
            return None
        exact = all(axis.target == axis.size * axis.scale for axis in resized.values())
        targets = [resized[k].target if k in resized else x.shape[k] for k in range(2, x.ndim)]
        if self.mode == "nearest" and self.coordinates == "asymmetric" and self.nearest_mode == "floor":
            whole = all(axis.target % axis.size == 0 for axis in resized.values())
            return F.interpolate(x, targets, mode="nearest") if exact and whole else None
        names = {3: "linear", 4: "bilinear", 5: "trilinear"}
        if self.mode != "linear" or self.exclude_outside:
            return None
        if self.coordinates == "align_corners":
            return F.interpolate(x, targets, mode=names[x.ndim], align_corners=True)
        if self.coordinates == "half_pixel" and exact:
            return F.interpolate(x, targets, mode=names[x.ndim], align_corners=False)
        return None


@operator("Resize", 10, numbers=(1,))
def _resize_10(spec: Spec) -> Run:
    resizing = _checked(spec, Resizing(spec.get("mode", "nearest")))
    return lambda _, x, scales: resizing(x, scales=scales)


@operator("Resize", 11, 13, 18, 19, numbers=(1, 2, 3))
def _resize(spec: Spec) -> Run:
    later = spec.version >= 18
    axes = spec.get("axes") if later else None
    resizing = Resizing(
        mode=spec.get("mode", "nearest"),
        coordinates=spec.get("coordinate_transformation_mode", "half_pixel"),
        nearest_mode=spec.get("nearest_mode", "round_prefer_floor"),
        cubic_coeff_a=spec.get("cubic_coeff_a", -0.75),
        exclude_outside=bool(spec.get("exclude_outside", 0)),
        antialias=bool(spec.get("antialias", 0)) if later else False,
        extrapolation_value=spec.get("extrapolation_value", 0.0),
        axes=None if axes is None else tuple(axes),
        policy=spec.get("keep_aspect_ratio_policy", "stretch") if later else "stretch",
    )
    _checked(spec, resizing)
    if resizing.coordinates == "align_corners" and spec.has_input(2):
        known = not (spec.node.inputs[2] and spec.node.inputs[2].is_input)
        spec.refuse_unless(known, "aligns corners by scales that the graph does not know")
    return lambda _, x, roi=None, scales=None, sizes=None: resizing(x, roi, scales, sizes)


@operator("Upsample", 7)
def _upsample_7(spec: Spec) -> Run:
    resizing = _checked(spec, Resizing(spec.get("mode", "nearest")))
    scales = Host(tuple(spec.get("scales")), False, torch.float32)
    return lambda _, x: resizing(x, scales=scales)


@operator("Upsample", 9, numbers=(1,))
def _upsample(spec: Spec) -> Run:
    resizing = _checked(spec, Resizing(spec.get("mode", "nearest")))
    return lambda _, x, scales: resizing(x, scales=scales)


def _checked(spec: Spec, resizing: Resizing) -> Resizing:
    known = {
        "mode": (resizing.mode, {"nearest", "linear", "cubic"}),
        "coordinate_transformation_mode": (resizing.coordinates, set(COORDINATES)),
        "nearest_mode": (resizing.nearest_mode, set(ROUNDINGS)),
        "keep_aspect_ratio_policy": (resizing.policy, POLICIES),
    }
    for name, (said, allowed) in known.items():
        spec.refuse_unless(said in allowed, f"has a {name} '{said}' that has no translation to torch")
    return resizing
