"""Where a training writes: two models, and what lies beside them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bnfold.cli.console import files_of, protect, refuse_unwritable
from bnfold.cli.writing import beside
from bnfold.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Places:
    """The files of one training.

    Attributes:
        trained: the trained model.
        folded: its fold.
        checkpoint: what a stopped training goes on from; None for none.
        log: a line per epoch; None for none.
        plot: the curves; None for none.
        json: the outcome, `-` for stdout; None for none.
        html: the same to look at, likewise.
    """

    trained: Path
    folded: Path
    checkpoint: Path | None
    log: str | None
    plot: str | None
    json: str | None
    html: str | None = None

    @classmethod
    def of(
        cls,
        model: str,
        output: str | None,
        *,
        checkpoint: bool,
        log: str | None,
        plot: str | None,
        json: str | None,
        html: str | None = None,
    ) -> Places:
        """The places for a model, by default beside it."""
        trained = Path(output) if output else beside(model, "trained")
        kept = trained.with_name(f"{trained.name.removesuffix('.onnx')}.checkpoint") if checkpoint else None
        return cls(
            trained=trained,
            folded=beside(str(trained), "folded"),
            checkpoint=kept,
            log=log,
            plot=plot,
            json=json,
            html=html,
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """All that are files."""
        documents = [target for target in (self.json, self.html) if target != "-"]
        targets = (self.trained, self.folded, self.checkpoint, self.log, self.plot, *documents)
        return tuple(Path(target) for target in targets if target)

    def refuse(self, model: str, data: Iterable[str]) -> None:
        """Look at all of them before anything that takes long.

        Raises:
            UsageError: one is a file that is read, or that something else is written to, or the curves have no format.
            TargetError: one can not be written to.
            RuntimeUnavailable: what draws curves is not installed.
        """
        to_stdout = (target for target in (self.json, self.html) if target == "-")
        protect((Path(model), *files_of(data)), *self.files, *to_stdout)
        refuse_unwritable(*self.files)
        if self.plot:
            from bnfold.report import refuse_curves

            refuse_curves(self.plot)

    def look_for_checkpoint(self, *, resume: bool) -> None:
        """Say that an earlier training will be lost.

        Raises:
            UsageError: the training is to go on from a checkpoint, and none is to be written.
        """
        if self.checkpoint is None and resume:
            raise UsageError("--resume goes on from a checkpoint, and --no-checkpoint has none; give one of the two")
        if self.checkpoint is not None and self.checkpoint.is_file() and not resume:
            print(
                f"bnfold: '{self.checkpoint}' of an earlier training is replaced after the first epoch; to go on from "
                "it, stop now and give --resume",
                file=sys.stderr,
            )
