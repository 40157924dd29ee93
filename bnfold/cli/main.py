"""The application, and how errors become exit statuses."""

from __future__ import annotations

import sys
import traceback
from io import TextIOWrapper
from typing import Annotated

import typer

from bnfold._version import __version__
from bnfold.cli.commands import Commands
from bnfold.errors import BnfoldError, DifferenceFound

DIFFERENT, BAD_INPUT, OWN_FAULT, INTERRUPTED = 1, 2, 3, 130

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


def main() -> None:
    """Run the command line, and turn errors into exit statuses."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names may be of any script, the terminal of another
    try:
        app()
    except DifferenceFound as error:
        _complain(str(error))
        sys.exit(DIFFERENT)
    except BnfoldError as error:
        _complain(str(error))
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        _complain("interrupted; nothing was written")
        sys.exit(INTERRUPTED)
    except Exception:  # noqa: BLE001 (the one place: whatever else arrives here is a fault of bnfold's own)
        traceback.print_exc()
        _complain("this is a fault of bnfold's own; please report it with the lines above")
        sys.exit(OWN_FAULT)


def _complain(text: str) -> None:
    print(f"bnfold: {text}", file=sys.stderr)
