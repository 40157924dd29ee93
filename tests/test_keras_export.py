"""The source's network as Keras 3 exports it: channels last, affines written out, Casts and Transposes between them.

The graphs are built by hand, node for node like the files that Keras writes; two tests compare them with such files.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support import REAL_MODELS, ROOT, Array, check_fold, needs_real_models, normal, op_types

import bnfold

VARIANTS = [(padding, pooling) for padding in ("valid", "same") for pooling in (False, True)]
each_variant = pytest.mark.parametrize(
    ("padding", "pooling"), VARIANTS, ids=lambda value: value if isinstance(value, str) else f"pool={value:d}"
)
LAST_TO_FIRST, FIRST_TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
SIZE, COLOURS, CHANNELS, CLASSES = 11, 2, (3, 4), 5
NORMALIZATIONS = ({"/Sub", "/Mul", "/Add_1"}, {"/Sub_1", "/Mul_1", "/Add_3"})
BIASES = {"/Add", "/Add_2"}


class Export:
    """A graph in the making, its nodes named and numbered as torch's exporter does: /Cast, /Cast_1, /Cast_2, ..."""

    def __init__(self, padding: str, *, pooling: bool, seed: int = 0) -> None:
        self.padding, self.pooling, self.seed = padding, pooling, seed
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.numbers: dict[str, int] = {}
        self.wire, self.size = "keras_tensor", SIZE

    def node(self, op_type: str, *operands: str, output: str = "", **attributes: Any) -> None:
        number = self.numbers.get(op_type, 0)
        self.numbers[op_type] = number + 1
        name = f"/{op_type}_{number}" if number else f"/{op_type}"
        inputs = [self.wire, *operands]
        self.wire = output or f"{name}_output_0"
        self.nodes.append(helper.make_node(op_type, inputs, [self.wire], name=name, **attributes))

    def cast(self, times: int = 1) -> None:
        for _ in range(times):
            self.node("Cast", to=TensorProto.FLOAT)

    def constant(self, op_type: str, values: Array) -> str:
        name = f"onnx::{op_type}_{len(self.tensors) + 178}"
        self.tensors.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def numbers_like(self, *shape: int) -> Array:
        return normal(*shape, seed=self.seed + len(self.tensors))

    def scales(self, channels: int) -> Array:
        return np.random.default_rng([self.seed, channels]).uniform(0.5, 2.0, (1, 1, 1, channels))

    def convolution(self, channels_in: int, channels: int) -> None:
        """Transpose, Conv, Transpose, Cast, Add of the bias, Casts, Relu."""
        pads = [1] * 4 if self.padding == "same" else [0] * 4
        weight = self.numbers_like(channels, channels_in, 3, 3) / 3
        self.node("Transpose", perm=LAST_TO_FIRST)
        self.node("Conv", self.constant("Conv", weight), **window(3, 1), group=1, pads=pads)
        self.node("Transpose", perm=FIRST_TO_LAST)
        self.cast()
        self.node("Add", self.constant("Add", self.numbers_like(1, 1, 1, channels)))
        self.cast(2)
        self.node("Relu")
        self.size -= 0 if self.padding == "same" else 2

    def normalization(self, scales: Array) -> None:
        """Cast, Sub of the mean, Mul by the scale, Add of the shift, over the last axis: ``[1, 1, 1, C]``."""
        self.cast()
        self.node("Sub", self.constant("Sub", self.numbers_like(*scales.shape)))
        self.node("Mul", self.constant("Mul", scales))
        self.node("Add", self.constant("Add", self.numbers_like(*scales.shape)))

    def pool(self) -> None:
        """Cast, Transpose, MaxPool, Cast, Transpose."""
        self.cast()
        self.node("Transpose", perm=LAST_TO_FIRST)
        self.node("MaxPool", **window(2, 2), ceil_mode=0, pads=[0] * 4)
        self.cast()
        self.node("Transpose", perm=FIRST_TO_LAST)
        self.size //= 2

    def flatten(self) -> None:
        """Shape, Gather, Unsqueeze, Concat with -1: the batch of the output is read from the value that is reshaped."""
        value = self.wire
        self.node("Shape")
        self.node("Gather", self.integers(np.array(0)), axis=0)
        size = self.wire
        self.wire = value
        self.cast()
        value, self.wire = self.wire, size
        self.node("Unsqueeze", self.integers(np.array([0])))
        self.node("Concat", self.integers(np.array([-1])), axis=0)
        shape, self.wire = self.wire, value
        self.node("Reshape", shape, allowzero=0)

    def integers(self, values: Array) -> str:
        number = sum(node.op_type == "Constant" for node in self.nodes)
        name = f"/Constant_{number}_output_0"
        self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values)))
        return name

    def dense(self, features: int) -> None:
        """Cast, MatMul, Cast, Add, Cast, Softmax."""
        self.cast()
        self.node("MatMul", self.constant("MatMul", self.numbers_like(features, CLASSES) / features))
        self.cast()
        self.node("Add", self.constant("Add", self.numbers_like(CLASSES)))
        self.cast()
        self.node("Softmax", output="176", axis=-1)

    def model(self) -> ModelProto:
        x = helper.make_tensor_value_info("keras_tensor", TensorProto.FLOAT, ["batch", SIZE, SIZE, COLOURS])
        y = helper.make_tensor_value_info("176", TensorProto.FLOAT, ["Softmax176_dim_0", CLASSES])
        graph = helper.make_graph(self.nodes, "main_graph", [x], [y], self.tensors)
        return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)])


