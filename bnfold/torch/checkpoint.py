"""A training as a file, so that one that was stopped can go on, to the same bits as one that was not."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bnfold.errors import TargetError, UsageError
from bnfold.model.staging import replacing
from bnfold.model.undisturbed import undisturbed
from bnfold.torch.history import Epoch
from bnfold.torch.scores import Score
from bnfold.torch.state import Best

FORMAT = 1
"""Rises when what is in the file changes."""

DIGEST = "sha256:"
"""How a part of an identity begins that says nothing to a person."""


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a training has come: all that its next epoch depends on besides the data and the recipe.

    Random numbers are not part of it: those of an epoch are a function of the seed and its number.

    Attributes:
        state: of the module.
        optimizer: the optimizer's state.
        start: the validation score before the first step.
        best: the best state so far.
        epochs: what came of those that are done.
    """

    state: Mapping[str, Any]
    optimizer: dict[str, Any]
    start: Score
    best: Best
    epochs: tuple[Epoch, ...]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A file that holds a training's progress.

    Attributes:
        path: the file.
        identity: what has to be the same for the training to go on: names for a person, and what they stand for.
    """

    path: Path
    identity: Mapping[str, str]

    def write(self, progress: Progress) -> None:
        """Put the progress in the place of what the file holds, in one step: a kill leaves the old or the new.

        Raises:
            TargetError: the place can not be written to.
        """
        try:
            with undisturbed(), replacing(self.path) as file:  # torch makes an error of its own of what a signal raises
                torch.save(_document(progress, self.identity), file)
        except (OSError, RuntimeError) as error:  # torch has its own words for a write that fails, and they help nobody
            cause = error if isinstance(error, OSError) else error.__context__
            reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else "is the disk full?"
            raise TargetError(f"the checkpoint '{self.path}' can not be written: {reason}") from error

    def read(self) -> Progress:
        """What was written, on the CPU. Nothing in the file is executed.

        Raises:
            UsageError: there is no such file, it is no checkpoint, or it is that of another training.
        """
        refuse_missing(self.path)
        document = _loaded(self.path)
        different = _differences(document["identity"], self.identity)
        if different:
            raise UsageError(
                f"'{self.path}' is the checkpoint of another training: {', '.join(different)}; give what that one was "
                "begun with, or begin anew without --resume"
            )
        return _progress(document)


def refuse_missing(path: Path) -> None:
    """Look for a checkpoint before anything that takes long.

    Raises:
        UsageError: there is none.
    """
    if not path.is_file():
        raise UsageError(
            f"there is no checkpoint '{path}' to go on from: it is written after every epoch, and removed when the "
            "models are; begin without --resume"
        )


def _document(progress: Progress, identity: Mapping[str, str]) -> dict[str, Any]:
    """Plain types and tensors alone, which torch reads without executing anything."""
    return {
        "format": FORMAT,
        "identity": dict(identity),
        "state": dict(progress.state),
        "optimizer": progress.optimizer,
        "start": asdict(progress.start),
        "best": {
            "score": asdict(progress.best.score),
            "epoch": progress.best.epoch,
            "state": dict(progress.best.state),
        },
        "epochs": [asdict(epoch) for epoch in progress.epochs],
    }


def _progress(document: Mapping[str, Any]) -> Progress:
    best = document["best"]
    return Progress(
        state=document["state"],
        optimizer=document["optimizer"],
        start=Score(**document["start"]),
        best=Best(Score(**best["score"]), best["epoch"], best["state"]),
        epochs=tuple(
            Epoch(**{**epoch, **{name: Score(**epoch[name]) for name in ("training", "validation")}})
            for epoch in document["epochs"]
        ),
    )


def _loaded(path: Path) -> dict[str, Any]:
    try:
        document = torch.load(path, map_location="cpu", weights_only=True) if _is_whole(path) else None
    except OSError as error:
        raise UsageError(f"the checkpoint '{path}' can not be read: {error.strerror or error}") from error
    except (RuntimeError, pickle.UnpicklingError):  # an archive of something else
        document = None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UsageError(f"'{path}' is damaged, or is no checkpoint of this version of bnfold; begin without --resume")
    return document


def _is_whole(path: Path) -> bool:
    """Whether the file is an archive whose checksums are right, which torch does not look at."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except zipfile.BadZipFile:
        return False


def _differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is not the same, in words."""
    names = [name for name in {**now, **before} if before.get(name) != now.get(name)]
    return [_difference(name, before.get(name, "not there"), now.get(name, "not there")) for name in names]


def _difference(name: str, before: str, now: str) -> str:
    if before.startswith(DIGEST) or now.startswith(DIGEST):
        return f"{name} is another"
    return f"{name} was {before} and is {now}"
