"""`bnfold.train`: what it makes of real digits, what it leaves alone, and what it refuses."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper
from support import MODELS, graph_model, normal, op_types, run_ort, text_model

import bnfold
from bnfold.errors import UsageError
from bnfold.model.tensors import Array

torch = pytest.importorskip("torch", reason="torch is not installed")

from bnfold.torch import to_module  # noqa: E402 (only where torch is)
from bnfold.torch.schedule import cosine  # noqa: E402
from bnfold.torch.scores import Batch, Score  # noqa: E402
from bnfold.training.biases import normalized_biases  # noqa: E402
from bnfold.training.examples import Shuffled  # noqa: E402
from bnfold.training.proof import prove_written  # noqa: E402
from bnfold.training.reading import read_table  # noqa: E402

DIGITS: dict[str, Any] = runpy.run_path(str(MODELS / "digits.py"))
GEMMS = "(float[N,4] x) => (float[N,3] y) { h = Gemm(x, w, b) r = Relu(h) y = Gemm(r, v, c) }"


def digits() -> tuple[dict[str, Array], dict[str, Array]]:
    """The digits to train on and those to test on, under the name that the source's network gives its input."""
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    split = DIGITS["load_split"]()
    train = {"image": split.train_images, "target": split.train_labels}
    return train, {"image": split.test_images, "target": split.test_labels}


def source_from_scratch() -> ModelProto:
    """The source's network without BatchNormalization, with random weights."""
    model = ModelProto()
    model.CopyFrom(bnfold.fold(MODELS / "source_cnn.onnx").model)
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        shape = tuple(tensor.dims)
        bound = 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.0
        tensor.CopyFrom(numpy_helper.from_array(rng.uniform(-bound, bound, shape).astype(np.float32), tensor.name))
    return model


def gemms(body: str = GEMMS) -> ModelProto:
    return graph_model(body, w=normal(4, 8), b=normal(8), v=normal(8, 3), c=normal(3))


def examples(rows: int = 64) -> dict[str, Array]:
    """The class is the largest of three numbers."""
    x = normal(rows, 4, seed=3)
    return {"x": x, "target": x[:, :3].argmax(axis=1)}


def train(model: Any = None, data: Any = None, validation: Any = None, **options: Any) -> Any:
    """A short training of two Gemms."""
    options = {"epochs": 2, "batch_size": 16, **options}
    return bnfold.train(model or gemms(), examples() if data is None else data, validation, **options)


def values(model: ModelProto) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_the_source_s_network_learns_the_digits_from_scratch_and_its_fold_is_the_same() -> None:
    data, test = digits()
    result = bnfold.train(source_from_scratch(), data, test, lr=0.1, epochs=4, reset=True)
    assert op_types(result.model).count("BatchNormalization") == 2
    assert op_types(result.folded.model).count("BatchNormalization") == 0
    images = {"image": test["image"]}
    trained, folded = (run_ort(model, images)[0].argmax(axis=1) for model in (result.model, result.folded.model))
    assert np.array_equal(trained, folded)
    assert result.agreement == 1.0
    accuracy = float((folded == test["target"]).mean())
    assert accuracy == result.scores.folded.accuracy == result.scores.trained.accuracy
    assert accuracy > 0.97
    assert result.scores.before.accuracy is not None
    assert result.scores.before.accuracy < 0.3
    assert bnfold.check(result.model, result.folded.model)


