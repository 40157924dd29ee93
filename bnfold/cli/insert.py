"""`bnfold insert`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnfold.cli import options as shared
from bnfold.cli.console import look_at_reports, open_console, protect
from bnfold.cli.data import batches_for, first_of, name_of_first
from bnfold.cli.progress import showing_progress
from bnfold.cli.targets import refuse_reading_again
from bnfold.cli.writing import beside, write, write_proved, write_sound
from bnfold.errors import DifferenceFound
from bnfold.report.clock import Clock

if TYPE_CHECKING:
    from bnfold.checking import CheckReport
    from bnfold.inserting.batches import Batches
    from bnfold.inserting.insert import InsertResult
    from bnfold.report.console import Console


def insert(
    model: shared.Model,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="OUT", help="Where to write; by default <name>.inserted.onnx."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INPUTS.npz",
            help="Measure the statistics of each place over these inputs; without, what is put in is an identity.",
        ),
    ] = None,
    batch_size: shared.BatchSize = None,
    ops: Annotated[
        str, typer.Option(metavar="OP,OP", help="Behind which operators.")
    ] = "Conv,ConvTranspose,Gemm,MatMul",
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NODE", help="Behind this operator, or these (a glob), alone.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option("--skip", metavar="NODE", help="Not behind this operator, or these (a glob).")
    ] = None,
    position: shared.Position = "before-activation",
    include_classifier: shared.IncludeClassifier = False,
    bias: Annotated[
        str | None,
        typer.Option(
            metavar="keep|absorb",
            help="The bias in front: keep it, or put it into the mean; by default kept without data, absorbed with.",
        ),
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Scale 1 and bias 0 with measured statistics, for training from scratch.")
    ] = False,
    epsilon: Annotated[float, typer.Option(help="Of the new nodes.")] = 1e-5,
    momentum: Annotated[float, typer.Option(help="Of the new nodes, as ONNX means it: the share that is kept.")] = 0.9,
    batch: Annotated[
        str, typer.Option(metavar="keep|symbolic", help="Make a batch axis symbolic that the export has frozen.")
    ] = "keep",
    training_mode: Annotated[
        bool, typer.Option("--training-mode", help="Write the new nodes in ONNX's training mode.")
    ] = False,
    convert_opset: Annotated[
        int | None, typer.Option(metavar="N", help="Convert the model to this opset first, with onnx's converter.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the places, and write nothing.")] = False,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Run both graphs and compare them first.")] = True,
    provider: shared.Provider = "cpu",
    shape: shared.Shape = None,
    seed: shared.Seed = 0,
    rtol: shared.Rtol = None,
    atol: shared.Atol = None,
    allow_vacuous: shared.AllowVacuous = False,
    json: shared.Json = None,
    html: shared.Html = None,
) -> None:
    """Put BatchNormalizations behind linear operators, for training, and prove that the function is the same."""
    from bnfold import report as reports
    from bnfold.inserting.insert import insert as insert_into
    from bnfold.inserting.options import Options

    options = Options(
        ops=tuple(name.strip() for name in ops.split(",")),
        only=tuple(only or ()),
        skip=tuple(skip or ()),
        position=position,
        include_classifier=include_classifier,
        bias=bias,
        reset=reset,
        epsilon=epsilon,
        momentum=momentum,
        batch=batch,
        training_mode=training_mode,
        convert_opset=convert_opset,
    )
    target = Path(output) if output else beside(model, "inserted")
    protect((Path(model),), target, json, html)
    look_at_reports(json, html)
    if check and not (dry_run or reset):
        refuse_reading_again(model, "the check", "give a file, or --no-check")
    clock = Clock()
    with showing_progress(f"inserting into {Path(model).name}") as progress:
        batches = batches_for(model, data, batch_size, progress)
        with clock.timing("insert"):
            result = insert_into(model, batches, options)
    protect(result.container.files, target, json, html)
    console = open_console(quiet="-" in (json, html))
    reports.insert_text(console, result, name=Path(model).name)
    if dry_run and result:
        reports.sites_text(console, result.inserted)
    judged = {"rtol": rtol, "atol": atol, "allow_vacuous": allow_vacuous}
    how = shared.how_to_check(shape, provider=provider, seed=seed, locate=bool(html), **judged)
    with clock.timing("check and write"):
        proof = how if check else None
        named = name_of_first(data)
        report = None if dry_run else _write(console, result, target, model, batches, proof, reset=reset, inputs=named)
    written = not dry_run and (report is None or bool(report))
    if written:
        console.print(f"wrote {target}", markup=False)
    if json:
        reports.write_json(
            reports.insert_json(result, report, model=model, output=str(target) if written else None), json
        )
    if html:
        reports.write_page(reports.insert_page(result, report, name=Path(model).name, clock=clock), html)
    if report is not None and not written:
        raise DifferenceFound(f"nothing was written: {reports.describe_failure(report)}")


def _write(
    console: Console,
    result: InsertResult,
    target: Path,
    model: str,
    batches: Batches | None,
    how: dict[str, Any] | None,
    *,
    reset: bool,
    inputs: str,
) -> CheckReport | None:
    """Write the result, unless the check fails; the report, None when nothing was to prove."""
    if how is None or not result:
        write(console, result, target)
        return None
    with first_of(batches) as data:
        if reset:
            return write_sound(console, result, target, {**how, "data": data}, inputs=inputs)
        proved = replace(result, model=result.inference_model)
        return write_proved(console, proved, target, model, {**how, "data": data}, written=result, inputs=inputs)
