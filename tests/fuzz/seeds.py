"""The corpus: small models of every kind that bnfold knows something about.

python tests/fuzz/seeds.py     # write tests/fuzz/corpus afresh
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
FINDINGS = HERE / "findings"
ROOT = HERE.parent.parent
DATA = "w.data"
"""The one file of external data that there is where a model is opened; `data` makes it."""

sys.path[:0] = [str(HERE.parent), str(ROOT / "docs")]

PARAMETERS = "a, a, a, a"
CONSTANTS = """
float[2] a = {1, 2}|float[2,2,1,1] w = {1, 2, 3, 4}|float[2,1,1] n = {-1, 2}|float[2,2] m = {1, 2, 3, 4}|float s = {2}
float[2,1,3,3] d = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9}|int8[2,2,1,1] q = {1, 2, 3, 4}
float[2] f = {0.5, 0.25}|int8[2] z = {0, 0}|int64[4] to = {1, 2, 2, 8}|int64[1] one = {1}|int64[1] zero = {0}
int64[1] two = {2}|int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}|float[4] twice = {1, 1, 2, 2}|int64[2] halves = {1, 1}
float16[2] h = {1, 2}|float16[2,2,1,1] v = {1, 2, 3, 4}|int64[4] shape = {2, 2, 1, 1}|int64[2] rows = {4, 8}
int64[1] pad = {4}|float[8,2] k2 = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7}
"""

FOLDING = {
    "conv": "t = Conv (x, w, a) y = BatchNormalization (t, {p})",
    "conv_pushed": "t = BatchNormalization (x, {p}) y = Conv (t, w)",
    "transposed": "t = ConvTranspose (x, w) y = BatchNormalization (t, {p})",
    "depthwise": "t = Conv <group = 2> (x, d) y = Mul (t, n)",
    "through": "t = Conv (x, w) u = MaxPool <kernel_shape = [2, 2]> (t) r = Relu (u) y = BatchNormalization (r, {p})",
    "transpose": "t = Conv (x, w) u = Transpose <perm = [0, 2, 3, 1]> (t) y = Mul (u, a)",
    "reshape": "t = Conv (x, w) u = Reshape (t, to) y = BatchNormalization (u, {p})",
    "concat": "t = Conv (x, w) u = Conv (x, w) c = Concat <axis = 1> (t, u) o = Concat <axis = 0> (a, a) "
    "y = BatchNormalization (c, o, o, o, o)",
    "residual": "t = Conv (x, w) u = Conv (x, w) c = Add (t, u) y = BatchNormalization (c, {p})",
    "split": "t = BatchNormalization (x, {p}) u, v2 = Split <axis = 1> (t, halves) y = Concat <axis = 1> (u, v2)",
    "slice": "t = Conv (x, w) u = Slice (t, zero, one, one) y = Mul (u, s)",
    "pad": "t = Conv (x, w) u = Pad (t, pads) y = BatchNormalization (u, {p})",
    "resize": 't = Conv (x, w) u = Resize <mode = "nearest"> (t, , twice) y = BatchNormalization (u, {p})',
    "depth": "u = SpaceToDepth <blocksize = 2> (x) o = Tile (a, pad) y = BatchNormalization (u, o, o, o, o)",
    "average": "t = BatchNormalization (x, {p}) u = GlobalAveragePool (t) f2 = Flatten (u) y = Gemm (f2, m, a)",
    "quantized": "r = DequantizeLinear <axis = 0> (q, f, z) t = Conv (x, r) y = BatchNormalization (t, {p})",
    "expression": "e = ConstantOfShape (shape) g = Add (e, w) r = Sqrt (g) t = Conv (x, r) y = Div (t, n)",
    "constants": "e = Constant <value_floats = [1.0, 2.0]> () i = Identity (e) t = Conv (x, w) "
    "y = BatchNormalization (t, i, a, a, a)",
    "half": "i = Cast <to = 10> (x) t = Conv (i, v) y = BatchNormalization (t, h, h, h, h)",
    "clip": "t = Conv (x, w) u = Clip (t, s) r = Dropout (u) y = BatchNormalization (r, {p})",
    "branches": "t = Conv (x, w) y = If (cond) <"
    "then_branch = yes () => (float[] i) {{ i = BatchNormalization (x, {p}) }}, "
    "else_branch = no () => (float[] j) {{ j = Identity (t) }}>",
    "training": "t = Conv (x, w) y, i, j = BatchNormalization <training_mode = 1> (t, {p})",
    "matmul": "u = Reshape (x, rows) t = MatMul (u, k2) y = Add (t, a)",
    "residues": "t = BatchNormalization (x, {p}) r = Sigmoid (t) u = BatchNormalization (x, {p}) y = Add (r, u)",
}
FUNCTION = """<ir_version: 10, opset_import: ["" : 20, "own" : 1]> g (float[1,2,4,4] x) => (float[] y)
<float[2,2,1,1] w = {1, 2, 3, 4}, float[2] a = {1, 2}> { t = Conv (x, w) y = own.norm <eps = 0.001> (t, a) }
<domain: "own", opset_import: ["" : 20, "own" : 1]> norm <eps> (i, k) => (o) { j = own.inner (i)
    o = BatchNormalization <epsilon: float = @eps> (j, k, k, k, k) }
