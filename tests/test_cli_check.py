"""`bnfold check`: what it prints, which status it exits with, and what it writes for machines."""

import json
import math
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from command_line import Outcome, bnfold_process
from onnx import ModelProto, numpy_helper
from support import MODELS, graph_model

import bnfold
from bnfold.report.checks import rounded_up


def bnfold_check(*arguments: str | Path, **environment: str) -> Outcome:
    return bnfold_process("check", *arguments, **environment)


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("folded") / "residual.folded.onnx"
    bnfold.fold(MODELS / "residual.onnx").save(path)
    return path


@pytest.fixture(scope="module")
def faulty(folded: Path) -> Path:
    """One weight of the last linear operator, by 1 in 100."""
    model = onnx.load(folded)
    tensor = next(tensor for tensor in reversed(model.graph.initializer) if len(tensor.dims) == 2)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] += 0.01
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, folded.with_name("faulty.onnx"))
    return folded.with_name("faulty.onnx")


def saved(model: ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


def test_equal_models_exit_with_0_and_show_error_noise_tolerance_and_placement(folded: Path) -> None:
    outcome = bnfold_check(MODELS / "residual.onnx", folded)
    assert (outcome.status, outcome.err) == (0, "")
    assert "onnxruntime, CPUExecutionProvider, graph optimisation off\n" in outcome.out
    assert "  before: 26 of 26 nodes on CPUExecutionProvider\n" in outcome.out
    assert "  after: 20 of 20 nodes on CPUExecutionProvider\n" in outcome.out
    row = next(line for line in outcome.out.splitlines() if line.startswith("logits"))
    _, error, noise, tolerance, relative, verdict = row.split()
    assert verdict == "equal"
    assert 0 < float(error) < float(tolerance)
    assert 0 < float(noise) < float(tolerance)
    assert "would pass with --rtol" in outcome.out
    assert f"{float(relative):.1e}"[:3] in outcome.out


def test_the_tolerance_that_would_have_passed_passes_and_a_smaller_one_does_not(folded: Path) -> None:
    outcome = bnfold_check(MODELS / "residual.onnx", folded)
    needed = outcome.out.split("--rtol ")[1].split()[0]
    assert bnfold_check(MODELS / "residual.onnx", folded, "--rtol", needed).status == 0
    assert bnfold_check(MODELS / "residual.onnx", folded, "--rtol", str(float(needed) * 0.8)).status == 1


@pytest.mark.parametrize("value", [3.749e-7, 3.75e-7, 9.99e-3, 1.0, 0.0123, 1e-300, math.inf])
def test_what_is_rounded_up_is_never_less(value: float) -> None:
    assert value <= float(rounded_up(value)) <= value * 1.1


def test_a_difference_exits_with_1_and_names_the_output(faulty: Path) -> None:
    outcome = bnfold_check(MODELS / "residual.onnx", faulty)
    assert outcome.status == 1
    assert "different" in outcome.out
    assert outcome.err.startswith("bnfold: output 'logits' is off by ")
    assert outcome.err.count("\n") == 1


def test_what_shows_nothing_exits_with_1_unless_it_is_allowed(tmp_path: Path) -> None:
    constant = saved(graph_model("(float[N,3] x) => (float[N,3] y) { z = Sub(x, x) y = Relu(z) }"), tmp_path / "m.onnx")
    outcome = bnfold_check(constant, constant)
    assert outcome.status == 1
    assert "shows nothing: it does not depend on the inputs" in outcome.err
    assert bnfold_check(constant, constant, "--allow-vacuous").status == 0


def test_as_deployed_is_a_comparison_of_its_own(folded: Path) -> None:
    outcome = bnfold_check(MODELS / "residual.onnx", folded, "--optimized")
    assert outcome.status == 0
    assert "CPUExecutionProvider, graph optimisation off\n" in outcome.out
    assert "CPUExecutionProvider, graph optimisation on, as deployed\n" in outcome.out


def test_all_is_each_provider_that_can_run_and_says_why_the_others_can_not(folded: Path) -> None:
    import onnxruntime

    outcome = bnfold_check(MODELS / "residual.onnx", folded, "--provider", "all")
    assert outcome.status == 0
    assert "onnxruntime, CPUExecutionProvider, graph optimisation off\n" in outcome.out
    for name in set(onnxruntime.get_available_providers()) - {"CPUExecutionProvider"}:
        assert f"onnxruntime, {name}, " in outcome.out or f"{name} is left out: " in outcome.out


def test_the_document_holds_everything_and_repeats_itself(folded: Path, tmp_path: Path) -> None:
    texts = [bnfold_check(MODELS / "residual.onnx", folded, "--json", "-", "--seed", "5").out for _ in range(2)]
    assert texts[0] == texts[1]
    document = json.loads(texts[0])
    assert document["schema"] == 2
    assert document["equal"] is True
    assert (document["seed"], document["draws"]) == (5, document["draws"])
    (comparison,) = document["comparisons"]
    assert comparison["placement_after"]["CPUExecutionProvider"]["Conv"] == 6
    (output,) = comparison["outputs"]
    assert output["max_abs"] <= output["tolerance"]
    assert output["needed"] == output["max_abs"]
    assert sum(output["ulps"]) == 20
    assert "onnxruntime" in document["versions"]


def test_a_junit_file_has_a_case_per_output_and_a_failure_per_difference(folded: Path, faulty: Path) -> None:
    target = folded.with_name("junit.xml")
    for model, failures in ((folded, 0), (faulty, 1)):
        outcome = bnfold_check(MODELS / "residual.onnx", model, "--junit", target)
        assert outcome.status == failures
        suite = ElementTree.parse(target).getroot().find("testsuite")
        assert suite is not None
        assert (suite.get("tests"), suite.get("failures")) == ("1", str(failures))
        case = suite.find("testcase")
        assert case is not None
        assert case.get("name") == "logits"
        assert [failure.get("type") for failure in case.findall("failure")] == ["different"] * failures


@pytest.mark.parametrize("target", ["--json", "--junit"])
def test_a_document_is_never_written_over_a_model(folded: Path, target: str) -> None:
    before = folded.read_bytes()
    outcome = bnfold_check(MODELS / "residual.onnx", folded, target, folded)
    assert outcome.status == 2
    assert "is the model itself" in outcome.err
    assert folded.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--provider", "abacus"], "onnxruntime knows no execution provider 'abacus'; there are: .*cpu"),
        (["--draws", "0"], "at least one draw"),
        (["--seed", "-1"], "seed has to be 0 or more"),
        (["--rtol", "nan"], "rtol has to be a finite number"),
        (["--data", "nowhere.npz"], "nowhere.npz"),
        (["--junit", "nowhere/j.xml"], "'nowhere/j.xml' can not be written"),
    ],
)
def test_bad_usage_exits_with_2_and_one_sentence(folded: Path, arguments: list[str], said: str) -> None:
    import re

    outcome = bnfold_check(MODELS / "residual.onnx", folded, *arguments)
    assert outcome.status == 2
    assert re.fullmatch(rf"bnfold: [^\n]*{said}[^\n]*\n", outcome.err), outcome.err


