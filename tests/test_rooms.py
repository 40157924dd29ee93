"""A room stands only on rooms above it, and only one room changes a graph."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "bnfold"

# For each room, the rooms that it may stand on besides itself.
BELOW: dict[str, set[str]] = {
    "_version": set(),
    "errors": set(),
    "values": set(),
    "affine": {"errors", "values"},
    "model": {"errors", "values", "affine"},
    "runtime": {"errors", "model"},
    "ops": {"errors", "values", "affine", "model"},
    "folding": {"errors", "values", "affine", "model", "ops"},
    "inserting": {"errors", "model", "runtime", "ops"},
    "checking": {"errors", "model", "runtime", "torch"},
    "torch": {"errors", "model"},
    "training": {"errors", "model", "runtime", "folding", "inserting", "checking", "torch"},
    "report": {"_version", "errors", "model", "runtime", "folding", "inserting", "checking", "torch", "training"},
    "api": {"errors", "model", "runtime", "folding", "inserting", "checking", "torch", "training", "report"},
    "passes": {"errors", "folding", "model", "api"},
    "cli": {
        *{"_version", "errors", "model", "runtime", "inserting", "folding", "checking", "torch", "training"},
        *{"report", "api"},
    },
    "__main__": {"cli"},
    "__init__": {"_version", "errors", "folding", "inserting", "checking", "training", "api"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bnfold"):
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "bnfold" else [module]
            yield from (name.split(".")[1] for name in names)
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("bnfold."))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_stands_only_on_rooms_above_it(path: Path) -> None:
    room = room_of(path)
    assert set(imports_of(path)) - {room} <= BELOW[room]


def test_every_room_is_listed() -> None:
    assert {room_of(path) for path in FILES} == set(BELOW)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_patches_and_the_writer_change_a_model(path: Path) -> None:
    if path.name in {"patch.py", "inlining.py", "writing.py", "shapes.py"}:  # shapes.py fills a skeleton of its own
        return
    called = {
        node.func.attr
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert not called & {"CopyFrom", "MergeFrom"} or path.name == "tensors.py"
