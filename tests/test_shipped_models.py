"""The committed models are what models/README.md says. Needs no torch."""

import hashlib
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

ort = pytest.importorskip("onnxruntime", reason="the shipped models are run in onnxruntime")

MODELS = Path(__file__).resolve().parent.parent / "models"
DIGITS: dict[str, Any] = runpy.run_path(str(MODELS / "digits.py"))

# For each file: its input, and what each BatchNormalization reads, in the graph's order.
EXPECTED: dict[str, tuple[str, list[int], list[str]]] = {
    "source_cnn.onnx": ("image", [1, 8, 8], ["Relu", "Relu"]),
    "source_cnn_bn_first.onnx": ("image", [1, 8, 8], ["Conv", "Conv"]),
    "source_cnn_same.onnx": ("image", [1, 8, 8], ["Relu", "Relu"]),
    "source_cnn_pool.onnx": ("image", [1, 8, 8], ["Relu", "Relu"]),
    "residual.onnx": ("image", [1, 8, 8], ["Conv"] * 6),
    "mlp.onnx": ("pixels", [64], ["Gemm", "Gemm"]),
}
ACCURACY_AT_LEAST = 0.97

each_model = pytest.mark.parametrize("name", EXPECTED)


def test_no_other_model_is_committed() -> None:
    assert {path.name for path in MODELS.glob("*.onnx")} == set(EXPECTED)


def test_all_models_together_are_small() -> None:
    assert sum((MODELS / name).stat().st_size for name in EXPECTED) < 800_000


@pytest.mark.parametrize(
    ("name", "pads", "poolings"),
    [("source_cnn", [0, 0, 0, 0], 0), ("source_cnn_same", [1, 1, 1, 1], 0), ("source_cnn_pool", [1, 1, 1, 1], 2)],
)
def test_the_source_cnn_pads_and_pools_as_its_name_says(name: str, pads: list[int], poolings: int) -> None:
    nodes = load(f"{name}.onnx").graph.node
    stated = [list(a.ints) for node in nodes if node.op_type == "Conv" for a in node.attribute if a.name == "pads"]
    assert stated == [pads, pads]
    assert sum(node.op_type == "MaxPool" for node in nodes) == poolings


@each_model
def test_full_check_passes(name: str) -> None:
    onnx.checker.check_model(str(MODELS / name), full_check=True)


@each_model
def test_batch_norms_are_kept_in_inference_mode_where_the_network_has_them(name: str) -> None:
    graph = load(name).graph
    producers = {output: node.op_type for node in graph.node for output in node.output}
    batch_norms = batch_norms_of(graph)
    assert [producers[node.input[0]] for node in batch_norms] == EXPECTED[name][2]
    assert not any(a.name == "training_mode" and a.i for node in batch_norms for a in node.attribute)


@each_model
def test_batch_norms_are_trained(name: str) -> None:
    graph = load(name).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in batch_norms_of(graph):
        scale, bias, mean, variance = (tensors[i] for i in node.input[1:])
        for tensor in (scale, bias, mean, variance):
            assert tensor.std() > 0.005, "every channel has the same value"
        assert variance.min() >= 0


@each_model
@pytest.mark.parametrize("batch", [1, 5])
def test_any_batch_runs_and_each_image_is_judged_alone(name: str, batch: int) -> None:
    input_name, shape, _ = EXPECTED[name]
    session = open_session(name)
    images = np.random.default_rng(0).random((batch, *shape), dtype=np.float32)
    (logits,) = session.run(["logits"], {input_name: images})
    assert logits.shape == (batch, 10)
    assert np.isfinite(logits).all()
    alone = [session.run(["logits"], {input_name: image[None]})[0][0] for image in images]
    np.testing.assert_allclose(logits, alone, rtol=1e-4, atol=1e-4)


@each_model
def test_nothing_of_the_building_machine_is_left(name: str) -> None:
    data = (MODELS / name).read_bytes()
    assert not re.search(rb"site-packages|stack_trace|\.py\W.*line \d+|/home/|/root/", data)
    graph = onnx.load_from_string(data).graph
    items: list[Any] = [*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    assert not [item.name for item in items if item.metadata_props or item.doc_string]


@each_model
def test_readme_tells_the_size_and_content_of_the_file(name: str) -> None:
    data = (MODELS / name).read_bytes()
    cells = readme_cells(name)
    nodes = len(onnx.load_from_string(data).graph.node)
    digest = hashlib.sha256(data).hexdigest()[:12]
    assert cells[:3] == [str(len(EXPECTED[name][2])), str(nodes), str(len(data))]
    assert cells[4] == f"`{digest}`"


@each_model
def test_accuracy_on_the_test_split(name: str) -> None:
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    split = DIGITS["load_split"]()
    tested = len(split.test_labels)
    assert tested == 450
    correct = DIGITS["count_correct"](open_session(name), split)
    assert correct / tested >= ACCURACY_AT_LEAST
    stated = re.search(r"\((\d+) of 450\)", readme_cells(name)[3])
    assert stated is not None
    assert abs(int(stated[1]) - correct) <= 1, "another processor may round one doubtful image to the other side"


def test_split_is_fixed_and_disjoint() -> None:
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    one, two = DIGITS["load_split"](), DIGITS["load_split"]()
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)
    assert len(one.train_labels) + len(one.test_labels) == 1797
    assert not {i.tobytes() for i in one.train_images} & {i.tobytes() for i in one.test_images}
    assert np.bincount(one.test_labels, minlength=10).min() >= 43


def load(name: str) -> onnx.ModelProto:
    return onnx.load(MODELS / name)


def open_session(name: str) -> Any:
    return ort.InferenceSession(MODELS / name, providers=["CPUExecutionProvider"])


def batch_norms_of(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    return [node for node in graph.node if node.op_type == "BatchNormalization"]


def readme_cells(name: str) -> list[str]:
    """The cells of a model's row in the README, after its name."""
    (line,) = [x for x in (MODELS / "README.md").read_text("utf-8").splitlines() if x.startswith(f"| `{name}` |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]
