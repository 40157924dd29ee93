"""Data on the command line: files of inputs as a stream of batches, and the first of them for a proof."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold.cli.progress import Tell
from bnfold.cli.targets import refuse_reading_again
from bnfold.errors import UsageError

if TYPE_CHECKING:
    from bnfold.inserting.batches import Batches


def batches_for(model: str, data: list[str] | None, size: int | None, tell: Tell) -> Batches | None:
    """The data as batches of what the model takes; None where none are given.

    Args:
        model: the path of the model.
        data: paths of data.
        size: how many rows a batch has.
        tell: told which batch is taken.

    Raises:
        UsageError: they do not fit, or a size is given for no data; the model can be read once.
        ModelError: the model can not be loaded.
        RuntimeUnavailable: onnxruntime is not installed.
    """
    if not data:
        if size is not None:
            raise UsageError("a batch size is for data; give some, with --data")
        return None
    refuse_reading_again(model, "measuring")
    from bnfold.inserting.batches import as_batches
    from bnfold.runtime import open_session

    batches = as_batches(list(data), open_session(model).inputs, size)
    batches.tell = lambda text: tell(f"measuring, {text}")
    return batches


@contextmanager
def first_of(batches: Batches | None) -> Iterator[list[str] | None]:
    """The first batch as a file of its own, for as long as the block runs."""
    if batches is None:
        yield None
        return
    import numpy as np

    from bnfold.model.scratch_folder import scratch_folder
    from bnfold.model.staging import target_errors

    with scratch_folder() as folder:
        path = Path(folder, "first-batch.npz")
        with target_errors(path):
            np.savez(path, allow_pickle=False, **dict(next(iter(batches))))
        yield [str(path)]


def name_of_first(data: list[str] | None) -> str:
    """What the first batch is called in a report, since its file is gone by then; empty where there are no data."""
    return f"the first batch of {', '.join(data)}" if data else ""
