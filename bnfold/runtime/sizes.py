"""Sizes for the open axes of a graph with which it really runs, and others to compare it with as well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, TypeAlias

from bnfold.errors import ModelError
from bnfold.runtime.axes import open_axes, shape_of
from bnfold.runtime.hints import Hints
from bnfold.runtime.inputs import draw_inputs
from bnfold.runtime.sessions import FLOATS, Port, Session

if TYPE_CHECKING:
    from onnx import ModelProto

Sizes: TypeAlias = dict[str, int]

_BATCHES = (2, 1)
_SIZES = (32, 64, 224, 16, 8, 4, 2, 1)
_MOST_ELEMENTS = 2**26  # of all inputs together; five open axes of 224 would not fit any memory

# Other sizes are multiples of the first, as many a network halves its images again and again.
_UP = ((2.0, 3.0), (2.0,))
_MIXED = ((2.0, 0.5, 1.5, 3.0), (2.0,))  # for three axes and more: a volume of 2, 3 and 4 times would be 24 times it
_DOWN = ((0.5, 0.75, 0.25), (0.5,))
_LARGE = 64  # larger sizes are only made smaller: twice 224 would take longer than all the rest of a check
_MOST_ALONE = 8  # axes that are tried one by one

_ANY_VALUE = FLOATS | {"bool", "int8", "uint8"}


@dataclass(frozen=True)
class SizeSearch:
    """Sizes for the open axes of a graph, found by running it.

    Axes of one name have one size everywhere. The first axis of an input is taken for the batch.

    Attributes:
        session: The model.
        seed: Of the inputs that are tried.
        hints: What the graph says of its inputs.
        given: Sizes that are settled, by `axis_key`.
    """

    session: Session
    seed: int
    hints: Hints = field(default_factory=dict)
    given: Mapping[str, int] = field(default_factory=dict)

    def first(self) -> Sizes:
        """Find the first sizes: a batch of 2, else 1, and for all other open axes one of 32, 64, 224, 16, 8, 4, 2, 1.

        Where no size is open and any values will do, the model is not run.

        Returns:
            A size per `axis_key`, the given ones among them; empty when every axis is fixed.

        Raises:
            ModelError: The model runs with none of them; the text carries onnxruntime's last reason.
        """
        if not self._open and all(port.shape and port.dtype in _ANY_VALUE for port in self.session.inputs):
            return dict(self.given)
        reason = "all of them make inputs that are too large"
        for sizes in self._assignments():
            failure = self._failure(sizes)
            if failure is None:
                return sizes
            reason = failure
        where = f" with {size_words(self.given)}" if self.given else ""
        raise ModelError(
            f"no inputs found on which {self.session.label} runs{where}; "
            f"pass real ones with --data (last try: {reason})"
        )

    def other(self, first: Sizes) -> Sizes:
        """Find sizes of which every open one differs from the first and from each other, or as many as can.

        Returns:
            A size per `axis_key`; those of `first` where nothing else runs.
        """
        other_batch = first | {key: 1 if first[key] > 1 else 3 for key in self._batch}
        for start in [other_batch, first] if self._batch else [first]:
            for sizes in self._stretched(start):
                if self._runs(sizes):
                    return sizes
            if start is not first and self._runs(start):
                return self._one_by_one(start)
        return self._one_by_one(first)

    def _stretched(self, start: Sizes) -> Iterator[Sizes]:
        """Other sizes for all open axes but the batch, at best a different one for each."""
        if not self._rest:
            return
        up = _UP if len(self._rest) < 3 else _MIXED
        small = all(start[key] <= _LARGE for key in self._rest)
        for factors in (*up, *_DOWN) if small else _DOWN:
            scaled = {key: _scaled(start[key], factors[k % len(factors)]) for k, key in enumerate(self._rest)}
            if all(scaled[key] != start[key] for key in self._rest):
                yield start | scaled

    def _one_by_one(self, start: Sizes) -> Sizes:
        """Change one open axis after the other, and keep what runs. A single one has been tried already."""
        found = start
        for key in self._rest[:_MOST_ALONE] if len(self._rest) > 1 else []:
            factors = (2.0, 0.5) if start[key] <= _LARGE else (0.5,)
            candidates = [found | {key: _scaled(start[key], factor)} for factor in factors]
            found = next((sizes for sizes in candidates if self._runs(sizes)), found)
        return found

    def _assignments(self) -> Iterator[Sizes]:
        """All first sizes worth a try, best first; the given ones alone when no axis is open."""
        for first in _BATCHES if self._batch else (1,):
            for size in _SIZES if self._rest else (1,):
                sizes = {key: first if key in self._batch else size for key in self._open} | dict(self.given)
                if not self._open or self._fits(sizes):
                    yield sizes

    @cached_property
    def _open(self) -> list[str]:
        """The axes that need a size, in graph order."""
        return [key for key in open_axes(self.session.inputs) if key not in self.given]

    @cached_property
    def _batch(self) -> list[str]:
        axes = open_axes(self.session.inputs)
        return [key for key in self._open if axes[key] == 0]

    @cached_property
    def _rest(self) -> list[str]:
        return [key for key in self._open if key not in self._batch]

    def _runs(self, sizes: Sizes) -> bool:
        return self._fits(sizes) and self._failure(sizes) is None

    def _fits(self, sizes: Sizes) -> bool:
        return sum(prod(shape_of(port, sizes)) for port in self.session.inputs) <= _MOST_ELEMENTS

    def _failure(self, sizes: Sizes) -> str | None:
        """Why the model does not run with these sizes, `None` where it does."""
        try:
            self.session.run(draw_inputs(self.session.inputs, seed=self.seed, draw=0, sizes=sizes, hints=self.hints))
        except ModelError as error:
            return str(error)
        return None


def implied_sizes(model: ModelProto, ports: Iterable[Port]) -> Sizes:
    """Sizes of open axes by `axis_key`, as far as weights settle them.

    Args:
        model: The model; large weights may be missing, as only their shapes are looked at.
        ports: Its inputs.

    Returns:
        Nothing for an axis of which no weight says anything, and nothing at all for a graph that is no sound one.
    """
    from bnfold.runtime.extents import settled

    return settled(model, ports)


def find_sizes(
    session: Session, seed: int, hints: Hints, *, implied: Mapping[str, int], given: Mapping[str, int]
) -> tuple[SizeSearch, Sizes]:
    """The first sizes, and the search for others.

    Args:
        session: The model.
        seed: Of the inputs that are tried.
        hints: What the graph says of the values of its inputs.
        implied: What its weights say of their sizes; forgotten where the model does not run with them.
        given: Sizes that the caller settles.

    Raises:
        ModelError: The model runs with none.
    """
    search = SizeSearch(session, seed, hints, {**implied, **given})
    try:
        return search, search.first()
    except ModelError as error:
        if implied.keys() <= given.keys():
            raise
        plain = SizeSearch(session, seed, hints, given)
        try:
            return plain, plain.first()
        except ModelError:
            raise error from None


def size_words(sizes: Mapping[str, int]) -> str:
    """Sizes as `"N = 2, H = 32"`."""
    return ", ".join(f"{key} = {size}" for key, size in sizes.items())


def _scaled(size: int, factor: float) -> int:
    return max(int(size * factor), 1)
