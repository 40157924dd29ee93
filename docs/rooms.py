"""Draw docs/images/rooms.svg and write the table of docs/architecture.md: the rooms, and what they stand on.

    python docs/rooms.py            # draw and write
    python docs/rooms.py --check    # fail if the committed picture or table says something else

A room stands on what its modules import. The picture leaves out what follows from other arrows, and the rooms that
every other one may stand on.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from kept import keep

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bnfold"
PICTURE = ROOT / "docs" / "images" / "rooms.svg"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms: written by docs/rooms.py -->\n", "<!-- end of rooms -->"

FOR_ALL = {"_version", "errors", "values"}
"""Rooms of a few names, which others use without standing on them."""
DOORS = {"__init__", "__main__"}
"""How the package is entered; they hold nothing."""

IN_A_FEW_WORDS = {
    "affine": "the algebra of maps",
    "model": "the file and the graph",
    "ops": "a rule per operator",
    "runtime": "onnxruntime, its inputs",
    "torch": "the graph as a module",
    "folding": "sources, plan, patch",
    "inserting": "sites, statistics",
    "checking": "equal, and why so",
    "training": "insert, train, fold, prove",
    "report": "text, JSON, HTML",
    "api": "the public functions",
    "passes": "a pass of onnx_ir",
    "cli": "the commands",
}
ORDER = ("passes", "cli", "folding", "inserting", "checking", "ops", "runtime", "torch")
"""From left to right, where several rooms are as high."""

WIDTH, BOX, HEIGHT, STEP, GAP = 620, 176, 40, 66, 24

STYLE = """  <style>
    text { font: 600 14px system-ui, sans-serif; fill: #1c2733; text-anchor: middle; }
    .few { font-weight: 400; font-size: 12px; }
    rect { fill: #dfeaf6; stroke: #6b8cae; }
    path { fill: none; stroke: #7b8794; stroke-width: 1.4; marker-end: url(#head); }
    marker path { fill: #7b8794; stroke: none; marker-end: none; }
  </style>
  <defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">
    <path d="M0 0 L8 4 L0 8 z"/></marker></defs>
"""
"""Boxes have a ground of their own, and arrows a gray that is seen on white and on black."""


class Place(NamedTuple):
    """The middle of a room's upper edge."""

    x: int
    y: int


def rooms() -> list[str]:
    """All rooms of the package, by name."""
    return sorted({room_of(path) for path in PACKAGE.rglob("*.py")})


def room_of(path: Path) -> str:
    """The room that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def standing() -> dict[str, set[str]]:
    """Room to the rooms that its modules import."""
    found: dict[str, set[str]] = {room: set() for room in rooms()}
    for path in PACKAGE.rglob("*.py"):
        found[room_of(path)] |= set(_imports(path)) - {room_of(path)}
    return found


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "bnfold":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bnfold."):
            yield str(node.module).split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("bnfold."))


def drawn() -> dict[str, set[str]]:
    """As `standing`, without what follows: an arrow from a to c where there are ones from a to b and from b to c."""
    edges = {room: on - FOR_ALL for room, on in standing().items() if room not in FOR_ALL | DOORS}
    below = {room: _reached(edges, room) for room in edges}
    return {room: {to for to in on if not any(to in below[other] for other in on)} for room, on in edges.items()}


def _reached(edges: Mapping[str, set[str]], room: str) -> set[str]:
    """All rooms below a room."""
    return edges[room].union(*(_reached(edges, below) for below in edges[room]))


def heights(edges: Mapping[str, set[str]]) -> dict[str, int]:
    """How many rooms stand one on the other below each room, at most."""

    def height(room: str) -> int:
        return max((height(below) + 1 for below in edges[room]), default=0)

    return {room: height(room) for room in edges}


def places(edges: Mapping[str, set[str]]) -> dict[str, Place]:
    """Where each room is drawn: those that stand on nothing at the bottom."""
    height, found = heights(edges), dict[str, Place]()
    top = max(height.values())
    for level in range(top + 1):
        row = sorted((room for room in edges if height[room] == level), key=_column)
        left = WIDTH // 2 - (len(row) - 1) * (BOX + GAP) // 2
        for column, room in enumerate(row):
            found[room] = Place(left + column * (BOX + GAP), 4 + (top - level) * STEP)
    return found


def _column(room: str) -> int:
    return ORDER.index(room) if room in ORDER else 0


def picture() -> str:
    """The whole drawing."""
    edges = drawn()
    at = places(edges)
    height = max(place.y for place in at.values()) + HEIGHT + 4
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
    ]
    lines.append('role="img" aria-label="The rooms of bnfold: an arrow leads to the room that a room stands on">\n')
    lines.append(STYLE)
    lines += [_arrow(at[room], at[below]) for room in sorted(edges) for below in sorted(edges[room])]
    lines += [_box(room, at[room]) for room in sorted(edges)]
    return "".join([*lines, "</svg>\n"])


def _arrow(start: Place, end: Place) -> str:
    lean = (end.x - start.x) // 6
    return f'  <path d="M{start.x + lean} {start.y + HEIGHT} L{end.x - lean} {end.y - 1}"/>\n'


def _box(room: str, at: Place) -> str:
    return (
        f'  <rect x="{at.x - BOX // 2}" y="{at.y}" width="{BOX}" height="{HEIGHT}" rx="5"/>\n'
        f'  <text x="{at.x}" y="{at.y + 17}">{room}</text>\n'
        f'  <text class="few" x="{at.x}" y="{at.y + 33}">{IN_A_FEW_WORDS[room]}</text>\n'
    )


def table() -> str:
    """The rooms from the highest to the lowest, what each holds, and what it stands on."""
    edges = standing()
    height = heights(edges)
    lines = ["| room | holds | imports |", "|---|---|---|"]
    for room in sorted(set(edges) - DOORS - {"_version"}, key=lambda room: (-height[room], room)):
        below = ", ".join(f"`{other}`" for other in sorted(edges[room], key=lambda other: (-height[other], other)))
        lines.append(f"| [`{room}`](../bnfold/{_home(room)}) | {_first_sentence(room)} | {below} |")
    return "\n".join(lines) + "\n"


def _home(room: str) -> str:
    return f"{room}/__init__.py" if (PACKAGE / room).is_dir() else f"{room}.py"


def _first_sentence(room: str) -> str:
    text = ast.get_docstring(ast.parse((PACKAGE / _home(room)).read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def page() -> str:
    """The page with its table as it should be."""
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    return before + BEGIN + "\n" + table() + "\n" + END + after


def main() -> int:
    """Draw and write, or check."""
    return keep({PICTURE: picture(), PAGE: page()}, "rooms.py")


if __name__ == "__main__":
    sys.exit(main())
