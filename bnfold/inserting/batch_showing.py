"""The runs that show that a model with an open batch computes for each sample what it computed before.

At the size that was frozen it has to give the same to the last bit; at others, the same but for the order of
summation, which runtimes choose by the size of a batch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from bnfold.errors import ModelError
from bnfold.inserting.batch_constants import shape_constant
from bnfold.inserting.batch_frozen import Frozen, batch_axis_of
from bnfold.inserting.statistics import Feeds
from bnfold.inserting.trial import drawn, is_near, is_same, opened
from bnfold.inserting.view import View
from bnfold.model.container import Container
from bnfold.model.graph import Graph, Node
from bnfold.model.shapes import Shapes
from bnfold.runtime import Session

Array = npt.NDArray[Any]

_NODE = re.compile(r"(?:running \w+ node\. Name:'|Node ?\(')([^']+)'|Node \(([^)]+)\) Op")
"""How onnxruntime names the node in which it failed, when it runs a model and when it loads one."""


def require_same_samples(container: Container, before: ModelProto, after: ModelProto, frozen: Frozen) -> None:
    """Run both models, at the size that was frozen and at others.

    Args:
        container: where external weights lie.
        before: the model as it was.
        after: the model with an open batch.
        frozen: the batch.

    Raises:
        ModelError: they differ, or one does not run; the text names the node that holds the batch.
    """
    _Showing(container, before, after, frozen).run()


class _Showing:
    """The runs that show that a model with an open batch computes for each sample what it computed.

    Args:
        container: where external weights lie.
        before: the model as it was.
        after: the model with an open batch.
        frozen: the batch.
    """

    def __init__(self, container: Container, before: ModelProto, after: ModelProto, frozen: Frozen) -> None:
        self.container = container
        self.before = before
        self.after = after
        self.frozen = frozen
        graph = Graph(after)
        shapes = Shapes(graph)
        found = {entry.name: shapes.shape(graph.main.find(entry.name)) for entry in after.graph.output}
        self.axes = {name: batch_axis_of(shape, frozen.symbol) for name, shape in found.items()}

    def run(self) -> None:
        """Run both, at the size that was frozen and at others."""
        session, size = opened(self.container, self.before), self.frozen.size
        draws = self._sharing(drawn(session, self.before, 3))
        wanted = [session.run(feeds) for feeds in draws]
        try:
            changed = opened(self.container, self.after)
            for feeds, results in zip(draws, wanted, strict=True):
                self._require(changed.run(feeds), results, exactly=True)
            for samples in sorted({size + 1, 2 * size, 2 * size + 1}):
                self._require(self._run(changed, draws, samples), self._joined(wanted, samples), exactly=False)
        except ModelError as error:
            raise ModelError(
                f"the batch of {size} of {self.container.name} can not be made symbolic, and nothing was changed: "
                f"{_culprit(View(self.container, self.after), size, str(error))}"
            ) from error

    def _sharing(self, draws: list[Feeds]) -> list[Feeds]:
        """The draws with one value for each input that has no batch."""
        common = {name: array for name, array in draws[0].items() if name not in self.frozen.inputs}
        return [{**feeds, **common} for feeds in draws]

    def _run(self, session: Session, draws: Sequence[Feeds], samples: int) -> Mapping[str, Array]:
        feeds = dict(draws[0])
        for name in self.frozen.inputs & feeds.keys():
            feeds[name] = np.concatenate([each[name] for each in draws])[:samples]
        return session.run(feeds)

    def _joined(self, results: Sequence[Mapping[str, Array]], samples: int) -> Mapping[str, Array]:
        """What each output has to be for the first samples of all draws."""
        joined = dict(results[0])
        for name, axis in self.axes.items():
            if axis is None:
                continue
            if joined[name].ndim <= axis or joined[name].shape[axis] != self.frozen.size:
                raise ModelError(f"output '{name}' has no axis that is the batch alone, {list(joined[name].shape)}")
            everything = np.concatenate([each[name] for each in results], axis)
            joined[name] = everything.take(range(samples), axis)
        return joined

    def _require(self, found: Mapping[str, Array], wanted: Mapping[str, Array], *, exactly: bool) -> None:
        same = is_same if exactly else is_near
        why = "differs at the size that it had" if exactly else "of a sample changes with the others of its batch"
        for name, result in wanted.items():
            if found[name].shape != result.shape:
                raise ModelError(f"output '{name}' has the shape {list(found[name].shape)}, not {list(result.shape)}")
            if not same(found[name], result):
                raise ModelError(f"output '{name}' {why}")


def _culprit(view: View, size: int, reason: str) -> str:
    """The node that holds the batch, with its constant, as far as it can be told."""
    matched = _NODE.search(reason)
    name = (matched[1] or matched[2]) if matched else None
    named = [node for node in view.graph.nodes() if name is not None and node.proto.name == name]
    found = [text for node in named for text in _held(view, node, size, failed=True)]
    if name is None:
        found = [text for node in view.graph.nodes() for text in _held(view, node, size, failed=False)]
    if found:
        return f"{found[0]} ({reason})"
    return reason if name is None else f"node '{name}' holds it or needs it ({reason})"


def _held(view: View, node: Node, size: int, *, failed: bool) -> Iterator[str]:
    """The constants by which a node holds the batch: as a shape that it is given; or as data, where it has failed."""
    entries = shape_constant(view.operator(node))
    if entries and (failed or size in entries):
        yield f"{node.op_type} '{node.label}' holds it in its constant '{node.proto.input[1]}', {entries}"
    for value in node.inputs if failed else ():
        constant = view.constants.get(value)
        if value is not None and constant is not None and size in constant.shape:
            yield f"{node.op_type} '{node.label}' reads the constant '{value.name}', {list(constant.shape)}"
