"""`bnfold fold` for several models: each by itself, in processes of their own, and a table in the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bnfold.cli.console import look_at_reports, open_console, protect
from bnfold.cli.main import INTERRUPTED, complain
from bnfold.cli.pages import INDEX, pages_of
from bnfold.cli.pool import fold_all, interrupted
from bnfold.cli.progress import PATIENCE, is_watched
from bnfold.cli.signals import Ended
from bnfold.cli.targets import cores, make_folder, targets_of
from bnfold.report.many import Entry, many_json, many_text
from bnfold.report.printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from bnfold.cli.worker import Outcome

BAR = 30
"""Columns of the bar; the name of a model takes the rest."""


def fold_many(models: Sequence[str], processes: int, arguments: dict[str, Any]) -> None:
    """Fold several models; one that fails stops no other.

    Args:
        models: their paths.
        processes: how many are folded at a time, at most.
        arguments: those of `bnfold.cli.fold.fold`, as they were given.

    Raises:
        UsageError: the places of the results are no places; nothing was begun.
        TargetError: the folder of the results can not be made; nothing was begun.
        typer.Exit: the worst status of all.
    """
    processes = min(processes, len(models))
    targets = targets_of(models, arguments["output"], arguments["out_dir"])
    json, html = arguments["json"], arguments["html"]
    pages = pages_of(models, html)
    index = Path(html, INDEX) if html else None
    protect([*map(Path, models), *targets], json, index, *pages)
    for folder in (arguments["out_dir"], html):
        make_folder(folder)
    look_at_reports(json)
    outcomes = [interrupted()] * len(models)
    requests = [
        {
            **arguments,
            "models": [model],
            "output": str(target),
            "out_dir": None,
            "json": "-",
            "html": page and str(page),
        }
        for model, target, page in zip(models, targets, pages, strict=True)
    ]
    status = 0
    try:
        _fold(requests, processes, outcomes)
    except (KeyboardInterrupt, Ended) as stop:
        how, status = (stop.how, stop.status) if isinstance(stop, Ended) else ("interrupted", INTERRUPTED)
        done = sum(outcome.status != INTERRUPTED for outcome in outcomes)
        complain(f"{how}; {done} of {len(models)} models are done")
    entries = [_entry(model, outcome) for model, outcome in zip(models, outcomes, strict=True)]
    _tell(entries, outcomes, json)
    if index is not None:
        _write_index(entries, pages, index)
    raise typer.Exit(status or max(outcome.status for outcome in outcomes))


def _fold(requests: Sequence[dict[str, Any]], processes: int, outcomes: list[Outcome]) -> None:
    """Fold every model, with a bar where that takes long and somebody looks."""
    begun = time.monotonic()
    with _bar(len(requests)) as bar:

        def done(number: int, outcome: Outcome) -> None:
            outcomes[number] = outcome
            if bar is not None:
                name = printable(Path(requests[number]["models"][0]).name)
                bar.update(bar.task_ids[0], advance=1, description=name)

        def tick() -> None:
            if bar is not None and time.monotonic() - begun > PATIENCE:
                bar.start()

        fold_all(requests, processes, max(1, cores() // processes), done=done, tick=tick)


@contextmanager
def _bar(total: int) -> Iterator[Progress | None]:
    """A bar that is not begun yet; None where nobody looks."""
    if not is_watched():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    words = TextColumn("{task.description}", markup=False)
    columns = (BarColumn(BAR), MofNCompleteColumn(), TimeRemainingColumn(), words)
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    bar.add_task("", total=total)
    try:
        yield bar
    finally:
        bar.stop()


def _entry(model: str, outcome: Outcome) -> Entry:
    from json import loads

    return Entry(model, outcome.status, outcome.sentence, loads(outcome.document) if outcome.document else None)


def _write_index(entries: Sequence[Entry], pages: Sequence[Path | None], index: Path) -> None:
    """A page of all, which leads to those that there are."""
    from bnfold.report import many_page, write_page

    links: list[str | None] = []
    for entry, page in zip(entries, pages, strict=True):
        links.append(page.name if page is not None and entry.document is not None and page.is_file() else None)
    write_page(many_page(entries, links), str(index))


def _tell(entries: Sequence[Entry], outcomes: Sequence[Outcome], json: str | None) -> None:
    """What came of each: a table, what was wrong with those that failed, and the document."""
    from bnfold.report import write_json

    many_text(open_console(quiet=json == "-"), entries)
    for entry, outcome in zip(entries, outcomes, strict=True):
        sys.stderr.write(outcome.log)
        if entry.sentence and entry.status != INTERRUPTED:
            complain(f"{entry.model}: {entry.sentence}")
    if json:
        write_json(many_json(entries), json)
