"""Refusals say what blocks and what would unblock it; every code has a meaning, and a graph that is refused with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from docs_script import load
from support import graph_model, normal

import bnfold
from bnfold.affine import Affine
from bnfold.model.constants import Constants
from bnfold.model.graph import Graph
from bnfold.model.shapes import Shapes
from bnfold.ops.codes import CODES, NOTHING
from bnfold.ops.registry import push
from bnfold.ops.rule import Operator, Placed, Refusal

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path for room in ("ops", "folding") for path in (ROOT / "bnfold" / room).rglob("*.py"))
"""The rooms that refuse a fold; to_module refuses models, with errors."""


page: Any = load("refusals")


# --- The table of codes, and the sources ---


def patterns_of(code: ast.expr, tree: ast.Module) -> Iterator[str]:
    """What the expression for a code may be, as regular expressions."""
    if isinstance(code, ast.Constant):
        yield re.escape(str(code.value))
    elif isinstance(code, ast.IfExp):
        yield from patterns_of(code.body, tree)
        yield from patterns_of(code.orelse, tree)
    elif isinstance(code, ast.JoinedStr):
        yield "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+" for part in code.values)
    elif isinstance(code, ast.Name):
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and any(ast.unparse(target) == code.id for target in node.targets):
                yield from patterns_of(node.value, tree)


def patterns_in(source: str) -> Iterator[str]:
    """The codes of every refusal that the source makes."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and ast.unparse(node.func).split(".")[-1] in {"refuse", "Refusal"}:
            yield from patterns_of(node.args[0], tree)


def used_codes() -> set[str]:
    """The codes that the package uses; a pattern that is no code stands for itself."""
    used: set[str] = set()
    for path in SOURCES:
        for pattern in patterns_in(path.read_text(encoding="utf-8")):
            used |= {code for code in CODES if re.fullmatch(pattern, code)} or {pattern}
    return used


def test_codes_are_found_in_every_form_that_they_are_written_in() -> None:
    source = """
CODE = "of-a-constant"
def rule(op):
    code = "one" if op else "two"
    return op.refuse(CODE, ""), op.refuse(code, ""), op.refuse(f"open-{op.side}", ""), Refusal("plain", "", "")
def passed(code):
    return Refusal(pulled.code, "", "")
"""
    assert set(patterns_in(source)) == {"of\\-a\\-constant", "one", "two", "open\\-.+", "plain"}


def test_every_code_that_is_used_is_in_the_table() -> None:
    assert used_codes() <= CODES.keys()
    assert len(used_codes()) > 40


def test_every_code_of_the_table_is_used_or_awaited() -> None:
    assert CODES.keys() - used_codes() <= page.PENDING.keys()


def test_the_table_is_in_order_and_speaks_in_sentences_and_clauses() -> None:
    assert list(CODES) == sorted(CODES)
    for meaning, unblock in CODES.values():
        assert re.fullmatch(r"[A-Z-].*\.", meaning)
        assert re.fullmatch(r"[a-z-].*[^.]", unblock)


# --- The page ---


def test_every_code_has_an_example_or_a_reason_to_have_none() -> None:
    assert page.EXAMPLES.keys() | page.INNER.keys() | page.PENDING.keys() == CODES.keys()
    assert len(page.EXAMPLES) + len(page.INNER) + len(page.PENDING) == len(CODES)


@pytest.mark.parametrize("code", page.EXAMPLES)
def test_an_example_is_refused_with_its_code(code: str) -> None:
    assert page.refused(code, page.EXAMPLES[code]) is not None


def test_an_example_of_another_code_is_told() -> None:
    assert page.refused("barrier", page.EXAMPLES["shift"]) is None


def test_every_constant_of_the_page_is_read() -> None:
    read = {word for example in page.EXAMPLES.values() for word in re.findall(r"\w+", example.nodes)}
    assert page.CONSTANTS.keys() <= read


def test_the_page_says_what_bnfold_says() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.text(), "run python docs/refusals.py"


# --- What a refusal says ---


