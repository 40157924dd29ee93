"""SECURITY.md: the tests that it names exist, the limits are those of the code, and nothing runs what a file says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from support import ROOT

from bnfold import affine
from bnfold.folding import attempt, rounds
from bnfold.model import calls, pieces, sparse, tensors
from bnfold.runtime import inputs

PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))

RUNNING = {"marshal", "shelve", "runpy", "code", "dill", "joblib"}
"""Modules that run what they read."""


@pytest.mark.parametrize(("file", "name"), NAMED, ids=lambda text: str(text).rpartition("/")[2])
def test_every_promise_names_a_test_that_is_there(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_promise_names_what_keeps_it() -> None:
    promises = PAGE.split("## What bnfold promises")[1].split("\n## ")[0].split("\n- **")[1:]
    assert len(promises) >= 8
    assert all("`tests/" in promise or "docs/reliability.md" in promise for promise in promises)


def test_the_limits_are_those_of_the_code() -> None:
    assert tensors.MOST_AXES == 32
    assert affine.MOST_CHANNELS == 2**24
    assert pieces.MAX_MADE == sparse.MAX_DENSE == 2**26
    assert (rounds.ROOM, rounds.ROOM_PER_BYTE) == (512 << 20, 4)
    assert attempt.MAX_CHAIN == 64
    assert (calls.MOST_PUT_IN, calls.DEEPEST) == (2**20, 100)
    assert inputs._MOST_ELEMENTS == 2**28


def imported_by(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in found}


def called_by(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls_in = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {func.id for func in calls_in if isinstance(func, ast.Name)}


def test_nothing_unpickles_evaluates_or_loads_what_a_file_names() -> None:
    for path in (ROOT / "bnfold").rglob("*.py"):
        assert not imported_by(path) & RUNNING, path
        assert not called_by(path) & {"eval", "exec", "compile", "__import__"}, path
        text = path.read_text(encoding="utf-8")
        if (
            path.name != "providers.py"
        ):  # which loads libraries of onnxruntime's own, to say why a provider can not be used
            assert not re.search("register_custom_ops_library|CDLL|LoadLibrary", text), path
        assert not re.search(r"allow_pickle=True|pickle\.loads?\(|Unpickler\(", text), path
        assert "torch.load(" not in text or "weights_only=True" in text, path
