"""The examples run as their first lines say; those that need keras are in test_keras_export.py."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from support import MODELS, ROOT

import bnfold


def test_the_example_for_people_s_own_tests_passes() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/test_equivalence.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout or ".." in done.stdout


def test_the_example_of_a_loss_and_data_of_one_s_own_trains_and_writes_both_models(tmp_path: Path) -> None:
    for package in ("torch", "sklearn"):
        pytest.importorskip(package, reason=f"the example needs {package}")
    command = [sys.executable, "-W", "error", "examples/finetune.py", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before, folded = (float(done.stdout.split()[index]) for index in (1, 3))
    assert folded < 0.6 * before
    assert bnfold.check(tmp_path / "digits.trained.onnx", tmp_path / "digits.folded.onnx")


def example(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run an example as its first lines say, with the `bnfold` and the `python3` of this environment."""
    program = ["bash"] if name.endswith(".sh") else [sys.executable]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [*program, str(ROOT / "examples" / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path})


def test_the_example_of_arrays_folds_without_onnxruntime_and_torch(tmp_path: Path) -> None:
    done = example("numpy_only.py", tmp_path / "folded.onnx")
    assert done.returncode == 0, done.stderr
    assert "nodes: 6 before, 4 after" in done.stdout
    assert "imported: onnxruntime False, torch False" in done.stdout
    assert not bnfold.inspect(tmp_path / "folded.onnx")


def test_the_example_of_a_deployment_puts_only_what_is_proved_into_place(tmp_path: Path) -> None:
    served = tmp_path / "served"
    assert example("deploy.sh", MODELS / "nothing.onnx", served).returncode == 2
    assert example("deploy.sh", MODELS / "residual.onnx").returncode == 2
    stayed = example("deploy.sh", MODELS / "source_cnn_same.onnx", served)
    assert (stayed.returncode, "stayed [shift]" in stayed.stderr) == (1, True)
    assert not served.exists()
    done = example("deploy.sh", MODELS / "residual.onnx", served)
    assert (done.returncode, done.stdout) == (0, f"{served}/residual.onnx: 6 folded, 0 kept, equal: True\n")
    assert {path.name for path in served.iterdir()} == {"residual.onnx", "fold.json"}
    again = example("deploy.sh", served / "residual.onnx", tmp_path / "again")
    assert (again.returncode, "0 folded, 0 kept" in again.stdout) == (0, True), again.stderr
    assert (tmp_path / "again" / "residual.onnx").read_bytes() == (served / "residual.onnx").read_bytes()


def test_the_example_of_a_deployment_takes_the_data_file_along(tmp_path: Path) -> None:
    model, served = tmp_path / "m.onnx", tmp_path / "served"
    onnx.save(onnx.load(MODELS / "residual.onnx"), model, save_as_external_data=True, location="m.data")
    done = example("deploy.sh", model, served)
    assert done.returncode == 0, done.stderr
    assert bnfold.check(model, served / "m.onnx")


def test_the_example_of_exports_leaves_nothing_but_what_normalizes_by_the_batch() -> None:
    for package in ("torch", "onnxscript"):
        pytest.importorskip(package, reason=f"the example needs {package}")
    done = example("after_export.py")
    assert done.returncode == 0, done.stderr
    left = {line[:40].strip(): line[40:].split()[2:] for line in done.stdout.splitlines()[1:]}
    assert left.pop("TorchScript, training=TRAINING") == ["2", "training"]
    assert len(left) == 6
    assert all(entry == ["0"] for entry in left.values())


def test_the_example_of_a_quantization_has_fewer_nodes_and_is_as_right() -> None:
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    done = example("quantize.py")
    assert done.returncode == 0, done.stderr
    rows = [line.replace("as it is", "as").split() for line in done.stdout.splitlines() if "%" in line]
    for before, _, folded in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
        assert (before[0], folded[0]) == ("as", "folded")
        assert before[1] == folded[1]
        assert float(folded[3][:-1]) > float(before[3][:-1]) - 2
        assert (int(folded[-2]), int(folded[-1]) < int(before[-1])) == (0, True)


def test_the_example_of_a_workflow_gives_the_action_what_it_takes() -> None:
    yaml: Any = pytest.importorskip("yaml", reason="pyyaml reads the workflow")
    action, workflow = (
        yaml.safe_load((ROOT / name).read_text(encoding="utf-8")) for name in ("action.yml", "examples/workflow.yml")
    )
    steps = workflow["jobs"]["fold"]["steps"]
    (fold,) = [step for step in steps if step.get("id") == "fold"]
    assert set(fold["with"]) <= set(action["inputs"])
    assert all(name in fold["with"] for name, said in action["inputs"].items() if said.get("required"))
    used = [word.split("}")[0].strip() for word in str(steps).split("steps.fold.outputs.")[1:]]
    assert set(used) <= set(action["outputs"])


def test_the_example_of_an_olive_pass_folds_in_a_workflow_of_olive(tmp_path: Path) -> None:
    pytest.importorskip("olive", reason="olive-ai is not installed; see docs/pipelines.md")
    done = example("olive_pass.py", MODELS / "residual.onnx", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("model.onnx: 0 affines left, equal on CPUExecutionProvider\n")
