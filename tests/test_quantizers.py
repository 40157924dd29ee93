"""The check of models that quantize their activations: single steps are no difference, and hide none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper
from support import Array, graph_model, normal, op_types, statistics

import bnfold
from bnfold.checking.quantizers import nudged, without_quantizers
from bnfold.checking.report import CheckReport, OutputComparison
from bnfold.checking.subject import Subject

LAYER = """
    {q} = QuantizeLinear({x}, {x}s, z) {x}d = DequantizeLinear({q}, {x}s, z)
    W{n} = DequantizeLinear<axis = 0>(Q{n}, ws{n}) c{n} = Conv<pads = [1, 1, 1, 1]>({x}d, W{n})
    n{n} = BatchNormalization(c{n}, s, b, m, v) {y} = Relu(n{n})
"""
INPUT = "float[1,4,12,12] x"
OUTPUT = "float[1,4,12,12] w"


def integers(seed: int) -> Array:
    return np.random.default_rng(seed).integers(-127, 128, (4, 4, 3, 3)).astype(np.int8)


def network(tail: str = "", output: str = OUTPUT) -> ModelProto:
    """Three convolutions in integers, each with a BatchNormalization behind it and a quantizer in front."""
    names = [("x", "y", 0), ("y", "z1", 1), ("z1", "w", 2)]
    body = "".join(LAYER.format(x=x, y=y, n=n, q=f"{x}q") for x, y, n in names)
    constants: dict[str, Any] = dict(zip("sbmv", statistics(4, positive=True), strict=True))
    constants |= {
        f"{x}s": np.array(scale, np.float32) for (x, _, _), scale in zip(names, (0.03, 0.04, 0.1), strict=True)
    }
    for n in range(3):
        constants |= {f"Q{n}": integers(n), f"ws{n}": np.full(4, 0.004, np.float32)}
    return graph_model(f"({INPUT}) => ({output}) {{ {body} {tail} }}", z=np.array(100, np.uint8), **constants)


def by_name(report: CheckReport) -> dict[str, OutputComparison]:
    return {output.name: output for output in report.outputs}


def with_scale_times(model: ModelProto, name: str, factor: float) -> ModelProto:
    changed = ModelProto()
    changed.CopyFrom(model)
    (tensor,) = (tensor for tensor in changed.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), name))
    return changed


@pytest.mark.parametrize("seed", range(6))
def test_a_fold_in_front_of_quantizers_is_equal(seed: int) -> None:
    model = network()
    result = bnfold.fold(model)
    assert "BatchNormalization" not in op_types(result.model)
    report = bnfold.check(model, result.model, seed=seed)
    assert report
    assert set(by_name(report)) == {"w", "w, no quantizers"}


def test_the_tolerance_is_that_of_steps_which_a_fold_takes() -> None:
    model = network()
    rows = [by_name(bnfold.check(model, bnfold.fold(model).model, seed=seed))["w"] for seed in range(6)]
    assert any(row.rel_to_max > 1e-4 for row in rows), "no integer was another one: nothing is tested"
    assert all("steps of its integers" in row.basis for row in rows)
    assert all(row.tolerance < 0.2 * row.max_y for row in rows)


@pytest.mark.parametrize("factor", [1.003, 0.99, 1.1])
def test_an_error_that_steps_would_hide_is_found_without_quantizers(factor: float) -> None:
    model = network()
    report = bnfold.check(model, with_scale_times(bnfold.fold(model).model, "ws1", factor))
    assert not report
    assert not by_name(report)["w, no quantizers"].equal


def test_an_error_larger_than_steps_is_found_in_the_graph_itself() -> None:
    model = network()
    assert not by_name(bnfold.check(model, with_scale_times(bnfold.fold(model).model, "ws1", 1.5)))["w"].equal


def test_quantizers_of_weights_are_none_of_activations() -> None:
    model = graph_model(
        f"({INPUT}) => ({OUTPUT}) {{ q = QuantizeLinear(W, xs, z) d = DequantizeLinear(q, xs, z) "
        "w = Conv<pads = [1, 1, 1, 1]>(x, d) }",
        W=normal(4, 4, 3, 3),
        xs=np.array(0.03, np.float32),
        z=np.array(0, np.int8),
    ).SerializeToString()
    subject = Subject(model, "m")
    assert nudged(subject, subject) == ()
    assert without_quantizers(subject, subject) == ()


@pytest.mark.parametrize(
    ("tail", "output"),
    [
        ("p = MaxPool<kernel_shape = [2, 2]>(yq) o = DequantizeLinear(p, ys, z)", "float[1,4,11,11] o"),
        ("", "uint8[] yq"),
    ],
    ids=["another reader", "a graph output"],
)
def test_a_quantizer_that_something_else_reads_is_not_taken_out(tail: str, output: str) -> None:
    model = network(tail, f"{OUTPUT}, {output}")
    report = bnfold.check(model, bnfold.fold(model).model)
    assert report
    assert len(report.outputs) == 2


def test_integers_that_a_quantizer_moves_may_be_off_by_steps_and_no_more() -> None:
    model = network("", f"{OUTPUT}, uint8[1,4,12,12] yq")
    row = by_name(bnfold.check(model, bnfold.fold(model).model))["yq"]
    assert row.equal
    assert 0 < row.tolerance < 20  # of 256
    assert not by_name(bnfold.check(model, with_scale_times(bnfold.fold(model).model, "ws0", 1.5)))["yq"].equal


def test_a_hair_moves_few_elements_and_none_where_quantizers_are_out() -> None:
    subject = Subject(network().SerializeToString(), "m")
    moved = [onnx.load_from_string(other) for other in nudged(subject, subject)]
    assert [op_types(other).count("QuantizeLinear") for other in moved] == [3, 3]
    taken_out = [onnx.load_from_string(other) for other in without_quantizers(subject, subject)]
    assert [op_types(other).count("QuantizeLinear") for other in taken_out] == [0, 0, 0, 0]
    for other in taken_out:
        onnx.checker.check_model(other, full_check=True)


def test_the_command_folds_and_proves_a_model_with_quantizers(tmp_path: Path) -> None:
    path, target = tmp_path / "model.onnx", tmp_path / "model.folded.onnx"
    onnx.save(network(), path)
    command = [sys.executable, "-m", "bnfold", "fold", str(path), "--strict"]
    done = subprocess.run(command, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "3 of 3 BatchNormalizations folded" in done.stdout
    assert "w, no quantizers" in done.stdout
    assert "bias in integers, rounded by" in done.stdout
    assert "BatchNormalization" not in op_types(onnx.load(target))


def test_weights_in_another_file_are_read_for_the_comparison(tmp_path: Path) -> None:
    paths = [tmp_path / "before.onnx", tmp_path / "after.onnx"]
    model = network()
    result = bnfold.fold(model)
    onnx.save(model, paths[0], save_as_external_data=True, location="before.data", size_threshold=0)
    onnx.save(result.model, paths[1], save_as_external_data=True, location="after.data", size_threshold=0)
    report = bnfold.check(*paths)
    assert report
    assert len(report.outputs) == 2
