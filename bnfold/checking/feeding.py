"""What both models of a check are fed with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from bnfold.checking.settings import Settings
from bnfold.checking.subject import Subject
from bnfold.checking.trials import Feeds
from bnfold.runtime import (
    Hints,
    Port,
    Session,
    draw_inputs,
    find_sizes,
    given_sizes,
    hints_of,
    implied_sizes,
    load_data,
    open_axes,
    size_words,
)

Sizes: TypeAlias = Mapping[str, int]


@dataclass(frozen=True)
class Feeding:
    """Sets of inputs.

    Attributes:
        feeds: One array per input, for each run.
        sizes: The sizes chosen for open axes, for every different choice; empty when all are fixed, or given by data.
        remarks: What a reader should know of the inputs.
    """

    feeds: Sequence[Feeds]
    sizes: tuple[Sizes, ...] = ()
    remarks: tuple[str, ...] = ()


def feed(model: Subject, session: Session, settings: Settings) -> Feeding:
    """The inputs for a check, drawn or read from the caller's data.

    For the first sizes of the open axes there are as many draws as asked for, of different scales; for all others one.

    Args:
        model: The original.
        session: One of its sessions, which says what inputs it has, and is run to find sizes.
        settings: The caller's.

    Raises:
        UsageError: The data do not fit, or sizes are given for axes that are not open.
        ModelError: No inputs are found on which the model runs.
    """
    if settings.data:
        data = load_data(settings.data, session.inputs)
        return Feeding(data, remarks=data.remarks)
    implied = implied_sizes(model.proto, session.inputs)
    given = [given_sizes(session.inputs, shapes) for shapes in settings.shapes] or [{}]
    hints = hints_of(model.proto)
    trial = _undisturbed(model, session)
    found = [find_sizes(trial, settings.seed, hints, implied=implied, given=sizes) for sizes in given]
    sizes = [first for _, first in found]
    remarks: tuple[str, ...] = ()
    if len(found) == 1:
        search = found[0][0]
        other = search.other(sizes[0])
        remarks = tuple(_unchanged(session, sizes[0], other, search.given))
        sizes += [other] if other != sizes[0] else []
    feeds = _drawn(session.inputs, sizes, hints, settings)
    return Feeding(feeds, tuple(chosen for chosen in sizes if chosen), remarks)


def _drawn(ports: Sequence[Port], sizes: Sequence[Sizes], hints: Hints, settings: Settings) -> list[Feeds]:
    """Several draws for the first sizes, one of scale 1 for each of the others."""
    rest = enumerate(sizes[1:], settings.draws)
    planned = [
        *((draw, sizes[0], None) for draw in range(settings.draws)),
        *((draw, found, 1.0) for draw, found in rest),
    ]
    return [
        draw_inputs(ports, seed=settings.seed, draw=draw, sizes=found, hints=hints, scale=scale)
        for draw, found, scale in planned
    ]


def _undisturbed(model: Subject, session: Session) -> Session:
    """A session that may be run without a trace on what is compared: training keeps state from run to run."""
    if not model.stateful and not model.random:
        return session
    return Subject(model.source, model.label, tf32=model.tf32).session_if_possible() or session


def _unchanged(session: Session, first: Sizes, other: Sizes, given: Sizes) -> Iterator[str]:
    """A remark on open axes for which no second size was found."""
    same = {key: first[key] for key in open_axes(session.inputs) if key not in given and first[key] == other[key]}
    if same:
        yield f"{session.label} runs with {size_words(same)} and no other size that was tried: others are not compared"
