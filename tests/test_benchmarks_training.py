"""The benchmarks of training compare what is comparable, and docs/training.md says what they found."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import ROOT

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
pytest.importorskip("onnxscript", reason="torch's exporter needs onnxscript")
pytest.importorskip("matplotlib", reason="the pictures are drawn with matplotlib")

sys.path.insert(0, str(ROOT / "benchmarks"))

import convergence  # noqa: E402 (only where torch is)
import training_step  # noqa: E402
from convergence_data import Drawn, Part, digits  # noqa: E402
from convergence_plots import draw  # noqa: E402
from convergence_report import PAGE, Targets, endings, page  # noqa: E402
from convergence_runs import CHANCE, NOT_FINITE, TRAINED, Key, Run, append, read  # noqa: E402

TINY = replace(convergence.TASKS["digits"], steps=4, every=2)
PROGRAM = re.compile(r"```(sh|py)\n(.*?)```", re.DOTALL)


def run(variant: str = "before", right: tuple[int, ...] = (5, 7, 9, 8), ended: str = TRAINED, seed: int = 0) -> Run:
    key = Key("digits", variant, 0.1, seed)
    return Run(key, ended, "", every=10, validated=10, right=right, proof=None, seconds=0.0)


# --- The data ---


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The benchmarks take one; other tests of this process have bits to compare, which hang on their number."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_no_example_is_in_two_parts() -> None:
    split = digits(0)
    parts = [{image.tobytes() for image in part.images} for part in (split.train, split.validation, split.test)]
    assert [len(part) for part in (split.train, split.validation, split.test)] == [1197, 300, 300]
    assert len(set.union(*parts)) == sum(map(len, parts))


def test_another_seed_is_another_split() -> None:
    assert not np.array_equal(digits(0).test.images, digits(1).test.images)


def test_every_example_is_drawn_once_before_any_is_drawn_again() -> None:
    part = Part(np.zeros((30, 1, 1, 1), np.float32), np.arange(30))
    drawn = Drawn(part, "x", size=10, steps=2, seed=0)
    labels = [batch.target for number in (1, 2, 3) for batch in drawn.epoch(number)]
    assert [sorted(np.concatenate(turn)) for turn in (labels[:3], labels[3:])] == [list(range(30))] * 2
    assert not np.array_equal(labels[0], labels[3])
    assert np.array_equal(labels[1], [batch.target for batch in drawn.epoch(1)][1])
    assert np.array_equal(drawn.seen(2), np.concatenate(labels[:2]))


# --- A training ---


@pytest.mark.parametrize("variant", ["none", "after, classifier"])
def test_a_training_is_scored_on_the_way_and_its_fold_on_the_whole_test_part(variant: str, tmp_path: Path) -> None:
    done = convergence.trained(Key("digits", variant, 0.1, 0), TINY)
    assert len(done.right) == 2
    assert done.proof is not None
    assert (done.proof.tested, done.proof.seen) == (300, 4 * convergence.BATCH)
    assert done.proof.agree == 300
    assert done.proof.right == done.proof.right_folded
    assert 0 <= done.proof.off < 1e-5 * done.proof.largest
    assert (done.proof.off > 0) == (variant != "none")
    append(done, tmp_path / "runs.jsonl")
    append(run(), tmp_path / "runs.jsonl")
    assert list(read(tmp_path / "runs.jsonl").values()) == [done, run()]


def test_a_training_that_diverges_is_told_as_what_it_is() -> None:
    done = convergence.trained(Key("digits", "none", 1e30, 0), TINY)
    assert (done.ended, done.proof, done.accuracy, done.gap) == (NOT_FINITE, None, None, None)
    assert "diverged" in done.told


def test_a_network_that_has_learnt_nothing_ended_at_chance() -> None:
    assert (convergence.ending(0.19, ""), convergence.ending(0.21, "")) == (CHANCE, TRAINED)


def test_all_variants_begin_as_the_same_network() -> None:
    assert convergence.network("digits", 0) == convergence.network("digits", 0)
    assert convergence.network("digits", 0) != convergence.network("digits", 1)


# --- The tables ---


def test_steps_are_counted_to_the_first_validation_that_is_as_good() -> None:
    assert [run().steps_to(right) for right in (5, 6, 9, 10)] == [10, 20, 30, None]


def test_the_target_is_the_best_of_the_same_seed_without_normalization() -> None:
    worse = run("none", (3, 6, 4, 4))
    better = replace(run("none", (3, 9, 4, 4)), key=worse.key._replace(rate=1.0))
    targets = Targets([worse, better, run("none", (10, 10), seed=1)])
    assert (targets.same_rate(run()), targets.any_rate(run())) == ("20", "30")
    assert targets.same_rate(run(seed=1)) == "never"


def test_a_network_that_learnt_nothing_is_no_target() -> None:
    targets = Targets([run("none", (1, 1), ended=CHANCE)])
    assert (targets.same_rate(run()), targets.any_rate(run())) == ("·", "·")


def test_endings_that_differ_are_counted() -> None:
    assert endings([run(), run()]) == TRAINED
    assert endings([run(), run(ended=CHANCE), run()]) == "1 chance, 2 trained"


def test_the_results_are_those_of_the_plan() -> None:
    assert set(read()) == set(convergence.planned())


def test_the_page_says_what_the_results_say() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text, read()) == text


def test_the_pictures_are_drawn_and_small(tmp_path: Path) -> None:
    draw(list(read().values()), tmp_path)
    names = {"steps.png", "rates.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    folders = (tmp_path, PAGE.parent / "images")
    assert all((folder / name).stat().st_size < 60_000 for folder in folders for name in names)


# --- The page's commands ---


def test_what_the_page_shows_runs(tmp_path: Path) -> None:
    """test_docs.py runs what is marked bash and python, which has to run without torch and scikit-learn."""
    page = PAGE.read_text(encoding="utf-8")
    (first, several), (program,) = (_shown(page, language) for language in ("sh", "py"))
    (tmp_path / "models").symlink_to(ROOT / "models")
    written = [tmp_path / name for name in ("digits.onnx", "digits.folded.onnx")]
    for line in first.splitlines():
        _shell(line, tmp_path)
    of_command = [path.read_bytes() for path in written]
    for path in written:
        path.unlink()
    _shell(f"python -W error - <<'END'\n{program}END", tmp_path)
    assert [path.read_bytes() for path in written] == of_command
    _shell(several, tmp_path)
    assert len((tmp_path / "digits.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def _shown(page: str, language: str) -> list[str]:
    return [found[2] for found in PROGRAM.finditer(page) if found[1] == language]


def _shell(line: str, folder: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        line, shell=True, cwd=folder, text=True, capture_output=True, env={**os.environ, "PATH": path}, check=False
    )
    assert done.returncode == 0, done.stderr


# --- What a step costs ---


@pytest.mark.parametrize("name", [name for name in training_step.CASES if "8x8" in name or "64 wide" in name])
def test_both_sides_of_a_step_do_the_same(name: str) -> None:
    case = training_step.CASES[name]
    sides = training_step.pair(case)
    given = training_step.examples(case, 5)
    for side in sides:
        training_step.stepper(side, *given)()
    own, made = (side(given[0]).detach() for side in sides)
    assert torch.allclose(own, made, rtol=1e-3, atol=1e-4)
    assert sum(p.numel() for p in sides[0].parameters()) == sum(p.numel() for p in sides[1].parameters())


def test_the_results_name_every_network() -> None:
    text = (ROOT / "benchmarks" / "results" / "training_step.txt").read_text(encoding="utf-8")
    assert all(f"\n{name} " in text for name in training_step.CASES)


def test_steps_are_timed_in_rounds_of_both() -> None:
    counts = [0, 0]

    def step(index: int) -> None:
        counts[index] += 1
        sum(range(1000))

    times = training_step.interleaved((lambda: step(0), lambda: step(1)), 0.0)
    assert times.shape == (2, training_step.LEAST_ROUNDS)
    assert (times > 0).all()
    assert counts[0] == counts[1]
