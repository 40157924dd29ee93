"""The data of a training from a function: how it is found and called, what it may yield, and what is refused."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support import graph_model, normal

import bnfold
from bnfold.model.tensors import Array

torch = pytest.importorskip("torch", reason="torch is not installed")

from bnfold.runtime import Port  # noqa: E402 (only where torch is)
from bnfold.torch.scores import Batch  # noqa: E402
from bnfold.training.forms import batch_of  # noqa: E402
from bnfold.training.sources import Sources, sources_for  # noqa: E402

GEMMS = "(float[N,4] x) => (float[N,3] y) { h = Gemm(x, w, b) r = Relu(h) y = Gemm(r, v, c) }"
PORTS = (Port("x", "float32", ("N", 4)),)
TWO = (*PORTS, Port("z", "float32", ("N", 1)))

X = normal(64, 4, seed=3)
LABELS = X[:, :3].argmax(axis=1)
HELD_OUT: dict[str, Array] = {"x": X, "target": LABELS}

MODULE = """
import numpy as np

X = np.random.default_rng([3, 64, 4]).standard_normal((64, 4)).astype(np.float32)
LABELS = X[:, :3].argmax(axis=1)

def batches():
    for start in range(0, 64, 16):
        yield X[start : start + 16], LABELS[start : start + 16]

def broken(epoch):
    yield X, LABELS
    if epoch == 2:
        raise ValueError("the disk\\nis gone")
    yield X, LABELS

def third_label():
    yield X, LABELS + 1

def needs(folder):
    return []

def nothing():
    return iter(())

class Own:
    steps = 4
    def epoch(self, number):
        return ({"x": X[start : start + 16], "target": LABELS[start : start + 16]} for start in range(0, 64, 16))
    @staticmethod
    def made():
        return batches()

own = Own()
numbers = [1, 2, 3]
"""


def gemms() -> onnx.ModelProto:
    return graph_model(GEMMS, w=normal(4, 8), b=normal(8), v=normal(8, 3), c=normal(3))


def train(data: Any, validation: Any = None, **options: Any) -> Any:
    options = {"epochs": 2, "batch_size": 16, **options}
    return bnfold.train(gemms(), data, HELD_OUT if validation is None else validation, **options)


def batches() -> Iterator[tuple[Array, Array]]:
    for start in range(0, 64, 16):
        yield X[start : start + 16], LABELS[start : start + 16]


def sources(data: Any, validation: Any = None) -> Sources:
    return sources_for(data, HELD_OUT if validation is None else validation, PORTS, 16, 0)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package in the current folder, of a name of its own, since modules are imported once."""
    name = f"given_{tmp_path.name}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "data.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return f"{name}.data"


# What is called, and how often


def test_a_function_trains_what_the_same_batches_as_an_object_train() -> None:
    class Own:
        steps = 4

        def epoch(self, number: int) -> Iterator[Batch]:
            return (Batch({"x": x}, target) for x, target in batches())

    assert train(batches).model == train(Own()).model


@pytest.mark.parametrize("insert", [True, False])
def test_the_learning_rate_goes_down_along_the_steps_of_the_first_epoch(insert: bool) -> None:
    """Nobody says how many there are: they are counted, and with an insertion that costs no pass of its own."""
    passes: list[int] = []

    def counted(epoch: int) -> Iterator[tuple[Array, Array]]:
        passes.append(epoch)
        return batches()

    found = sources(counted)
    if insert:
        assert len(list(found.feeds)) == 4
    assert found.examples.steps == found.examples.steps == 4
    assert passes == [1]
    assert len(list(found.examples.epoch(2))) == 4
    assert passes == [1, 2]


def test_a_function_may_take_the_number_of_the_epoch() -> None:
    def scaled(epoch: int) -> Iterator[tuple[Array, Array]]:
        return ((x * epoch, target) for x, target in batches())

    found = sources(functools.partial(scaled))
    first = [next(iter(found.examples.epoch(number))).inputs["x"] for number in (1, 2)]
    assert np.array_equal(first[0] * 2, first[1])


def test_a_parameter_that_has_a_value_is_left_alone() -> None:
    def some(count: int = 2, **others: int) -> Iterator[tuple[Array, Array]]:
        assert others == {"epoch": 1}
        return (pair for pair, _ in zip(batches(), range(count), strict=False))

    assert len(list(sources(some).examples.epoch(1))) == 2


def test_validation_batches_of_a_function_are_scored_like_an_array(module: str) -> None:
    one, other = train(batches, HELD_OUT), train(batches, batches)
    assert one.model == other.model
    assert one.scores.folded.loss == pytest.approx(other.scores.folded.loss, rel=1e-6)
    assert other.agreement == 1.0
    assert other.report
    assert train(f"{module}:batches", f"{module}:batches").model == one.model


