"""What was trained is what was written, and what was written is what it folds to: shown on onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from onnx import ModelProto

from bnfold.checking import CheckReport, check
from bnfold.errors import DifferenceFound, UsageError
from bnfold.folding.fold import FoldResult
from bnfold.model.scratch_folder import scratch_folder
from bnfold.model.staging import target_errors
from bnfold.model.writing import staged
from bnfold.runtime import Session, open_session
from bnfold.torch.losses import Loss
from bnfold.torch.module import GraphModule
from bnfold.torch.scores import Score, array_score, module_outputs
from bnfold.training.examples import Array, HeldOut

COMPARED = 512
"""Validation examples on which the two graphs are compared, output by output."""

SAME = 1e-3
"""How far torch and onnxruntime may be apart, over the largest output: two libraries round differently along the whole
network, and a value that was written in the wrong place is of the size of the outputs."""


@dataclass(frozen=True)
class Proof:
    """What was shown.

    Attributes:
        trained: the score of the trained graph.
        folded: the score of the folded graph.
        agreement: the share of examples for which both name the same class; None where there are no classes.
        report: the comparison of the two graphs.
    """

    trained: Score
    folded: Score
    agreement: float | None
    report: CheckReport


def prove_written(module: GraphModule, model: ModelProto, base_dir: Path | None, held_out: HeldOut) -> None:
    """The graph computes on onnxruntime what the module computes.

    Raises:
        DifferenceFound: it does not.
    """
    session = open_session(model.SerializeToString(), base_dir=base_dir, label="the trained model")
    batch = next(iter(held_out.batches()))
    computed = session.run(batch.inputs)
    for (name, made), expected in zip(computed.items(), module_outputs(module, batch), strict=True):
        apart = np.abs(made.astype(np.float64) - expected).max(initial=0.0)
        allowed = SAME * np.abs(expected).max(initial=0.0)
        if not apart <= allowed:
            raise DifferenceFound(
                f"output '{name}' of the trained model is {apart:.2e} off on onnxruntime from what was trained, and "
                f"{allowed:.2e} is tolerated; nothing was written"
            )


def prove_fold(
    model: ModelProto, fresh: frozenset[str], folded: FoldResult, held_out: HeldOut, loss: Loss, *, has_classes: bool
) -> Proof:
    """Trained and folded model as files, since weights may lie in files of their own: compared and scored."""
    with scratch_folder() as folder:
        before, after, data = (Path(folder, name) for name in ("trained.onnx", "folded.onnx", "validation.npz"))
        with staged(model, before, folded.container.base_dir, fresh) as work:
            work.commit()
        folded.save(after)
        with target_errors(data):
            np.savez(data, allow_pickle=False, **_first_of(held_out))
        report = replace(check(before, after, data=data), data=(held_out.where,))
        sessions = open_session(before), open_session(after)
        scores = [array_score(_outputs(session, held_out), loss) for session in sessions]
        agreement = _agreement(*sessions, held_out) if has_classes else None
    return Proof(scores[0], scores[1], agreement, report)


def _first_of(held_out: HeldOut) -> Mapping[str, Array]:
    """The inputs of the first examples that make one set: a batch of other sizes would be another."""
    sets: list[Mapping[str, Array]] = []
    rows = 0
    for batch in held_out.batches():
        if sets and any(array.shape[1:] != sets[0][name].shape[1:] for name, array in batch.inputs.items()):
            break
        sets.append(batch.inputs)
        rows += len(batch.target)
        if rows >= COMPARED:
            break
    return {name: np.concatenate([one[name] for one in sets])[:COMPARED] for name in sets[0]}


def _outputs(session: Session, held_out: HeldOut) -> Iterator[tuple[tuple[Array, ...], Array]]:
    for batch in held_out.batches():
        yield tuple(session.run(batch.inputs).values()), batch.target


def _agreement(one: Session, other: Session, held_out: HeldOut) -> float:
    """The share of scores [N, C, ...] whose largest is the same in both, on the same batches."""
    same = total = 0
    for batch in held_out.batches():
        first, second = (next(iter(session.run(batch.inputs).values())) for session in (one, other))
        equal = first.argmax(axis=1) == second.argmax(axis=1)
        same, total = same + int(equal.sum()), total + equal.size
    return same / total


def refuse_collapse(report: CheckReport, rate: float) -> None:
    """Tell a network that gives the same for every example from a fold that can not be proved.

    Raises:
        UsageError: an output of the trained model does not depend on the validation examples any more.
    """
    for output in (output for comparison in report.comparisons for output in comparison.outputs):
        if output.vacuous and output.equal:
            raise UsageError(
                f"the training collapsed: output '{output.name}' of the trained model {output.vacuous}; nothing was "
                f"written; try a lower --lr than {rate:g}, --include-classifier, or --reset"
            )
