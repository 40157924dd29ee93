"""Batches that something else makes, epoch after epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from bnfold.errors import UsageError
from bnfold.inserting.feeds import Feeds
from bnfold.runtime import Port
from bnfold.torch.scores import Batch
from bnfold.training.examples import RefuseTargets
from bnfold.training.forms import batch_of

Make = Callable[[int], Iterable[object]]
"""Gives the batches of an epoch, counted from 1."""


class Stream:
    """Batches of a caller's own, each held against the model when it is its turn.

    Attributes:
        where: what to call them in a message.

    Args:
        make: makes them.
        ports: the inputs of the model.
        where: see above.
        steps: how many batches an epoch has; None where that is not known: then they are counted when it is asked
            for, by going through the first epoch, unless that was gone through before.
        place: what to put behind the place of a batch, such as " of the validation data".
        tell: told what is being done.

    Raises:
        UsageError: an epoch is said to have no batches.
    """

    def __init__(
        self,
        make: Make,
        ports: Sequence[Port],
        where: str,
        *,
        steps: int | None = None,
        place: str = "",
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        if steps is not None and steps < 1:
            raise UsageError(f"an epoch has 1 batch or more, and `steps` of {where} is {steps}")
        self.where = where
        self._make, self._ports, self._steps, self._place, self._tell = make, ports, steps, place, tell
        self._refuse: RefuseTargets = lambda target, where: None

    @property
    def steps(self) -> int:
        """How many batches an epoch has: the first one, where nobody says."""
        if self._steps is None:
            self._tell("counting the batches of an epoch")
            self._steps = sum(1 for _ in self._make(1))
        return self._steps

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch, counted from 1.

        Raises:
            UsageError: one does not fit the model, or there are none.
        """
        step = 0
        for step, made in enumerate(self._make(number), 1):
            where = f"batch {step} of epoch {number}{self._place}"
            batch = batch_of(made, self._ports, where)
            self._refuse(batch.target, where)
            yield batch
        if not step:
            raise UsageError(f"epoch {number} of {self.where} has no batches")
        if self._steps is None:
            self._steps = step

    def batches(self) -> Iterator[Batch]:
        """Those of the first epoch, whenever they are asked for."""
        return self.epoch(1)

    def feeds(self) -> Iterable[Feeds]:
        """The inputs of the first epoch, as often as they are asked for."""
        return _Inputs(self)

    def refuse_targets(self, refuse: RefuseTargets) -> None:
        """Look at the targets of each batch when it is its turn."""
        self._refuse = refuse


class _Inputs(Iterable[Feeds]):
    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[Feeds]:
        return (batch.inputs for batch in self._stream.batches())
