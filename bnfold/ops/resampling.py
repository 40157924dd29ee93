"""Resize and Upsample: each element becomes a weighted mean of its neighbours, with weights that sum to one."""

from __future__ import annotations

from bnfold.ops.registry import pull, push
from bnfold.ops.rule import Operator, Placed, Refusal, Taken


@pull("Resize", "Upsample")
@push("Resize", "Upsample")
def carry_resize(op: Operator, placed: Placed) -> Taken | Refusal:
    """A resampling along some axes.

    Given: ``y = sum of w_k x_k`` with ``sum of w_k = 1`` (nearest, linear, cubic; antialias and exclude_outside too).
    Result: the same map on the other side.
    Exact: iff the channel axis is not resampled, and nothing is extrapolated: ``tf_crop_and_resize`` puts a constant
    outside (ONNX Resize-10, 11, 13, 18, 19, Upsample-1 to 10).
    """
    if op.attribute("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        return op.refuse("extrapolation", "puts a constant where it reads outside of its input (tf_crop_and_resize)")
    if placed.is_uniform or _leaves_alone(op, placed.axis):
        return Taken({0: placed})
    return op.refuse("axis", f"may resample axis {placed.axis}, along which the affine differs")


def _leaves_alone(op: Operator, axis: int) -> bool:
    """Whether the axis is known to keep its size, and so its elements."""
    axes, rank = op.attribute("axes"), op.rank(0)
    if axes is not None and rank is not None and axis not in {a % rank for a in axes}:
        return True
    scales = _scales(op)
    if scales is not None and axes is None and axis < len(scales):
        return scales[axis] == 1.0
    before, after = op.dim(0, axis), (op.output_shape() or ())
    return isinstance(before, int) and axis < len(after) and before == after[axis]


def _scales(op: Operator) -> list[float] | None:
    """The factor per axis, None when it is not stated or is no constant."""
    if op.node.op_type == "Upsample" and op.node.since_version < 9:
        scales = op.attribute("scales")
        return list(scales) if scales is not None else None
    index = 2 if op.node.op_type == "Resize" and op.node.since_version >= 11 else 1
    constant = op.constant(index)
    values = [] if constant is None else constant.wide.reshape(-1).tolist()
    return values or None
