"""What torch.onnx.export returns: folded to another program, and in place, without a detour over a file."""

from __future__ import annotations

import copy
import warnings
from functools import cache
from typing import Any, assert_type

import numpy as np
import onnx
import pytest
from support import interface

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="torch's exporter needs onnxscript")
import torch
from onnx import numpy_helper
from torch._subclasses.fake_tensor import FakeTensorMode
from torch_networks import ARCHITECTURES, build, images

import bnfold
from bnfold.passes import FoldPass

each_architecture = pytest.mark.parametrize("name", sorted(ARCHITECTURES))


@cache
def program(name: str) -> torch.onnx.ONNXProgram:
    return export(build(name), images(2))


def export(network: torch.nn.Module, batch: torch.Tensor, *, optimize: bool = False) -> torch.onnx.ONNXProgram:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        made = torch.onnx.export(
            network,
            (batch,),
            input_names=["image"],
            opset_version=20,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            optimize=optimize,
            verbose=False,
        )
    assert made is not None
    return made


def weights(model: onnx.ModelProto) -> dict[str, bytes]:
    return {tensor.name: numpy_helper.to_array(tensor).tobytes() for tensor in model.graph.initializer}


@each_architecture
def test_a_program_becomes_another_one_with_the_weights_of_the_folded_proto(name: str) -> None:
    given = program(name)
    before = given.model_proto
    expected = bnfold.fold(before)
    result = bnfold.fold(given)
    assert isinstance(result.model, torch.onnx.ONNXProgram)
    assert result.model is not given
    assert result.model.exported_program is given.exported_program
    assert result.folded == expected.folded
    made = result.model.model_proto
    assert weights(made) == weights(expected.model)
    assert [node.op_type for node in made.graph.node] == [node.op_type for node in expected.model.graph.node]
    assert interface(made) == interface(before)
    assert given.model_proto == before


@each_architecture
def test_the_pass_does_the_same_in_place_and_keeps_what_the_exporter_knows(name: str) -> None:
    model = program(name).model.clone()
    props = {node: dict(node.metadata_props) for node in model.graph}
    tensors = dict(model.graph.initializers.tensor_items())
    done = FoldPass()(model)
    expected = bnfold.fold(program(name).model_proto)
    assert done.modified == bool(expected)
    made = dict(model.graph.initializers.tensor_items())
    assert {n: np.ascontiguousarray(tensor.numpy()).tobytes() for n, tensor in made.items()} == weights(expected.model)
    changed = {n for n, tensor in made.items() if tensor is not tensors.get(n)}
    fresh = {n for n, data in weights(expected.model).items() if weights(program(name).model_proto).get(n) != data}
    assert changed == fresh
    assert all(dict(node.metadata_props) == props[node] for node in model.graph if node in props)


def test_a_folded_program_runs_as_the_module_does() -> None:
    result = bnfold.fold(program("residual"))
    assert_type(result.model, torch.onnx.ONNXProgram)
    assert result.folded
    batch = images()
    (made,) = result.model(batch)
    torch.testing.assert_close(made, build("residual")(batch), rtol=1e-4, atol=1e-4)
    bnfold.assert_equivalent(program("residual"), result.model)


def test_what_is_computed_of_a_parameter_does_not_change_with_it() -> None:
    network = build("plain").requires_grad_(requires_grad=False)
    given = export(network, images(2))
    folded = bnfold.fold(given).model
    before = weights(folded.model_proto)
    (scaled,) = [name for name, data in weights(given.model_proto).items() if before.get(name, data) != data][:1]
    network.get_parameter(scaled).mul_(2)
    assert weights(folded.model_proto)[scaled] == before[scaled]


def test_a_program_without_weights_is_refused_with_what_to_do() -> None:
    with FakeTensorMode():
        given = export(ARCHITECTURES["plain"]().eval(), images(2))
    with pytest.raises(bnfold.ModelError, match=r"can not be read.*set by ONNXProgram\.apply_weights"):
        bnfold.fold(given)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_as_in_the_proto(kind: torch.dtype) -> None:
    network: Any = copy.deepcopy(build("plain")).to(kind)
    given = export(network, images(2).to(kind))
    expected = bnfold.fold(given.model_proto)
    assert expected.folded
    assert weights(bnfold.fold(given).model.model_proto) == weights(expected.model)


@pytest.mark.parametrize(("name", "count"), [("reparameterizable", 2), ("speech", 2)])
def test_blocks_that_are_trained_to_be_folded_fold_altogether(name: str, count: int) -> None:
    """What torch's own optimiser leaves: the branch without weights, and what stands in front of a recurrent layer."""
    result = bnfold.fold(export(build(name), images(2), optimize=True), check=True)
    assert len([entry for entry in result.folded if entry.op_type == "BatchNormalization"]) == count
    assert not result.kept
