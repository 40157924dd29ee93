"""What a tool's result for a case of the corpus is worth: a process of its own, since a result may crash onnxruntime.

Run by peers.py. stdin: ``{"case": label, "result": path}``; stdout: a greeting, then ``{"outcome": ..., "text": ...}``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import onnx
from onnx import ModelProto, ValueInfoProto

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from corpus import CASES, Case, affines_left
from support import EPSILON, Array, Feeds, feeds_for, truth

Outcome: TypeAlias = Literal["folded", "partly", "left", "wrong", "invalid", "crashed"]
"""Crashed is told by whoever ran the tool."""


EPSILON_AS_DOUBLE = 1e-12
"""Attributes are float32: a tool that takes an epsilon for the double 1e-5 is off by 1e-13, which is no fault here."""


@dataclass(frozen=True)
class Verdict:
    """What came of a case, and why if that is wrong or invalid."""

    outcome: Outcome
    text: str = ""


@dataclass(frozen=True)
class Draw:
    """Inputs, and what the original makes of them: by itself and in float64."""

    feeds: Feeds
    originals: list[Array]
    truths: list[Array]


def judge(case: Case, model: ModelProto, result: ModelProto, draws: list[Draw]) -> Verdict:
    """The outcome, if the result loads and runs at all.

    Args:
        case: of the corpus.
        model: the original.
        result: what the tool has made of it.
        draws: what the original computes.
    """
    refused = refusal_of(result)
    if refused and not refusal_of(model):
        return Verdict("invalid", f"onnx.checker: {refused}")
    broken = broken_interface(model, result, frozen=case.freeze) or lost_training(model, result)
    if broken:
        return Verdict("wrong", broken)
    for draw in draws:
        difference = first_difference(model, draw, case.run(result, draw.feeds))
        if difference:
            return Verdict("wrong", difference)
    return Verdict(progress(case, model, result))


def refusal_of(model: ModelProto) -> str:
    """The first line of what onnx.checker has against it; empty if nothing."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return next(line for line in str(error).splitlines() if line.strip())
    return ""


def progress(case: Case, model: ModelProto, result: ModelProto) -> Outcome:
    """How many of the affines are gone, of those that can go."""
    before, after = affines_left(model), affines_left(result)
    if after > case.left:
        return "partly" if after < before else "left"
    # Where the fold of a BatchNormalization takes a new Add, the count alone does not tell.
    stuck = case.left == before and case.direction != "none" and _normalizations(result) == _normalizations(model)
    return "left" if stuck else "folded"


def _normalizations(model: ModelProto) -> int:
    return sum(node.op_type == "BatchNormalization" for node in model.graph.node)


def broken_interface(model: ModelProto, result: ModelProto, *, frozen: bool) -> str:
    """What a caller of the original would miss; empty if nothing."""
    initializers = {tensor.name for tensor in model.graph.initializer}
    fixed = initializers if frozen or model.ir_version < 4 else set()
    needed = {name: kind for name, kind in _ports(model.graph.input).items() if name not in fixed}
    outputs, left = _ports(model.graph.output), _ports(result.graph.output)
    lost = _lost("input", needed, _ports(result.graph.input)) or _lost("output", outputs, left)
    if lost:
        return lost
    return "" if list(outputs) == list(left) else "other outputs, or in another order"


def _lost(kind: str, before: dict[str, int], after: dict[str, int]) -> str:
    for name, dtype in before.items():
        if after.get(name) != dtype:
            return f"the {kind} '{name}' " + ("has another type" if name in after else "is gone")
    return ""


def _ports(entries: Iterable[ValueInfoProto]) -> dict[str, int]:
    return {entry.name: entry.type.tensor_type.elem_type for entry in entries}


def lost_training(model: ModelProto, result: ModelProto) -> str:
    """Whether a BatchNormalization that normalizes by its own batch is gone: some of those run as inference here."""
    return "training mode is taken for inference" if _training(result) < _training(model) else ""


def _training(model: ModelProto) -> int:
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    count = 0
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            said = {attribute.name: attribute.i for attribute in node.attribute}
            count += bool(said.get("training_mode")) or (opset < 7 and not said.get("is_test"))
    return count


def first_difference(model: ModelProto, draw: Draw, results: list[Array]) -> str:
    """What differs by more than the tests of bnfold let a fold differ (tests/support.py); empty if nothing."""
    if len(results) != len(draw.originals):
        return f"{len(results)} outputs in place of {len(draw.originals)}"
    for index, (original, made, exact) in enumerate(zip(draw.originals, results, draw.truths, strict=True)):
        difference = _difference(original, made, exact)
        if difference:
            return f"output '{model.graph.output[index].name}': {difference}"
    return ""


def _difference(original: Array, made: Array, exact: Array) -> str:
    if (made.dtype, made.shape) != (original.dtype, original.shape):
        return f"{made.dtype}{list(made.shape)} in place of {original.dtype}{list(original.shape)}"
    if original.dtype not in EPSILON:
        return "" if np.array_equal(made, original) else "values that have to be equal are not"
    wide = [np.asarray(values).astype(np.float64) for values in (original, made, exact)]
    if not np.isfinite(wide[1]).all():
        return "not finite"
    scale = float(np.abs(wide[2]).max())
    floor = max(32 * EPSILON[original.dtype], EPSILON_AS_DOUBLE) * scale
    allowed = max(4 * float(np.abs(wide[0] - wide[2]).max()), floor)
    error = float(np.abs(wide[1] - wide[2]).max())
    return "" if error <= allowed else f"off by {error:.2g}, where the largest value is {scale:.2g}"


def draws_of(case: Case, model: ModelProto) -> list[Draw]:
    """The case's inputs; and once more with other values for every initializer that a caller may override."""
    feeds = dict(feeds_for(model) if case.feeds is None else case.feeds)
    overridden = {} if case.freeze else overrides(model)
    return [_draw(case, model, feeds), *([_draw(case, model, {**feeds, **overridden})] if overridden else [])]


def _draw(case: Case, model: ModelProto, feeds: Feeds) -> Draw:
    originals = case.run(model, feeds)
    exact = truth(model, feeds) if case.exact_reference else originals
    # onnx 1.22's reference pads a Conv that says VALID.
    is_wrong = any(one.shape != other.shape for one, other in zip(exact, originals, strict=True))
    return Draw(feeds, originals, originals if is_wrong else exact)


def overrides(model: ModelProto) -> dict[str, Array]:
    """Other values for the float initializers that are inputs too, from IR version 4 on."""
    listed = {entry.name for entry in model.graph.input} if model.ir_version >= 4 else set()
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name in listed}
    return {name: (array * 1.5).astype(array.dtype) for name, array in values.items() if array.dtype in EPSILON}


def is_settled(case: Case, model: ModelProto) -> bool:
    """Whether nothing may go: then to leave it as it is, is right."""
    return case.direction == "none" and case.left == affines_left(model)


@lru_cache(maxsize=1)
def _prepared(label: str) -> tuple[Case, ModelProto, list[Draw]]:
    case = next(case for case in CASES if case.label == label)
    model = case.build()
    return case, model, draws_of(case, model)


def main() -> None:
    """Answer every line. What onnxruntime prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    answers.write("{}\n")
    for line in sys.stdin:
        job = json.loads(line)
        case, model, draws = _prepared(job["case"])
        verdict = judge(case, model, onnx.load(job["result"]), draws)
        answers.write(json.dumps({"outcome": verdict.outcome, "text": verdict.text}) + "\n")


if __name__ == "__main__":
    main()
