"""What both models of a check are fed with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bnfold.checking.settings import Settings
from bnfold.checking.subject import Subject
from bnfold.checking.trials import Feeds
from bnfold.runtime import Session, SizeSearch, draw_inputs, given_sizes, hints_of, load_data, open_axes, size_words


@dataclass(frozen=True)
class Feeding:
    """Sets of inputs.

    Attributes:
        feeds: One array per input, for each run.
        sizes: The sizes chosen for open axes, for every different choice; empty when all are fixed, or given by data.
        remarks: What a reader should know of the inputs.
    """

    feeds: Sequence[Feeds]
    sizes: tuple[Mapping[str, int], ...] = ()
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
    given = [given_sizes(session.inputs, shapes) for shapes in settings.shapes] or [{}]
    hints = hints_of(model.proto)
    trial = _undisturbed(model, session)
    searches = [SizeSearch(trial, settings.seed, hints, sizes) for sizes in given]
    sizes = [search.first() for search in searches]
    remarks: tuple[str, ...] = ()
    if len(searches) == 1:
        other = searches[0].other(sizes[0])
        remarks = tuple(_unchanged(session, sizes[0], other, given[0]))
        sizes += [other] if other != sizes[0] else []
    feeds = [
        draw_inputs(session.inputs, seed=settings.seed, draw=draw, sizes=sizes[0], hints=hints)
        for draw in range(settings.draws)
    ]
    feeds += [
        draw_inputs(session.inputs, seed=settings.seed, draw=draw, sizes=further, hints=hints, scale=1)
        for draw, further in enumerate(sizes[1:], settings.draws)
    ]
    return Feeding(feeds, tuple(found for found in sizes if found), remarks)


def _undisturbed(model: Subject, session: Session) -> Session:
    """A session that may be run without a trace on what is compared: training keeps state from run to run."""
    if not model.stateful and not model.random:
        return session
    return Subject(model.source, model.label, tf32=model.tf32).session_if_possible() or session


def _unchanged(
    session: Session, first: Mapping[str, int], other: Mapping[str, int], given: Mapping[str, int]
) -> Iterator[str]:
    """A remark on open axes for which no second size was found."""
    same = {key: first[key] for key in open_axes(session.inputs) if key not in given and first[key] == other[key]}
    if same:
        yield f"{session.label} runs with {size_words(same)} and no other size that was tried: others are not compared"
