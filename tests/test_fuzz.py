"""A short run of the fuzzer; the long one is `python tests/fuzz/run.py`, and its figures are in docs/reliability.md."""

from __future__ import annotations

import random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from fuzz import seeds
from fuzz.mutate import mutated_model
from onnx import ModelProto

import bnfold

RUN = Path(__file__).with_name("fuzz") / "run.py"


def fuzz(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RUN), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(("target", "runs"), [("reader", 6000), ("fold", 1500)])
def test_models_changed_at_random_do_no_harm(target: str, runs: int, tmp_path: Path) -> None:
    done = fuzz(tmp_path, target, "--plain", "--runs", str(runs), "--seed", "1")
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{runs} models, no finding" in done.stdout


@pytest.mark.skipif(
    find_spec("atheris") is None, reason="atheris is not installed: it has wheels for Python 3.11 alone"
)
@pytest.mark.parametrize(("target", "runs"), [("reader", 3000), ("fold", 500)])
def test_models_changed_by_atheris_do_no_harm(target: str, runs: int, tmp_path: Path) -> None:
    done = fuzz(tmp_path, target, "--runs", str(runs))
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{runs} models, no finding" in done.stdout


def test_the_corpus_is_what_its_script_makes(tmp_path: Path) -> None:
    made = {f"{name}.onnx": model.SerializeToString(deterministic=True) for name, model in seeds.models()}
    assert {path.name: path.read_bytes() for path in seeds.CORPUS.iterdir()} == made


def test_the_corpus_folds_or_says_why() -> None:
    """A corpus that is refused as a whole would try nothing."""
    folded = [path for path in seeds.CORPUS.iterdir() if path.stem != "external" and bnfold.fold(path)]
    assert len(folded) > 20


def test_a_model_with_names_that_are_no_text_is_changed_like_any_other() -> None:
    model = ModelProto(ir_version=10)
    model.graph.node.add(op_type="Add", input=["aaaa", "bbbb"], output=["y"])
    raw = model.SerializeToString().replace(b"aaaa", b"aaa\xf4")
    made = {mutated_model(raw, raw, random.Random(seed)) for seed in range(500)}
    assert len(made) > 200


# --- That the fuzzer finds what there is to be found ---


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which modules are imported first: one of them breaks bnfold when Python starts."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "sitecustomize.py"


def test_a_traceback_is_a_finding(broken: Path, tmp_path: Path) -> None:
    broken.write_text("import bnfold.model.order as order\norder._is_in_order = lambda scope: 1 / 0\n")
    done = fuzz(tmp_path, "fold", "--plain", "--runs", "200")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    finding = tmp_path / "finding-fold.onnx"
    assert ModelProto.FromString(finding.read_bytes())
    assert fuzz(tmp_path, "fold", finding).returncode == 1


def test_a_lost_byte_is_a_finding(broken: Path, tmp_path: Path) -> None:
    broken.write_text(
        "import bnfold.model.streaming as s\n"
        "s._range = lambda source, start, end: s.Range(source, start, max(end - start - 1, 0))\n"
    )
    done = fuzz(tmp_path, "reader", "--plain", "--runs", "100")
    assert done.returncode == 1
    assert "an unchanged model is written as another one" in done.stderr


def test_a_file_outside_of_the_folder_is_a_finding(broken: Path, tmp_path: Path) -> None:
    """The corpus has external data; its data file is taken for another one here."""
    broken.write_text(
        "from pathlib import Path\nimport bnfold.model.external as e\n"
        "e._path = lambda tensor, location, base_dir: Path('/etc/passwd')\n"
    )
    done = fuzz(tmp_path, "reader", seeds.CORPUS / "external.onnx")
    assert done.returncode == 1
    assert "opened outside of the model's folder: ['open /etc/passwd']" in done.stderr


def test_a_crash_is_a_finding(broken: Path, tmp_path: Path) -> None:
    broken.write_text("import os, bnfold.model.wire as w\nw._field = lambda *rest: os.abort()\n")
    assert fuzz(tmp_path, "reader", "--plain", "--runs", "10").returncode == 1
    assert (tmp_path / "finding-reader.onnx").exists()


@pytest.mark.parametrize("finding", sorted(seeds.FINDINGS.iterdir()), ids=lambda path: path.stem)
def test_what_was_found_once_does_no_harm(finding: Path, tmp_path: Path) -> None:
    target = finding.name.partition("_")[0]
    done = fuzz(tmp_path, target, *[finding] * 16)  # so often that it is tried in each way that the target has
    assert done.returncode == 0, done.stderr[-3000:]
