"""Sessions and inputs, on the real onnxruntime."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx.parser
import pytest

from bnfold.errors import ModelError, RuntimeUnavailable, UsageError
from bnfold.runtime import CPU, CUDA, Port, describe, draw_inputs, find_sizes, load_inputs, open_session, vary_inputs


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


# Inputs


def test_draws_are_repeatable_and_differ_in_values_and_scale() -> None:
    ports = [Port("x", "float32", (1000,))]
    first, again, second = (draw_inputs(ports, seed=3, draw=draw)["x"] for draw in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.std() == pytest.approx(1, rel=0.1)
    assert second.std() == pytest.approx(1 / 16, rel=0.1)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2


def test_wide_integers_stay_valid_indices_and_bytes_use_their_range() -> None:
    ports = [Port("i", "int64", (500,)), Port("pixels", "uint8", (500,)), Port("codes", "int8", (500,))]
    feeds = draw_inputs(ports, seed=0, draw=2)
    assert set(feeds["i"]) == {0, 1}
    assert feeds["pixels"].max() > 200
    assert feeds["codes"].min() < -100


def test_one_symbol_is_one_size_and_an_unknown_axis_has_its_own() -> None:
    ports = [Port("x", "float32", ("N", "T")), Port("m", "bool", ("N", None)), Port("s", "float32", ())]
    feeds = draw_inputs(ports, seed=0, draw=0, sizes={"N": 2, "T": 5, "m[1]": 3})
    assert describe(feeds) == ("x float32[2, 5]", "m bool[2, 3]", "s float32[]")


@pytest.mark.parametrize("dtype", ["string", "seq(tensor(float))", "optional(tensor(float))"])
def test_what_can_not_be_drawn_is_named(dtype: str) -> None:
    with pytest.raises(ModelError, match=r"input 'words' is .*pass real inputs"):
        draw_inputs([Port("words", dtype, (2,))], seed=0, draw=0)


def test_a_variation_keeps_shape_type_sign_and_integers() -> None:
    generator = np.random.default_rng(0)
    feeds: dict[str, np.ndarray] = {"x": generator.uniform(1, 2, (4, 5)).astype(np.float16), "i": np.arange(6)}
    varied = vary_inputs(feeds, seed=0)
    assert varied["x"].dtype == np.float16
    assert varied["x"].shape == (4, 5)
    assert (varied["x"] > 0).all()
    assert not np.array_equal(varied["x"], feeds["x"])
    np.testing.assert_array_equal(varied["i"], feeds["i"])


def test_integers_alone_are_permuted() -> None:
    varied = vary_inputs({"i": np.arange(20)}, seed=0)["i"]
    assert sorted(varied) == list(range(20))
    assert not np.array_equal(varied, np.arange(20))


def test_sizes_are_the_first_that_run() -> None:
    # [N, H, W] -> [N, 7·k]: only a size whose square is a multiple of 112 passes the Reshape: 224, and no smaller one.
    graph = (
        "g (float[N, H, W] x) => (float[A, B, C] y) { s = Constant<value = int64[3] {0, -1, 448}>() y = Reshape(x, s) }"
    )
    assert find_sizes(open_session(text_model(graph)), seed=0) == {"N": 2, "H": 224, "W": 224}


def test_a_batch_of_one_is_the_fallback() -> None:
    graph = "g (float[N, 3] x) => (float[1, 3] y) { s = Constant<value = int64[2] {1, 3}>() y = Reshape(x, s) }"
    assert find_sizes(open_session(text_model(graph)), seed=0) == {"N": 1}


def test_fixed_axes_need_no_sizes() -> None:
    assert find_sizes(open_session(text_model("g (float[2] x) => (float[2] y) { y = Relu(x) }")), seed=0) == {}


def test_huge_inputs_are_not_tried() -> None:
    graph = "g (float[A,B,C,D,E,F,G] x) => (float[A,B,C,D,E,F,G] y) { y = Relu(x) }"
    sizes = find_sizes(open_session(text_model(graph)), seed=0)
    assert sizes["B"] == 16


def test_no_sizes_is_a_model_error_with_the_last_reason_and_advice() -> None:
    graph = "g (float[N, T] x) => (float[A, B] y) { s = Constant<value = int64[2] {-1, 11}>() y = Reshape(x, s) }"
    with pytest.raises(ModelError, match=r"pass real ones with --data.*Reshape"):
        find_sizes(open_session(text_model(graph)), seed=0)


PORTS = (Port("x", "float32", ("N", 3)), Port("i", "int64", ("N",)))


def test_inputs_come_from_an_npz_file_and_others_in_it_are_ignored(tmp_path: Path) -> None:
    x, i = np.ones((4, 3), np.float32), np.arange(4)
    np.savez(tmp_path / "in.npz", label=i, i=i, x=x)
    feeds = load_inputs(tmp_path / "in.npz", PORTS)
    assert describe(feeds) == ("x float32[4, 3]", "i int64[4]")


def test_bfloat16_survives_an_npz_file(tmp_path: Path) -> None:
    x = np.arange(3).astype(ml_dtypes.bfloat16)
    np.savez(tmp_path / "in.npz", x=x)
    np.testing.assert_array_equal(load_inputs(tmp_path / "in.npz", [Port("x", "bfloat16", (3,))])["x"], x)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"i": np.arange(4)}, r"input 'x' is missing .* holds 'i'"),
        ({"x": np.ones((4, 3)), "i": np.arange(4)}, "'x'.*expected float32, got float64"),
        ({"x": np.ones((4, 2), np.float32), "i": np.arange(4)}, r"'x'.*expected \[N, 3\], got \[4, 2\]"),
        ({"x": np.ones((4, 3, 1), np.float32), "i": np.arange(4)}, r"expected \[N, 3\], got \[4, 3, 1\]"),
        ({"x": np.array([None]), "i": np.arange(4)}, "can not be read as an .npz file"),
    ],
    ids=["missing", "type", "shape", "rank", "pickle"],
)
def test_data_that_does_not_fit_is_a_usage_error(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "in.npz", allow_pickle=True, **arrays)
    with pytest.raises(UsageError, match=message):
        load_inputs(tmp_path / "in.npz", PORTS)


@pytest.mark.parametrize("content", [None, b"", b"junk", b"PK\x03\x04junk"])
def test_a_file_that_is_no_npz_is_a_usage_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "in.npz").write_bytes(content)
    with pytest.raises(UsageError, match="can not be read"):
        load_inputs(tmp_path / "in.npz", PORTS)


def test_a_bare_array_is_a_usage_error(tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.ones(3))
    with pytest.raises(UsageError, match="one bare array"):
        load_inputs(tmp_path / "in.npy", PORTS)


def test_importing_the_rooms_imports_neither_onnx_nor_onnxruntime() -> None:
    code = "import sys, bnfold.runtime, bnfold.checking; print({'onnx', 'onnxruntime', 'ml_dtypes'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
