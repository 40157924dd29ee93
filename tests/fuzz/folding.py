"""What comes of folding a model that somebody made: a `BnfoldError`, or a model that onnx parses.

Of that, what no edit touches is as it was: inputs and outputs, what is said of the model, nodes and initializers. Of a
model in which nothing folds, the file is what came in.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from onnx import ModelProto, NodeProto

import bnfold
from bnfold.api import FoldOptions
from bnfold.folding.rounds import Round
from bnfold.model.streaming import segments
from fuzz.reader import _parsed, written
from fuzz.watched import Watch

IN_A_FILE = 16
"""One of so many is folded from a file to a file."""

OPTIONS: tuple[FoldOptions, ...] = ({}, {"prefer": "no-batchnorm"}, {"freeze_initializers": True})


class Folding:
    """The target; arguments as for `fuzz.reader.Reader`."""

    def __init__(self, folder: Path, watch: Watch) -> None:
        self.folder = folder
        self.watch = watch
        self.runs = 0
        self.folds = 0

    def __call__(self, data: bytes) -> None:
        """Fold a model.

        Raises:
            AssertionError: what no edit touches is not as it was.
            Exception: anything but a `BnfoldError` is a fault as well.
        """
        self.runs += 1
        with self.watch, suppress(bnfold.BnfoldError):
            if self.runs % IN_A_FILE == 0:
                self._fold_file(data)
            options: FoldOptions = OPTIONS[self.runs // 4 % len(OPTIONS)] if self.runs % 4 == 0 else {}
            result = bnfold.fold(data, base_dir=self.folder, **options)
            self.folds += bool(result)
            _judge(result, data, freezes="freeze_initializers" in options)

    def _fold_file(self, data: bytes) -> None:
        place, target = self.folder / "model.onnx", self.folder / "out" / "model.onnx"
        for path in (place, target):
            path.unlink(missing_ok=True)
        place.write_bytes(data)
        with suppress(bnfold.BnfoldError):
            bnfold.fold(place).save(target)
            assert _parsed(target.read_bytes()) is not None
        assert place.read_bytes() == data, "the model is written over"
        assert {path.name for path in self.folder.iterdir()} == {"model.onnx", "w.data", "out"}
        for path in target.parent.iterdir():
            assert path.name.startswith(("model.onnx", "w.data")), f"{path.name} is left behind"
            path.unlink()


def _judge(result: bnfold.FoldResult, data: bytes, *, freezes: bool) -> None:
    before, after = ModelProto.FromString(data), result.model
    assert _parsed(after.SerializeToString()) is not None
    if not result:
        assert written(segments(result.container.proto, result.container.origin)) == data
        return
    assert _fed(before, freezes=freezes) == _fed(after, freezes=freezes), "graph.input is not as it was"
    for path in ("graph.output", "metadata_props", "training_info"):
        assert _messages(before, path) == _messages(after, path), f"{path} is not as it was"
    _judge_nodes(before, after, result.rounds)
    _judge_initializers(before, after, result.rounds)


def _fed(model: ModelProto, *, freezes: bool) -> list[bytes]:
    """The inputs that a caller feeds, or may. Below IR version 4 initializers are inputs, and nobody feeds those."""
    own = {tensor.name for tensor in model.graph.initializer} if freezes or model.ir_version < 4 else set()
    return [entry.SerializeToString(deterministic=True) for entry in model.graph.input if entry.name not in own]


def _messages(model: ModelProto, path: str) -> list[bytes]:
    holder: object = model
    for name in path.split("."):
        holder = getattr(holder, name)
    return [message.SerializeToString(deterministic=True) for message in holder]  # type: ignore[attr-defined]


def _judge_nodes(before: ModelProto, after: ModelProto, rounds: tuple[Round, ...]) -> None:
    """Every node is one that was there, or one that an edit has touched or put in."""
    if any(done.inlined for done in rounds) or len(rounds) > 1:
        return  # nodes of other rounds, and of functions, have other names
    kept = {node.SerializeToString(deterministic=True) for node in before.graph.node}
    patch, graph = rounds[0].patch, rounds[0].plan.graph
    touched = {
        tuple(_outputs_after(graph.scopes[at.scope].nodes[at.place].proto, patch.outputs.get(at, {})))
        for at in (*patch.inputs, *patch.outputs, *patch.attributes, *patch.op_types)
    }
    touched |= {tuple(node.output) for nodes in (*patch.behind.values(), *patch.in_front.values()) for node in nodes}
    for node in after.graph.node:
        bare = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
        known = node.SerializeToString(deterministic=True) in kept or tuple(node.output) in touched
        assert known or bare or rounds[0].turned, f"a node that nothing has touched is another: {node}"


def _outputs_after(node: NodeProto, renamed: dict[int, str]) -> list[str]:
    return [renamed.get(index, name) for index, name in enumerate(node.output)]


def _judge_initializers(before: ModelProto, after: ModelProto, rounds: tuple[Round, ...]) -> None:
    """Every initializer is one that was there, or has new numbers."""
    kept = {tensor.SerializeToString(deterministic=True) for tensor in before.graph.initializer}
    fresh = frozenset[str]().union(*(done.patch.fresh_names for done in rounds))
    for tensor in after.graph.initializer:
        known = tensor.SerializeToString(deterministic=True) in kept or tensor.name in fresh
        assert known, f"initializer '{tensor.name}', which nothing has touched, is another"