def test_the_states_are_compared_on_the_first_epoch_of_a_function_each_time() -> None:
    seen: list[int] = []

    def validation(epoch: int) -> Iterator[tuple[Array, Array]]:
        seen.append(epoch)
        return batches()

    assert train(batches, validation)
    assert set(seen) == {1}


def test_validation_batches_of_several_widths_are_proved_on_those_that_make_one_set() -> None:
    body = "(float[N,1,W] x) => (float[N,2] y) { g = GlobalAveragePool(x) f = Flatten(g) y = Gemm(f, w, c) }"
    model = graph_model(body, w=normal(1, 2), c=normal(2))

    def widths() -> Iterator[tuple[Array, Array]]:
        for width in (5, 5, 6):
            yield normal(8, 1, width, seed=width), np.arange(8) % 2

    result = bnfold.train(model, widths, widths, epochs=1, insert=False)
    assert result.report.inputs == (("x float32[16, 1, 5]",),) * len(result.report.inputs)


# What is yielded


def pair_of(form: str) -> Any:
    x, target = X[:8], LABELS[:8]
    forms: dict[str, Any] = {
        "pair": (x, target),
        "list": [x, target],
        "mapping": {"x": x, "target": target, "weight": 3},
        "mapping and target": ({"x": x}, target),
        "batch": Batch({"x": x}, target),
        "tensors": (torch.from_numpy(x).requires_grad_(), torch.from_numpy(target)),
        "tensors by name": {"x": torch.from_numpy(x), "target": torch.from_numpy(target)},
        "not to be written to": (np.frombuffer(x.tobytes(), np.float32).reshape(8, 4), target),
        "backwards in memory": (x[::-1].copy()[::-1], target[::-1].copy()[::-1]),
        "another order of bytes": (x.astype(">f4"), target.astype(">i8")),
    }
    return forms[form]


@pytest.mark.parametrize(
    "form",
    [
        *("pair", "list", "mapping", "mapping and target", "batch", "tensors", "tensors by name"),
        *("not to be written to", "backwards in memory", "another order of bytes"),
    ],
)
def test_a_batch_comes_in_several_forms_and_is_one_that_torch_takes(form: str) -> None:
    batch = batch_of(pair_of(form), PORTS, "the batch")
    assert torch.equal(torch.from_numpy(batch.inputs["x"]), torch.from_numpy(X[:8]))
    assert torch.equal(torch.from_numpy(batch.target), torch.from_numpy(LABELS[:8]))


@pytest.mark.parametrize(
    ("made", "ports", "said"),
    [
        (3, PORTS, r"the batch is of type int; a batch is a mapping of 'x', 'target' to arrays, or a pair"),
        ((X, LABELS, LABELS), PORTS, "the batch is of type tuple; a batch is a mapping"),
        ({"x": X}, PORTS, "'target' is missing in the batch, which holds 'x'"),
        ({"y": X, "target": LABELS}, PORTS, "input 'x' is missing in the batch, which holds nothing"),
        ((X, LABELS), TWO, "has ndarray as inputs, and the model has 'x', 'z': give a mapping"),
        ((X[:, :3], LABELS), PORTS, r"wrong shape: expected \[N, 4\], got \[64, 3\]"),
        ((X.astype(np.float64), LABELS), PORTS, "wrong type: expected float32, got float64"),
        ((torch.from_numpy(X).bfloat16(), LABELS), PORTS, "'x' in the batch is no array: .*BFloat16"),
        (([[1.0], [1.0, 2.0]], LABELS), PORTS, "'x' in the batch is no array: "),
        ((X, LABELS[:9]), PORTS, r"the batch have different numbers of rows \(64 in 'x', 9 in 'target'\)"),
        ((X, 3), PORTS, "'target' in the batch has to be an array of numbers"),
        ((X, ["a"] * 64), PORTS, "'target' in the batch has to be an array of numbers"),
        ((X, np.where(np.arange(64) == 5, np.nan, 1.0)), PORTS, r"'target' has NaN .* in row 5 \(counted from 0\)"),
        ((np.where(X[3, 2] == X, np.inf, X), LABELS), PORTS, "'x' has NaN or infinite values in the batch"),
    ],
)
def test_what_is_no_batch_of_the_model_is_refused(made: Any, ports: tuple[Port, ...], said: str) -> None:
    with pytest.raises(bnfold.UsageError, match=said):
        batch_of(made, ports, "the batch")


def test_a_label_that_is_out_of_range_is_refused_with_its_batch_and_before_torch_sees_it() -> None:
    def rare(epoch: int) -> Iterator[tuple[Array, Array]]:
        yield X, LABELS
        yield X, LABELS + (epoch == 2)

    with pytest.raises(
        bnfold.UsageError, match=r"takes targets of 0 to 2 .* of batch 2 of epoch 2 of the training data"
    ):
        train(rare)
    with pytest.raises(bnfold.UsageError, match=r"takes targets of 0 to 2 .* of batch 1 of epoch 1 of the validation"):
        train(batches, lambda: [(X, LABELS + 1)])


