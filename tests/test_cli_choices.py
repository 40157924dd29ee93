"""What a caller of `bnfold fold` chooses on the command line: preference, nodes, number of folds."""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from support import MODELS, op_types

SAME = MODELS / "source_cnn_same.onnx"
KEPT = "node__native_batch_norm_legit_no_training__0"


def fold(*arguments: str | Path, model: Path = SAME) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bnfold", "fold", model, *arguments]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)


def test_by_default_the_normalization_in_front_of_zero_padding_stays_and_says_why(tmp_path: Path) -> None:
    ran = fold("-o", tmp_path / "o.onnx")
    assert ran.returncode == 0
    assert f"stays {KEPT}" in ran.stdout
    assert "--prefer no-batchnorm" in ran.stdout
    assert fold("--strict", "-o", tmp_path / "o.onnx").returncode == 1


def test_none_is_left_where_none_is_wanted_and_the_report_says_what_it_costs(tmp_path: Path) -> None:
    ran = fold("--prefer", "no-batchnorm", "--strict", "-o", tmp_path / "o.onnx", "--json", tmp_path / "o.json")
    assert ran.returncode == 0, ran.stderr
    assert "-1 nodes" in ran.stdout
    folded = op_types(onnx.load(tmp_path / "o.onnx"))
    assert "BatchNormalization" not in folded
    assert "Max" in folded
    (settled,) = json.loads((tmp_path / "o.json").read_text("utf-8"))["settled"]
    assert settled["affines"] == [KEPT]
    assert settled["nodes"] == -1


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["--only", KEPT], 2),
        (["--only", "*_1__0"], 1),
        (["--skip", "*_1__0"], 2),
        (["--max-folds", "0"], 2),
        (["--max-folds", "1"], 1),
        (["--no-residuals"], 1),
    ],
)
def test_nodes_and_the_number_of_folds_are_chosen(arguments: list[str], left: int, tmp_path: Path) -> None:
    assert fold(*arguments, "-o", tmp_path / "o.onnx").returncode == 0
    assert op_types(onnx.load(tmp_path / "o.onnx")).count("BatchNormalization") == left


@pytest.mark.parametrize("arguments", [["--only", "nope"], ["--prefer", "size"], ["--max-folds", "-1"]])
def test_a_choice_that_makes_no_sense_is_one_sentence(arguments: list[str], tmp_path: Path) -> None:
    ran = fold(*arguments, "-o", tmp_path / "o.onnx")
    assert ran.returncode == 2
    assert ran.stderr.startswith("bnfold: ")
    assert len(ran.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "o.onnx").exists()
