"""DeformConv: its weights take what a Conv's would, but for a shift in front."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel
from support import check_fold, feeds_for, graph_model, normal, refusal, run_ort, run_reference, statistics

HEAD = "(float[2,4,6,5] x, float[2,18,6,5] o) => (float[2,6,6,5] y)"
MASKED = "(float[2,4,6,5] x, float[2,18,6,5] o, float[2,9,6,5] q) => (float[2,6,6,5] y)"
PADDED = "kernel_shape = [3, 3], pads = [1, 1, 1, 1]"
BEHIND = "y = BatchNormalization(c, s, b, m, v)"


def deformed(body: str, *, head: str = HEAD, group: int = 1, channels: int = 6, **constants: Any) -> ModelProto:
    numbers: dict[str, Any] = {"W": normal(6, 4 // group, 3, 3, seed=1), "B": normal(6, seed=2)}
    numbers |= dict(zip("sbmv", statistics(channels), strict=True))
    return graph_model(f"{head} {{ {body} }}", **numbers, **constants)


@pytest.mark.parametrize("bias", ["", ", B"], ids=["no bias", "bias"])
@pytest.mark.parametrize("group", [1, 2])
def test_an_affine_behind_goes_into_weight_and_bias(group: int, bias: str) -> None:
    body = f"c = DeformConv <{PADDED}, group = {group}> (x, W, o{bias}) {BEHIND}"
    check_fold(deformed(body, group=group), leaves=["DeformConv"], run=run_reference)


def test_a_mask_counts_less_of_some_taps() -> None:
    body = f"c = DeformConv <{PADDED}> (x, W, o, B, q) {BEHIND}"
    check_fold(deformed(body, head=MASKED), leaves=["DeformConv"], run=run_reference)


def test_a_scale_in_front_goes_and_a_shift_does_not() -> None:
    scaled = f"r = Sigmoid(x) n = Mul(r, k) y = DeformConv <{PADDED}> (n, W, o)"
    check_fold(deformed(scaled, k=normal(4, 1, 1)), leaves=["Sigmoid", "DeformConv"], run=run_reference)
    normalized = f"r = Sigmoid(x) n = BatchNormalization(r, s, b, m, v) y = DeformConv <{PADDED}> (n, W, o)"
    assert "beyond the border" in refusal(deformed(normalized, channels=4), run=run_reference).reason


def test_an_affine_of_the_offsets_stays() -> None:
    body = f"r = Sigmoid(o) n = Mul(r, k) y = DeformConv <{PADDED}> (x, W, n)"
    assert not check_fold(deformed(body, k=normal(18, 1, 1)), run=run_reference).folded


def test_weights_in_integers_stay_integers() -> None:
    integers = np.random.default_rng(0).integers(-127, 127, (6, 4, 3, 3)).astype(np.int8)
    body = f"w = DequantizeLinear(Q, z) c = DeformConv <{PADDED}> (x, w, o) {BEHIND}"
    kept = refusal(deformed(body, Q=integers, z=np.float32(0.01)), run=run_reference)
    assert kept.code == "quantized"


def test_onnxruntime_computes_the_same() -> None:
    model = deformed(f"c = DeformConv <{PADDED}> (x, W, o, B) {BEHIND}")
    try:
        run_ort(model, feeds_for(model))
    except NoKernel:
        pytest.skip("onnxruntime 1.24, the oldest supported, has no DeformConv on the CPU")
    check_fold(model, leaves=["DeformConv"], run=run_ort)
