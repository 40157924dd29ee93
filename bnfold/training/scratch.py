"""A temporary folder for arrays that are compressed, for as long as somebody reads them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection
from functools import partial

from bnfold.model.scratch_folder import ScratchFolder
from bnfold.model.tensors import Array
from bnfold.model.undisturbed import undisturbed
from bnfold.runtime.arrays import Header, Stored
from bnfold.runtime.rows import Rows, read_rows
from bnfold.runtime.unpacking import packed_names, unpacked


class Scratch:
    """Readers of stored arrays, which can all be read by rows. What was unpacked for them goes with the last of them.

    Args:
        tell: told what is being unpacked.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._folder: ScratchFolder | None = None

    def readable(self, stored: Stored, names: Collection[str]) -> Stored:
        """The same arrays, those of some names where they can be read by rows.

        Raises:
            UsageError: a file is damaged, or there is no room for what is in it.
        """
        packed = packed_names(stored, names)
        if not packed:
            return stored
        if self._folder is None:
            with undisturbed():
                self._folder = ScratchFolder()
                weakref.finalize(self, self._folder.close)
        self._tell(f"unpacking {stored.path}")
        return unpacked(stored, packed, self._folder.path)

    def reader(self, header: Header) -> Callable[[Rows], Array]:
        """What reads the rows of an array; as long as there is one, the folder stays."""
        return partial(self._rows, header)

    def _rows(self, header: Header, rows: Rows) -> Array:
        return read_rows(header, rows)
