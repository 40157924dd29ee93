"""`bnfold fold`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnfold.cli import options as shared
from bnfold.cli.blas import let_blas_take
from bnfold.cli.console import files_of, look_at_reports, open_console, protect
from bnfold.cli.pages import runs_of
from bnfold.cli.progress import showing_progress
from bnfold.cli.targets import distinct, make_folder, processes_of, refuse_pipe, target_of
from bnfold.cli.writing import write, write_proved
from bnfold.errors import DifferenceFound
from bnfold.report.clock import Clock

if TYPE_CHECKING:
    from bnfold.checking import CheckReport
    from bnfold.folding.fold import FoldResult
    from bnfold.report.console import Console

Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="NODE", help="Fold this affine, or these (a glob), and nothing else."),
]
Skip = Annotated[
    list[str] | None,
    typer.Option("--skip", metavar="NODE", help="Leave this node, or these (a glob), exactly as they are."),
]


def fold(
    models: shared.Models,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="OUT", help="Where to write; by default <name>.folded.onnx beside it."),
    ] = None,
    out_dir: Annotated[
        str | None, typer.Option("--out-dir", metavar="FOLDER", help="Write <name>.folded.onnx there; made if need be.")
    ] = None,
    jobs: Annotated[
        str, typer.Option(metavar="N|auto", help="How many of several models are folded at a time; auto: one per core.")
    ] = "1",
    external_data: shared.ExternalData = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Run both graphs and compare them first.")] = True,
    provider: shared.Provider = "cpu",
    data: shared.Data = None,
    shape: shared.Shape = None,
    seed: shared.Seed = 0,
    rtol: shared.Rtol = None,
    atol: shared.Atol = None,
    allow_vacuous: shared.AllowVacuous = False,
    tf32: shared.Tf32 = False,
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
    freeze_initializers: shared.Freeze = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when a BatchNormalization stays.")] = False,
    json: shared.Json = None,
    html: shared.Html = None,
) -> None:
    """Fold BatchNormalizations into the weights around them, prove the result equal, and write it."""
    arguments = dict(locals())  # exactly the parameters: nothing else is there yet
    models, processes = distinct(models), processes_of(jobs)
    if len(models) > 1:
        from bnfold.cli.many import fold_many

        fold_many(models, processes, arguments)
        return
    model, target = models[0], target_of(models[0], output, out_dir)
    refuse_pipe(model, is_named=bool(output), is_checked=check)
    look_at_reports(json, html, made=out_dir)
    if not (check or shape):
        let_blas_take(1)
    from bnfold import report as reports
    from bnfold.folding.fold import fold as fold_model
    from bnfold.folding.options import Options

    options = Options(freeze_initializers, prefer, tuple(only or ()), tuple(skip or ()), max_folds, residuals)
    clock = Clock()
    with clock.timing("fold"), showing_progress(f"planning {Path(model).name}"):
        result = fold_model(model, options)
    protect((*result.container.data_files, *files_of(data or ())), target, json, html)
    protect((Path(model),), json, html)  # the target may be the model: what is written is proved beside it first
    make_folder(out_dir)
    console = open_console(quiet="-" in (json, html))
    reports.fold_text(console, result, name=Path(model).name)
    judged = {"rtol": rtol, "atol": atol, "allow_vacuous": allow_vacuous}
    compared = {"provider": provider, "data": data, "seed": seed, "tf32": tf32}
    how = shared.how_to_check(shape, locate=bool(html), **compared, **judged) if check or shape else None
    with clock.timing("check and write"):
        report = _write(console, result, target, model, how if check else None, shared.form_of(external_data))
    written = report is None or bool(report)
    if written:
        console.print(f"wrote {target}", markup=False)
    if json:
        reports.write_json(
            reports.fold_json(result, report, model=model, output=str(target) if written else None), json
        )
    if html:
        runs = runs_of(report, model, target, how)
        reports.write_page(reports.fold_page(result, report, name=Path(model).name, clock=clock, runs=runs), html)
    if not written and report is not None:
        raise DifferenceFound(f"nothing was written: {reports.describe_failure(report)}")
    if strict and result.kept:
        raise typer.Exit(1)


def _write(
    console: Console, result: FoldResult, target: Path, model: str, how: dict[str, Any] | None, form: str
) -> CheckReport | None:
    """Write the result, unless the check fails; the report, None when nothing was to prove."""
    is_copy = result.is_as_it_came(form)
    if is_copy and how is not None:
        console.print("nothing folds: the model is written as it came in, byte for byte", markup=False)
    if not result and not is_copy:
        place = "in a data file beside it" if form == "external" else "in its own file"
        console.print(f"nothing folds: the model is written with its weights {place}", markup=False)
    if how is not None and not is_copy:
        return write_proved(console, result, target, model, how, form=form)
    write(console, result, target, form)
    return None
