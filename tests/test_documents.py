"""docs/reference/documents.md says which keys a document has and of which type: real documents are compared with it."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "models"
PAGE = (ROOT / "docs" / "reference" / "documents.md").read_text(encoding="utf-8")

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float, type(None)),  # what is not finite is null
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
}


class Key(NamedTuple):
    """What the page says of a key: its type in words, and the section of the objects in it."""

    kind: str
    section: str


def sections() -> dict[str, dict[str, Key]]:
    found = {}
    for part in PAGE.split("\n## ")[1:]:
        rows = re.findall(r"^\| `(\w+)` \| (.*?): ", part, re.MULTILINE)
        found[part.partition("\n")[0]] = {
            name: Key(kind, link[1] if (link := re.search(r"\[(\w+)\]\(#", kind)) else "") for name, kind in rows
        }
    return found


SECTIONS = sections()


def compare(document: dict[str, Any], keys: dict[str, Key], where: str) -> None:
    assert set(document) == set(keys), where
    for name, key in keys.items():
        compare_value(document[name], key, f"{where}.{name}")


def compare_value(value: Any, key: Key, where: str) -> None:
    if key.kind.startswith("list of "):
        assert isinstance(value, list), where
        for entry in value:
            compare_value(entry, Key(key.kind.removeprefix("list of "), key.section), f"{where}[]")
    elif key.section and value is not None:
        compare(value, SECTIONS[key.section], where)
    elif key.section:
        assert key.kind.endswith(" or null"), where
    else:
        allowed = [kind for word in key.kind.split(" or ") for kind in TYPES[word]]
        assert type(value) in allowed, (where, value)


def document(*call: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "bnfold", *map(str, call), "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


@pytest.fixture
def images(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).uniform(size=(64, 1, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "images.npz", image=values)
    np.savez(tmp_path / "train.npz", image=values, target=np.arange(64) % 10)
    return tmp_path


def test_a_fold(tmp_path: Path) -> None:
    call = ("fold", MODELS / "source_cnn_pool.onnx", "-o", tmp_path / "folded.onnx", "--prefer")
    kept, settled = document(*call, "speed"), document(*call, "no-batchnorm")
    assert kept["kept"]
    assert settled["settled"]
    for found in (kept, settled):
        compare(found, SECTIONS["`bnfold fold`"], "fold")


def test_a_fold_of_several_models(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"no model")
    command = ["fold", str(MODELS / "mlp.onnx"), str(tmp_path / "no.onnx"), "--out-dir", str(tmp_path), "--json", "-"]
    done = subprocess.run([sys.executable, "-m", "bnfold", *command], capture_output=True, text=True)
    found = json.loads(done.stdout)
    compare(found, SECTIONS["`bnfold fold` of several models"], "fold")
    compare(found["models"][0], SECTIONS["`bnfold fold`"], "fold")
    assert set(found["models"][1]) == {"model", "error"}
    assert set(found["models"][1]["error"]) == {"status", "text"}
    assert set(found["summary"]) == {"models", "written", "folded", "kept", "status"}


def test_an_inspection() -> None:
    compare(document("inspect", MODELS / "source_cnn_pool.onnx"), SECTIONS["`bnfold inspect`"], "inspect")


def test_a_check_that_finds_a_difference() -> None:
    call = (
        "check",
        MODELS / "source_cnn.onnx",
        MODELS / "source_cnn_bn_first.onnx",
        "--locate",
        "--reference",
        "float64",
    )
    found = document(*call)
    assert found["location"]["first"]
    assert found["truths"]
    compare(found, {**SECTIONS["`bnfold check`"], **SECTIONS["check"]}, "check")


def test_an_insertion_and_a_calibration(tmp_path: Path, images: Path) -> None:
    bare, data = tmp_path / "bare.onnx", ("--data", images / "images.npz")
    compare(document("fold", MODELS / "residual.onnx", "-o", bare), SECTIONS["`bnfold fold`"], "fold")
    inserted = document("insert", bare, "-o", tmp_path / "inserted.onnx", *data)
    assert inserted["inserted"]
    assert inserted["skipped"]
    compare(inserted, SECTIONS["`bnfold insert`"], "insert")
    calibrated = document("calibrate", tmp_path / "inserted.onnx", "-o", tmp_path / "calibrated.onnx", *data)
    assert calibrated["calibrated"]
    compare(calibrated, SECTIONS["`bnfold calibrate`"], "calibrate")


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="trains, which needs bnfold[train]")
def test_a_training(tmp_path: Path, images: Path) -> None:
    log = tmp_path / "log.jsonl"
    call = ("train", MODELS / "residual.onnx", "-o", tmp_path / "trained.onnx", "--data", images / "train.npz")
    found = document(*call, "--epochs", 1, "--log", log)
    compare(found, SECTIONS["`bnfold train`"], "train")
    assert set(found["scores"]) == {"before", "best", "trained", "folded"}
    compare(json.loads(log.read_text(encoding="utf-8")), SECTIONS["epoch"], "log")


def test_every_section_is_reached() -> None:
    linked = {key.section for keys in SECTIONS.values() for key in keys.values()} - {""}
    assert linked == {name for name in SECTIONS if not name.startswith("`bnfold")}
