"""Providers: their names, what a session proves about them, and the sentence for what is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import onnx.parser
import onnxruntime
import pytest
from command_line import Run
from support import MODELS

import bnfold
from bnfold.errors import ModelError, RuntimeUnavailable, UsageError
from bnfold.runtime import CPU, CUDA, describe_placement, installed_providers, open_session, provider_name, versions
from bnfold.runtime.placement import computes
from bnfold.runtime.providers import (
    TF32_VARIABLE,
    driver_problem,
    import_onnxruntime,
    prepare,
    provider_options,
    why_unusable,
)

without_a_driver = pytest.mark.skipif(driver_problem() is None, reason="there is an NVIDIA device on this machine")

# Names


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("cpu", CPU),
        ("CPU", CPU),
        (CPU, CPU),
        ("cuda", CUDA),
        ("CUDA", CUDA),
        (CUDA, CUDA),
        ("tensorrt", "TensorrtExecutionProvider"),
        ("coreml", "CoreMLExecutionProvider"),
    ],
)
def test_a_provider_has_a_short_name_and_onnxruntime_s(given: str, name: str) -> None:
    assert provider_name(given) == name


@pytest.mark.parametrize("name", ["gpu", "", "cuda ", "cudaa"])
def test_an_unknown_provider_is_a_usage_error_that_lists_those_there_are(name: str) -> None:
    path = MODELS / "mlp.onnx"
    with pytest.raises(UsageError, match=r"no execution provider '.*'; there are: .*\bcpu, cuda, .*, and all"):
        bnfold.check(path, path, provider=name)


def test_the_cpu_is_the_first_of_the_installed_providers() -> None:
    assert installed_providers()[0] == CPU
    assert set(installed_providers()) == set(onnxruntime.get_available_providers())


def test_an_onnxruntime_that_is_too_old_is_told_and_not_a_fault_of_bnfold_s_own(
    monkeypatch: pytest.MonkeyPatch, run: Run, tmp_path: Path
) -> None:
    name = "get_provider_graph_assignment_info"
    monkeypatch.delattr(next(kind for kind in onnxruntime.InferenceSession.__mro__ if name in vars(kind)), name)
    outcome = run("fold", MODELS / "mlp.onnx", "-o", tmp_path / "out.onnx")
    assert outcome.status == 2
    assert "can not say which provider took which node, as onnxruntime 1.24.1 and later can; install it" in outcome.err
    assert run("fold", MODELS / "mlp.onnx", "-o", tmp_path / "out.onnx", "--no-check").status == 0


def test_versions_name_the_package_that_is_installed() -> None:
    found = versions()
    assert found
    assert all(metadata.version(name) == version for name, version in found.items())


# Placement


def test_a_provider_that_took_only_shape_and_identity_ran_nothing() -> None:
    assert not computes({CUDA: ("Shape", "Identity"), CPU: ("Conv",)}, CUDA)
    assert not computes({CUDA: ("MemcpyFromHost", "MemcpyToHost", "Reshape"), CPU: ("Gemm", "Relu")}, CUDA)
    assert not computes({CPU: ("Conv",)}, CUDA)


def test_a_provider_that_took_one_node_that_computes_ran_the_model() -> None:
    assert computes({CUDA: ("Conv", "Shape"), CPU: ("Gather",)}, CUDA)


def test_where_no_node_computes_any_node_counts() -> None:
    assert computes({CUDA: ("Identity",)}, CUDA)
    assert not computes({CPU: ("Identity",)}, CUDA)
    assert computes({}, CUDA), "not one node is left to place"


@pytest.mark.parametrize(
    ("placement", "words"),
    [
        ({CUDA: ("Conv", "Relu")}, f"2 of 2 nodes on {CUDA}"),
        ({CUDA: ("Conv",), CPU: ("Shape", "Gather", "Shape")}, f"1 of 4 nodes on {CUDA}; on {CPU}: Gather, 2 Shape"),
        ({CPU: ("Conv",)}, f"0 of 1 nodes on {CUDA}; on {CPU}: Conv"),
        ({}, f"no node is left to run on {CUDA}"),
    ],
)
def test_a_placement_is_told_in_one_line(placement: dict[str, tuple[str, ...]], words: str) -> None:
    assert describe_placement(placement, CUDA) == words


# What is missing


@without_a_driver
def test_without_a_driver_or_a_device_the_driver_is_what_is_missing() -> None:
    assert "driver" in (driver_problem() or "")


@without_a_driver
def test_without_a_driver_cuda_is_an_error_and_all_is_a_run_on_the_cpu(capfd: pytest.CaptureFixture[str]) -> None:
    path = MODELS / "residual.onnx"
    with pytest.raises(RuntimeUnavailable, match=r"driver|onnxruntime.* has no CUDAExecutionProvider, only .*CPU"):
        bnfold.check(path, path, provider="cuda")
    report = bnfold.check(path, path, provider="all")
    assert report
    assert CUDA not in {each.matchup.after for each in report.comparisons}
    assert CUDA not in installed_providers() or any(remark.startswith(CUDA) for remark in report.remarks)
    assert capfd.readouterr() == ("", "")


@without_a_driver
def test_a_session_is_not_prepared_where_there_is_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TF32_VARIABLE, raising=False)
    with pytest.raises(RuntimeUnavailable, match="driver"):
        prepare(onnxruntime, CUDA, tf32=False)
    assert TF32_VARIABLE not in os.environ


def test_another_provider_says_that_its_device_or_the_operators_are_missing() -> None:
    assert "device" in why_unusable("QNNExecutionProvider")


def test_a_provider_that_is_not_built_in_is_named_with_those_that_are() -> None:
    missing = next(name for name in onnxruntime.get_all_providers() if name not in installed_providers())
    with pytest.raises(RuntimeUnavailable, match=rf"has no {missing}, only .*{CPU}"):
        open_session(MODELS / "mlp.onnx", provider=missing)


# Preparing


def test_only_cuda_has_options_and_tf32_is_off_unless_asked_for() -> None:
    assert provider_options(CPU, tf32=True) == {}
    assert provider_options(CUDA, tf32=False)["use_tf32"] == "0"
    assert provider_options(CUDA, tf32=True)["use_tf32"] == "1"


def test_the_environment_is_left_alone_on_the_cpu() -> None:
    path = MODELS / "mlp.onnx"
    program = (
        f"import os, bnfold; assert bnfold.check({str(path)!r}, {str(path)!r}); print({TF32_VARIABLE!r} in os.environ)"
    )
    environment = {name: value for name, value in os.environ.items() if name != TF32_VARIABLE}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


@pytest.mark.cuda
def test_tf32_is_off_in_the_environment_unless_the_caller_has_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    if problem := driver_problem():
        pytest.skip(problem)
    monkeypatch.delenv(TF32_VARIABLE, raising=False)
    prepare(onnxruntime, CUDA, tf32=False)
    assert os.environ[TF32_VARIABLE] == "0"
    prepare(onnxruntime, CUDA, tf32=True)
    assert TF32_VARIABLE not in os.environ
    monkeypatch.setenv(TF32_VARIABLE, "1")
    prepare(onnxruntime, CUDA, tf32=False)
    assert os.environ[TF32_VARIABLE] == "1"


# onnxruntime's words


def test_no_place_in_onnxruntime_s_sources_is_told() -> None:
    graph = "g (float[N, 4] x) => (float[A, B] y) <float[3, 2] w = {1, 2, 3, 4, 5, 6}> { y = MatMul(x, w) }"
    model = onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 17]> ' + graph)
    with pytest.raises(ModelError, match="MatMul") as caught:
        bnfold.check(model, model)
    assert ".h:" not in str(caught.value)
    assert ".cc:" not in str(caught.value)


class _Interrupted(MetaPathFinder):
    """A signal that comes while a module's C++ begins, which makes of it what pybind11 and numpy's C API do."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        if name == "onnxruntime":
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                raise ImportError("import numpy failed") from None
        return None


def test_a_signal_while_onnxruntime_is_imported_does_not_mean_that_it_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_Interrupted(), *sys.meta_path])
    with pytest.raises(KeyboardInterrupt):
        import_onnxruntime("CPUExecutionProvider")
    assert "onnxruntime" in sys.modules, "it was not imported to the end"
