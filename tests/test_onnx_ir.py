"""Models of onnx_ir: the same fold as of the ModelProto that says the same, and nothing else of them changed."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from corpus import CASES, Case
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper
from support import (
    MODELS,
    REAL_MODELS,
    graph_model,
    needs_real_models,
    normal,
    parameters,
    passes_checker,
)

import bnfold
from bnfold.model.graph import scope_protos

ir: Any = pytest.importorskip("onnx_ir", reason="onnx_ir is not installed: pip install '.[ir]'")

import onnx_ir.passes.common as common  # noqa: E402 (only where onnx_ir is)

from bnfold.model.ir_weights import SAVES_BESIDE  # noqa: E402
from bnfold.passes import FoldPass, FoldPassResult  # noqa: E402 (only where onnx_ir is)

KNOWN = {int(kind) for kind in ir.DataType} & set(helper.get_all_tensor_dtypes())


TYPES = [kind for kind in sorted(TensorProto.DataType.values()) if kind in KNOWN and kind != TensorProto.UNDEFINED]


def conv_bn(channels: int = 3) -> ModelProto:
    """Conv, BatchNormalization, Relu."""
    return graph_model(
        f"(float[N, {channels}, 8, 8] x) => (float[N, 4, 6, 6] y) "
        "{ [conv] c = Conv(x, W) [bn] n = BatchNormalization(c, s, b, m, v) [relu] y = Relu(n) }",
        W=normal(4, channels, 3, 3),
        **parameters(4),
    )


def said(model: ModelProto) -> ModelProto:
    """What a model says, in one form, but for what it declares of values: onnx_ir declares more."""
    made = copy.deepcopy(model)
    for tensor in made.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    for scope in reversed(scope_protos(made)):  # bodies first: what holds them is copied
        del scope.value_info[:]
        if isinstance(scope, GraphProto):
            replace(scope.initializer, sorted(scope.initializer, key=lambda tensor: tensor.name))
        for node in scope.node:
            node.domain = node.domain or ""
            replace(node.attribute, sorted(node.attribute, key=lambda attribute: attribute.name))
    return made


def replace(repeated: Any, messages: list[Any]) -> None:
    copies = copy.deepcopy(messages)
    del repeated[:]
    repeated.extend(copies)


def read(model: ModelProto) -> Any:
    try:
        return ir.from_proto(model)
    except ir.serde.SerdeError as error:
        pytest.skip(f"onnx_ir can not read it: {str(error.__cause__)[:80]}")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:onnx_ir")
@pytest.mark.parametrize("prefer", ["speed", "no-batchnorm"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_every_case_of_the_corpus_folds_as_its_proto_does_and_so_in_place(case: Case, prefer: str) -> None:
    model = read(case.build())
    before = ir.to_proto(model)
    expected = bnfold.fold(before, freeze_initializers=case.freeze, prefer=prefer)
    result = bnfold.fold(model, freeze_initializers=case.freeze, prefer=prefer)
    assert ir.to_proto(model) == before, "fold changed what the caller passed"
    assert result.folded == expected.folded
    assert [entry.code for entry in result.kept] == [entry.code for entry in expected.kept]
    assert said(ir.to_proto(result.model)) == said(expected.model)
    assert passes_checker(ir.to_proto(result.model)) or not passes_checker(before)
    done = FoldPass(freeze_initializers=case.freeze, prefer=prefer)(model)
    assert done.model is model
    assert done.modified == bool(expected)
    assert said(ir.to_proto(model)) == said(ir.to_proto(result.model))


@pytest.mark.parametrize("case", [case for case in CASES if case.family == "subgraphs"], ids=lambda case: case.label)
def test_weights_of_bodies_may_lie_in_files(case: Case, tmp_path: Path) -> None:
    ir.save(ir.from_proto(case.build()), tmp_path / "m.onnx", external_data="m.data", size_threshold_bytes=0)
    model = ir.load(tmp_path / "m.onnx")
    held = [value.const_value for graph in model.graphs() for value in graph.initializers.values()]
    assert any(isinstance(tensor, ir.ExternalTensor) for tensor in held)
    expected = bnfold.fold(case.build())
    assert FoldPass()(model).modified == bool(expected)
    (tmp_path / "to").mkdir()
    ir.save(model, tmp_path / "to" / "m.onnx", external_data="m.data", size_threshold_bytes=0)
    made = ir.to_proto(ir.load(tmp_path / "to" / "m.onnx"))
    assert [node.op_type for node in made.graph.node] == [node.op_type for node in expected.model.graph.node]
    bnfold.assert_equivalent(case.build(), tmp_path / "to" / "m.onnx")


@needs_real_models
@pytest.mark.parametrize("name", ["light_resnet50", "rapidocr_cls_paddle", "ultraface_rfb320", "gtcrn_simple"])
def test_a_real_model_folds_to_the_same_weights(name: str) -> None:
    model = read(onnx.load(REAL_MODELS / f"{name}.onnx"))
    expected = bnfold.fold(ir.to_proto(model))
    result = bnfold.fold(model)
    assert result.folded == expected.folded
    assert said(ir.to_proto(result.model)) == said(expected.model)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, "bfloat16"])
def test_every_type_of_weight_is_rounded_as_in_a_proto(dtype: Any) -> None:
    kind = ir.DataType.BFLOAT16.numpy() if dtype == "bfloat16" else np.dtype(dtype)
    wide = conv_bn()
    for tensor in wide.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(kind), tensor.name))
    for info in (*wide.graph.input, *wide.graph.output):
        info.type.tensor_type.elem_type = wide.graph.initializer[0].data_type
    expected = bnfold.fold(wide)
    assert len(expected.folded) == 1
    assert said(ir.to_proto(bnfold.fold(ir.from_proto(wide)).model)) == said(expected.model)


def test_the_pass_keeps_objects_and_all_that_is_known_of_them() -> None:
    model = ir.from_proto(two_layers())
    graph = model.graph
    conv, relu, last = graph.node("conv"), graph.node("relu"), graph.node("last")
    untouched, folded = graph.initializers["W2"].const_value, graph.initializers["W"]
    conv.meta["mine"], conv.metadata_props["source"] = object(), "layer 1"
    normalized = graph.node("bn").outputs[0]
    normalized.meta["quantization"], normalized.metadata_props["name"] = "int8", "bn"
    model.meta["pipeline"] = 1
    kept = conv.meta["mine"]
    result = FoldPass()(model)
    assert isinstance(result, FoldPassResult)
    assert (result.modified, [entry.node for entry in result.folded], result.kept) == (True, ["bn"], ())
    assert list(graph) == [conv, relu, last]
    assert conv.meta["mine"] is kept
    assert conv.metadata_props == {"source": "layer 1"}
    assert graph.initializers["W2"].const_value is untouched
    assert graph.initializers["W"] is folded
    assert (conv.outputs[0].name, conv.outputs[0].metadata_props["name"]) == ("n", "bn")
    assert conv.outputs[0].meta["quantization"] == "int8"
    assert relu.inputs[0] is conv.outputs[0]
    assert model.meta["pipeline"] == 1
    assert not FoldPass()(model).modified
    assert graph.initializers["W2"].const_value is untouched


@pytest.mark.skipif(not hasattr(ir.Node, "shard"), reason="this onnx_ir knows no devices")
def test_what_is_said_of_devices_is_said_of_the_value_that_is_read_now() -> None:
    proto = two_layers()
    proto.ir_version = 11
    model = ir.from_proto(proto)
    devices = model.add_device_configuration("two", num_devices=2)
    relu = model.graph.node("relu")
    relu.shard(relu.inputs[0], configuration=devices, axis=1, num_shards=2)
    (expected,) = relu.sharding_of(relu.inputs[0])
    FoldPass()(model)
    (found,) = relu.sharding_of(relu.inputs[0])
    assert relu.inputs[0] is model.graph.node("conv").outputs[0]
    assert found.sharded_dims == expected.sharded_dims


def test_a_reader_that_another_pass_has_left_behind_does_not_matter() -> None:
    model = ir.from_proto(two_layers())
    stray = ir.node("Relu", [model.graph.node("bn").outputs[0]])
    assert model.graph.node("bn").outputs[0].uses()
    assert FoldPass()(model).modified
    assert [node.op_type for node in model.graph] == ["Conv", "Relu", "Conv"]
    assert stray.graph is None


def two_layers(last: int = 4) -> ModelProto:
    return graph_model(
        "(float[N, 3, 8, 8] x) => (float[N, K, M, M] y) "
        "{ [conv] c = Conv(x, W) [bn] n = BatchNormalization(c, s, b, m, v) "
        "[relu] r = Relu(n) [last] y = Conv(r, W2) }",
        W=normal(4, 3, 3, 3),
        **parameters(4),
        W2=normal(last, 4, 3, 3, seed=1),
    )


@pytest.mark.parametrize("size", [3, 5000])
@pytest.mark.parametrize("kind", TYPES, ids=TensorProto.DataType.Name)
def test_a_constant_of_any_type_comes_through(kind: int, size: int, tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(0, 2, size)
    values: Any = [str(n).encode() for n in numbers] if kind == TensorProto.STRING else numbers
    proto = two_layers()
    proto.graph.initializer.append(helper.make_tensor("given", kind, [size], values))
    proto.graph.initializer[-1].metadata_props.add(key="unit", value="none")
    proto.graph.output.append(helper.make_tensor_value_info("given", kind, [size]))
    model = ir.from_proto(proto)
    expected = said(bnfold.fold(proto).model)
    bnfold.fold(model).save(tmp_path / "m.onnx")
    assert said(onnx.load(tmp_path / "m.onnx")) == expected
    (saved,) = [tensor for tensor in onnx.load(tmp_path / "m.onnx").graph.initializer if tensor.name == "given"]
    assert [(entry.key, entry.value) for entry in saved.metadata_props] == [("unit", "none")]
    FoldPass()(model)
    assert said(ir.to_proto(model)) == expected


def test_a_graph_output_keeps_its_name_type_and_place() -> None:
    proto = graph_model(
        "(float[N, 3, 8, 8] x) => (float[N, 4, 6, 6] y, float[N, 4, 6, 6] z) "
        "{ [conv] c = Conv(x, W) [bn] y = BatchNormalization(c, s, b, m, v) [relu] z = Relu(y) }",
        W=normal(4, 3, 3, 3),
        **parameters(4),
    )
    model = ir.from_proto(proto)
    FoldPass()(model)
    made = ir.to_proto(model)
    assert list(made.graph.output) == list(proto.graph.output)
    assert [node.op_type for node in made.graph.node] == ["Conv", "Relu"]
    assert model.graph.outputs[0].producer() is model.graph.node("conv")
    bnfold.assert_equivalent(proto, made)


def test_a_weight_that_is_no_input_any_more_keeps_its_type_and_shape() -> None:
    proto = two_layers()
    proto.graph.input.append(helper.make_tensor_value_info("W", TensorProto.FLOAT, [4, 3, 3, 3]))
    model = ir.from_proto(proto)
    assert FoldPass(freeze_initializers=True)(model).modified
    weight = model.graph.initializers["W"]
    assert weight not in model.graph.inputs
    assert (weight.dtype, weight.shape) == (ir.DataType.FLOAT, ir.Shape([4, 3, 3, 3]))


def test_the_copy_shares_what_is_not_folded_and_the_original_stays() -> None:
    model = ir.from_proto(two_layers())
    before = ir.to_proto(model)
    result = bnfold.fold(model, check=True)
    assert isinstance(result.model, ir.Model)
    assert result.model.graph.initializers["W2"].const_value is model.graph.initializers["W2"].const_value
    assert ir.to_proto(model) == before
    bnfold.assert_equivalent(model, result.model)


def test_weights_that_lie_in_files_are_computed_when_they_are_saved(tmp_path: Path) -> None:
    onnx.save(two_layers(), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    model = ir.load(tmp_path / "m.onnx")
    FoldPass()(model)
    made = model.graph.initializers["W"].const_value
    assert isinstance(made, ir.ExternalTensor) is False
    assert isinstance(model.graph.initializers["W2"].const_value, ir.ExternalTensor)
    (tmp_path / "to").mkdir()
    ir.save(model, tmp_path / "to" / "f.onnx", external_data="f.data")
    bnfold.assert_equivalent(tmp_path / "m.onnx", tmp_path / "to" / "f.onnx")


def test_a_large_weight_in_a_file_stays_there_until_it_is_read(tmp_path: Path) -> None:
    proto = conv_bn(channels=300)
    onnx.save(copy.deepcopy(proto), tmp_path / "m.onnx", save_as_external_data=True, location="m.data")
    model = ir.load(tmp_path / "m.onnx")
    FoldPass()(model)
    weight = model.graph.initializers["W"].const_value
    assert isinstance(weight, ir.LazyTensor) == SAVES_BESIDE
    (expected,) = (t for t in bnfold.fold(proto).model.graph.initializer if t.name == "W")
    assert np.array_equal(weight.numpy(), numpy_helper.to_array(expected))
    ir.save(model, tmp_path / "m.onnx", external_data="m.data")  # over the file that it is computed from
    bnfold.assert_equivalent(proto, tmp_path / "m.onnx")


def test_a_large_weight_that_is_not_folded_is_not_read() -> None:
    proto = two_layers(last=300)
    model = ir.from_proto(proto)
    weight = model.graph.initializers["W2"]

    def fail() -> Any:
        raise AssertionError("it was read")

    lazy = ir.LazyTensor(fail, weight.const_value.dtype, weight.const_value.shape, name="W2")
    weight.const_value = lazy
    assert bnfold.fold(model).model.graph.initializers["W2"].const_value is lazy
    assert FoldPass()(model).modified
    assert weight.const_value is lazy


def test_a_lazy_weight_is_folded() -> None:
    proto = conv_bn(channels=300)
    model = ir.from_proto(proto)
    weight, values = model.graph.initializers["W"], normal(4, 300, 3, 3)
    weight.const_value = ir.LazyTensor(lambda: ir.tensor(values), ir.DataType.FLOAT, ir.Shape(values.shape), name="W")
    assert said(ir.to_proto(bnfold.fold(model).model)) == said(bnfold.fold(proto).model)


def test_a_data_file_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    onnx.save(two_layers(), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    model = ir.load(tmp_path / "m.onnx")
    (tmp_path / "m.data").write_bytes((tmp_path / "m.data").read_bytes()[:-1])
    with pytest.raises(bnfold.ExternalDataError, match=r"m\.data', which is shorter: it is cut off"):
        bnfold.fold(model)
    (tmp_path / "m.data").unlink()
    with pytest.raises(bnfold.ExternalDataError, match="which is no file"):
        FoldPass()(model)


def test_names_that_do_not_say_which_value_is_meant_are_refused_and_nothing_is_changed() -> None:
    model = ir.from_proto(two_layers())
    model.graph.node("relu").outputs[0].name = "n"
    before = ir.to_proto(model)
    with pytest.raises(bnfold.ModelError, match=r"two values of the onnx_ir model are called 'n'; run .*NameFixPass"):
        bnfold.fold(model)
    with pytest.raises(ir.passes.PreconditionError, match="NameFixPass"):
        FoldPass()(model)
    assert ir.to_proto(model) == before
    common.NameFixPass()(model)
    assert FoldPass()(model).modified


@pytest.mark.parametrize("name", [None, ""])
def test_a_value_without_a_name_is_refused(name: str | None) -> None:
    model = ir.from_proto(two_layers())
    model.graph.node("conv").outputs[0].name = name
    with pytest.raises(bnfold.ModelError, match=r"node 'bn' \(BatchNormalization\) reads a value without a name; run "):
        bnfold.fold(model)
    with pytest.raises(ir.passes.PreconditionError, match="NameFixPass"):
        FoldPass()(model)
    common.NameFixPass()(model)
    assert FoldPass()(model).modified


def test_a_value_from_nowhere_and_an_initializer_without_values_are_refused() -> None:
    model = ir.from_proto(two_layers())
    model.graph.node("relu").replace_input_with(0, ir.Value(name="n"))
    with pytest.raises(
        bnfold.ModelError, match=r"node 'relu' \(Relu\) reads a value called 'n', and another value has"
    ):
        bnfold.fold(model)
    model = ir.from_proto(two_layers())
    model.graph.initializers["W"].const_value = None
    with pytest.raises(bnfold.ModelError, match="initializer 'W' of the onnx_ir model has no values"):
        bnfold.fold(model)


def test_the_pass_works_among_others_and_stops_when_nothing_is_left() -> None:
    model = ir.from_proto(two_layers())
    passes = ir.passes.PassManager([FoldPass(), common.CheckerPass()], steps=3)
    result = passes(model)
    assert result.modified
    assert [node.op_type for node in model.graph] == ["Conv", "Relu", "Conv"]
    whole = ir.from_proto(two_layers())
    other = ir.passes.functionalize(FoldPass())(whole)
    assert ir.to_proto(whole) == ir.to_proto(ir.from_proto(two_layers()))
    assert len(other.model.graph) == 3


def test_options_are_those_of_fold_and_a_fold_that_raises_changes_nothing() -> None:
    with pytest.raises(bnfold.UsageError, match="there is no preference 'least'"):
        FoldPass(prefer="least")
    with pytest.raises(bnfold.UsageError, match=r"a pass takes an onnx_ir\.Model, not ModelProto"):
        FoldPass()(two_layers())  # type: ignore[arg-type]
    model = ir.from_proto(two_layers())
    before = ir.to_proto(model)
    result = FoldPass(skip=["bn"])(model)
    assert (result.modified, [entry.code for entry in result.kept]) == (False, ["skipped"])
    with pytest.raises(bnfold.NormalizationsStayed):
        FoldPass(skip=["bn"], strict=True)(model)
    assert ir.to_proto(model) == before


def test_a_fold_is_saved_without_a_trace_of_how_it_was_made(tmp_path: Path) -> None:
    model = ir.from_proto(two_layers())
    bnfold.fold(model).save(tmp_path / "f.onnx")
    assert said(onnx.load(tmp_path / "f.onnx")) == said(bnfold.fold(two_layers()).model)
    bnfold.fold(bnfold.fold(model).model).save(tmp_path / "g.onnx")
    assert b"bnfold" not in (tmp_path / "g.onnx").read_bytes()


def test_insert_and_calibrate_give_the_same_kind_back(tmp_path: Path) -> None:
    bare = bnfold.fold(ir.load(MODELS / "source_cnn.onnx")).model
    images = {"image": np.random.default_rng(0).uniform(size=(32, 1, 8, 8)).astype(np.float32)}
    inserted = bnfold.insert(bare, images)
    assert isinstance(inserted.model, ir.Model)
    expected = bnfold.insert(ir.to_proto(bare), images)
    assert said(ir.to_proto(inserted.model)) == said(expected.model)
    bnfold.assert_equivalent(bare, inserted.model)
    calibrated = bnfold.calibrate(inserted.model, images)
    assert isinstance(calibrated.model, ir.Model)
    assert said(ir.to_proto(calibrated.model)) == said(bnfold.calibrate(expected.model, images).model)
    calibrated.save(tmp_path / "c.onnx")
    assert said(onnx.load(tmp_path / "c.onnx")) == said(ir.to_proto(calibrated.model))
    assert b"bnfold" not in (tmp_path / "c.onnx").read_bytes()
    assert [info.node for info in bnfold.inspect(bare)] == [info.node for info in bnfold.inspect(ir.to_proto(bare))]


@pytest.mark.parametrize(
    "options",
    [
        {"training_mode": True},
        {"batch": "symbolic"},
        {"convert_opset": 21},
        {"bias": "absorb"},
        {"position": "after-activation"},
    ],
    ids=str,
)
def test_an_insertion_of_any_form_is_that_of_the_proto(options: dict[str, Any]) -> None:
    bare = ir.from_proto(bnfold.fold(MODELS / "source_cnn.onnx").model)
    made, expected = bnfold.insert(bare, **options), bnfold.insert(ir.to_proto(bare), **options)
    assert len(made.inserted) == 2
    assert said(ir.to_proto(made.model)) == said(expected.model)
    if "training_mode" in options:
        turned = bnfold.calibrate(made.model, keep_statistics=True).model
        assert said(ir.to_proto(turned)) == said(bnfold.calibrate(expected.model, keep_statistics=True).model)


def test_nodes_in_no_order_are_folded_in_place_and_not_copied() -> None:
    proto = two_layers()
    nodes = copy.deepcopy(list(proto.graph.node))
    replace(proto.graph.node, [nodes[1], nodes[0], *nodes[2:]])
    model = ir.from_proto(proto)
    with pytest.raises(bnfold.ModelError, match=r"run onnx_ir\.passes\.common\.TopologicalSortPass first"):
        _ = bnfold.fold(model).model
    assert FoldPass()(model).modified
    assert said(ir.to_proto(model)) == said(bnfold.fold(proto).model)


def test_what_else_takes_a_model_takes_one_of_onnx_ir() -> None:
    model = ir.from_proto(two_layers())
    assert "<html" in bnfold.to_html(bnfold.fold(model))
    assert [info.folds for info in bnfold.inspect(model)] == [True]


def test_torch_takes_a_model_of_onnx_ir() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    model = ir.from_proto(two_layers())
    module = bnfold.torch.to_module(model)
    assert said(bnfold.torch.to_onnx(module, model)) == said(ir.to_proto(model))


def test_onnx_ir_is_not_imported_where_nobody_has_such_a_model() -> None:
    program = (
        "import sys, bnfold\n"
        f"bnfold.fold({str(MODELS / 'mlp.onnx')!r}, check=True)\n"
        "assert 'onnx_ir' not in sys.modules and 'torch' not in sys.modules\n"
        "try:\n    bnfold.fold(3)\nexcept bnfold.UsageError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "a model is a path, bytes, an onnx.ModelProto, an onnx_ir.Model or a torch.onnx.ONNXProgram, not int"
    )


def test_an_option_that_is_none_is_told_when_the_pass_is_made() -> None:
    misspelt: Any = {"srtict": True}
    with pytest.raises(bnfold.UsageError, match=r"^bnfold\.fold has no option 'srtict'$"):
        FoldPass(**misspelt)
