"""What befalls a write from outside: kills, signals, disks, permissions, other processes. ``faults.run`` does more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import pytest
from faults.cases import is_written_to, listing, names, network, parts, plain, save, two_models

import bnfold
from bnfold.model.guarding import Guard
from bnfold.model.staging import Staged
from bnfold.model.sweeping import sweep
from bnfold.model.temporary import SUFFIX, Temporary

TESTS = Path(__file__).parent
needs_posix = pytest.mark.skipif(os.name != "posix", reason="needs signals, locks, and links of POSIX")
pytestmark = needs_posix


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two models of the same sizes, m with its weights in it and e with a data file."""
    return two_models(tmp_path)


# --- killed and ended ------------------------------------------------------------------------------------------------


def test_kills_and_signals_at_random_moments_leave_the_old_model_or_the_new_one_and_nothing_besides() -> None:
    command = [sys.executable, "-m", "faults.run", "--kills", "12", "--signals", "12", "--seed", "1"]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    figures = {what: int(number) for number, what in (line.split(maxsplit=1) for line in done.stdout.splitlines())}
    assert figures["runs killed (SIGKILL) at a random moment"] == 12
    assert figures["runs ended by SIGTERM, SIGINT or SIGHUP at a random moment"] == 12


@pytest.mark.parametrize("options", [["37"], ["53", "--named"]], ids=["Linux", "no files without a name"])
def test_an_end_behind_any_step_leaves_the_old_model_or_the_new_one_and_nothing_besides(options: list[str]) -> None:
    command = [sys.executable, "-m", "faults.run", "--each", *options]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    figures = {what: int(number) for number, what in (line.split(maxsplit=1) for line in done.stdout.splitlines())}
    assert figures["runs killed (SIGKILL) behind a step"] >= 12
    assert figures["kills that left a temporary file until the next write"] == 0, done.stderr


UNGUARDED = "from bnfold.model import guarding; guarding._SHELL = '/no/shell'; from bnfold.cli import main; main()"


@contextmanager
def checking(folder: Path, model: str, how: Sequence[str] = ("-m", "bnfold")) -> Iterator[subprocess.Popen[str]]:
    """A fold that is being checked for long: its model is written, and not in its place."""
    command = [sys.executable, *how, "fold", model, "-o", "out.onnx", "--shape", "N=2000"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=folder, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            until(lambda: "out.onnx.data" in names(folder))
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="files without a name are Linux's")
def test_a_kill_in_the_check_of_a_model_with_its_weights_in_it_leaves_nothing(folder: Path) -> None:
    before = listing(folder)
    command = [sys.executable, "-m", "bnfold", "fold", "m.onnx", "-o", "out.onnx", "--shape", "N=2000"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE) as process:
        until(lambda: is_written_to(folder))
        time.sleep(0.3)  # until it is compared
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert listing(folder) == before


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_in_the_check_ends_it_with_the_conventional_status_and_no_file(folder: Path, number: int) -> None:
    with checking(folder, "e.onnx") as process:
        assert "out.onnx.data" in names(folder)
        process.send_signal(number)
        _, said = process.communicate(timeout=100)
    assert process.returncode == 128 + number
    how = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    assert said == f"bnfold: {how}; nothing was written\n"
    assert names(folder) == ["e.onnx", "e.onnx.in", "m.onnx"]


def test_what_a_kill_leaves_in_the_check_goes_with_the_next_write_there_and_not_before_the_kill(folder: Path) -> None:
    with checking(folder, "e.onnx", ("-c", UNGUARDED)) as process:
        bnfold.fold(folder / "m.onnx").save(folder / "other.onnx")
        assert {"other.onnx", "out.onnx.data"} < set(names(folder)), "a living process keeps its files"
        assert sum(name.endswith(SUFFIX) for name in names(folder)) == 2, "model and claim"
        process.kill()
        process.wait()
    assert "out.onnx.data" in names(folder)
    bnfold.fold(folder / "m.onnx").save(folder / "other.onnx")
    assert names(folder) == ["e.onnx", "e.onnx.in", "m.onnx", "other.onnx"]


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="files without a name are Linux's")
def test_where_nothing_is_a_model_gets_its_name_at_once_and_no_other_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, given = os.link, []

    def noted(source: Path, place: Path, **options: Any) -> None:
        given.append(place.name)
        link(source, place, **options)

    monkeypatch.setattr(os, "link", noted)
    for _ in range(2):
        bnfold.fold(folder / "m.onnx").save(folder / "out.onnx")
    assert [given[0], given[1], given[2].endswith(SUFFIX), len(given)] == ["out.onnx", "out.onnx", True, 3]
    assert names(folder) == ["e.onnx", "e.onnx.in", "m.onnx", "out.onnx"]


