"""Pages that a script writes and that are committed: written anew, or compared with what is committed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def keep(pages: Mapping[Path, str], script: str) -> int:
    """Write the pages; with ``--check`` say which of those that are committed say something else.

    Args:
        pages: what each file is to hold.
        script: the one that makes them, in docs/.

    Returns:
        The exit status: 1 where a page is stale.
    """
    if "--check" not in sys.argv[1:]:
        for path, text in pages.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [path for path, text in pages.items() if path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{path.relative_to(ROOT)} is stale: run python docs/{script}", file=sys.stderr)
    return int(bool(stale))
