"""Drawn inputs and the sizes of open axes, on the real onnxruntime."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

from bnfold.checking.feeding import Feeding, _undisturbed, feed
from bnfold.checking.settings import Settings
from bnfold.checking.subject import Subject
from bnfold.errors import ModelError, UsageError
from bnfold.runtime import (
    Port,
    Session,
    SizeSearch,
    describe,
    draw_inputs,
    given_sizes,
    open_session,
    parse_shapes,
    vary_inputs,
)

MODELS = Path(os.environ.get("BNFOLD_MODELS", Path(__file__).parents[2] / "shared" / "models"))


def text_model(graph: str) -> bytes:
    head = '<ir_version: 8, opset_import: ["": 17]> '
    return parser.parse_model(head + graph).SerializeToString()


def session_of(graph: str) -> Session:
    return open_session(text_model(graph))


def fed(graph: str, **options: Any) -> Feeding:
    subject = Subject(text_model(graph), "the model before")
    return feed(subject, subject.session(), Settings(**options))


def reshape(shape: str, given: str = "float[N, H, W] x", rank: int = 3) -> str:
    """A graph that runs only where `given` has as many elements as `shape` says."""
    out = ", ".join("ABCD"[:rank])
    return f"g ({given}) => (float[{out}] y) {{ s = Constant<value = int64[{rank}] {{{shape}}}>() y = Reshape(x, s) }}"


# Values


def test_draws_are_repeatable_and_differ_in_values_and_scale() -> None:
    ports = [Port("x", "float32", (1000,))]
    first, again, second = (draw_inputs(ports, seed=3, draw=draw)["x"] for draw in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.std() == pytest.approx(1, rel=0.1)
    assert second.std() == pytest.approx(1 / 16, rel=0.1)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2


def test_another_process_draws_the_same() -> None:
    graph = "g (float[N, H] x, int64[N] i, bool[N] b) => (float[N, H] y, bool[N] c) <float[2, 3] t = {1,2,3,4,5,6}> "
    graph += "{ r = Gather(t, i) m = ReduceMean(r) y = Add(x, m) c = Not(b) }"
    code = f"import test_inputs as t; print(t.digest({graph!r}))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert seen == {digest(graph)}


def digest(graph: str) -> str:
    content = b"".join(array.tobytes() for feeds in fed(graph).feeds for array in feeds.values())
    return hashlib.sha256(content).hexdigest()


def test_wide_integers_stay_valid_indices_and_bytes_use_their_range() -> None:
    ports = [Port("i", "int64", (500,)), Port("pixels", "uint8", (500,)), Port("codes", "int8", (500,))]
    feeds = draw_inputs(ports, seed=0, draw=2)
    assert set(feeds["i"]) == {0, 1}
    assert feeds["pixels"].max() > 200
    assert feeds["codes"].min() < -100


def test_a_single_bool_takes_turns_so_that_both_branches_run() -> None:
    port = Port("training", "bool", ())
    assert [bool(draw_inputs([port], seed=5, draw=draw)["training"]) for draw in range(3)] == [True, False, True]


def test_one_symbol_is_one_size_and_an_unknown_axis_has_its_own() -> None:
    ports = [Port("x", "float32", ("N", "T")), Port("m", "bool", ("N", None)), Port("s", "float32", ())]
    feeds = draw_inputs(ports, seed=0, draw=0, sizes={"N": 2, "T": 5, "m[1]": 3})
    assert describe(feeds) == ("x float32[2, 5]", "m bool[2, 3]", "s float32[]")


@pytest.mark.parametrize("dtype", ["seq(tensor(float))", "optional(tensor(float))", "map(int64,tensor(float))"])
def test_what_can_not_be_drawn_is_named(dtype: str) -> None:
    with pytest.raises(ModelError, match=r"input 'words' is .*no values can be drawn"):
        draw_inputs([Port("words", dtype, (2,))], seed=0, draw=0)


def test_strings_are_words_that_a_model_takes() -> None:
    session = session_of("g (string[N] s) => (string[N] t) { t = Identity(s) }")
    feeds = draw_inputs(session.inputs, seed=0, draw=0, sizes={"N": 20})
    assert describe(feeds) == ("s string[20]",)
    assert len(set(feeds["s"])) > 2
    np.testing.assert_array_equal(session.run(feeds)["t"], feeds["s"])


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


# First sizes


def first(graph: str) -> dict[str, int]:
    return SizeSearch(session_of(graph), seed=0).first()


def test_sizes_are_the_first_that_run() -> None:
    # [N, H, W] -> [N, 7·k]: only a size whose square is a multiple of 112 passes the Reshape: 224, and no smaller one.
    assert first(reshape("0, -1, 448")) == {"N": 2, "H": 224, "W": 224}


def test_a_batch_of_one_is_the_fallback() -> None:
    assert first(reshape("1, 3", "float[N, 3] x", 2)) == {"N": 1}


def test_fixed_axes_need_no_sizes_and_no_run() -> None:
    # The Reshape fails whatever is fed, so a run would have been an error.
    assert first(reshape("5, 7", "float[2, 3] x", 2).replace("float[A, B] y", "float[5, 7] y")) == {}


def test_huge_inputs_are_not_tried() -> None:
    graph = "g (float[A,B,C,D,E,F,G] x) => (float[A,B,C,D,E,F,G] y) { y = Relu(x) }"
    assert first(graph)["B"] == 16


@pytest.mark.parametrize("axes", ["N, T", "N, 2"])
def test_no_sizes_is_a_model_error_with_the_last_reason_and_advice(axes: str) -> None:
    with pytest.raises(ModelError, match=r"pass real ones with --data \(last try: .*Reshape"):
        first(reshape("-1, 11", f"float[{axes}] x", 2))


def test_fixed_integers_that_no_hint_explains_fail_with_advice() -> None:
    # The sum of the indices is the index: no hint sees through the Add.
    graph = "g (int64[3] i) => (float[3, 2] y) <float[1, 2] t = {1, 2}> { k = Add(i, i) y = Gather(t, k) }"
    with pytest.raises(ModelError, match=r"no inputs found on which the model runs; pass real ones with --data"):
        first(graph)


# Other sizes


def sets(graph: str, **options: object) -> tuple[Mapping[str, int], ...]:
    feeding = fed(graph, **options)
    for feeds in feeding.feeds:
        session_of(graph).run(feeds)
    return feeding.sizes


RELU = "g (float[N, 3, H, W] x) => (float[N, 3, H, W] y) { y = Relu(x) }"


def test_every_open_axis_gets_a_second_size_and_none_is_square() -> None:
    assert sets(RELU) == ({"N": 2, "H": 32, "W": 32}, {"N": 1, "H": 64, "W": 96})
    feeding = fed(RELU, draws=2)
    assert [next(iter(feeds.values())).shape for feeds in feeding.feeds] == [(2, 3, 32, 32)] * 2 + [(1, 3, 64, 96)]
    assert [round(float(feeds["x"].std()), 1) for feeds in feeding.feeds] == [1.0, 0.1, 1.0]
    assert feeding.remarks == ()


def test_a_volume_is_not_made_many_times_as_large() -> None:
    graph = "g (float[N, D, H, W] x) => (float[N, D, H, W] y) { y = Relu(x) }"
    assert sets(graph)[1] == {"N": 1, "D": 64, "H": 16, "W": 48}


def test_a_question_mark_is_no_symbol() -> None:
    model = onnx.load_from_string(text_model(RELU))
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = "?"
    found = SizeSearch(open_session(model.SerializeToString()), seed=0)
    assert found.other(found.first()) == {"N": 1, "x[2]": 64, "x[3]": 96}


def test_axes_that_must_agree_change_together() -> None:
    graph = "g (float[N, A] x, float[N, B] z) => (float[N, A] y) { y = Add(x, z) }"
    assert sets(graph) == ({"N": 2, "A": 32, "B": 32}, {"N": 1, "A": 64, "B": 64})


def test_a_batch_of_three_is_tried_where_two_failed() -> None:
    graph = "g (float[N, 1] x) => (float[A, 1] y) <float[3, 1] w = {1, 2, 3}> { y = Mul(x, w) }"
    assert sets(graph) == ({"N": 1}, {"N": 3})


def test_a_graph_that_runs_with_one_size_only_says_so() -> None:
    feeding = fed(reshape("1, 3", "float[N, 3] x", 2))
    assert feeding.sizes == ({"N": 1},)
    assert feeding.remarks == (
        "the model before runs with N = 1 and no other size that was tried: others are not compared",
    )
    assert len(feeding.feeds) == 3


def test_only_the_axis_that_must_not_change_stays() -> None:
    weights = ", ".join(["1"] * 32)
    graph = f"g (float[N, C, T] x) => (float[N, C, T] y) <float[1, 32, 1] w = {{{weights}}}> {{ y = Mul(x, w) }}"
    assert sets(graph) == ({"N": 2, "C": 32, "T": 32}, {"N": 1, "C": 32, "T": 64})
    assert fed(graph).remarks[0].startswith("the model before runs with C = 32 and no other size")


def test_large_sizes_are_only_made_smaller() -> None:
    weights = "g (float[N, 1, H, W] x) => (float[N, 1, A, B] y) { y = AveragePool<kernel_shape = [100, 100]>(x) }"
    assert sets(weights) == ({"N": 2, "H": 224, "W": 224}, {"N": 1, "H": 112, "W": 168})


def test_the_session_of_a_model_with_state_is_left_alone() -> None:
    graph = """g (float[N, 2] x) => (float[N, 2] y, float[2] m, float[2] v)
        <float[2] s = {1, 1}, float[2] b = {0, 0}, float[2] mean = {0, 0}, float[2] var = {1, 1}>
        { y, m, v = BatchNormalization<training_mode = 1>(x, s, b, mean, var) }"""
    subject = Subject(text_model(graph), "m")
    assert _undisturbed(subject, subject.session()) is not subject.session()
    assert feed(subject, subject.session(), Settings()).sizes == ({"N": 2}, {"N": 1})


def test_the_session_of_a_model_without_state_is_good_enough() -> None:
    subject = Subject(text_model(RELU), "m")
    assert _undisturbed(subject, subject.session()) is subject.session()


# Sizes that are given


def test_given_sizes_hold_for_all_draws_and_the_others_still_change() -> None:
    assert sets(RELU, shapes=[{"N": 4, "H": 20}]) == ({"N": 4, "H": 20, "W": 32}, {"N": 4, "H": 20, "W": 64})
    feeding = fed(RELU, shapes=[{"N": 4, "H": 20, "W": 9}])
    assert [feeds["x"].shape for feeds in feeding.feeds] == [(4, 3, 20, 9)] * 3


def test_several_sets_of_sizes_take_the_place_of_the_second() -> None:
    shapes = [{"N": 4, "H": 20}, {"N": 3, "W": 8}]
    feeding = fed(RELU, shapes=shapes)
    assert [feeds["x"].shape for feeds in feeding.feeds] == [(4, 3, 20, 32)] * 3 + [(3, 3, 32, 8)]
    assert feeding.sizes == ({"N": 4, "H": 20, "W": 32}, {"N": 3, "H": 32, "W": 8})


def test_sizes_with_which_the_model_does_not_run_are_named() -> None:
    with pytest.raises(ModelError, match="runs with H = 5; pass real ones"):
        fed(reshape("0, -1, 448"), shapes=[{"H": 5}])


PORTS = (Port("x", "float32", ("N", 3, None)), Port("v", "float32", ("M",)), Port("s", "float32", ()))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"N": 4}, {"N": 4}),
        ({"x[0]": 4}, {"N": 4}),
        ({"x[0]": 4, "N": 4, "x[1]": 3}, {"N": 4}),
        ({"x[2]": 5}, {"x[2]": 5}),
        ({"v": 7}, {"M": 7}),
        ({"s[0]": 2, "s[1]": 3}, {"s[0]": 2, "s[1]": 3}),
    ],
)
def test_an_axis_has_a_symbol_or_a_place(given: dict[str, int], found: dict[str, int]) -> None:
    assert given_sizes(PORTS, given) == found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"Q": 4}, r"no axis is called 'Q'; the open axes are N, x\[2\], M"),
        ({"x[3]": 4}, r"no axis is called 'x\[3\]'"),
        ({"x": 4}, "no axis is called 'x'"),
        ({"x[1]": 4}, "axis 1 of input 'x' is fixed to 3 and can not be 4"),
        ({"N": 0}, "the size of 'N' has to be a whole number of 1 or more, not 0"),
        ({"N": True}, "not True"),
        ({"N": 2.0}, "not 2.0"),
        ({"N": 4, "x[0]": 5}, r"'x\[0\]' is given two sizes, 4 and 5"),
    ],
)
def test_sizes_that_make_no_sense_are_usage_errors(given: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        given_sizes(PORTS, given)


def test_an_unknown_rank_is_given_by_the_sizes_of_its_axes() -> None:
    model = onnx.load_from_string(text_model("g (float[N] x) => (float[N] y) { y = GlobalAveragePool(x) }"))
    for entry in (*model.graph.input, *model.graph.output):
        entry.type.tensor_type.ClearField("shape")
    subject = Subject(model, "m")
    feeding = feed(subject, subject.session(), Settings(shapes=[parse_shapes("x=2x3x8x8")]))
    assert feeding.feeds[0]["x"].shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("N=4,H=224", {"N": 4, "H": 224}),
        (" N = 4 ", {"N": 4}),
        ("x=1x3x2", {"x[0]": 1, "x[1]": 3, "x[2]": 2}),
        ("x[2]=7", {"x[2]": 7}),
        ("a=b=4", {"a=b": 4}),
        ("N=4,N=4", {"N": 4}),
    ],
)
def test_sizes_are_read_as_a_command_line_gives_them(text: str, found: dict[str, int]) -> None:
    assert parse_shapes(text) == found


@pytest.mark.parametrize(
    "text", ["", "N", "N=", "=4", "N=four", "N=1.5", "x=1x", "N=4,", "N=0", "x=1x0", "N=-1", "N=1,N=2"]
)
def test_a_text_that_gives_no_sizes_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"gives no size|has to be a whole number|two sizes"):
        parse_shapes(text)


# Real models


@pytest.mark.skipif(not MODELS.is_dir(), reason=f"no models in {MODELS}; set BNFOLD_MODELS")
@pytest.mark.parametrize("path", sorted(MODELS.glob("*.onnx")), ids=lambda path: path.stem)
def test_every_real_model_gets_inputs_on_which_it_runs(path: Path) -> None:
    subject = Subject(path, path.stem)
    session = subject.session()
    feeding = feed(subject, session, Settings(draws=1))
    is_open = any(not isinstance(size, int) for port in session.inputs for size in port.shape)
    assert len(feeding.feeds) == len(feeding.sizes or [{}]) == (2 if is_open else 1)
    for feeds in feeding.feeds:
        assert session.run(feeds)