def window(kernel: int, stride: int) -> dict[str, Any]:
    return {"dilations": [1, 1], "kernel_shape": [kernel] * 2, "strides": [stride] * 2}


def exported(padding: str, *, pooling: bool, negative: int | None = None) -> ModelProto:
    """The network of the source; `negative` is the normalization that has scales of both signs."""
    made = Export(padding, pooling=pooling)
    made.cast(2)
    for index, (channels_in, channels) in enumerate(zip((COLOURS, *CHANNELS), CHANNELS, strict=False)):
        scales = made.scales(channels)
        scales[..., 0] *= -1 if index == negative else 1
        made.cast()
        made.convolution(channels_in, channels)
        made.normalization(scales)
        if pooling:
            made.pool()
    made.flatten()
    made.dense(made.size**2 * CHANNELS[-1])
    return made.model()


def names(model: ModelProto) -> set[str]:
    return {node.name for node in model.graph.node if node.op_type != "Constant"}


def feeds(batch: int) -> dict[str, Array]:
    return {"keras_tensor": normal(batch, SIZE, SIZE, COLOURS, seed=7)}


def elementwise(model: ModelProto) -> list[str]:
    return [op_type for op_type in op_types(model) if op_type in ("Add", "Sub", "Mul", "Div")]


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("pooling", [False, True])
def test_without_padding_both_normalizations_and_the_biases_go(pooling: bool, batch: int) -> None:
    model = exported("valid", pooling=pooling)
    folded = check_fold(model, feeds=feeds(batch)).model
    assert names(model) - names(folded) == set.union(*NORMALIZATIONS, BIASES)
    assert names(folded) <= names(model), "something was added"
    assert elementwise(folded) == ["Add"], "only the bias of the Dense layer is left"


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("pooling", [False, True])
def test_with_same_padding_three_nodes_become_one_normalization_where_the_channels_come_second(
    pooling: bool, batch: int
) -> None:
    """Right in front of the padded Conv: behind the Transpose, and behind the pooling."""
    folded = check_fold(exported("same", pooling=pooling), feeds=feeds(batch), kept=["shift"]).model
    assert elementwise(folded) == ["Add"], "the bias of the Dense layer"
    names = op_types(folded)
    assert names[names.index("BatchNormalization") + 1] == "Conv"


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("pooling", [False, True])
def test_with_same_padding_the_relu_becomes_a_max_where_no_normalization_is_wanted(pooling: bool, batch: int) -> None:
    folded = check_fold(exported("same", pooling=pooling), feeds=feeds(batch), prefer="no-batchnorm").model
    assert elementwise(folded) == ["Add"], "the bias of the Dense layer"
    assert op_types(folded).count("Max") == 1


@pytest.mark.parametrize("pooling", [False, True])
def test_the_shift_that_stays_is_explained(pooling: bool) -> None:
    (settled,) = bnfold.fold(exported("same", pooling=pooling), prefer="no-batchnorm").settled
    assert settled.affines == ("/Sub", "/Mul", "/Add_1")
    assert settled.replaced == ("/Relu",)
    assert "pads with zeros" in settled.reason


@pytest.mark.parametrize("index", [0, 1])
def test_without_pooling_a_negative_scale_goes_all_the_same(index: int) -> None:
    """It can not pass the Relu in front, and need not."""
    folded = check_fold(exported("valid", pooling=False, negative=index), feeds=feeds(2)).model
    assert elementwise(folded) == ["Add"]


@pytest.mark.parametrize("index", [0, 1])
def test_a_negative_scale_between_relu_and_max_pool_stays_as_one_mul(index: int) -> None:
    """Neither takes a negative scale; the shifts of mean and bias pass the MaxPool all the same."""
    model = exported("valid", pooling=True, negative=index)
    folded = check_fold(model, feeds=feeds(2), residuals=False).model
    assert names(model) - names(folded) == set.union(*NORMALIZATIONS, BIASES) - {("/Mul", "/Mul_1")[index]}
    assert elementwise(folded) == ["Mul", "Add"]


@needs_real_models
def test_the_handmade_graph_is_like_the_file_that_keras_wrote() -> None:
    written = onnx.load(REAL_MODELS / "keras3_source_cnn.onnx")
    assert op_types(exported("valid", pooling=False)) == op_types(written)


@each_variant
def test_what_keras_exports_folds_like_the_handmade_graph(padding: str, pooling: bool, tmp_path: Path) -> None:
    """Trains and exports with the installed keras, in a process of its own."""
    if importlib.util.find_spec("keras") is None:
        pytest.skip("keras is not installed; examples/keras_export.py tells how to make an environment that has it")
    options = ["--padding", padding, *(["--pooling"] if pooling else []), "--epochs", "1", "--out", str(tmp_path)]
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "examples" / "keras_export.py"), *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KERAS_BACKEND": "torch"},
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.rstrip().endswith(".folded.onnx: equal")
    (path,) = (path for path in tmp_path.glob("*.onnx") if ".folded" not in path.name)
    handmade = exported(padding, pooling=pooling)
    assert op_types(onnx.load(path)) == op_types(handmade)
    folded = onnx.load(path.with_suffix(".folded.onnx"))
    assert op_types(folded) == op_types(bnfold.fold(handmade).model)
