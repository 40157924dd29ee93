"""Sessions, on the real onnxruntime."""

from __future__ import annotations

import subprocess
import sys

import ml_dtypes
import numpy as np
import onnx.parser
import pytest

from bnfold.errors import ModelError, RuntimeUnavailable
from bnfold.runtime import CPU, CUDA, Port, draw_inputs, open_session


def text_model(graph: str, ir_version: int = 8) -> bytes:
    head = f'<ir_version: {ir_version}, opset_import: ["": 17]> '
    return onnx.parser.parse_model(head + graph).SerializeToString()


RELU = text_model("g (float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }")


# Sessions


def test_ports_name_types_and_axes_and_leave_out_overridable_initializers() -> None:
    head = "g (float[N, 3] x, float[3] w) => (double[N, 3] y) <float[3] w = {1, 2, 3}>"
    graph = head + " { s = Add(x, w) y = Cast<to=11>(s) }"
    session = open_session(text_model(graph))
    assert session.inputs == (Port("x", "float32", ("N", 3)),)
    assert session.outputs == (Port("y", "float64", ("N", 3)),)


def test_run_returns_the_outputs_asked_for() -> None:
    session = open_session(text_model("g (float[N] x) => (float[N] y, float[N] z) { y = Relu(x) z = Neg(x) }"))
    x = np.array([-1, 2], np.float32)
    assert list(session.run({"x": x})) == ["y", "z"]
    result = session.run({"x": x}, ["z"])
    assert list(result) == ["z"]
    np.testing.assert_array_equal(result["z"], -x)


@pytest.mark.parametrize("dtype", ["float16", "float", "double", "int64", "int32", "int8", "uint8", "bool"])
def test_every_common_type_passes_through(dtype: str) -> None:
    session = open_session(text_model(f"g ({dtype}[N] x) => ({dtype}[N] y) {{ y = Identity(x) }}"))
    feeds = draw_inputs(session.inputs, seed=1, draw=0, sizes={"N": 5})
    np.testing.assert_array_equal(session.run(feeds)["y"], feeds["x"], strict=True)


def test_bfloat16_passes_in_both_directions_beside_another_type() -> None:
    graph = (
        "g (bfloat16[N, 3] x, float[N] w) => (bfloat16[N, 3] y, float[N, 3] z) { y = Identity(x) z = Cast<to=1>(x) }"
    )
    session = open_session(text_model(graph))
    feeds = draw_inputs(session.inputs, seed=1, draw=0, sizes={"N": 2})
    result = session.run(feeds)
    assert feeds["x"].dtype == result["y"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(result["y"], feeds["x"])
    np.testing.assert_array_equal(result["z"], feeds["x"].astype(np.float32))


def test_the_placement_names_every_node() -> None:
    session = open_session(text_model("g (float[N] x) => (float[N] y) { a = Relu(x) b = Neg(a) y = Relu(b) }"))
    assert {provider: sorted(nodes) for provider, nodes in session.placement.items()} == {CPU: ["Neg", "Relu", "Relu"]}


def test_an_optimized_session_may_have_no_node_left() -> None:
    model = text_model("g () => (float[1] y) { c = Constant<value = float[1] {2}>() y = Relu(c) }")
    session = open_session(model, optimized=True)
    assert session.placement == {}
    assert session.run({})["y"] == [2]


def test_cuda_without_cuda_is_refused_and_never_a_silent_cpu_run() -> None:
    import onnxruntime

    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has the CUDA provider")
    with pytest.raises(RuntimeUnavailable, match=r"no CUDAExecutionProvider.*pip install 'bnfold\[cuda\]'"):
        open_session(RELU, provider=CUDA)


def test_without_onnxruntime_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RuntimeUnavailable, match=r"pip install 'bnfold\[cpu\]'"):
        open_session(RELU)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (b"", "No graph was found"),
        (b"not a model", "protobuf parsing failed"),
        (RELU[:40], "the model can not be loaded"),
        (text_model("g (float[N] x) => (float[N] y) { y = NoSuchOperator(x) }"), "NoSuchOperator"),
        (text_model("g (float[N] x) => (float[N] y) { y = Relu(nowhere) }"), "'nowhere' is not"),
        (text_model("g (float[N] x) => (int32[N] y) { y = Relu(x) }"), "Type Error"),
        ("/no/such/file.onnx", "/no/such/file.onnx can not be loaded"),
    ],
)
def test_a_broken_model_is_a_model_error_with_the_reason_in_one_line(
    model: bytes | str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        open_session(model)
    assert "\n" not in str(caught.value)
    assert "ONNXRuntimeError" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "feeds",
    [{}, {"q": np.zeros((2, 3), np.float32)}, {"x": np.zeros((2, 4), np.float32)}, {"x": np.zeros((2, 3))}],
    ids=["missing", "unknown", "shape", "type"],
)
def test_inputs_that_do_not_fit_are_a_model_error(
    feeds: dict[str, np.ndarray], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match="thing can not be run: "):
        open_session(RELU, label="thing").run(feeds)
    assert capfd.readouterr() == ("", "")


def test_a_node_that_fails_is_told_without_the_place_in_onnxruntime_s_sources(
    capfd: pytest.CaptureFixture[str],
) -> None:
    graph = "g (float[N, M] x) => (float[A, B] y) { s = Constant<value = int64[2] {-1, 7}>() y = Reshape(x, s) }"
    with pytest.raises(ModelError, match="Reshape") as caught:
        open_session(text_model(graph)).run({"x": np.zeros((2, 3), np.float32)})
    assert "/" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_importing_the_rooms_imports_neither_onnx_nor_onnxruntime() -> None:
    code = "import sys, bnfold.runtime, bnfold.checking; print({'onnx', 'onnxruntime', 'ml_dtypes'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
