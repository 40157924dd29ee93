"""What a graph says of its inputs, and that it runs on inputs that are drawn accordingly."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import parser

from bnfold.checking import check
from bnfold.checking.feeding import feed
from bnfold.checking.settings import Settings
from bnfold.checking.subject import Subject
from bnfold.runtime import Port, draw_inputs, hints_of
from bnfold.runtime.hints import Choice, Extent, Range

HEAD = '<ir_version: 8, opset_import: ["": 17, "ai.onnx.ml": 2, "com.microsoft": 1]> '


def model_of(graph: str, head: str = HEAD) -> onnx.ModelProto:
    return parser.parse_model(head + graph)


def drawn(graph: str, head: str = HEAD, draws: int = 3) -> list[dict[str, np.ndarray]]:
    """The inputs of a check; the model runs on each of them."""
    subject = Subject(model_of(graph, head), "m")
    feeds = [dict(found) for found in feed(subject, subject.session(), Settings(draws=draws)).feeds]
    for found in feeds:
        subject.session().run(found)
    return feeds


def hints(graph: str, head: str = HEAD) -> dict[str, tuple[Range | Choice, ...]]:
    return {name: tuple(found) for name, found in hints_of(model_of(graph, head)).items()}


def values(name: str, *shape: int) -> str:
    count = int(np.prod(shape))
    return f"float[{', '.join(map(str, shape))}] {name} = {{{', '.join(map(str, range(count)))}}}"


# Indices


def test_indices_use_the_whole_table() -> None:
    graph = f"g (int64[N, T] i) => (float[N, T, 2] y) <{values('t', 7, 2)}> {{ y = Gather(t, i) }}"
    first = drawn(graph)[0]["i"]
    assert first.shape == (2, 32)
    assert set(first.ravel()) == set(range(7))


def test_a_fold_with_one_wrong_row_of_a_table_is_seen() -> None:
    graph = f"g (int64[N, T] i) => (float[N, T, 2] y) <{values('t', 40, 2)}> {{ y = Gather(t, i) }}"
    for row in (0, 17, 39):
        wrong = graph.replace(f"{2 * row}, {2 * row + 1}", f"{2 * row}, {2 * row + 1}.01")
        assert wrong != graph
        assert not check(model_of(graph), model_of(wrong))


def test_few_indices_into_a_large_table_are_spread_and_differ_from_draw_to_draw() -> None:
    feeds = [
        draw_inputs([Port("i", "int64", (10,))], seed=0, draw=draw, hints={"i": [Range(0, 29_999)]})["i"]
        for draw in range(3)
    ]
    assert sorted(feeds[0] // 3000) == list(range(10))
    assert not set(feeds[0]) & set(feeds[1])


@pytest.mark.parametrize(
    "way",
    [
        "k = Identity(i)",
        "f = Cast<to = 1>(i) k = Cast<to = 7>(f)",
        "k = Transpose(i)",
        "k = Flatten(i)",
        "s = Constant<value = int64[1] {-1}>() k = Reshape(i, s)",
        "a = Constant<value = int64[1] {0}>() k = Unsqueeze(i, a)",
        "a = Constant<value = int64[1] {1}>() b = Unsqueeze(i, a) k = Squeeze(b, a)",
        "a = Constant<value = int64 {1}>() k = Gather<axis = 1>(i, a)",
        "k = Concat<axis = 0>(i, i)",
        "a = Constant<value = int64[1] {0}>() b = Constant<value = int64[1] {1}>() k = Slice(i, a, b)",
        "k, l = Split<axis = 1>(i)",
    ],
)
def test_a_hint_passes_what_moves_values(way: str) -> None:
    graph = f"g (int64[3, 4] i) => (float[A, B] y) <{values('t', 9, 2)}> {{ {way} z = Gather(t, k) y = Flatten(z) }}"
    assert hints(graph)["i"] == (Range(0, 8),)
    assert set(drawn(graph)[0]["i"].ravel()) == set(range(9))


def test_arithmetic_ends_a_trace() -> None:
    graph = f"g (int64[3] i) => (float[3, 2] y) <{values('t', 9, 2)}> {{ k = Add(i, i) y = Gather(t, k) }}"
    assert hints(graph) == {}
    assert set(drawn(graph)[0]["i"]) <= {0, 1}


def test_floats_that_become_indices_are_whole() -> None:
    graph = f"g (float[N, T] x) => (float[N, T, 2] y) <{values('t', 7, 2)}> {{ i = Cast<to = 7>(x) y = Gather(t, i) }}"
    assert set(drawn(graph)[0]["x"].ravel()) == set(range(7))


def test_readers_in_bodies_and_functions_count() -> None:
    graph = f"""g (int64[4] i, bool c) => (float[4, 2] y) <{values("t", 9, 2)}> {{
        y = If (c) <
            then_branch = a () => (float[4, 2] u) {{ u = Gather(t, i) }},
            else_branch = b () => (float[4, 2] v) {{ v = local.rows(t, i) }}
        > }}
        <domain: "local", opset_import: ["": 17]> rows (table, index) => (row) {{
            k = Identity(index) row = Gather(table, k) }}"""
    head = '<ir_version: 8, opset_import: ["": 17, "local": 1]> '
    assert hints(graph, head)["i"] == (Range(0, 8),)
    assert {bool(found["c"]) for found in drawn(graph, head)} == {True, False}


def test_the_narrowest_of_two_tables_decides() -> None:
    tables = f"{values('t', 9, 2)}, {values('u', 4, 2)}"
    graph = f"g (int64[40] i) => (float[40, 2] y) <{tables}> {{ a = Gather(t, i) b = Gather(u, i) y = Add(a, b) }}"
    assert set(drawn(graph)[0]["i"]) == {0, 1, 2, 3}


def test_a_table_that_is_an_input_bounds_its_indices_whatever_its_size() -> None:
    graph = "g (float[V, 2] t, int64[T] i) => (float[T, 2] y) { y = Gather(t, i) }"
    assert hints(graph)["i"] == (Range(0, Extent("V", -1)),)
    for found in drawn(graph):
        assert found["i"].max() == len(found["t"]) - 1 or len(found["i"]) < len(found["t"])
    assert hints(graph.replace("[V,", "[?,"))["i"] == (Range(0, Extent("t[0]", -1)),)


def test_index_tuples_have_a_range_per_place() -> None:
    graph = f"g (int64[50, 2] i) => (float[50] y) <{values('t', 3, 5)}> {{ y = GatherND(t, i) }}"
    found = drawn(graph)[0]["i"]
    assert [set(found[:, place]) for place in (0, 1)] == [{0, 1, 2}, {0, 1, 2, 3, 4}]
    turned = graph.replace("[50, 2]", "[2, 50]").replace("y = GatherND(t, i)", "k = Transpose(i) y = GatherND(t, k)")
    assert hints(turned)["i"] == (Range(0, 2),)


@pytest.mark.parametrize("name", ["ScatterElements", "ScatterND"])
def test_places_to_scatter_to_are_in_range(name: str) -> None:
    graph = f"g (int64[4, 1] i, float[4, 1] u) => (float[6, 1] y) <{values('t', 6, 1)}> {{ y = {name}(t, i, u) }}"
    assert max(int(found["i"].max()) for found in drawn(graph)) > 1


def test_classes_stay_below_the_depth() -> None:
    graph = "g (int64[20] i) => (float[20, 5] y) <int64 d = {5}, float[2] v = {0, 1}> { y = OneHot(i, d, v) }"
    assert set(drawn(graph)[0]["i"]) == {0, 1, 2, 3, 4}


# Lengths


def test_sequence_lengths_follow_the_length_that_was_chosen() -> None:
    weights = f"{values('w', 1, 3, 2)}, {values('r', 1, 3, 3)}"
    graph = f"g (float[T, N, 2] x, int32[N] l) => (float[T, 1, N, 3] y) <{weights}> "
    graph += "{ y = RNN<hidden_size = 3>(x, w, r, , l) }"
    assert hints(graph)["l"] == (Range(1, Extent("T")),)
    feeds = drawn(graph)
    assert len({len(found["x"]) for found in feeds}) == 2
    for found in feeds:
        assert 1 <= found["l"].min() <= found["l"].max() <= len(found["x"])


def test_reversed_sequences_have_a_length() -> None:
    graph = (
        "g (float[4, 8] x, int64[4] l) => (float[4, 8] y) { y = ReverseSequence<batch_axis = 0, time_axis = 1>(x, l) }"
    )
    assert hints(graph)["l"] == (Range(1, 8),)
    assert max(found["l"].max() for found in drawn(graph)) > 4


# What decides a shape


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ("g (float[2, 3, 4] x, int64[2] s) => (float[A, B] y) { y = Reshape(x, s) }", [0, -1]),
        ("g (float[2, 3] x, int64[4] s) => (float[A, B, C, D] y) { y = Reshape(x, s) }", [0, -1, 1, 1]),
        ("g (float[2, 3] x, int64[2] s) => (float[A, B] y) { y = Expand(x, s) }", [1, 1]),
        ("g (float[2, 3] x, int64[2] s) => (float[A, B] y) { y = Tile(x, s) }", [1, 1]),
        ("g (int64[2] s) => (float[A, B] y) { y = ConstantOfShape(s) }", [2, 2]),
        ("g (float[2, 9] x, int64[1] s) => (float[A, B] y, int64[A, B] z) { y, z = TopK(x, s) }", [5]),
        ("g (float[2, 3] x, int64[4] s) => (float[A, B] y) { y = Pad(x, s) }", [0, 0, 0, 0]),
        ("g (float[2, 6] x, int64[2] s) => (float[A, B] y, float[C, D] z) { y, z = Split<axis = 1>(x, s) }", [3, 3]),
        ("g (float[1, 3] x, int64[1] s) => (float[A] y) { y = Squeeze(x, s) }", [0]),
        ("g (float[2, 3] x, int64[2] s) => (float[A, B, C, D] y) { y = Unsqueeze(x, s) }", [0, 1]),
        ("g (float[2, 3] x, int64[1] s) => (float[A, B] y) { y = ReduceSum(x, s) }", [-1]),
        ("g (float[2, 3] x, int64 s) => (float[2, 3] y) { y = CumSum(x, s) }", 0),
        ("g (float[1, 2, 3, 4] x, float[4] s) => (float[A, B, C, D] y) { y = Resize(x, , s) }", [1, 1, 2, 2]),
        ("g (float[1, 2, H, 4] x, int64[4] s) => (float[A, B, C, D] y) { y = Resize(x, , , s) }", [1, 2, 32, 4]),
    ],
    ids=lambda value: value.split("= ")[-1].split("(")[0] if isinstance(value, str) else "",
)
def test_what_decides_a_shape_is_the_same_in_every_draw(graph: str, expected: list[int]) -> None:
    for found in drawn(graph)[:3]:
        np.testing.assert_array_equal(found["s"], expected)


def test_slices_and_ranges_are_drawn_as_they_run() -> None:
    (found,) = drawn(
        "g (float[4, 5] x, int64[2] a, int64[2] b, int64[2] k, int64[2] s) => (float[A, B] y) "
        "{ y = Slice(x, a, b, k, s) }",
        draws=1,
    )
    assert [list(found[name]) for name in "aks"] == [[0, 0], [0, 1], [1, 1]]
    (found,) = drawn("g (int64 a, int64 b, int64 d) => (int64[N] y) { y = Range(a, b, d) }", draws=1)
    assert [int(found[name]) for name in "abd"] == [0, 8, 1]


def test_a_loop_runs_and_its_carried_indices_are_in_range() -> None:
    graph = f"""g (int64 n, bool c, int64[2] i) => (int64[2] j, float[3, 2, 2] y) <{values("t", 9, 2)}> {{
        j, y = Loop (n, c, i) < body = b (int64 k, bool go, int64[2] a) => (bool on, int64[2] z, float[2, 2] r) {{
            on = Identity(go) z = Identity(a) r = Gather(t, a) }} > }}"""
    feeds = drawn(graph)
    assert all(int(found["n"]) == 3 and bool(found["c"]) for found in feeds)
    assert max(int(found["i"].max()) for found in feeds) > 1


def test_a_switch_that_trains_is_off_and_bounds_are_bounds() -> None:
    (found,) = drawn(
        "g (float[3] x, float r, bool t, float a, float b) => (float[3] z) { y = Dropout(x, r, t) z = Clip(y, a, b) }",
        draws=1,
    )
    assert 0.1 <= found["r"] <= 0.5
    assert not found["t"]
    assert found["a"] < 0 < found["b"]


@pytest.mark.parametrize("division", ["Div(a, b)", "Mod(a, b)"])
def test_an_integer_division_by_zero_does_not_end_the_process(division: str) -> None:
    graph = f"g (int64[N] a, int64[N] b) => (int64[N] y) {{ y = {division} }}"
    assert hints(graph)["b"] == (Range(1, 9),)  # or the next line would be the last
    assert all(found["b"].min() > 0 for found in drawn(graph))
    assert hints(graph.replace("int64", "float").replace("Mod(", "Mod<fmod = 1>(")) == {}


# Strings and categories


def test_strings_are_those_that_a_label_encoder_knows() -> None:
    graph = """g (string[N, 4] s) => (int64[N, 4] y) {
        y = ai.onnx.ml.LabelEncoder<keys_strings = ["ant", "bee"], values_int64s = [3, 5], default_int64 = -1>(s) }"""
    feeds = drawn(graph)
    assert {word for found in feeds for word in found["s"].ravel()} == {"ant", "bee"}
    assert check(model_of(graph), model_of(graph), draws=5)
    assert not check(model_of(graph), model_of(graph.replace("3, 5", "3, 6")), draws=5)


def test_categories_that_are_numbers_are_those_of_the_graph() -> None:
    graph = """g (int64[30] s) => (string[30] y) {
        y = ai.onnx.ml.CategoryMapper<cats_int64s = [10, 20], cats_strings = ["a", "b"]>(s) }"""
    encoder = "g (int64[30] s) => (float[30, 2] y) { y = ai.onnx.ml.OneHotEncoder<cats_int64s = [10, 20]>(s) }"
    assert set(drawn(encoder)[0]["s"]) == {10, 20}
    assert set(drawn(graph)[0]["s"]) == {10, 20}


# Soundness


def test_a_graph_that_is_none_has_no_hints() -> None:
    model = model_of("g (int64[2] i) => (int64[2] y) { y = Identity(i) }")
    model.graph.node.append(model.graph.node[0])
    assert hints_of(model) == {}


def test_functions_that_call_each_other_end() -> None:
    graph = """g (int64[2] i) => (int64[2] y) { y = local.f(i) }
        <domain: "local", opset_import: ["": 17, "local": 1]> f (p) => (q) { q = local.h(p) }
        <domain: "local", opset_import: ["": 17, "local": 1]> h (p) => (q) { q = local.f(p) }"""
    assert hints(graph, '<ir_version: 8, opset_import: ["": 17, "local": 1]> ') == {}


@pytest.mark.parametrize("depth", ["int64[2] d = {5, 5}", "int64[0] d = {}"])
def test_a_depth_that_is_none_gives_no_hint(depth: str) -> None:
    assert (
        hints(f"g (int64[20] i) => (float[20, 5] y) <{depth}, float[2] v = {{0, 1}}> {{ y = OneHot(i, d, v) }}") == {}
    )


def test_a_range_that_does_not_fit_the_type_or_the_shape_is_no_reason_to_fail() -> None:
    narrow = draw_inputs([Port("i", "int8", (300,))], seed=0, draw=0, hints={"i": [Range(0, 1000)]})["i"]
    assert (narrow.min(), narrow.max()) == (0, 127)
    other = draw_inputs([Port("i", "int64", (9, 3))], seed=0, draw=0, hints={"i": [Range(0, (7, 8))]})["i"]
    assert set(other.ravel()) == {0, 1}
    empty = draw_inputs([Port("i", "int64", (5,))], seed=0, draw=1, hints={"i": [Range(0.1, 0.5), Range(3, 2)]})["i"]
    assert empty.shape == (5,)
    unknown = draw_inputs([Port("i", "int64", (9,))], seed=0, draw=0, hints={"i": [Range(0, Extent("T"))]})["i"]
    assert set(unknown) == {0, 1}
