"""Where two graphs part: planted faults are found, and right folds raise no alarm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper
from support import MODELS, REAL_MODELS, graph_model, needs_real_models, normal, statistics, text_model

import bnfold
from bnfold.checking.channels import distance_from_affine
from bnfold.checking.feeding import feed
from bnfold.checking.intermediates import Place, chunks, session_with
from bnfold.checking.locate import Location, locate
from bnfold.checking.settings import Settings
from bnfold.checking.subject import Subject
from bnfold.checking.tensors import tensors_of
from bnfold.runtime import CPU

SHIPPED = sorted(path.name for path in MODELS.glob("*.onnx"))
REAL = [
    "burn_mnist.onnx",
    "fastai_tabular.onnx",
    "fsanet_1x1.onnx",
    "gtcrn_simple.onnx",
    "keras3_source_cnn.onnx",
    "meso4_tf2onnx.onnx",
    "nids_mlp_gemm_bn.onnx",
    "nobn_mnist8_cntk.onnx",
    "rapidocr_cls_paddle.onnx",
    "vietcombank_captcha.onnx",
]
"""Not those of 224 x 224 and more: seconds each; and training mode, whose state differs from run to run."""

CHOICES: list[dict[str, Any]] = [{}, {"prefer": "no-batchnorm"}]


def located(before: Path | ModelProto, after: Path | ModelProto, **options: Any) -> Location:
    subjects, settings = (Subject(before, "before"), Subject(after, "after")), Settings()
    feeds = feed(subjects[0], subjects[0].session(), settings).feeds
    return locate(*subjects, feeds, settings, CPU, **options)


def changed(model: ModelProto, name: str, by: float = 1e-2) -> ModelProto:
    """One entry of a weight, the one of the largest magnitude, larger by that share."""
    edited = ModelProto.FromString(model.SerializeToString())
    (tensor,) = (tensor for tensor in edited.graph.initializer if tensor.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values.reshape(-1)[np.abs(values).argmax()] *= 1 + by
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    return edited


def convolutions(model: ModelProto) -> list[onnx.NodeProto]:
    """Those whose weight is an initializer that nothing else reads."""
    weights = {tensor.name for tensor in model.graph.initializer}
    read = [name for node in model.graph.node for name in node.input]
    found = [node for node in model.graph.node if node.op_type == "Conv" and node.input[1] in weights]
    return [node for node in found if read.count(node.input[1]) == 1]


def reached(model: ModelProto, name: str, among: Sequence[str]) -> str:
    """The first of some tensors, in the order of the file, that a value reaches."""
    behind = {name}
    if name in among:
        return name
    for node in model.graph.node:
        if behind.intersection(node.input):
            behind.update(node.output)
            for output in node.output:
                if output in among:
                    return output
    raise AssertionError(f"nothing named is behind {name}")


# Right folds


@pytest.mark.parametrize("options", CHOICES, ids=str)
@pytest.mark.parametrize("name", SHIPPED)
def test_a_right_fold_of_a_shipped_model_differs_nowhere(name: str, options: dict[str, Any]) -> None:
    location = located(MODELS / name, bnfold.fold(MODELS / name, **options).model)
    assert location.first is None, location.sentence
    assert location.sentence.startswith("no tensor differs")
    assert len(location.tensors) >= 5
    assert location.unmatched > 0, "the fold has left every tensor where it was, so nothing was moved"


@needs_real_models
@pytest.mark.parametrize("options", CHOICES, ids=str)
@pytest.mark.parametrize("name", REAL)
def test_a_right_fold_of_a_real_model_differs_nowhere(name: str, options: dict[str, Any]) -> None:
    location = located(REAL_MODELS / name, bnfold.fold(REAL_MODELS / name, **options).model)
    assert location.first is None, location.sentence
    assert any(tensor.max_abs > 0 for tensor in location.tensors) or name.startswith("nobn")


def test_a_map_that_was_pulled_through_a_relu_leaves_its_tensors_rescaled() -> None:
    location = located(relu_first(), bnfold.fold(relu_first()).model)
    states = {tensor.name: tensor.state for tensor in location.tensors}
    assert states == {"c": "rescaled", "r": "rescaled", "y": "equal"}
    assert location.sentence == "no tensor differs: 1 of 3 agree, 2 are moved per channel, as by a fold"


def test_a_half_precision_fold_differs_nowhere() -> None:
    model = relu_first(np.float16)
    location = located(model, bnfold.fold(model).model)
    assert location.first is None, location.sentence
    assert all(tensor.tolerance > 1e-3 for tensor in location.tensors)


# Faults


@pytest.mark.parametrize("name", ["residual.onnx", "source_cnn.onnx"])
def test_a_changed_weight_is_located_wherever_it_is(name: str) -> None:
    folded = bnfold.fold(MODELS / name).model
    nodes = convolutions(folded)
    assert len(nodes) >= 2
    for node in nodes:
        location = located(MODELS / name, changed(folded, node.input[1]))
        assert location.first is not None
        assert location.first.name == node.output[0], location.sentence
        assert location.first.state == "different"


@needs_real_models
@pytest.mark.parametrize(
    ("name", "stride"),
    [("fsanet_1x1.onnx", 18), ("rapidocr_cls_paddle.onnx", 18), ("gtcrn_simple.onnx", 12)],
)
def test_a_changed_weight_of_a_real_model_is_located(name: str, stride: int) -> None:
    folded = bnfold.fold(REAL_MODELS / name).model
    compared = [tensor.name for tensor in located(REAL_MODELS / name, folded).tensors]
    for node in convolutions(folded)[::stride]:
        location = located(REAL_MODELS / name, changed(folded, node.input[1], 0.1))
        assert location.first is not None, node.output[0]
        assert location.first.name == reached(folded, node.output[0], compared), location.sentence


def test_a_fault_that_is_a_map_per_channel_is_told_with_the_tensor_behind_it() -> None:
    model = graph_model(
        "(float[N, 3, 8, 8] x) => (float[N, 4, 4, 4] y) { c = Conv(x, w, b) r = Relu(c) y = Conv(r, v) }", **weights()
    )
    location = located(model, changed(model, "b", 0.5))
    assert location.first is not None
    assert location.first.name == "r"
    assert [tensor.name for tensor in location.moved] == ["c"]
    assert location.sentence.startswith("the first tensor that differs is 'r' (Relu 'r'), by ")
    assert "'c' (Conv 'c') in between is moved per channel: that is a fold's doing, or the fault itself" in (
        location.sentence
    )


def test_a_fault_per_channel_right_in_front_of_an_output_is_located() -> None:
    model = graph_model(
        "(float[N, 3, 8, 8] x) => (float[N, 4, 4, 4] y)"
        "{ c = Conv(x, w, b) r = Relu(c) z = Conv(r, v) y = Identity(z) }",
        **weights(),
    )
    wrong = ModelProto.FromString(model.SerializeToString())
    wrong.graph.node[2].input.append("shift")
    wrong.graph.initializer.append(numpy_helper.from_array(normal(4), "shift"))
    location = located(model, wrong)
    assert location.first is not None
    assert (location.first.name, location.first.state) == ("z", "rescaled")
    assert [tensor.name for tensor in location.agreeing] == ["r"]
    assert "moved per channel on the way to a wrong output is 'z' (Conv 'z')" in location.sentence


def test_a_border_fault_is_no_map_per_channel() -> None:
    """The shift of a normalization that was moved through the padding of a Conv: wrong at the border alone."""
    weight = np.ones((4, 3, 3, 3), np.float32)
    body = "(float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y) {{ s = Add(x, one) c = Conv<pads=[1,1,1,1]>({0}) y = {1} }}"
    before = graph_model(body.format("s, w", "Identity(c)"), w=weight, one=np.ones((1, 3, 1, 1), np.float32))
    after = graph_model(
        body.format("x, w, b", "Identity(c)"),
        w=weight,
        b=np.full(4, 27, np.float32),
        one=np.ones((1, 3, 1, 1), np.float32),
    )
    location = located(before, after)
    assert location.first is not None
    assert (location.first.name, location.first.state) == ("c", "different")


# What is compared, and how


def test_chunks_find_what_is_found_at_once() -> None:
    name = MODELS / "residual.onnx"
    folded = bnfold.fold(name).model
    wrong = changed(folded, convolutions(folded)[1].input[1])
    assert located(name, wrong, chunk_bytes=2**18) == located(name, wrong)


@pytest.mark.parametrize("limit", [1, 2**16, 2**18, 2**30])
def test_no_more_tensors_are_held_than_a_chunk_has_room_for(limit: int) -> None:
    subject = Subject(MODELS / "residual.onnx", "m")
    feeds = feed(subject, subject.session(), Settings()).feeds
    tensors = tensors_of(subject)
    made = list(chunks(subject, tensors, feeds, Place(CPU), limit))
    assert [tensor for chunk in made for tensor in chunk] == list(tensors)
    assert (len(made) == 1) == (limit == 2**30)
    assert (len(made) == len(tensors)) == (limit == 1)
    for chunk in made:
        names = [tensor.name for tensor in chunk]
        session = session_with(subject, Place(CPU), names)
        assert {port.name for port in session.outputs} == {*names, "logits"}
        held = sum(array.nbytes for given in feeds for array in session.run(given, names).values())
        assert held <= limit or len(chunk) == 1


def test_weights_in_other_files_are_found(tmp_path: Path) -> None:
    model = onnx.load(MODELS / "residual.onnx")
    folded = bnfold.fold(MODELS / "residual.onnx").model
    node = convolutions(folded)[1]
    for name, proto in (("a", model), ("b", folded), ("c", changed(folded, node.input[1]))):
        (tmp_path / name).mkdir()
        onnx.save(proto, tmp_path / name / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    paths = [tmp_path / name / "m.onnx" for name in "abc"]
    assert located(paths[0], paths[1]).first is None
    wrong = located(paths[0], paths[2]).first
    assert wrong is not None
    assert wrong.name == node.output[0]


def test_branches_functions_and_sequences_do_no_harm() -> None:
    model = text_model(
        """<ir_version: 8, opset_import: ["": 17, "local": 1]>
        g (bool c, float[2, 3] x) => (float[2, 3] y, int64[2] i) {
            a = If (c) <
                then_branch = t () => (float[2, 3] u) { u = MatMul(x, w) },
                else_branch = e () => (float[2, 3] v) { v = Identity(x) }
            >
            s = SequenceConstruct(a, x)
            b = ConcatFromSequence<axis = 0, new_axis = 1>(s)
            d = ReduceSum<keepdims = 0>(b, axes)
            y = local.twice(d)
            i = ArgMax<axis = 1, keepdims = 0>(y)
        }
        <domain: "local", opset_import: ["": 17]> twice (p) => (q) { r = Add(p, p) q = Identity(r) }""",
        w=normal(3, 3),
        axes=np.array([0]),
    )
    location = located(model, model)
    assert [tensor.name for tensor in location.tensors] == ["a", "b", "d", "y", "i"]
    assert location.first is None
    assert {tensor.name: tensor.linear for tensor in tensors_of(Subject(model, "m"))}["y"] == 1
    wrong = located(model, changed(model, "w", 1.0)).first
    assert wrong is not None
    assert wrong.name == "a"


def test_a_tensor_that_only_one_graph_has_is_counted() -> None:
    before = graph_model("(float[N, 3] x) => (float[N, 3] y) { a = Neg(x) b = Neg(a) y = Relu(b) }")
    after = graph_model("(float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }")
    location = located(before, after)
    assert location.unmatched == 2
    assert [tensor.name for tensor in location.tensors] == ["y"]


def test_two_samples_per_channel_decide_nothing() -> None:
    t = normal(2, 5)
    assert distance_from_affine([(t, 2 * t + 1)]) == np.inf
    assert distance_from_affine([(t, 2 * t + 1), (t[::-1] * 3, 6 * t[::-1] + 1)]) < 1e-6


@pytest.mark.parametrize("shape", [(5, 1, 1), (7,), (2, 5, 1, 1)], ids=["axis 1", "the last", "groups"])
def test_channels_are_found_on_their_axis(shape: tuple[int, ...]) -> None:
    t = normal(3, 5, 4, 7) if len(shape) < 4 else normal(3, 2, 5, 4, 7)
    a, b = normal(*shape, seed=1), normal(*shape, seed=2)
    moved = a.astype(np.float64) * t + b
    assert distance_from_affine([(t, moved)]) < 1e-12
    moved[(1,) * t.ndim] += 1e-3
    assert distance_from_affine([(t, moved)]) > 5e-4


def weights(dtype: type[np.generic] = np.float32) -> dict[str, Any]:
    return {
        "w": normal(8, 3, 3, 3, dtype=dtype) / np.asarray(5, dtype),
        "b": normal(8, dtype=dtype),
        "v": normal(4, 8, 3, 3, dtype=dtype) / np.asarray(8, dtype),
    }


def relu_first(dtype: type[np.generic] = np.float32) -> ModelProto:
    """A normalization behind a pool and a Relu: its scale goes back through both into the Conv."""
    kind = "float16" if dtype is np.float16 else "float"
    scale, shift, mean, var = statistics(8, positive=True, dtype=dtype)
    return graph_model(
        f"({kind}[N, 3, 8, 8] x) => ({kind}[N, 8, 5, 5] y)"
        "{ c = Conv(x, w, b) r = Relu(c) p = MaxPool<kernel_shape = [2, 2]>(r)"
        "y = BatchNormalization(p, scale, shift, mean, var) }",
        **{name: weights(dtype)[name] for name in "wb"},
        scale=scale,
        shift=np.zeros_like(shift),
        mean=np.zeros_like(mean),
        var=var,
    )
