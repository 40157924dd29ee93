"""What is written beside a training's models: a line of JSON per epoch, and curves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bnfold.errors import TargetError

if TYPE_CHECKING:
    from bnfold.torch.history import Epoch


@contextmanager
def recording(log: str | None, plot: str | None, name: str) -> Iterator[Callable[[Epoch], None]]:
    """A function that is told of every epoch, and writes it down.

    The log gets its line at once, so that a training can be watched. What an earlier training left there goes with the
    first line and not before, as this one may be refused. The curves are drawn in the end, whatever the end is.

    Args:
        log: the file of lines; None for none.
        plot: the file of curves; None for none.
        name: what the curves are called.

    Raises:
        TargetError: a file can not be written.
    """
    from bnfold.report import write_curves

    epochs: list[Epoch] = []

    def record(epoch: Epoch) -> None:
        if log is not None:
            _write_line(log, epoch, mode="a" if epochs else "w")
        epochs.append(epoch)

    try:
        yield record
    finally:
        if plot is not None and epochs:
            write_curves(epochs, plot, name)


def _write_line(log: str, epoch: Epoch, *, mode: str) -> None:
    from bnfold.report import epoch_json

    try:
        with open(log, mode, encoding="utf-8") as file:
            print(json.dumps(epoch_json(epoch)), file=file)
    except OSError as error:
        raise TargetError(f"'{log}' can not be written: {error.strerror}") from error