# --- what is swept, and what is not ----------------------------------------------------------------------------------


def test_only_abandoned_files_with_names_of_bnfolds_own_are_swept(tmp_path: Path) -> None:
    stem = ".m.onnx.0123456789abcdef"
    others = [".m.onnx.tmp", f"{stem}.model.tmp", f"m{SUFFIX}", f"{stem}.other{SUFFIX}", f".m.0123.model{SUFFIX}"]
    for name in (*others, f"{stem}.model{SUFFIX}", f"{stem}.data.0{SUFFIX}"):
        (tmp_path / name).write_bytes(b"content")
    guard = Guard(tmp_path)
    held = Temporary(tmp_path / f".n.onnx.0123456789abcdef.model{SUFFIX}", guard)
    held.give_name()
    (tmp_path / f"{stem[:-1]}0.model{SUFFIX}").symlink_to("m.onnx")
    (tmp_path / f"{stem[:-1]}1.model{SUFFIX}").mkdir()
    os.mkfifo(tmp_path / f"{stem[:-1]}2.model{SUFFIX}")
    sweep(tmp_path)
    kept = [held.path.name, *(f"{stem[:-1]}{number}.model{SUFFIX}" for number in range(3))]
    assert names(tmp_path) == sorted([*others, *kept])
    held.close()
    guard.close()
    assert held.path.name not in names(tmp_path)


@pytest.mark.parametrize("claimed", ["../precious", "/tmp/precious", "", "other"])
def test_a_claim_takes_nothing_that_it_does_not_name_exactly(tmp_path: Path, claimed: str) -> None:
    (tmp_path / "precious").write_bytes(b"content")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "other").write_bytes(b"content")
    stem = tmp_path / "folder" / ".m.onnx.0123456789abcdef"
    Path(f"{stem}.model{SUFFIX}").touch()
    state = (tmp_path / "precious").stat()
    identity = f"{state.st_ino} {state.st_size} {state.st_mtime_ns}"
    Path(f"{stem}.claim.0{SUFFIX}").write_text(f"{identity}\n{claimed}")
    sweep(tmp_path / "folder")
    assert names(tmp_path) == ["folder", "precious"]
    assert names(tmp_path / "folder") == ["other"]


def test_a_committed_model_keeps_its_data_when_its_process_dies_before_it_lets_go_of_them(folder: Path) -> None:
    child = os.fork()
    if child == 0:
        result = bnfold.fold(folder / "e.onnx")
        with result.staged(folder / "out.onnx") as work:
            work.commit()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert any(".claim" in name for name in names(folder))
    before = parts(folder, "out.onnx")
    sweep(folder)
    assert parts(folder, "out.onnx") == before
    assert names(folder) == ["e.onnx", "e.onnx.in", "m.onnx", "out.onnx", "out.onnx.data"]


