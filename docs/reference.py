"""Write docs/reference: rules from their registry and docstrings, commands and documents from what they are made of.

    python docs/reference.py            # write the pages
    python docs/reference.py --check    # fail if a committed page says something else

The reference of the Python API is no page of this script: the site makes it from the docstrings.
"""

from __future__ import annotations

import sys
from pathlib import Path

import command_pages
import document_pages
import rule_pages
from kept import keep

FOLDER = Path(__file__).resolve().parent / "reference"
PAGES = {"rules.md": rule_pages.text, "commands.md": command_pages.text, "documents.md": document_pages.text}


def main() -> int:
    """Write or check the pages."""
    return keep({FOLDER / name: text() for name, text in PAGES.items()}, "reference.py")


if __name__ == "__main__":
    sys.exit(main())
