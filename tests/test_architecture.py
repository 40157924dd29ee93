"""The picture of docs/architecture.md says what the imports say, and all of it can be followed there."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "docs"))  # scripts, and no package; last, as one of them is called coverage

import rooms  # noqa: E402
from test_rooms import BELOW  # noqa: E402

PICTURE = rooms.PICTURE.read_text(encoding="utf-8")
SVG = "{http://www.w3.org/2000/svg}"


def below(edges: dict[str, set[str]], room: str) -> set[str]:
    return edges[room].union(*(below(edges, other) for other in edges[room]))


def test_every_import_can_be_followed_along_arrows() -> None:
    edges = rooms.drawn()
    for room, imports in rooms.standing().items():
        if room in edges:
            assert imports - rooms.FOR_ALL <= below(edges, room)


def test_every_arrow_is_an_import_and_follows_from_no_others() -> None:
    edges, imports = rooms.drawn(), rooms.standing()
    for room, targets in edges.items():
        assert targets <= imports[room]
        assert not [to for to in targets if any(to in below(edges, other) for other in targets)]


def test_what_is_imported_is_allowed() -> None:
    """The two look at imports in their own ways: this one for a picture, the other one module by module."""
    assert all(imports <= BELOW[room] for room, imports in rooms.standing().items())


def test_the_picture_has_a_box_per_room_and_an_arrow_per_edge() -> None:
    tree = ElementTree.fromstring(PICTURE)
    titles = {text.text for text in tree.iter(f"{SVG}text") if text.get("class") is None}
    assert titles == set(rooms.drawn())
    arrows = tree.findall(f"{SVG}path")
    assert len(arrows) == sum(map(len, rooms.drawn().values()))


def test_boxes_lie_inside_the_picture_and_not_on_each_other() -> None:
    tree = ElementTree.fromstring(PICTURE)
    boxes = [tuple(int(box.get(key, "")) for key in ("x", "y", "width", "height")) for box in tree.iter(f"{SVG}rect")]
    assert all(
        x >= 0 and x + w <= int(tree.get("width", "")) and y + h <= int(tree.get("height", "")) for x, y, w, h in boxes
    )
    for k, (x, y, w, h) in enumerate(boxes):
        assert not [other for other in boxes[:k] if abs(other[0] - x) < w and abs(other[1] - y) < h]


def test_the_picture_is_small_and_loads_nothing() -> None:
    assert len(PICTURE) < 10_000
    assert not re.findall(r"(?:href|src|url)\W+https?:", PICTURE)


@pytest.mark.parametrize("room", sorted(set(rooms.rooms()) - rooms.DOORS - {"_version"}))
def test_every_room_says_what_it_holds(room: str) -> None:
    (row,) = [line for line in rooms.table().splitlines() if line.startswith(f"| [`{room}`]")]
    assert len(row.split("|")[2].strip()) > 20
