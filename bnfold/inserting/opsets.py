"""Models of old opsets, converted by `onnx.version_converter` and shown to compute what they computed."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto, defs, version_converter

from bnfold.errors import ModelError, UsageError
from bnfold.inserting.statistics import Feeds
from bnfold.inserting.trial import drawn, is_near, opened
from bnfold.model.container import Container
from bnfold.model.graph import Graph

SMALLEST = 0
"""As the opset to convert to: the oldest that does."""


def converted(container: Container, model: ModelProto, wanted: int, needed: int) -> ModelProto:
    """The model in another opset, or the model itself where it has that one already.

    Args:
        container: where its external weights lie.
        model: not changed.
        wanted: the opset, or `SMALLEST` for `needed` or the model's own, whichever is newer.
        needed: the oldest opset that does.

    Raises:
        UsageError: `wanted` is too old, older than the model's own, or newer than the installed onnx.
        ModelError: onnx can not convert the model, or what it makes does not run or does not compute the same.
    """
    own = Graph(model).main.opsets.get("", 1)
    target = max(own, needed) if wanted == SMALLEST else wanted
    _refuse(target, own, needed)
    if target == own:
        return model
    where = f"{container.name} can not be converted from opset {own} to {target}"
    if model.functions:
        raise ModelError(
            f"{where}: onnx.version_converter would drop its function '{model.functions[0].name}'; put its functions "
            "in the place of their calls first, with onnx.inliner"
        )
    made = _made(model, target, where)
    _require_same(container, model, made, where)
    return made


def _refuse(target: int, own: int, needed: int) -> None:
    newest = defs.onnx_opset_version()
    if target < needed:
        raise UsageError(f"the opset to convert to has to be {needed} or newer here, not {target}")
    if target < own:
        raise UsageError(f"the model has opset {own} and is converted to a newer one only, not to {target}")
    if target > newest:
        raise UsageError(f"the installed onnx knows opsets up to {newest}, not {target}")


def _made(model: ModelProto, target: int, where: str) -> ModelProto:
    # Its C++ raises RuntimeError for an operator without an adapter, and its bindings the others.
    try:
        made = version_converter.convert_version(model, target)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ModelError(f"{where}: {_last(str(error))}; export it anew, with a newer opset") from error
    if not isinstance(made, ModelProto):
        raise AssertionError("onnx.version_converter made no model")
    return made


def _last(text: str) -> str:
    """What onnx says, in one line, without the place in its sources."""
    line = " ".join(text.split())
    return line.rpartition("failed: ")[2] or line


def _require_same(container: Container, before: ModelProto, after: ModelProto, where: str) -> None:
    """Run both; where onnxruntime does not take the old form, the new one has to run at least."""
    try:
        session = opened(container, after)
        draws = drawn(session, after, 2)
        results = [session.run(feeds) for feeds in draws]
    except ModelError as error:
        raise ModelError(f"{where}: what onnx.version_converter makes of it does not run: {error}") from error
    for wanted, found in zip(_results(container, before, draws), results, strict=False):
        for name, result in wanted.items():
            if name not in found or not is_near(found[name], result):
                raise ModelError(f"{where}: onnx.version_converter makes something else of it, seen in output '{name}'")


def _results(container: Container, model: ModelProto, draws: Sequence[Feeds]) -> list[Feeds]:
    try:
        session = opened(container, model)
        return [session.run(feeds) for feeds in draws]
    except ModelError:
        return []  # onnxruntime promises opsets from 7 on: there is nothing to compare with
