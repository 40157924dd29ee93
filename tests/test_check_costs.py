"""What a check opens, runs and reads: counted, and not timed."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import pytest
from support import graph_model, normal, statistics
from typer.testing import CliRunner

import bnfold
from bnfold.checking import subject
from bnfold.cli.main import app
from bnfold.runtime import Session, open_session

COUNTERS = Path("/proc/self/io")
CHANNELS = 256
MIB = 2**20

counted = pytest.mark.skipif(not COUNTERS.exists(), reason="the system does not count what a process reads")


def network(x: str = "1,256,8,8", *, channels: int = CHANNELS, tail: str = "Relu(n)") -> onnx.ModelProto:
    """Conv, BatchNormalization, and one node more; nearly all of its bytes are one weight."""
    body = f"""(float[{x}] x) => (float[M,C,H,W] y) {{
        c = Conv(x, w)
        n = BatchNormalization(c, s, b, m, v)
        y = {tail}
    }}"""
    s, b, m, v = statistics(channels)
    return graph_model(body, w=normal(channels, channels, 3, 3) / channels, s=s, b=b, m=m, v=v)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A model and its fold, in files; whatever a first check loads is loaded."""
    small = network("1,8,8,8", channels=8)
    assert bnfold.check(small, bnfold.fold(small).model)
    return written(network(), tmp_path)


def written(model: onnx.ModelProto, folder: Path) -> tuple[Path, Path]:
    before, after = folder / "before.onnx", folder / "after.onnx"
    onnx.save(model, before)
    bnfold.fold(before).save(after)
    return before, after


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """The sessions that are opened: the file, and whether onnxruntime may rewrite the graph."""
    found: list[tuple[str, bool]] = []

    def noted(model: Path, *, optimized: bool = False, **others: Any) -> Session:
        found.append((Path(model).name, optimized))
        return open_session(model, optimized=optimized, **others)

    monkeypatch.setattr(subject, "open_session", noted)
    return found


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that are run, once per run."""
    found: list[str] = []
    run = Session.run

    def noted(session: Session, *arguments: Any) -> object:
        found.append(session.label)
        return run(session, *arguments)

    monkeypatch.setattr(Session, "run", noted)
    return found


def test_a_check_opens_three_sessions_and_runs_each_once_per_draw_and_one_again(
    pair: tuple[Path, Path], opened: list[tuple[str, bool]], ran: list[str]
) -> None:
    assert bnfold.check(*pair)
    assert sorted(opened) == [("after.onnx", False), ("before.onnx", False), ("before.onnx", True)]
    assert ran.count("the model after") == 3
    assert ran.count("the model before") == 3 + 3 + 1


def test_where_no_two_inputs_have_the_same_shapes_one_more_run_shows_whether_they_matter(
    pair: tuple[Path, Path], opened: list[tuple[str, bool]], ran: list[str]
) -> None:
    assert bnfold.check(*pair, draws=1)
    assert len(opened) == 3
    assert ran == ["the model before", "the model after", *["the model before"] * 3]


def test_an_open_batch_costs_two_runs_that_look_for_sizes_and_three_on_the_second_one(
    tmp_path: Path, opened: list[tuple[str, bool]], ran: list[str]
) -> None:
    assert bnfold.check(*written(network("N,256,8,8"), tmp_path))
    assert len(opened) == 3
    assert len(ran) == 2 + 3 * 4 + 1


def test_a_random_model_is_given_the_same_inputs_twice_on_a_session_of_their_own(
    tmp_path: Path, opened: list[tuple[str, bool]], ran: list[str]
) -> None:
    model = network(tail="Bernoulli(n)")
    model.graph.node.insert(2, onnx.helper.make_node("Sigmoid", ["n"], ["p"]))
    model.graph.node[3].input[0] = "p"
    before, after = written(model, tmp_path)
    report = bnfold.check(before, after)
    assert report.outputs[0].vacuous == "changes as much when the same inputs are given again"
    assert ran[-2:] == ["the model before"] * 2
    assert opened[-1] == ("before.onnx", False)


def bytes_read() -> int:
    said = dict(line.split(": ") for line in COUNTERS.read_text().splitlines())
    return int(said["rchar"])


@counted
def test_the_files_are_read_by_onnxruntime_alone_once_per_session(pair: tuple[Path, Path]) -> None:
    before, after = (path.stat().st_size for path in pair)
    start = bytes_read()
    assert bnfold.check(*pair)
    assert 2 * before + after <= bytes_read() - start <= 2 * before + after + MIB / 2


@counted
def test_a_fold_with_its_check_reads_no_more_than_a_fold_and_the_sessions(pair: tuple[Path, Path]) -> None:
    before, after = pair

    def cost(*options: str) -> int:
        start = bytes_read()
        assert CliRunner().invoke(app, ["fold", str(before), "-o", str(after), *options]).exit_code == 0
        return bytes_read() - start

    cost()  # whatever the command loads is loaded
    sessions = 2 * before.stat().st_size + after.stat().st_size
    assert cost() <= cost("--no-check") + sessions + MIB / 2


@contextmanager
def peak() -> Iterator[list[int]]:
    """The most that Python and numpy hold at once inside the block, in bytes."""
    found: list[int] = []
    tracemalloc.start()
    try:
        yield found
        found.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def test_the_weights_of_models_that_are_files_do_not_pass_through_python(pair: tuple[Path, Path]) -> None:
    with peak() as held:
        assert bnfold.check(*pair)
    assert held[0] < MIB < pair[0].stat().st_size / 2


def test_a_model_in_memory_is_not_parsed_again_for_the_numbers_of_its_weights(pair: tuple[Path, Path]) -> None:
    raw = pair[0].read_bytes()
    model = subject.Subject(raw, "the model")
    assert model.proto.graph.initializer[0].name == "w"
    assert model.proto.ByteSize() < len(raw) / 50
