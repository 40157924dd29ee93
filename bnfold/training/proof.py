"""What was trained is what was written, and what was written is what it folds to: shown on onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from onnx import ModelProto

from bnfold.checking import CheckReport, check
from bnfold.errors import DifferenceFound
from bnfold.folding.fold import FoldResult
from bnfold.model.writing import staged
from bnfold.runtime import Session, open_session
from bnfold.torch.losses import Loss
from bnfold.torch.module import GraphModule
from bnfold.torch.scores import Score, array_score, module_outputs
from bnfold.training.examples import Array, Table

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


def prove_written(module: GraphModule, model: ModelProto, base_dir: Path | None, table: Table) -> None:
    """The graph computes on onnxruntime what the module computes.

    Raises:
        DifferenceFound: it does not.
    """
    session = open_session(model.SerializeToString(), base_dir=base_dir, label="the trained model")
    batch = next(iter(table.batches()))
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
    model: ModelProto, fresh: frozenset[str], folded: FoldResult, table: Table, loss: Loss, *, has_classes: bool
) -> Proof:
    """Trained and folded model as files, since weights may lie in files of their own: compared and scored."""
    with TemporaryDirectory(prefix="bnfold-") as folder:
        before, after, data = (Path(folder, name) for name in ("trained.onnx", "folded.onnx", "validation.npz"))
        with staged(model, before, folded.container.base_dir, fresh) as work:
            work.commit()
        folded.save(after)
        np.savez(data, allow_pickle=False, **table.batch(table.rows[:COMPARED]).inputs)
        report = replace(check(before, after, data=data), data=(table.where,))
        sessions = open_session(before), open_session(after)
        scores = [array_score(_outputs(session, table), loss) for session in sessions]
        agreement = _agreement(*sessions, table) if has_classes else None
    return Proof(scores[0], scores[1], agreement, report)


def _outputs(session: Session, table: Table) -> Iterator[tuple[tuple[Array, ...], Array]]:
    for batch in table.batches():
        yield tuple(session.run(batch.inputs).values()), batch.target


def _agreement(one: Session, other: Session, table: Table) -> float:
    """The share of scores [N, C, ...] whose largest is the same in both."""
    same = total = 0
    for (first, _), (second, _) in zip(_outputs(one, table), _outputs(other, table), strict=True):
        equal = first[0].argmax(axis=1) == second[0].argmax(axis=1)
        same, total = same + int(equal.sum()), total + equal.size
    return same / total