@pytest.mark.parametrize("missing", ["unnamed", "links to unnamed", "links", "locks"])
@pytest.mark.parametrize("model", ["m.onnx", "e.onnx"])
def test_file_systems_without_this_or_that_hold_models_too(
    folder: Path, model: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def refusing(source: str | Path, place: str | Path, **options: int) -> None:
        if missing == "links" or options:
            raise PermissionError(1, "Operation not permitted")
        link(source, place)

    if missing == "unnamed":
        monkeypatch.setattr("bnfold.model.temporary._unnamed", lambda *_: None)
    elif missing == "locks":
        monkeypatch.setattr("bnfold.model.temporary.fcntl.flock", lambda *_: os.stat("/nowhere"))
    else:
        monkeypatch.setattr(os, "link", refusing)
    bnfold.fold(folder / model).save(folder / "out.onnx")
    bnfold.fold(folder / "m.onnx").save(folder / "again.onnx")
    assert bnfold.check(folder / model, folder / "out.onnx")
    data = ["out.onnx.data"] if model == "e.onnx" else []
    assert names(folder) == ["again.onnx", "e.onnx", "e.onnx.in", "m.onnx", "out.onnx", *data]


# --- several processes -----------------------------------------------------------------------------------------------


def together(commands: list[list[str]], folder: Path) -> list[int]:
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    processes = [
        subprocess.Popen([sys.executable, "-m", "bnfold", *command], cwd=folder, text=True, **pipes)  # type: ignore[call-overload]
        for command in commands
    ]
    said = [process.communicate(timeout=100)[1] for process in processes]
    assert not any("Traceback" in each for each in said), said
    return [process.returncode for process in processes]


def weights(path: Path) -> dict[str, bytes]:
    return {tensor.name: tensor.raw_data for tensor in onnx.load(path).graph.initializer}


@pytest.mark.parametrize("options", [[], ["--external-data"]], ids=["inline", "external"])
@pytest.mark.parametrize("count", [2, 5])
def test_several_that_write_the_same_target_leave_one_of_their_results(
    tmp_path: Path, options: list[str], count: int
) -> None:
    commands, results = [], []
    for number in range(count):
        save(network(number), tmp_path / f"{number}.onnx")
        commands.append(["fold", f"{number}.onnx", "-o", "out.onnx", "--no-check", *options])
        bnfold.fold(tmp_path / f"{number}.onnx").save(tmp_path / "alone.onnx", "inline")
        results.append(weights(tmp_path / "alone.onnx"))
    (tmp_path / "alone.onnx").unlink()
    for _ in range(2):
        assert together(commands, tmp_path) == [0] * count
        assert weights(tmp_path / "out.onnx") in results, "a mixture"
    left = [name for name in names(tmp_path) if name.endswith(SUFFIX)]
    assert left == []


def test_two_models_whose_data_files_have_one_name_and_go_into_one_folder(tmp_path: Path) -> None:
    """Nothing folds in them, so that their data keep their names."""
    for number, seed in enumerate((1, 1, 2)):
        (tmp_path / f"{number}").mkdir()
        onnx.save(plain(seed), tmp_path / f"{number}" / f"{number}.onnx", save_as_external_data=True, location="w")
    same = [["fold", f"{number}/{number}.onnx", "--out-dir", "out"] for number in (0, 1)]
    assert together(same, tmp_path) == [0, 0]
    assert names(tmp_path / "out") == ["0.folded.onnx", "1.folded.onnx", "w"]
    before = listing(tmp_path / "out")
    assert together([["fold", "2/2.onnx", "--out-dir", "out"]], tmp_path) == [2]
    assert listing(tmp_path / "out") == before


def test_a_data_file_that_may_be_taken_back_is_not_used_by_another_model(folder: Path) -> None:
    """Of two alike, the first one is checked, and fails: its data go, and the second one has its own."""
    first = bnfold.fold(folder / "e.onnx")
    with first.staged(folder / "out.onnx"):
        bnfold.fold(folder / "e.onnx").save(folder / "out.onnx")
        assert set(parts(folder, "out.onnx")) == {"out.onnx", "out.onnx.1.data"}
    assert names(folder) == ["e.onnx", "e.onnx.in", "m.onnx", "out.onnx", "out.onnx.1.data"]
    assert bnfold.check(folder / "e.onnx", folder / "out.onnx")
    bnfold.fold(folder / "e.onnx").save(folder / "out.onnx")
    bnfold.fold(folder / "e.onnx").save(folder / "out.onnx")
    assert set(parts(folder, "out.onnx")) == {"out.onnx", "out.onnx.data"}, "what is there to stay is used"


def test_a_name_that_is_taken_in_the_last_moment_is_not_overwritten(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place_data = Staged.place_data

    def late(self: Staged, made: Temporary, place: Path) -> bool:
        monkeypatch.setattr("bnfold.model.staging.os.path.lexists", lambda path: Path(path).name == "out.onnx.data.x")
        if place.name == "out.onnx.data":
            place.write_bytes(b"of somebody else")
        return place_data(self, made, place)

    monkeypatch.setattr(Staged, "place_data", late)
    bnfold.fold(folder / "e.onnx").save(folder / "out.onnx")
    assert (folder / "out.onnx.data").read_bytes() == b"of somebody else"
    assert set(parts(folder, "out.onnx")) == {"out.onnx", "out.onnx.1.data"}


def test_an_interrupt_between_a_block_and_its_end_leaves_nothing_either(folder: Path) -> None:
    """What a signal raises in contextlib's own code never gets to the generator, and bnfold ends without collecting."""
    script = f"""
import contextlib, os
import bnfold
from bnfold.cli.leaving import leave
def interrupted(*_):
    raise KeyboardInterrupt
result = bnfold.fold({str(folder / "e.onnx")!r})
staging = result.staged({str(folder / "out.onnx")!r})
staging.__enter__()
contextlib._GeneratorContextManager.__exit__ = interrupted
if not os.fork():
    leave(0)  # a process that was forked takes nothing away
os.wait()
assert os.path.exists({str(folder / "out.onnx.data")!r})
leave(0)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    assert names(folder) == ["e.onnx", "e.onnx.in", "m.onnx"]
