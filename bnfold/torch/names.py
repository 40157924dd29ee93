"""Names that a module's attributes can have."""

from __future__ import annotations

import re


def attribute_name(name: str, taken: set[str]) -> str:
    """A name that an attribute can have, as near to the graph's as can be; entered into `taken`."""
    plain = re.sub(r"\W", "_", name) or "_"
    found, number = plain, 0
    while found in taken:
        number += 1
        found = f"{plain}_{number}"
    taken.add(found)
    return found