def test_the_same_seed_gives_the_same_model_and_another_seed_another() -> None:
    first, again, other = (train(seed=seed).model.SerializeToString() for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_the_model_and_the_caller_s_random_numbers_stay_as_they_are() -> None:
    model, state = gemms(), torch.random.get_rng_state()
    before = model.SerializeToString()
    train(model)
    assert model.SerializeToString() == before
    assert torch.equal(torch.random.get_rng_state(), state)


def test_of_the_graph_only_what_trains_changes() -> None:
    inserted = bnfold.insert(gemms(), {"x": examples()["x"]}).model
    result = train(inserted, validation=examples(), insert=False)
    before, after = values(inserted), values(result.model)
    assert {name for name in before if not np.array_equal(before[name], after[name])} == set(before)
    assert [node.SerializeToString() for node in result.model.graph.node] == [
        node.SerializeToString() for node in inserted.graph.node
    ]


def test_a_network_that_gives_the_same_for_everything_is_told_of_as_that_and_not_as_a_difference() -> None:
    dead = gemms()
    next(tensor for tensor in dead.graph.initializer if tensor.name == "b").CopyFrom(
        numpy_helper.from_array(np.full(8, -1000, np.float32), "b")
    )
    with pytest.raises(UsageError, match=r"the training collapsed: output 'y' .*; nothing was written"):
        train(dead, insert=False)


def test_statistics_are_those_of_the_training_data_under_the_final_weights() -> None:
    result = train(validation=examples())
    found = values(result.model)
    wires = examples()["x"].astype(np.float64) @ found["w"]
    assert np.allclose(found["w.bn.mean"], wires.mean(axis=0), atol=1e-5)
    assert np.allclose(found["w.bn.var"], wires.var(axis=0), rtol=1e-5)


def test_what_is_frozen_stays_and_the_rest_moves() -> None:
    before = values(gemms())
    result = train(freeze=["v", "*.scale"])
    after = values(result.model)
    assert sorted(result.frozen) == ["v", "w.bn.scale"]
    assert np.array_equal(after["v"], before["v"])
    assert not np.array_equal(after["w"], before["w"])


def test_a_bias_in_front_of_a_normalization_is_frozen_since_adam_would_move_it() -> None:
    model = gemms()
    assert normalized_biases(bnfold.insert(model).model) == ("b",)
    result = train(model, bias="keep", optimizer="adam")
    assert result.frozen == ("b",)
    assert np.array_equal(values(result.model)["b"], values(model)["b"])
    assert not np.array_equal(values(result.model)["c"], values(model)["c"])


def test_a_bias_that_something_else_reads_too_is_trained() -> None:
    model = gemms("(float[N,4] x) => (float[N,3] y) { h = Gemm(x, w, b) k = Mul(h, b) r = Relu(k) y = Gemm(r, v, c) }")
    assert normalized_biases(bnfold.insert(model).model) == ()


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_every_loss_and_optimizer_makes_the_loss_less(loss: str, optimizer: str) -> None:
    x = normal(64, 4, seed=3)
    target = (x[:, 1:] > 0).astype(np.float32) if loss == "bce" else x[:, 1:] * 2.0
    data = {"x": x, "target": target}
    result = train(data=data, validation=data, loss=loss, optimizer=optimizer, lr=0.02, epochs=8)
    assert result.scores.folded.loss < 0.9 * result.scores.before.loss
    assert result.scores.folded.loss == pytest.approx(result.scores.trained.loss, rel=1e-5)
    assert (result.scores.folded.accuracy is None) == (loss == "mse")


def test_a_loss_and_batches_of_one_s_own_do() -> None:
    class Doubled:
        steps = 4

        def epoch(self, number: int) -> Iterator[Batch]:
            for start in range(0, 64, 16):
                yield Batch({"x": x[start : start + 16]}, 2 * x[start : start + 16, :3])

    x = normal(64, 4, seed=3)
    data = {"x": x, "target": 2 * x[:, :3]}
    own = train(data=Doubled(), validation=data, loss=lambda output, target: (output - target).abs().mean(), epochs=8)
    assert own.scores.folded.loss < 0.9 * own.scores.before.loss
    assert own.scores.folded.accuracy is None


def test_the_data_are_the_same_as_a_mapping_a_file_shards_and_mapped_arrays(tmp_path: Path) -> None:
    data = examples()
    np.savez(tmp_path / "all.npz", allow_pickle=False, **data)
    for folder in ("shards", "arrays"):
        (tmp_path / folder).mkdir()
    for number, rows in enumerate((slice(0, 40), slice(40, 64))):
        np.savez(
            tmp_path / "shards" / f"{number}.npz", allow_pickle=False, **{name: a[rows] for name, a in data.items()}
        )
    for name, array in data.items():
        np.save(tmp_path / "arrays" / f"{name}.npy", array)
    sources = [data, *(tmp_path / name for name in ("all.npz", "shards", "arrays"))]
    assert len({train(data=source).model.SerializeToString() for source in sources}) == 1


def test_an_epoch_has_every_row_at_most_once_in_an_order_of_its_own_and_no_partial_batch() -> None:
    data: dict[str, Array] = {"x": np.arange(70, dtype=np.float32)[:, None].repeat(4, 1), "target": np.arange(70)}
    shuffled = Shuffled(read_table(data, _ports(), "the data"), 32, seed=1)
    first, second = (list(shuffled.epoch(number)) for number in (1, 2))
    assert [len(batch.target) for batch in first] == [32, 32] == [32] * shuffled.steps
    seen = np.concatenate([batch.target for batch in first])
    assert len(set(seen.tolist())) == 64
    assert not np.array_equal(seen, np.concatenate([batch.target for batch in second]))
    assert all(np.array_equal(batch.inputs["x"][:, 0], batch.target) for batch in first)


def _ports() -> Any:
    from bnfold.runtime import open_session

    return open_session(gemms().SerializeToString()).inputs


def test_without_validation_data_a_tenth_is_held_out() -> None:
    table = read_table(examples(), _ports(), "the data")
    left, held = table.split(0)
    assert (len(left), len(held)) == (58, 6)
    assert set(left.rows.tolist()) | set(held.rows.tolist()) == set(range(64))


def test_the_learning_rate_goes_from_all_to_nothing_along_a_cosine() -> None:
    assert [cosine(done) for done in (0, 1 / 3, 0.5, 1)] == pytest.approx([1, 0.75, 0.5, 0])
    rates = [epoch.lr for epoch in train(lr=0.4, epochs=4).history.epochs]
    assert rates == pytest.approx([0.4 * cosine(done) for done in (0, 0.25, 0.5, 0.75)])


def test_more_right_is_better_then_less_loss_and_nan_never() -> None:
    assert Score(2.0, 0.9).is_better_than(Score(1.0, 0.8))
    assert not Score(1.0, 0.8).is_better_than(Score(2.0, 0.9))
    assert Score(1.0, 0.9).is_better_than(Score(2.0, 0.9))
    assert not Score(1.0).is_better_than(Score(1.0))
    assert not Score(float("nan")).is_better_than(Score(1.0))
    assert Score(1.0).is_better_than(Score(float("nan")))


def test_the_best_epoch_is_kept_and_not_the_last() -> None:
    data, wrong = examples(), examples()
    wrong["target"] = (wrong["target"] + 1) % 3  # the better it learns, the worse it does here
    result = train(data=data, validation=wrong, epochs=6, lr=0.2, reset=True)
    losses = [result.history.start, *(epoch.validation for epoch in result.history.epochs)]
    best = losses[result.history.best_epoch]
    assert result.scores.best == best
    assert not any(score.is_better_than(best) for score in losses)
    assert result.history.best_epoch < 6
    if not result.history.best_epoch:
        assert any("no epoch was better than the start" in remark for remark in result.remarks)


def test_an_interruption_keeps_the_best_so_far() -> None:
    def interrupt(epoch: Any) -> None:
        if epoch.number == 2:
            raise KeyboardInterrupt

    result = train(epochs=50, after_epoch=interrupt)
    assert result.history.is_interrupted
    assert len(result.history.epochs) == 2
    assert "interrupted after 2 epochs; the best state so far is kept" in result.remarks
    assert result


def test_an_interruption_before_the_first_epoch_is_done_is_the_caller_s() -> None:
    def interrupt(text: str) -> None:
        if text.startswith("epoch 1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(progress=interrupt)


def test_a_model_with_external_weights_is_trained_and_written_with_them(tmp_path: Path) -> None:
    model, path = (
        graph_model(GEMMS, w=normal(4, 400), b=normal(400), v=normal(400, 3), c=normal(3)),
        tmp_path / "m.onnx",
    )
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    result = bnfold.train(path, examples(), epochs=1, batch_size=16)
    result.save(tmp_path / "trained.onnx")
    result.folded.save(tmp_path / "folded.onnx")
    assert bnfold.check(tmp_path / "trained.onnx", tmp_path / "folded.onnx")
    assert not bnfold.check(path, tmp_path / "folded.onnx")


def test_a_graph_that_does_not_compute_what_was_trained_is_found_out() -> None:
    model = gemms()
    module, table = to_module(model), read_table(examples(), _ports(), "the data")
    prove_written(module, model, None, table)
    with torch.no_grad():
        module.get_parameter("v")[0, 0] += 1.0
    with pytest.raises(bnfold.DifferenceFound, match="output 'y' of the trained model is"):
        prove_written(module, model, None, table)


def changed(**arrays: Any) -> dict[str, Any]:
    return {name: array for name, array in {**examples(), **arrays}.items() if array is not None}


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (changed(target=None), {}, "'target' is missing in the training data, which hold 'x'"),
        (changed(x=None), {}, "input 'x' is missing in the training data"),
        (changed(x=normal(64, 3)), {}, r"wrong shape: expected \[N, 4\], got \[64, 3\]"),
        (changed(x=normal(64, 4).astype(np.float64)), {}, "wrong type: expected float32, got float64"),
        (changed(x=np.full((64, 4), np.nan, np.float32)), {}, "NaN or infinite"),
        (changed(target=np.arange(60) % 3), {}, r"different numbers of rows \(64 in 'x', 60 in 'target'\)"),
        (changed(target=np.arange(64) % 3 + 1), {}, "takes targets of 0 to 2 .* are 1 to 3"),
        (changed(target=np.arange(64) % 3 - 1), {}, "takes targets of 0 to 2 .* are -1 to 1"),
        (changed(target=np.zeros(64, np.float32)), {}, "whole-number labels"),
        (changed(target=np.zeros(64, bool)), {}, "an array of numbers"),
        (changed(target=np.full(64, np.nan)), {"loss": "mse"}, "'target' has NaN"),
        (changed(target=np.zeros((64, 1), np.float32)), {"loss": "mse"}, r"float32\[6, 3\] .* float32\[6, 1\]"),
        (changed(target=np.full((64, 3), 2.0)), {"loss": "bce"}, "takes targets of 0 to 1 .* are 2 to 2"),
        (examples(4), {}, "have 4 rows, too few to hold any out; give --validation"),
        (examples(17), {}, "have 15 rows to train on, less than one batch of 16"),
        (examples(), {"batch_size": 1}, "BatchNormalization 'w.bn' .* needs more than one value per channel"),
        (examples(), {"batch_size": 0}, "1 row or more"),
        (examples(), {"freeze": ["w", "nope*"]}, "no parameter of the model is called 'nope\\*'; they are c, v, w, "),
        (examples(), {"freeze": ["*"]}, "nothing is left to train"),
        (examples(), {"loss": "hinge"}, "loss is one of cross-entropy, mse, bce"),
        (examples(), {"optimizer": "lamb"}, "optimizer is one of sgd, adam, adamw"),
        (examples(), {"lr": 0.0}, "above 0"),
        (examples(), {"lr": float("nan")}, "above 0"),
        (examples(), {"momentum": 1.0}, "momentum"),
        (examples(), {"weight_decay": -1.0}, "weight decay"),
        (examples(), {"epochs": 0}, "1 epoch or more"),
        (examples(), {"device": "tpu"}, "device is cpu, cuda or cuda:N"),
        (examples(), {"insert": False, "reset": True}, "reset: options of an insertion, and none was asked for"),
        (examples(), {"lr": 1e30, "insert": False}, "diverged: the loss is .* try a lower --lr than 1e\\+30"),
        (3, {}, "are paths, or a mapping of names to arrays, not int"),
    ],
)
def test_what_can_not_be_trained_on_is_refused_in_a_sentence(data: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        train(data=data, **options)


def test_a_label_that_only_the_last_row_has_is_refused_before_the_first_step() -> None:
    data, told = examples(), list[str]()
    data["target"][-1] = 3
    with pytest.raises(UsageError, match="takes targets of 0 to 2"):
        train(data=data, validation=examples(), progress=told.append)
    assert not [text for text in told if text.startswith("epoch")]


def test_a_frozen_batch_is_refused_with_the_way_to_open_it() -> None:
    with pytest.raises(UsageError, match=r"is frozen at 8, .* bnfold insert --batch symbolic"):
        train(gemms(GEMMS.replace("N,", "8,")))


def test_an_operator_that_torch_does_not_know_is_refused_by_name() -> None:
    header = '<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]> g '
    body = GEMMS.replace("Relu(h)", "com.microsoft.QuickGelu(h)")
    model = text_model(header + body, w=normal(4, 8), b=normal(8), v=normal(8, 3), c=normal(3))
    with pytest.raises(bnfold.ModelError, match="QuickGelu"):
        train(model)


class Own:
    """Batches of a caller's own: one per array, with the same labels."""

    def __init__(self, *inputs: Array, steps: int = 1) -> None:
        self.inputs, self.steps = inputs, steps

    def epoch(self, number: int) -> Iterator[Batch]:
        return (Batch({"x": x}, np.arange(len(x)) % 3) for x in self.inputs)


def test_batches_of_one_s_own_need_something_to_compare_states_on() -> None:
    with pytest.raises(UsageError, match="need validation data"):
        train(data=Own(normal(8, 4)))


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (Own(normal(8, 4), normal(8, 5)), "batch 2 of epoch 1 has the wrong shape"),
        (Own(normal(8, 4, dtype=np.float64)), "batch 1 of epoch 1 has the wrong type"),
        (Own(), "epoch 1 of the training data has no batches"),
        (Own(steps=0), "1 batch or more"),
    ],
)
def test_batches_of_one_s_own_that_do_not_fit_are_refused_with_their_place(own: Own, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        train(data=own, validation=examples(), insert=False)


def test_a_loss_of_one_s_own_that_is_no_mean_is_refused() -> None:
    with pytest.raises(UsageError, match=r"without axes, such as a mean, and gave float32\[6, 3\]"):
        train(loss=lambda output, target: output.abs())


def test_labels_in_a_foreign_order_of_bytes_are_the_same_labels() -> None:
    foreign = changed(target=examples()["target"].astype(">i4"))
    assert train(data=foreign).model.SerializeToString() == train().model.SerializeToString()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_told_of() -> None:
    with pytest.raises(bnfold.RuntimeUnavailable, match="sees no device 'cuda'"):
        train(device="cuda")


@pytest.mark.cuda
def test_on_a_cuda_device_the_same_is_learned() -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    data, test = digits()
    result = bnfold.train(source_from_scratch(), data, test, lr=0.1, epochs=4, reset=True, device="cuda")
    assert result.scores.folded.accuracy is not None
    assert result.scores.folded.accuracy > 0.97
    assert result.agreement == 1.0
