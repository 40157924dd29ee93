"""Types of 8 bits and less, in which bnfold computes nothing: refused by name, never read wrong, left as they are."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper
from support import Array, graph_model, normal, op_types, run_reference, statistics

import bnfold

BITS = {
    "FLOAT8E4M3FN": 8,
    "FLOAT8E4M3FNUZ": 8,
    "FLOAT8E5M2": 8,
    "FLOAT8E5M2FNUZ": 8,
    "FLOAT8E8M0": 8,
    "FLOAT6E2M3": 6,
    "FLOAT6E3M2": 6,
    "FLOAT4E2M1": 4,
    "INT8": 8,
    "UINT8": 8,
    "INT4": 4,
    "UINT4": 4,
    "INT2": 2,
    "UINT2": 2,
}
KINDS = [name for name in BITS if name in TensorProto.DataType.keys()]  # noqa: SIM118 (a protobuf enum, no dict)

each_kind = pytest.mark.parametrize("kind", KINDS)
NAMES = ("scale", "shift", "mean", "var")


def narrow(name: str, kind: str, *dims: int) -> TensorProto:
    """A tensor of that type, of bits that are nothing special: no NaN in any of the types, and no zero."""
    size = (prod(dims) * BITS[kind] + 7) // 8
    pattern = bytes([0b01010101, 0b00110010, 0b01000001, 0b00100011])
    raw = (pattern * (size // len(pattern) + 1))[:size]
    return TensorProto(name=name, dims=dims, data_type=TensorProto.DataType.Value(kind), raw_data=raw)


def with_tensor(model: ModelProto, tensor: TensorProto) -> ModelProto:
    """The tensor in place of the initializer of its name."""
    kept = [other for other in model.graph.initializer if other.name != tensor.name]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, tensor])
    return model


def network(nodes: str, **constants: Any) -> ModelProto:
    parameters: dict[str, Any] = dict(zip(NAMES, statistics(4), strict=True))
    body = f"(float[2,4,5,5] x) => (float[] y) {{ {nodes} }}"
    return graph_model(body, opset=23, **constants, **{k: v for k, v in parameters.items() if k in nodes})


BN = "BatchNormalization ({}, scale, shift, mean, var)"
READERS: dict[str, tuple[str, str, tuple[int, ...], str]] = {
    "a weight, pulled": (f"c = Conv (x, w) y = {BN.format('c')}", "w", (4, 4, 3, 3), "type"),
    "a weight, pushed": (f"n = {BN.format('x')} y = Conv (n, w)", "w", (4, 4, 3, 3), "graph-input"),
    "a transposed weight": (f"c = ConvTranspose (x, w) y = {BN.format('c')}", "w", (4, 4, 3, 3), "type"),
    "a bias": (f"c = Conv (x, v, w) y = {BN.format('c')}", "w", (4,), "type"),
    "a parameter": (f"c = Conv (x, v) y = {BN.format('c')}", "var", (4,), "type"),
    "a matrix": (
        f"m = MatMul (x, w) t = Transpose <perm = [0, 3, 1, 2]> (m) b = {BN.format('t')} y = Relu (b)",
        "w",
        (5, 4),
        "type",
    ),
}


@each_kind
@pytest.mark.parametrize(("nodes", "name", "dims", "code"), READERS.values(), ids=READERS)
def test_a_constant_of_a_narrow_type_is_refused_and_the_file_comes_out_byte_for_byte(
    nodes: str, name: str, dims: tuple[int, ...], code: str, kind: str, tmp_path: Path
) -> None:
    constants = {"v": normal(4, 4, 3, 3)} if "x, v" in nodes else {}
    before = tmp_path / "before.onnx"
    before.write_bytes(with_tensor(network(nodes, **constants), narrow(name, kind, *dims)).SerializeToString())
    result = bnfold.fold(before)
    assert not result
    (kept,) = result.kept
    assert kept.code == code
    assert f"of type {kind.lower()}" in kept.reason
    result.save(tmp_path / "after.onnx")
    assert (tmp_path / "after.onnx").read_bytes() == before.read_bytes()


@each_kind
def test_a_cast_to_a_narrow_type_is_a_barrier_that_says_why(kind: str) -> None:
    to = TensorProto.DataType.Value(kind)
    model = network(
        f"c = Conv (x, v) n = Cast <to = {to}> (c) f = Cast <to = 1> (n) y = {BN.format('f')}", v=normal(4, 4, 3, 3)
    )
    result = bnfold.fold(model)
    assert not result
    (kept,) = result.kept
    assert kept.code == "type"
    assert kind.lower() in kept.reason
    assert result.model == model


@each_kind
def test_a_constant_of_a_narrow_type_is_no_affine(kind: str) -> None:
    model = with_tensor(network("c = Conv (x, v) y = Mul (c, k)", v=normal(4, 4, 3, 3)), narrow("k", kind, 4, 1, 1))
    result = bnfold.fold(model)
    assert not result
    assert result.plan.outcomes == ()


@each_kind
def test_a_weight_cast_to_a_narrow_type_is_no_constant(kind: str) -> None:
    to = TensorProto.DataType.Value(kind)
    model = network(f"n = Cast <to = {to}> (v) c = Conv (x, n) y = {BN.format('c')}", v=normal(4, 4, 3, 3))
    assert [kept.code for kept in bnfold.fold(model).kept] == ["dynamic-weight"]


@each_kind
def test_what_is_narrow_stays_as_it_is_beside_what_folds(kind: str) -> None:
    tensor = narrow("k", kind, 2, 3)
    model = network(f"c = Conv (x, v) y = {BN.format('c')} z = Identity (k)", v=normal(4, 4, 3, 3))
    model.graph.output.append(helper.make_tensor_value_info("z", tensor.data_type, [2, 3]))
    folded = bnfold.fold(with_tensor(model, tensor)).model
    assert op_types(folded) == ["Conv", "Identity"]
    (left,) = (other for other in folded.graph.initializer if other.name == "k")
    assert left == tensor


def values_by_reference(tensor: TensorProto) -> Array:
    """What onnx's own reference makes of a Cast to float."""
    model = graph_model("(float[1] x) => (float[] y) { y = Cast <to = 1> (k) }", opset=23)
    model.graph.initializer.append(tensor)
    return run_reference(model, {"x": np.zeros(1, np.float32)})[0]


@each_kind
def test_a_narrow_constant_cast_to_float_folds_by_its_values(kind: str) -> None:
    tensor = narrow("k", kind, 4, 1, 1)
    model = with_tensor(network("c = Conv (x, v) f = Cast <to = 1> (k) y = Mul (c, f)", v=normal(4, 4, 3, 3)), tensor)
    folded = bnfold.fold(model).model
    assert op_types(folded) == ["Conv"]
    (weight,) = folded.graph.initializer
    expected = normal(4, 4, 3, 3) * values_by_reference(tensor).reshape(4, 1, 1, 1)
    assert np.allclose(np.frombuffer(weight.raw_data, np.float32).reshape(expected.shape), expected, rtol=1e-6)