def test_a_refusal_says_what_would_unblock_it() -> None:
    refusal = Refusal("unknown-shape", "Add_1", "Add 'Add_1' has branches whose shapes are not known")
    assert refusal.unblock == CODES["unknown-shape"].unblock
    assert refusal.reason == f"{refusal.text}; give the model static shapes"


def test_a_refusal_may_know_better_than_its_code() -> None:
    refusal = Refusal("shift", "p", "blocks").unblocked_by("do this")
    assert (refusal.unblock, refusal.reason) == ("do this", "blocks; do this")


def test_a_sentence_that_says_it_already_is_not_made_longer() -> None:
    text = f"blocks; {CODES['overridable'].unblock}, and so on"
    assert Refusal("overridable", "w", text).reason == text


def test_a_code_that_is_not_in_the_table_adds_nothing() -> None:
    assert Refusal("of-a-plugin", "n", "blocks").reason == "blocks"


def test_both_directions_say_what_would_unblock_them() -> None:
    pulled, pushed = Refusal("graph-input", "x", "in front"), Refusal("padding", "c", "behind").unblocked_by("do this")
    both = pulled.beside(pushed)
    assert (both.code, both.node, both.other) == ("graph-input", "x", pushed)
    assert both.text == "in front; the other way, behind"
    assert both.reason == f"{both.text}; {CODES['graph-input'].unblock}, or do this"


def test_one_reason_for_both_directions_is_said_once() -> None:
    refusal = Refusal("cycle", "n", "goes round")
    assert refusal.beside(Refusal("cycle", "n", "goes round")) == refusal
    other = refusal.beside(Refusal("cycle", "m", "goes round too"))
    assert other.reason.count(CODES["cycle"].unblock) == 1


def test_nothing_unblocks_only_what_nothing_unblocks() -> None:
    hopeless, helped = Refusal("other-input", "g", "one"), Refusal("no-gain", "n", "two")
    assert hopeless.beside(helped).unblock == CODES["no-gain"].unblock
    assert helped.beside(hopeless).unblock == CODES["no-gain"].unblock
    assert hopeless.beside(Refusal("other-output", "g", "three")).unblock == NOTHING


def test_the_end_of_the_graph_is_nothing_to_unblock_for_a_map_that_is_pushed() -> None:
    assert Refusal("barrier", "s", "a").beside(Refusal("graph-output", "y", "b")).unblock == CODES["barrier"].unblock


def test_what_stays_says_so_in_the_result_and_in_the_inspection() -> None:
    model = page.EXAMPLES["barrier"].model
    (kept,), (affine,) = bnfold.fold(model).kept, bnfold.inspect(model)
    assert kept.reason.endswith(f"; {CODES['barrier'].unblock}")
    assert affine.reason == kept.reason


def pushed_into(size: str, node: str) -> Refusal:
    """The refusal of a layer in front of which a shift stands."""
    model = graph_model(f"(float[1,2,{size}] x) => (float[] y) {{ y = {node} }}", w=normal(2, 2, 3, 3))
    graph = Graph(model)
    op = Operator(next(graph.nodes()), Constants(graph, None), Shapes(graph))
    rule = push.rule(op.node)
    assert rule is not None
    answer = rule(op, {0: Placed(Affine.of(1.0, np.array([1.0, 2.0])), 1)})
    assert isinstance(answer, Refusal)
    return answer


PADDED = {
    "Conv": "Conv <pads = [1, 1, 1, 1]> (x, w)",
    "ConvTranspose": "ConvTranspose (x, w)",
    "AveragePool": "AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1> (x)",
}


@pytest.mark.parametrize("node", PADDED.values(), ids=PADDED)
def test_static_height_and_width_are_asked_for_where_they_are_not_there(node: str) -> None:
    advice = "give the model a static height and width"
    assert advice in pushed_into("H,W", node).reason
    assert advice not in pushed_into("6,6", node).reason


@pytest.mark.parametrize("node", [PADDED["Conv"], PADDED["ConvTranspose"]])
def test_what_static_sizes_do_not_help_is_a_matter_of_preference(node: str) -> None:
    assert "--prefer no-batchnorm" in pushed_into("6,6", node).reason
    assert "--prefer no-batchnorm" in pushed_into("H,W", node).reason
