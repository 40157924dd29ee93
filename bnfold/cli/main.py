"""The application, and how errors become exit statuses."""

from __future__ import annotations

import errno
import gc
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

from bnfold._version import __version__
from bnfold.cli.commands import Commands
from bnfold.cli.leaving import leave
from bnfold.cli.signals import Ended, heard
from bnfold.errors import BnfoldError, DifferenceFound, NormalizationsStayed

DIFFERENT, BAD_INPUT, OWN_FAULT, INTERRUPTED = 1, 2, 3, 130

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""What stdout and stderr say when they can take no more. Whatever writes to files has its own words for it."""

RARELY = 10_000_000
"""How many more objects there are before Python looks for cycles among them. The view of a graph is many objects that
live as long as the process: by default, a quarter of the time of a large fold goes into looking at them again."""

app = typer.Typer(
    name="bnfold",
    help="BatchNormalization in ONNX graphs: fold it, and prove that nothing else changed.",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: no name cut short, and a third of the time
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"bnfold {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of every command."""


def main() -> NoReturn:
    """Run the command line, and end with its exit status."""
    sys.exit(run())


def program() -> NoReturn:
    """As `main`, in a process of its own, which is over then: what `bnfold` on a command line calls."""
    gc.set_threshold(RARELY)
    gc.enable()
    leave(run())


def run() -> int:
    """Run the command line; its exit status."""
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names may be of any script, the terminal of another
    status: int | None = None
    try:
        with heard():
            status, sentence = _judged_and_shown()
            if sentence:
                complain(sentence)
    except (KeyboardInterrupt, Ended) as ended:  # when nothing was begun, or all is done
        return _ending(ended)[0] if status is None else status
    return status


def _judged_and_shown() -> tuple[int, str]:
    """The exit status and the sentence of the whole command."""
    try:
        status, sentence = judged(app)
    except SystemExit as end:  # as typer ends every command
        status, sentence = end.code if isinstance(end.code, int) else int(bool(end.code)), ""
    return (status, sentence) if status else judged(_show_all)


def _open_what_is_closed() -> None:
    """Let a stream that the process came without (`>&-`) be one that takes all, and shows none.

    Otherwise the next file to be opened had its number, and what onnxruntime says on stderr went into a model.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 (as long as the process)
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def _show_all() -> None:
    """Bring what still waits in a buffer to stdout, which may take nothing."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has seen enough; typer ends with that status where it is the one to notice
        raise typer.Exit(1) from None


def judged(command: Callable[[], object]) -> tuple[int, str]:
    """Run a command, and turn what it raises into an exit status and a sentence; a fault of bnfold's own is traced."""
    try:
        command()
    except typer.Exit as asked:
        return asked.exit_code, ""
    except (DifferenceFound, NormalizationsStayed) as error:
        return DIFFERENT, str(error)
    except BnfoldError as error:
        return BAD_INPUT, str(error)
    except MemoryError:
        return BAD_INPUT, "there is not enough memory for this model"
    except (KeyboardInterrupt, Ended) as ended:
        return _interrupted(ended)
    except OSError as error:
        if error.errno not in FULL:
            return _fault()
        return BAD_INPUT, f"what is to be shown can not be written: {error.strerror}"
    except Exception as error:  # noqa: BLE001 (the one place: whatever else arrives here is a fault of bnfold's own)
        signalled = _signal_behind(error)
        return _interrupted(signalled) if signalled is not None else _fault()
    return 0, ""


def _signal_behind(error: BaseException) -> KeyboardInterrupt | Ended | None:
    """What a signal has raised, if Python or code in C made this error of it: until 3.12 the making of a class does."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt | Ended):
        cause = cause.__cause__
    return cause


def _interrupted(ended: KeyboardInterrupt | Ended) -> tuple[int, str]:
    status, how = _ending(ended)
    return status, f"{how}; nothing was written"


def _ending(ended: KeyboardInterrupt | Ended) -> tuple[int, str]:
    """The exit status that tells of a signal, and its name in words."""
    return (ended.status, ended.how) if isinstance(ended, Ended) else (INTERRUPTED, "interrupted")


def _fault() -> tuple[int, str]:
    traceback.print_exc()
    return OWN_FAULT, "this is a fault of bnfold's own; please report it with the lines above"


def complain(text: str) -> None:
    """Say on stderr what is wrong, on one line, which a terminal gets broken between words.

    Where stderr takes nothing, the exit status has to do.
    """
    from bnfold.report.printable import printable

    with suppress(OSError):
        print(_fitted(f"bnfold: {printable(text)}"), file=sys.stderr, flush=True)


def _fitted(text: str) -> str:
    if not sys.stderr.isatty():
        return text
    import shutil
    import textwrap

    here = os.get_terminal_size(sys.stderr.fileno())  # stdout, which shutil asks, may be a pipe
    width = shutil.get_terminal_size((here.columns or 80, here.lines)).columns
    return textwrap.fill(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
