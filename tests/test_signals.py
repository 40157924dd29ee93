"""Signals that ask bnfold to end: in finalizers, imports, and amid the cleaning up. ``faults.start`` does more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import bnfold
from bnfold.cli.main import judged, run
from bnfold.cli.signals import AGAIN, heard
from bnfold.model.undisturbed import undisturbed

TESTS = Path(__file__).parent
pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals of POSIX")


def test_a_signal_that_was_ignored_stays_so() -> None:
    script = """
import os, signal
from bnfold.cli.signals import heard
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with heard():
    os.kill(os.getpid(), signal.SIGHUP)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_in_a_finalizer_is_not_lost(number: signal.Signals) -> None:
    script = f"""
import os, time
from bnfold.cli.signals import Ended, heard
class Finalized:
    def __del__(self):
        os.kill(os.getpid(), {number})
        for _ in range(1000):
            pass
with heard():
    try:
        finalized = Finalized()
        del finalized
        time.sleep(20)
        print("lost")
    except (Ended, KeyboardInterrupt) as ended:
        print(type(ended).__name__)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"{'Ended' if number == signal.SIGTERM else 'KeyboardInterrupt'}\n", "")


def test_a_second_ctrl_c_does_not_end_the_cleaning_up() -> None:
    done = []

    def clean_up() -> None:
        with undisturbed():
            signal.raise_signal(signal.SIGINT)
            done.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        clean_up()
    assert done == ["cleaned up"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


IMPORTS = """
import sys, time
from bnfold.cli import signals
signals.PATIENCE = float(sys.argv[1])
with signals.heard():
    try:
        import asked_to_end
        time.sleep(20)
    except (signals.Ended, KeyboardInterrupt) as ended:
        print(type(ended).__name__)
"""
ASKED_TO_END = """
import os, signal, time
os.kill(os.getpid(), signal.{number.name})
for _ in range(20):
    time.sleep(0.01)
print("whole", flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs an alarm of POSIX")
@pytest.mark.parametrize(("patience", "words"), [("10", ["whole"]), ("0.05", [])])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_protobuf_is_imported_does_not_crash_the_process(
    tmp_path: Path, number: signal.Signals, patience: str, words: list[str]
) -> None:
    """Seen in 5 of 600 signals in the first 0.4 s (SIGSEGV, SIGABRT): an import comes to its end, if not too late."""
    (tmp_path / "asked_to_end.py").write_text(ASKED_TO_END.format(number=number))
    command = [sys.executable, "-c", IMPORTS]
    done = subprocess.run([*command, patience], cwd=tmp_path, capture_output=True, text=True, check=False)
    name = "Ended" if number == signal.SIGTERM else "KeyboardInterrupt"
    assert (done.stdout.split(), done.stderr) == ([*words, name], "")


def test_a_signal_in_the_start_ends_it_without_a_crash_or_a_traceback() -> None:
    command = [sys.executable, "-m", "faults.start", "--runs", "12", "--seed", "3"]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_class_is_made_in_an_import_is_no_fault_of_bnfolds(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    """Seen once in 600 signals: Python 3.11 makes a RuntimeError of what `__set_name__` raises, and it was traced."""

    class Field:
        def __set_name__(self, owner: type, name: str) -> None:
            signal.raise_signal(number)

    def command() -> None:
        type("Clock", (), {"seconds": Field()})

    with heard():
        how = "interrupted" if number == signal.SIGINT else "ended by SIGTERM"
        assert judged(command) == (128 + number, f"{how}; nothing was written")
    assert capfd.readouterr().err == ""


def test_an_error_amid_what_an_interrupt_has_a_command_do_is_that_error() -> None:
    def write() -> None:
        try:
            raise PermissionError(13, "Permission denied")
        except PermissionError as error:
            raise bnfold.TargetError("'m.onnx' can not be written: Permission denied") from error

    def command() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            write()

    assert judged(command) == (2, "'m.onnx' can not be written: Permission denied")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs an alarm of POSIX")
def test_a_signal_that_was_lost_in_a_finalizer_does_not_come_again_amid_the_cleaning_up() -> None:
    """Seen once in 900 signals: of a fold with a data file, the claim was left."""
    done = []

    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def clean_up() -> None:
        with heard():
            finalized = Finalized()
            del finalized
            with undisturbed():
                time.sleep(5 * AGAIN)
                done.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        clean_up()
    assert done == ["cleaned up"]


@pytest.mark.parametrize(("moment", "status"), [("before", 143), ("behind", 0)])
def test_a_signal_when_nothing_is_begun_or_all_is_done_is_not_traced(
    moment: str, status: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Seen in 5 of 900 signals: it came while the handlers were taken back."""

    @contextmanager
    def hearing() -> Iterator[None]:
        with heard():
            if moment == "before":
                signal.raise_signal(signal.SIGTERM)
            yield
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(sys.modules[run.__module__], "heard", hearing)
    monkeypatch.setattr("sys.argv", ["bnfold", "--version"])
    assert run() == status
    assert capfd.readouterr() == (f"bnfold {bnfold.__version__}\n" if status == 0 else "", "")
