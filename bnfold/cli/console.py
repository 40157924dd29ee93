"""Where a command writes, and never over the files that it reads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold.errors import TargetError, UsageError
from bnfold.model.temporary import try_folder

if TYPE_CHECKING:
    from bnfold.report.console import Console


def protect(files: Iterable[Path], *targets: str | Path | None) -> None:
    """Let nothing be written over a file that a command reads, or that it writes something else to.

    Raises:
        UsageError: a target is one of the files, or one is named twice.
    """
    paths, files = [Path(target) for target in targets if target], tuple(files)
    for number, target in enumerate(paths):
        if any(_same(target, file) for file in files):
            raise UsageError(f"'{target}' is the model itself, or holds its weights or the data; give another output")
        if any(_same(target, other) for other in paths[:number] if not _is_device(other)):
            raise UsageError(f"'{target}' would be written twice, with something else each time; give another output")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # there is no such file, or there can be none: writing will tell
        return os.path.realpath(one) == os.path.realpath(other)


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file()


def files_of(data: Iterable[str]) -> Iterator[Path]:
    """The files that data are read from: themselves, or those of numpy in a folder."""
    for path in map(Path, data):
        yield path
        if path.is_dir():
            yield from path.glob("*.np[yz]")


def refuse_unwritable(*targets: str | Path | None) -> None:
    """Look for places that nothing can be written to, before anything that takes long.

    Raises:
        TargetError: there is one.
    """
    for target in (Path(target) for target in targets if target):
        if target.is_dir():
            raise TargetError(f"'{target}' is a folder; name a file in it")
        if _is_device(target):
            continue
        try:
            try_folder(target.parent)
        except OSError as error:
            raise TargetError(f"'{target}' can not be written: {error.strerror}") from error


def look_at_reports(*targets: str | None, made: str | None = None) -> None:
    """Look at the places of reports, before anything that takes long or is written.

    Args:
        targets: files, ``-`` for stdout, None for no report.
        made: a folder that is made later, in which they may be.

    Raises:
        TargetError: nothing can be written to one of them.
    """
    files = [target for target in targets if target and target != "-"]
    refuse_unwritable(*(file for file in files if made is None or Path(file).parent != Path(made)))


def open_console(*, quiet: bool = False) -> Console:
    """The console on stdout; a quiet one where stdout is for a document."""
    if quiet or not sys.stdout.isatty():
        from bnfold.cli.piped import Piped

        return Piped(quiet=quiet)
    from bnfold.cli.screen import Screen

    return Screen(highlight=False, emoji=False, soft_wrap=True)
