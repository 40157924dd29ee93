"""Which models are meant, how many of them at a time, and where the result of each goes."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from bnfold.cli.writing import beside
from bnfold.errors import TargetError, UsageError


def distinct(models: Sequence[str]) -> list[str]:
    """The models in their order, one that is named twice once.

    Two links to one file are two models: each is a name that somebody gave, and that looks for its result.

    Raises:
        UsageError: one is a folder.
    """
    for model in models:
        if os.path.isdir(model or "."):  # pathlib's raises for a name that is too long
            raise UsageError(f"'{model}' is a folder; name its models, as {Path(model) / '*.onnx'} does in a shell")
    return list({os.path.abspath(model): model for model in reversed(models)}.values())[::-1]


def processes_of(jobs: str) -> int:
    """How many models are folded at a time.

    Raises:
        UsageError: `jobs` is no number of them.
    """
    if jobs == "auto":
        return cores()
    if not (jobs.isascii() and jobs.isdecimal()):
        raise UsageError(f"--jobs takes the number of models to be folded at a time, or auto, and not '{jobs}'")
    return int(jobs) or cores()


def cores() -> int:
    """How many there are for this process."""
    if hasattr(os, "sched_getaffinity"):  # a container's share, where there is one
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def target_of(model: str, output: str | None, out_dir: str | None) -> Path:
    """Where the result of one model goes: the file that was named, the folder that was named, or beside the model.

    Raises:
        UsageError: both were named.
        TargetError: the folder is a file.
    """
    if output and out_dir:
        raise UsageError("--output names the file and --out-dir the folder of a result; give one of them")
    if output:
        return Path(output)
    return _in_folder(model, out_dir)


def refuse_pipe(model: str, *, is_named: bool, is_checked: bool) -> None:
    """Look at a model that can be read once, as /dev/stdin.

    Raises:
        UsageError: its result would have no place, or the check would read it again.
    """
    if _is_read_often(model):
        return
    if not is_named:
        raise UsageError(f"'{model}' is a pipe, and there is no place beside it; say with --output where to write")
    if is_checked:
        refuse_reading_again(model, "the check", "give a file, or --no-check")


def refuse_reading_again(model: str, reader: str, instead: str = "give a file") -> None:
    """Look at a model that is going to be read twice.

    Raises:
        UsageError: it can be read once, as /dev/stdin.
    """
    if not _is_read_often(model):
        raise UsageError(f"'{model}' is a pipe, which can be read once, and {reader} reads the model again; {instead}")


def _is_read_often(model: str) -> bool:
    """Whether the model can be read again; of what is not there, whoever reads it tells."""
    try:
        return not (stat.S_ISFIFO(os.stat(model).st_mode) or stat.S_ISCHR(os.stat(model).st_mode))
    except (OSError, ValueError):
        return True


def targets_of(models: Sequence[str], output: str | None, out_dir: str | None) -> list[Path]:
    """Where the results of several models go; looked at before anything is written.

    Raises:
        UsageError: one file was named for all, two results have one place, or one has the place of another model.
        TargetError: the folder is a file.
    """
    if output:
        raise UsageError(f"--output names one file, and there are {len(models)} models; give --out-dir instead")
    owners = {os.path.realpath(model): model for model in models}
    taken: dict[str, str] = {}
    targets = [_in_folder(model, out_dir) for model in models]
    for model, target in zip(models, targets, strict=True):
        place = os.path.realpath(target)
        if place in owners:
            raise UsageError(
                f"the result of '{model}' would be written over '{owners[place]}', which is to be folded too; "
                "leave that out, or give another --out-dir"
            )
        if place in taken:
            raise UsageError(
                f"the results of '{taken[place]}' and '{model}' would both be '{target}'; "
                "fold them one after the other, each to a place of its own"
            )
        taken[place] = model
    return targets


def make_folder(out_dir: str | None) -> None:
    """Make the folder of the results, unless it is there.

    Raises:
        TargetError: it can not be made.
    """
    if out_dir is None:
        return
    try:
        Path(out_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TargetError(f"the folder '{out_dir}' can not be made: {error.strerror}") from error


def _in_folder(model: str, out_dir: str | None) -> Path:
    place = beside(model, "folded")
    return Path(out_dir, place.name) if out_dir is not None else place
