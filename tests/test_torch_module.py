"""What a module of the bridge is: its parameters, its modes, its types, and the way back into the graph."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from support import MODELS, ROOT, graph_model, normal, run_ort, statistics, text_model

from bnfold.errors import ExternalDataError, ModelError, UsageError

pytest.importorskip("torch", reason="torch is not installed")
import torch

from bnfold.torch import GraphModule, to_module, to_onnx


def batch_norm(*, momentum: float = 0.75, epsilon: float = 0.25, training: int = 0, rank: int = 4) -> ModelProto:
    """One BatchNormalization of three channels."""
    scale, bias, mean, var = statistics(3)
    sizes = ",".join(["N", "3", "4", "5", "2"][:rank])
    outputs = "y, m, v" if training else "y"
    declared = f"float[{sizes}] y" + (", float[3] m, float[3] v" if training else "")
    body = (
        f"(float[{sizes}] x) => ({declared}) {{ {outputs} = BatchNormalization<momentum={momentum}, epsilon={epsilon}, "
    )
    body += f"training_mode={training}>(x, scale, bias, mean, var) }}"
    return graph_model(body, scale=scale, bias=bias, mean=mean, var=var)


def linear(**constants: Any) -> ModelProto:
    """A Gemm with weights under names as exporters write them."""
    names = {"fc.weight": normal(3, 4), "fc.bias": normal(3)} | constants
    text = '<ir_version: 10, opset_import: ["" : 20]> g (float[N,4] x) => (float[N,3] y) '
    return text_model(text + '{ y = Gemm<transB=1>(x, "fc.weight", "fc.bias") }', **names)


# Parameters, buffers, names


def test_names_lead_to_initializers_and_back() -> None:
    module = to_module(linear())
    assert module.onnx_names == {"fc_weight": "fc.weight", "fc_bias": "fc.bias"}
    assert [name for name, _ in module.named_parameters()] == ["fc_weight", "fc_bias"]
    assert list(module.state_dict()) == ["fc_weight", "fc_bias"]
    assert (module.input_names, module.output_names) == (("x",), ("y",))


def test_names_that_would_meet_or_are_taken_stay_apart() -> None:
    weights: dict[str, Any] = {name: normal(2, seed=k) for k, name in enumerate(("a.b", "a/b", "forward"))}
    model = graph_model(
        '(float[2] x) => (float[2] y) { a = Mul(x, "a.b") b = Mul(a, "a/b") y = Mul(b, "forward") }',
        **weights,
    )
    module = to_module(model)
    assert module.onnx_names == {"a_b": "a.b", "a_b_1": "a/b", "forward_1": "forward"}
    x = normal(2, seed=3)
    assert np.allclose(module(torch.from_numpy(x)).detach(), run_ort(model, {"x": x})[0])


def test_what_trains_is_a_parameter_and_what_is_looked_up_is_not() -> None:
    body = """(float[N,3,4,4] x) => (float[N,3,4,4] y, float[N,3,8,8] z) {
        a = Conv<kernel_shape=[1,1]>(x, w, b) n = BatchNormalization(a, scale, bias, mean, var)
        c = Clip(n, low, high) p = Pow(c, exponent) h = Mul(p, halved) s = Add(h, shift)
        y = Where(mask, s, other) z = Resize<mode="linear">(y, , scales) }"""
    scale, bias, mean, var = statistics(3)
    model = graph_model(
        body,
        w=normal(3, 3, 1, 1), b=normal(3), scale=scale, bias=bias, mean=mean, var=var,
        low=np.float32(-1), high=np.float32(1), exponent=np.array([2], np.float32), halved=np.float32(0.5),
        shift=normal(3, 1, 1), mask=np.array([True]), other=normal(1, 1, 1, 1),
        scales=np.array([1, 1, 2, 2], np.float32),
    )  # fmt: skip
    module = to_module(model)
    assert {name for name, _ in module.named_parameters()} == {"w", "b", "scale", "bias", "shift", "other"}
    assert set(module.onnx_names) == {"w", "b", "scale", "bias", "mean", "var", "halved", "shift", "mask", "other"}


def test_a_weight_that_two_nodes_read_is_one_parameter_with_both_gradients() -> None:
    model = graph_model("(float[N,3] x) => (float[N,3] y) { h = MatMul(x, w) y = MatMul(h, w) }", w=normal(3, 3))
    module = to_module(model)
    ((_, w),) = module.named_parameters()
    x = torch.from_numpy(normal(2, 3))
    module(x).sum().backward()
    own = w.detach().clone().requires_grad_()
    (expected,) = torch.autograd.grad((x @ own @ own).sum(), own)
    assert w.grad is not None
    assert torch.allclose(w.grad, expected)


def test_constants_of_nodes_do_not_train_and_are_not_in_the_state() -> None:
    model = graph_model("(float[2] x) => (float[2] y) { c = Constant<value_floats=[2.0, 3.0]>() y = Mul(x, c) }")
    module = to_module(model)
    assert not list(module.parameters())
    assert not module.state_dict()
    assert module(torch.ones(2)).tolist() == [2, 3]


# Modes


@pytest.mark.parametrize("rank", [2, 3, 4, 5])
def test_training_updates_the_statistics_as_onnx_says(rank: int) -> None:
    model, x = batch_norm(training=1, rank=rank), normal(6, 3, 4, 5, 2)[(...,) + (0,) * (5 - rank)]
    expected = ReferenceEvaluator(model).run(None, {"x": x})
    module = to_module(batch_norm(rank=rank)).train()
    made = module(torch.from_numpy(x)).detach()
    for values, wanted in zip((made, module.get_buffer("mean"), module.get_buffer("var")), expected, strict=True):
        assert np.allclose(values, wanted, rtol=1e-5, atol=1e-6)


def test_a_training_mode_node_follows_the_module_s_mode() -> None:
    x = torch.from_numpy(normal(6, 3, 4, 5))
    module = to_module(batch_norm(training=1))
    before = module.get_buffer("mean").clone()
    y, mean, _ = module(x)
    assert torch.allclose(y, to_module(batch_norm())(x))
    assert torch.equal(mean, before)
    expected = ReferenceEvaluator(batch_norm(training=1)).run(None, {"x": x.numpy()})
    for values, wanted in zip(module.train()(x), expected, strict=True):
        assert np.allclose(values.detach(), wanted, rtol=1e-5, atol=1e-6)


def test_one_normalization_can_be_frozen_alone() -> None:
    module = to_module(MODELS / "mlp.onnx").train()
    frozen, free = module.modes.values()
    frozen.eval()
    before = {name: values.clone() for name, values in module.named_buffers()}
    module(torch.from_numpy(normal(8, *[entry.dim_value for entry in _dims(MODELS / "mlp.onnx")[1:]])))
    moved = {name for name, values in module.named_buffers() if not torch.equal(values, before[name])}
    assert len(moved) == 2
    assert free.training


def _dims(path: Path) -> Any:
    return onnx.load(path).graph.input[0].type.tensor_type.shape.dim


def test_a_batch_of_one_value_per_channel_is_refused_in_training_alone() -> None:
    module = to_module(batch_norm(rank=2))
    x = torch.from_numpy(normal(1, 3))
    assert module(x).shape == (1, 3)
    with pytest.raises(UsageError, match="needs more than one value per channel"):
        module.train()(x)


def test_statistics_that_are_shared_do_not_train_silently() -> None:
    model = batch_norm()
    model.graph.node[0].input[1] = "var"  # as exporters merge a scale and a variance, both ones
    module = to_module(model)
    x = normal(2, 3, 4, 5)
    assert np.allclose(module(torch.from_numpy(x)).detach(), run_ort(model, {"x": x})[0], atol=1e-6)
    with pytest.raises(UsageError, match="statistics are shared with something else"):
        module.train()(torch.from_numpy(x))


def test_dropout_drops_in_training_alone() -> None:
    model = graph_model("(float[1000] x) => (float[1000] y) { y = Dropout(x, r) }", r=np.float32(0.25))
    module, x = to_module(model), torch.ones(1000)
    assert torch.equal(module(x), x)
    made = module.train()(x)
    assert made.unique().tolist() == [0, pytest.approx(4 / 3)]
    assert 0.2 < (made == 0).float().mean() < 0.3


# Inputs


def test_inputs_go_in_by_place_by_name_and_as_a_mapping() -> None:
    model = graph_model("(float[2] a, float[2] b) => (float[2] y) { y = Sub(a, b) }")
    module, a, b = to_module(model), torch.ones(2), torch.zeros(2)
    assert module(a, b).tolist() == module(b=b, a=a).tolist() == module({"b": b, "a": a}).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), r"takes the inputs \['x'\], and was given \[\]"),
        ((torch.ones(2, 4), torch.ones(1)), "was given 2 tensors"),
        ((torch.ones(4),), r"shape \[any, 4\], not \[4\]"),
        ((torch.ones(2, 5),), r"shape \[any, 4\], not \[2, 5\]"),
        ((torch.ones(2, 4, dtype=torch.int64),), "takes torch.float32, not torch.int64"),
        ((normal(2, 4),), "takes a torch.Tensor, not ndarray"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_in_a_sentence(given: tuple[Any, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        to_module(linear())(*given)


def test_a_frozen_batch_is_refused_in_a_sentence() -> None:
    model = graph_model("(float[1,4] x) => (float[1,4] y) { y = Relu(x) }")
    with pytest.raises(UsageError, match=r"shape \[1, 4\], not \[8, 4\]"):
        to_module(model)(torch.ones(8, 4))


# Types, devices, compilers


@pytest.mark.parametrize("name", ["residual", "source_cnn"])
def test_a_module_in_float64_computes_in_float64(name: str) -> None:
    module = to_module(MODELS / f"{name}.onnx")
    x = torch.from_numpy(normal(3, 1, 8, 8))
    wide = copy.deepcopy(module).double()(x.double())
    assert wide.dtype == torch.float64
    assert torch.allclose(wide.float(), module(x), rtol=1e-4, atol=1e-5)


def test_casts_and_constants_follow_the_module_into_float64() -> None:
    body = "(float[N,2] x) => (float[N,2] y) { s = Shape(x) o = ConstantOfShape(s) i = Cast<to=7>(x) f = Cast<to=1>(i) "
    model = graph_model(body + "m = MatMul(f, w) y = Add(m, o) }", w=normal(2, 2))
    assert to_module(model).double()(torch.ones(3, 2, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("training", [False, True])
def test_autocast_computes_nearly_the_same(training: bool) -> None:
    module = to_module(MODELS / "residual.onnx").train(training)
    x = torch.from_numpy(normal(8, 1, 8, 8))
    expected = module(x)
    with torch.autocast("cpu", torch.bfloat16):
        made = module(x)
    assert (made.float() - expected).abs().max() < 0.05 * expected.abs().max()
    made.float().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_a_module_compiles_as_one_graph_for_every_batch() -> None:
    torch._dynamo.reset()
    module = to_module(MODELS / "residual.onnx").train()
    compiled = torch.compile(module, backend="eager", fullgraph=True, dynamic=True)
    for count in (3, 5):
        x = torch.from_numpy(normal(count, 1, 8, 8))
        assert torch.allclose(compiled(x), copy.deepcopy(module)(x))


def test_a_state_that_was_saved_is_loaded_again() -> None:
    one, other = to_module(MODELS / "residual.onnx").train(), to_module(MODELS / "residual.onnx")
    x = torch.from_numpy(normal(8, 1, 8, 8))
    one(x).sum().backward()
    torch.optim.SGD(one.parameters(), 0.1).step()
    assert not torch.allclose(one.eval()(x), other(x))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(x), other(x))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_a_module_trains_on_a_cuda_device() -> None:
    module = to_module(MODELS / "residual.onnx").cuda().train()
    x = torch.from_numpy(normal(8, 1, 8, 8))
    made = module(x.cuda())
    made.square().sum().backward()
    assert torch.allclose(made.cpu(), to_module(MODELS / "residual.onnx").train()(x), atol=1e-4)


# Control flow, functions


def test_the_branch_that_the_condition_names_runs_and_trains() -> None:
    body = """(float[2] x, bool c) => (float[2] y) {
        y = If(c) <then_branch = t () => (float[2] a) { a = Mul(x, w) },
                   else_branch = e () => (float[2] b) { b = Neg(x) }> }"""
    module = to_module(graph_model(body, w=np.array([2, 3], np.float32)))
    x = torch.ones(2)
    assert module(x, torch.tensor(True)).tolist() == [2, 3]
    assert module(x, torch.tensor(False)).tolist() == [-1, -1]
    module(x, torch.tensor(True)).sum().backward()
    assert str(module.get_parameter("w").grad) == "tensor([1., 1.])"


def test_functions_are_put_in_the_place_of_their_calls() -> None:
    model = text_model(
        """<ir_version: 10, opset_import: ["" : 20, "own" : 1]> g (float[2] x) => (float[2] y) { y = own.twice(x, w) }
        <domain: "own", opset_import: ["" : 20, "own" : 1]>
        twice (a, b) => (c) { d = own.once(a, b) c = own.once(d, b) }
        <domain: "own", opset_import: ["" : 20]> once (a, b) => (c) { c = Mul(a, b) }""",
        w=np.array([2, 3], np.float32),
    )
    module = to_module(model)
    assert module(torch.ones(2)).tolist() == [4, 9]
    assert [name for name, _ in module.named_parameters()] == ["w"]


# The way back


def stepped(model: Any, x: torch.Tensor, **options: Any) -> GraphModule:
    module = to_module(model, **options).train()
    module(x).square().sum().backward()
    torch.optim.SGD(module.parameters(), 0.1).step()
    return module.eval()


def test_trained_values_are_written_back_and_nothing_else_changes() -> None:
    path, x = MODELS / "residual.onnx", normal(8, 1, 8, 8)
    module = stepped(path, torch.from_numpy(x))
    trained = to_onnx(module, path)
    made = module(torch.from_numpy(x)).detach().numpy()
    assert np.allclose(run_ort(trained, {"image": x})[0], made, rtol=1e-4, atol=1e-5)
    original, rest = onnx.load(path), copy.deepcopy(trained)
    names = [tensor.name for tensor in original.graph.initializer]
    assert [tensor.name for tensor in rest.graph.initializer] == names
    moved = [k for k, pair in enumerate(_tensors(original, rest)) if pair[0] != pair[1]]
    assert {names[k] for k in moved} >= {module.onnx_names[name] for name, _ in module.named_parameters()} - _dead(
        module
    )
    for k in moved:
        rest.graph.initializer[k].CopyFrom(original.graph.initializer[k])
    assert rest.SerializeToString() == original.SerializeToString()


def _tensors(one: ModelProto, other: ModelProto) -> Any:
    return zip(one.graph.initializer, other.graph.initializer, strict=True)


def _dead(module: GraphModule) -> set[str]:
    """A bias in front of a BatchNormalization has a gradient of nearly nothing."""
    dead = {name for name, p in module.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-4}
    return {module.onnx_names[name] for name in dead}


@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE])
def test_values_are_rounded_once_to_the_initializer_s_type(elem_type: int) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(elem_type)
    name = TensorProto.DataType.Name(elem_type).lower()
    model = graph_model(f"({name}[2] x) => ({name}[2] y) {{ y = Mul(x, w) }}", w=np.ones(2).astype(dtype))
    module = to_module(model).double()
    with torch.no_grad():
        module.get_parameter("w").add_(1 / 3)
    (tensor,) = to_onnx(module, model).graph.initializer
    assert tensor.data_type == elem_type
    assert numpy_helper.to_array(tensor).tolist() == np.full(2, 4 / 3).astype(dtype).tolist()


def test_external_weights_are_read_and_come_back_inline_where_they_changed(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(linear(), path, save_as_external_data=True, location="weights", size_threshold=0)
    module = to_module(path)
    assert to_onnx(module, path).SerializeToString() == path.read_bytes()
    with torch.no_grad():
        module.get_parameter("fc_weight").add_(1)
    weight, bias = to_onnx(module, path).graph.initializer
    assert not weight.external_data
    assert np.allclose(numpy_helper.to_array(weight), normal(3, 4) + 1)
    assert bias.external_data
    with pytest.raises(ExternalDataError):
        to_module(path.read_bytes())


def test_another_model_than_the_module_came_from_is_refused() -> None:
    with pytest.raises(ModelError, match=r"parameter 'fc.weight', and the model no initializer"):
        to_onnx(to_module(linear()), batch_norm())
    with pytest.raises(ModelError, match=r"is \[5, 4\] in the model and \[3, 4\] in the module"):
        to_onnx(to_module(linear()), linear(**{"fc.weight": normal(5, 4)}))


# Without torch


def test_without_torch_the_import_says_what_to_install() -> None:
    program = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "import bnfold.torch"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, text=True, capture_output=True)
    assert (
        "RuntimeUnavailable: training needs torch, which is not installed: pip install 'bnfold[train]'" in done.stderr
    )