def test_other_inputs_and_no_model_at_all_exit_with_2(folded: Path, tmp_path: Path) -> None:
    other = saved(graph_model("(float[N,3] picture) => (float[N,3] logits) { logits = Relu(picture) }"), tmp_path / "o")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    unknown = saved(graph_model("(float[N,3] x) => (float[N,3] y) { y = Nonsense(x) }"), tmp_path / "u.onnx")
    for arguments, said in (
        ((MODELS / "residual.onnx", other), "different inputs: 'image' only before and 'picture' only after"),
        ((MODELS / "residual.onnx", broken), "the model after can not be loaded"),
        ((tmp_path / "none.onnx", folded), "none.onnx"),
        ((unknown, unknown), "the model before can not be loaded: .*Nonsense"),
    ):
        outcome = bnfold_check(*arguments)
        assert outcome.status == 2, outcome
        assert "Traceback" not in outcome.err
        assert outcome.err.count("\n") == 1
        assert said.split(".*")[-1] in outcome.err


def test_too_little_memory_exits_with_2(tmp_path: Path) -> None:
    """Four billion elements a side do not fit any of these machines."""
    square = "(float[65536,1] a, float[1,65536] b) => (float[65536,65536] y) { c = Mul(a, b) d = Sin(c) y = Cos(d) }"
    path = saved(graph_model(square), tmp_path / "m.onnx")
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30));"
        f"sys.argv = ['bnfold', 'check', {str(path)!r}, {str(path)!r}]; from bnfold.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("bnfold: ")


def test_assert_equivalent_returns_the_report_or_raises_with_the_table(folded: Path, faulty: Path) -> None:
    report = bnfold.assert_equivalent(MODELS / "residual.onnx", folded)
    assert report.outputs[0].ok
    with pytest.raises(AssertionError, match="output 'logits' is off by") as raised:
        bnfold.assert_equivalent(MODELS / "residual.onnx", faulty)
    assert "max |y-y'|" in str(raised.value)
    assert "before: 26 of 26 nodes on CPUExecutionProvider" in str(raised.value)


def test_data_in_several_files_is_compared_file_by_file(folded: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for number in range(2):
        np.savez(tmp_path / f"{number}.npz", image=rng.standard_normal((4, 1, 8, 8)).astype(np.float32))
    arguments = [argument for number in range(2) for argument in ("--data", tmp_path / f"{number}.npz")]
    outcome = bnfold_check(MODELS / "residual.onnx", folded, *arguments)
    assert outcome.status == 0
    assert "image float32[4, 1, 8, 8]" in outcome.out