<domain: "own", opset_import: ["" : 20]> inner (i) => (o) { o = Relu (i) }"""


def folding_model(nodes: str, opset: int = 20) -> ModelProto:
    """A model of those nodes, with the constants that they read."""
    read = set(re.findall(r"\w+", nodes)) | {"a"}
    entries = re.split(r"[|\n]", CONSTANTS.strip())
    constants = ", ".join(entry for entry in entries if entry.split()[1] in read)
    text = (
        f'<ir_version: 10, opset_import: ["" : {opset}]> g (float[1,2,4,4] x, bool cond) => (float[] y) <{constants}>'
    )
    return onnx.parser.parse_model(f"{text} {{ {nodes.format(p=PARAMETERS)} }}")


def models() -> Iterator[tuple[str, ModelProto]]:
    """Every model of the corpus, with its name."""
    refusals: Any = import_module("refusals")
    for name, example in refusals.EXAMPLES.items():
        yield f"refused_{name}", example.model
    for name, nodes in FOLDING.items():
        yield name, folding_model(nodes)
    for opset in (6, 8, 9):
        nodes = FOLDING["conv"].replace("(t,", "<is_test = 1> (t,") if opset < 7 else FOLDING["conv"]
        yield f"opset_{opset}", folding_model(nodes, opset)
    yield "function", onnx.parser.parse_model(FUNCTION)
    yield "large", with_large(folding_model(FOLDING["conv"]))
    yield "external", external(folding_model(FOLDING["conv"]))
    yield "sparse", with_sparse(folding_model(FOLDING["conv"]))
    yield "everything", with_everything(folding_model(FOLDING["branches"]))


def external(model: ModelProto) -> ModelProto:
    """The model with its weight in `DATA`."""
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", DATA), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return model


def data() -> bytes:
    """What `DATA` holds."""
    return bytes(range(256)) * 2


def with_large(model: ModelProto) -> ModelProto:
    """The model with a weight that is larger than all else in it."""
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    values = np.arange(2 * 2 * 5 * 5, dtype=np.float32).reshape(2, 2, 5, 5)
    tensor.CopyFrom(numpy_helper.from_array(values, "w"))
    return model


def with_sparse(model: ModelProto) -> ModelProto:
    """The model with a sparse weight."""
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    model.graph.initializer.remove(tensor)
    made = model.graph.sparse_initializer.add(dims=[2, 2, 1, 1])
    made.values.CopyFrom(TensorProto(name="w", data_type=1, dims=[2], float_data=[1.0, 2.0]))
    made.indices.CopyFrom(TensorProto(name="i", data_type=7, dims=[2], int64_data=[0, 3]))
    return model


def with_everything(model: ModelProto) -> ModelProto:
    """The model with what few have: metadata, annotations, training information, doc strings."""
    model.doc_string = "a model"
    model.metadata_props.add(key="made by", value="hand")
    model.graph.metadata_props.add(key="made by", value="hand")
    model.graph.value_info.add(name="t").type.tensor_type.elem_type = TensorProto.FLOAT
    annotation = model.graph.quantization_annotation.add(tensor_name="t")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="a")
    info = model.training_info.add()
    info.algorithm.node.add(op_type="Identity", input=["a"], output=["a2"])
    info.update_binding.add(key="a", value="a2")
    model.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(model.graph.initializer[0]), "unread"))
    return model


def main() -> None:
    """Write the corpus."""
    CORPUS.mkdir(exist_ok=True)
    for old in CORPUS.iterdir():
        old.unlink()
    for name, model in models():
        (CORPUS / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
