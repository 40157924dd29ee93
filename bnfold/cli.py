"""The command line: one function per command, and nothing heavy imported before a command runs.

Exit status: 0 done and equal; 1 a difference was found, or ``--strict`` and something stayed; 2 bad usage or a bad
model, with one clear sentence; 3 a fault of bnfold's own. Results go to stdout, remarks to stderr.
"""

from __future__ import annotations

import sys
import traceback
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnfold._version import __version__
from bnfold.errors import BnfoldError, DifferenceFound, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from bnfold.checking import CheckReport
    from bnfold.folding.fold import FoldResult

DIFFERENT, BAD_INPUT, OWN_FAULT, INTERRUPTED = 1, 2, 3, 130

UNWRAPPED = 10_000
"""Columns of what is no terminal: a name that is looked for with grep stands on one line."""

app = typer.Typer(
    name="bnfold",
    help="BatchNormalization in ONNX graphs: fold it, and prove that nothing else changed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="An ONNX file.")]
Freeze = Annotated[
    bool,
    typer.Option(
        "--freeze-initializers",
        help="Treat initializers that are graph inputs too as constants, and stop listing them as inputs.",
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="NODE", help="Fold this affine, or these (a glob), and nothing else."),
]
Skip = Annotated[
    list[str] | None,
    typer.Option("--skip", metavar="NODE", help="Leave this node, or these (a glob), exactly as they are."),
]
Json = Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write the outcome as JSON; - for stdout.")]


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


@app.command()
def fold(
    model: Model,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="OUT", help="Where to write; by default <name>.folded.onnx beside it."),
    ] = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Run both graphs and compare them first.")] = True,
    data: Annotated[
        str | None, typer.Option(metavar="INPUTS.npz", help="Inputs for the check, by name; drawn by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the drawn inputs.")] = 0,
    rtol: Annotated[float | None, typer.Option(help="Tolerance over max|y|, instead of the derived one.")] = None,
    atol: Annotated[float | None, typer.Option(help="Absolute tolerance, instead of the derived one.")] = None,
    allow_vacuous: Annotated[
        bool, typer.Option("--allow-vacuous", help="Accept outputs whose comparison shows nothing.")
    ] = False,
    prefer: Annotated[
        str,
        typer.Option(
            metavar="speed|no-batchnorm",
            help="What stays of an affine that can not go: what runs fastest, or no BatchNormalization at any price.",
        ),
    ] = "speed",
    only: Only = None,
    skip: Skip = None,
    max_folds: Annotated[
        int | None, typer.Option(metavar="N", help="Stop after N folds, to find the one that makes a difference.")
    ] = None,
    residuals: Annotated[
        bool,
        typer.Option("--residuals/--no-residuals", help="Let a part of an affine stay where it can not go whole."),
    ] = True,
    freeze_initializers: Freeze = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when a BatchNormalization stays.")] = False,
    json: Json = None,
) -> None:
    """Fold BatchNormalizations into the weights around them, prove the result equal, and write it."""
    from bnfold import report as reports
    from bnfold.folding.fold import fold as fold_model
    from bnfold.folding.options import Options

    options = Options(freeze_initializers, prefer, tuple(only or ()), tuple(skip or ()), max_folds, residuals)
    result = fold_model(model, options)
    target = Path(output) if output else _beside(Path(model))
    _protect(result.container.files, target, json)
    console = _console(quiet=json == "-")
    reports.fold_text(console, result, name=Path(model).name)
    how = {"data": data, "seed": seed, "rtol": rtol, "atol": atol, "allow_vacuous": allow_vacuous}
    report = _write(console, result, target, how if check else None)
    written = report is None or bool(report)
    if written:
        console.print(f"wrote {target}", markup=False)
    if json:
        reports.write_json(
            reports.fold_json(result, report, model=model, output=str(target) if written else None), json
        )
    if not written and report is not None:
        raise DifferenceFound(f"nothing was written: {reports.describe_failure(report)}")
    if strict and result.kept:
        raise typer.Exit(DIFFERENT)


@app.command()
def inspect(model: Model, freeze_initializers: Freeze = False, json: Json = None) -> None:
    """Show every affine of a graph: what `fold` would do with it, and why."""
    from bnfold import report as reports
    from bnfold.api import inspect as inspect_model

    inspection = inspect_model(model, freeze_initializers=freeze_initializers)
    _protect((Path(model),), json)
    reports.inspect_text(_console(quiet=json == "-"), inspection)
    if json:
        reports.write_json(reports.inspect_json(inspection, model=model), json)


def _beside(model: Path) -> Path:
    """Where the result goes unless it is said."""
    return model.with_name(f"{model.name.removesuffix('.onnx')}.folded.onnx")


def _protect(files: Iterable[Path], *targets: str | Path | None) -> None:
    """Let nothing be written over a file that the model was read from, itself or its weights.

    Raises:
        UsageError: a target is one of the files.
    """
    for target in (Path(target) for target in targets if target):
        if any(_same(target, file) for file in files):
            raise UsageError(f"'{target}' is the model itself, or holds its weights; give another output")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # there is no such file, or there can be none: writing will tell
        return False


def _write(console: Console, result: FoldResult, target: Path, check: dict[str, Any] | None) -> CheckReport | None:
    """Write the result, and put it in its place unless the check fails; the report, None when nothing was to prove."""
    from bnfold import report as reports

    with result.staged(target) as work:
        if check is None or not result:
            if check is not None:
                console.print("nothing folds: the model is written as it came in, byte for byte")
            work.commit()
            return None
        from bnfold.checking import check as compare

        report = compare(str(result.container.path), work.model, **check)
        reports.check_text(console, report)
        if report:
            work.commit()
        return report


def _console(*, quiet: bool) -> Console:
    from rich.console import Console

    width = None if sys.stdout.isatty() else UNWRAPPED
    return Console(quiet=quiet, highlight=False, soft_wrap=True, width=width)


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