# How it is found


def test_a_name_is_imported_from_the_current_folder(module: str) -> None:
    expected = train(batches).model
    assert train(f"{module}:batches").model == expected
    assert train([f"{module}:batches"]).model == expected
    assert train(f"{module}:own").model == expected
    assert train(f"{module}:Own.made").model == expected


def test_a_path_with_a_colon_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open("run:data.npz", "wb") as file:
        np.savez(file, allow_pickle=False, **HELD_OUT)
    assert train("run:data.npz").model == train(HELD_OUT).model


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere:batches", "'nowhere:batches' is no file, and there is no module 'nowhere' in /"),
        ("{package}.other:batches", r"is no file, and there is no module 'given_\w+\.other' in /"),
        ("{module}:bathces", r"'bathces' is not in .*data.py, which has LABELS, Own, X, batches, broken, needs"),
        ("{module}:own.steps", "is of type int, and should be a function that yields batches"),
        ("{module}:numbers", "is of type list, and should be a function that yields batches"),
        ("{module}:needs", r"needs takes \(folder\), and is called with nothing, or with the number of the epoch"),
        ("{module}:nothing", "epoch 1 of the training data .*:nothing has no batches"),
        ("{module}:Own", "gave Own for epoch 1, and should yield batches"),
        ("{module}:np.zeros_like", "takes .*, and is called with nothing"),
        ("{module}:third_label", "takes targets of 0 to 2"),
        (
            "{module}:broken",
            r"broken raised in batch 2 of epoch 2: ValueError: the disk is gone \(.*data\.py, line 14\)$",
        ),
        (["{module}:batches", "a.npz"], "the training data are files, or one function, and '.*:batches' is one of 2"),
    ],
)
def test_a_name_that_does_not_do_is_refused_in_a_sentence(module: str, name: str | list[str], said: str) -> None:
    def put(text: str) -> str:
        return text.format(module=module, package=module.removesuffix(".data"))

    with pytest.raises(bnfold.UsageError, match=said):
        train(put(name) if isinstance(name, str) else [put(one) for one in name])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("import nowhere_at_all", r"No module named 'nowhere_at_all' \(.*spoilt\.py, line 1\)"),
        ("\n1 / 0", r"ZeroDivisionError: division by zero \(.*spoilt\.py, line 2\)"),
        ("def (", r"SyntaxError: .*spoilt\.py, line 1"),
    ],
)
def test_a_module_that_fails_when_it_is_imported_is_told_of_with_the_line(module: str, content: str, said: str) -> None:
    package = Path(module.removesuffix(".data"))
    (package / "spoilt.py").write_text(content, encoding="utf-8")
    with pytest.raises(bnfold.UsageError, match=rf"'{package}.spoilt:batches' can not be imported: .*{said}") as caught:
        train(f"{package}.spoilt:batches")
    assert caught.value.__cause__ is not None


def test_what_a_function_raises_is_the_cause_and_ctrl_c_is_not_caught() -> None:
    def raising(kind: type[BaseException]) -> Callable[[], Iterator[Any]]:
        def broken() -> Iterator[Any]:
            raise kind("stop")
            yield

        return broken

    with pytest.raises(bnfold.UsageError, match="broken raised in batch 1 of epoch 1: OSError: stop") as caught:
        train(raising(OSError))
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(KeyboardInterrupt):
        train(raising(KeyboardInterrupt))


def test_a_function_without_anything_to_compare_states_on_is_refused() -> None:
    with pytest.raises(bnfold.UsageError, match="need validation data"):
        bnfold.train(gemms(), batches)


# The command line


def bnfold_train(folder: Path, *arguments: str) -> Any:
    """The installed script, which does not have the current folder on its path as `python -m` has."""
    script = "import sys; sys.path = [place for place in sys.path if place]; from bnfold.cli import main; main()"
    command = [sys.executable, "-c", script, "train", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_command_trains_on_a_function_of_the_current_folder(tmp_path: Path) -> None:
    onnx.save(gemms(), tmp_path / "m.onnx")
    (tmp_path / "digits.py").write_text(MODULE, encoding="utf-8")
    arguments = ("m.onnx", "--epochs", "2", "--validation", "digits:batches")
    done = bnfold_train(tmp_path, *arguments, "--data", "digits:batches")
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("epoch ") for line in done.stderr.splitlines())
    assert "inputs: the validation data digits:batches" in done.stdout
    assert (tmp_path / "m.trained.folded.onnx").exists()
    broken = bnfold_train(tmp_path, *arguments, "--data", "digits:broken")
    assert broken.returncode == 2
    assert broken.stderr.endswith(
        "bnfold: the training data digits:broken raised in batch 2 of epoch 2: ValueError: the disk is gone "
        f"({tmp_path / 'digits.py'}, line 14)\n"
    )
    assert "Traceback" not in broken.stderr
