"""What both models of a check are fed with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bnfold.checking.settings import Settings
from bnfold.checking.subject import Subject
from bnfold.checking.trials import Feeds
from bnfold.runtime import Session, draw_inputs, find_sizes, load_inputs


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

    Args:
        model: The original.
        session: One of its sessions, which says what inputs it has, and is run to find sizes.
        settings: The caller's.

    Raises:
        UsageError: The data do not fit.
        ModelError: No inputs are found on which the model runs.
    """
    if settings.data:
        return Feeding([load_inputs(path, session.inputs) for path in settings.data])
    sizes = find_sizes(session, seed=settings.seed)
    draws = range(settings.draws)
    feeds = [draw_inputs(session.inputs, seed=settings.seed, draw=draw, sizes=sizes) for draw in draws]
    return Feeding(feeds, (sizes,) if sizes else ())
