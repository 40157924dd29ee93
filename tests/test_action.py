"""action.yml does what a workflow asks of it: its steps run here as a runner would run them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import pytest
from support import MODELS, ROOT

import bnfold

yaml: Any = pytest.importorskip("yaml", reason="pyyaml reads the action")
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: dict[str, dict[str, Any]] = {step["id"]: step for step in ACTION["runs"]["steps"]}
EXPRESSION = re.compile(r"\$\{\{ (.*?) \}\}")


class Runner:
    """What GitHub's runner does with the steps of a composite action, as far as this one needs it."""

    def __init__(self, folder: Path, **inputs: str) -> None:
        self.temp, self.workspace = folder / "temp", folder / "workspace"
        for place in (self.temp, self.workspace):
            place.mkdir(parents=True, exist_ok=True)
        shutil.copy(MODELS / "residual.onnx", self.workspace / "model.onnx")
        self.context = {f"inputs.{name}": said.get("default", "") for name, said in ACTION["inputs"].items()}
        self.context |= {f"inputs.{name}": text for name, text in inputs.items()}
        self.printed = ""

    def step(self, name: str) -> int:
        """Run a step; its outputs are known to the steps behind it."""
        outputs = self.temp / "outputs"
        outputs.write_text("", encoding="utf-8")
        given = {key: self.evaluated(text) for key, text in STEPS[name]["env"].items()}
        known = {"RUNNER_TEMP": self.temp, "GITHUB_OUTPUT": outputs, "GITHUB_ACTION_PATH": ROOT}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[name]["run"]],
            cwd=self.workspace,
            env={**os.environ, **{key: str(value) for key, value in known.items()}, **given},
            capture_output=True,
            text=True,
            check=False,
        )
        self.printed = done.stdout + done.stderr
        for line in outputs.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            self.context[f"steps.{name}.outputs.{key}"] = value
        return done.returncode

    def evaluated(self, text: str) -> str:
        """A text whose expressions have their values; what nobody has set is empty."""
        return EXPRESSION.sub(lambda found: self.context.get(found[1], ""), text)

    def outputs(self) -> Mapping[str, str]:
        return {name: self.evaluated(said["value"]) for name, said in ACTION["outputs"].items()}


@pytest.fixture
def installed(tmp_path: Path) -> Runner:
    """A runner on which the installation has been done: the environment of these tests."""
    runner = Runner(tmp_path, model="model.onnx")
    runner.context["steps.install.outputs.bin"] = str(Path(sys.executable).parent)
    return runner


def test_a_model_is_folded_and_the_outputs_say_so(installed: Runner) -> None:
    assert installed.step("fold") == 0, installed.printed
    outputs = installed.outputs()
    assert (outputs["folded"], outputs["kept"], outputs["result"]) == ("6", "0", "model.folded.onnx")
    made = onnx.load(installed.workspace / outputs["result"])
    assert not [node for node in made.graph.node if node.op_type == "BatchNormalization"]
    assert bnfold.check(installed.workspace / "model.onnx", installed.workspace / outputs["result"])
    assert '"folded"' in Path(outputs["report"]).read_text(encoding="utf-8")


def test_output_and_options_are_passed_on(installed: Runner) -> None:
    installed.context |= {"inputs.output": "to serve.onnx", "inputs.args": "--max-folds 2 --no-residuals"}
    assert installed.step("fold") == 0, installed.printed
    outputs = installed.outputs()
    assert (outputs["folded"], outputs["kept"], outputs["result"]) == ("2", "4", "to serve.onnx")
    assert (installed.workspace / "to serve.onnx").exists()


def test_options_on_a_second_line_are_heard(installed: Runner) -> None:
    installed.context["inputs.args"] = "--max-folds 2\n--strict\n"
    assert installed.step("fold") == 1
    assert (installed.outputs()["folded"], installed.outputs()["kept"]) == ("2", "4")


def test_what_stays_with_strict_fails_the_step_and_is_still_counted(installed: Runner) -> None:
    installed.context["inputs.args"] = "--max-folds 2 --strict"
    assert installed.step("fold") == 1
    assert (installed.outputs()["folded"], installed.outputs()["kept"]) == ("2", "4")


def test_a_model_that_is_not_there_fails_the_step_with_a_sentence(installed: Runner) -> None:
    installed.context["inputs.model"] = "nothing.onnx"
    assert installed.step("fold") == 2
    assert "'nothing.onnx' does not exist" in installed.printed
    assert not any(installed.outputs().values())


def test_an_input_is_never_a_command(installed: Runner) -> None:
    for name in ("model", "output", "provider", "args"):
        installed.context[f"inputs.{name}"] = "$(touch harm) `touch harm`; touch harm"
        installed.step("fold")
    assert not list(installed.workspace.parent.rglob("harm"))
    assert not [step for step in STEPS.values() if EXPRESSION.search(step["run"])]


def test_every_output_comes_from_a_step_that_sets_it(installed: Runner) -> None:
    installed.step("fold")
    assert all(installed.outputs().values())
    assert all("description" in said for said in (*ACTION["inputs"].values(), *ACTION["outputs"].values()))


@pytest.mark.slow
def test_the_action_installs_what_it_needs(tmp_path: Path) -> None:
    runner = Runner(tmp_path, model="model.onnx")
    assert runner.step("install") == 0, runner.printed
    assert runner.step("fold") == 0, runner.printed
    assert runner.outputs()["folded"] == "6"
