"""What a fold comes to for a thousand models is what tests/outcomes says, line by line."""

from difflib import unified_diff
from functools import cache
from typing import Any

import pytest
from onnx import ModelProto
from outcomes.files import CHUNK, agreed, entries
from outcomes.models import SECTIONS
from outcomes.telling import told
from support import graph_model, normal, statistics

AGREED = cache(agreed)
CHUNKS = [(section, start) for section in SECTIONS for start in range(0, len(AGREED(section)), CHUNK)]


@pytest.mark.parametrize(("section", "start"), CHUNKS)
def test_a_fold_comes_to_what_was_agreed_on(section: str, start: int) -> None:
    chunk = slice(start, start + CHUNK)
    before = [line for entry in AGREED(section)[chunk] for line in entry]
    now = [line for entry in entries(section, start, start + CHUNK) for line in entry]
    changes = list(unified_diff(before, now, "agreed", "found", lineterm="", n=2))
    assert not changes, "\n".join(["if this is meant: PYTHONPATH=tests python -m outcomes", *changes])


@pytest.mark.parametrize("section", SECTIONS)
def test_every_model_has_a_name_of_its_own_and_is_in_the_file(section: str) -> None:
    labels = [f"# {label}" for label, _ in SECTIONS[section]()]
    assert labels == [entry[0] for entry in AGREED(section)]
    assert len(set(labels)) == len(labels)


def normalized(inputs: str, **constants: Any) -> ModelProto:
    parameters: dict[str, Any] = dict(zip("sbmv", statistics(4), strict=True))
    body = f"({inputs}) => (float[i,j,k,l] y) {{ c = Conv (x, w) y = BatchNormalization (c, s, b, m, v) }}"
    return graph_model(body, **constants, **parameters)


def test_another_name_is_told() -> None:
    model = normalized("float[2,3,6,6] x", w=normal(4, 3, 1, 1))
    lines = list(told("one", model))
    model.graph.initializer[0].name = model.graph.node[0].input[1] = "weight"
    assert list(told("one", model)) != lines


def test_what_goes_and_what_stays_are_told() -> None:
    (_, first, gone, *_) = told("one", normalized("float[2,3,6,6] x", w=normal(4, 3, 1, 1)))
    assert first.endswith(", 1 asked in 1 rounds, leaves 1 Conv")
    assert gone == "    pull BatchNormalization -> y: Conv -> c"
    (_, first, kept, *_) = told("other", normalized("float[2,3,6,6] x, float[4,3,1,1] w"))
    assert first.endswith(" asked in 1 rounds, leaves 1 BatchNormalization, 1 Conv")
    assert kept == "    kept BatchNormalization -> y: dynamic-weight"
