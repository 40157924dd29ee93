"""What is brought to the disk before a result takes its name, and what is not waited for (ADR 14)."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest
from support import graph_model, normal, parameters

import bnfold

SYNCS = ("fsync", "fdatasync")
"""How a process waits for the disk."""


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Flushes and renames in their order; all of them happen."""
    seen: list[str] = []
    for name in (*SYNCS, "replace"):
        told = getattr(os, name)

        def call(*given: object, told: object = told, name: str = name) -> object:
            seen.append("flush" if name in SYNCS else name)
            assert callable(told)
            return told(*given)

        monkeypatch.setattr(os, name, call)
    monkeypatch.setattr("bnfold.model.flushing._SYNC", os.fdatasync)
    return seen


def model() -> onnx.ModelProto:
    return graph_model(
        "(float[1, 16, 4, 4] x) => (float[1, 16, 4, 4] y) "
        "{ t = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w) y = BatchNormalization (t, s, b, m, v) }",
        w=normal(16, 16, 3, 3),
        **parameters(16),
    )


@pytest.mark.parametrize("form", ["inline", "external"])
def test_a_new_file_is_not_waited_for(tmp_path: Path, events: list[str], form: str) -> None:
    bnfold.fold(model()).save(tmp_path / "new.onnx", form=form)
    assert "flush" not in events
    onnx.load(tmp_path / "new.onnx")


@pytest.mark.parametrize("form", ["inline", "external"])
def test_what_replaces_a_file_is_on_the_disk_before_it_does_and_so_is_the_rename(
    tmp_path: Path, events: list[str], form: str
) -> None:
    onnx.save(model(), tmp_path / "old.onnx")
    bnfold.fold(tmp_path / "old.onnx").save(tmp_path / "old.onnx", form=form)
    place = events.index("replace")
    assert "flush" in events[:place]
    assert "flush" in events[place:]
    assert not [node for node in onnx.load(tmp_path / "old.onnx").graph.node if node.op_type == "BatchNormalization"]


def test_a_file_that_comes_while_the_result_is_written_is_replaced_by_one_on_the_disk(
    tmp_path: Path, events: list[str]
) -> None:
    result = bnfold.fold(model())
    with result.staged(tmp_path / "m.onnx") as staged:
        assert events == []
        (tmp_path / "m.onnx").write_bytes(b"somebody else's")
        staged.commit()
    assert events[0] == "flush"
    onnx.load(tmp_path / "m.onnx")
