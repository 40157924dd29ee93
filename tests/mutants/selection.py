"""Which tests run a line: from one run of the tests under coverage, each as a context of its own."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import zip_longest
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest
from coverage.sqldata import CoverageData

NAMES = """
    affine_laws constants corpus decided external_data fold_costs folding_edges functions graph hints keras_export
    narrow_types outcomes output_forms patch pitfalls planner_visits quantized quantizers random_graphs refusals
    residuals search shapes shipped_models sources turning types
"""
DECIDED = (
    "tests/test_decided.py::test_what_is_told_and_what_holds_a_model_can_not_be_changed",
    "tests/test_decided.py::test_what_is_told_is_compared_by_its_content_and_all_else_by_identity",
)
"""They look at classes, and so at lines that run when a file is imported."""
OUTCOMES = "tests/test_outcomes.py"
TESTS = ["tests/ops", *(f"tests/test_{name}.py" for name in NAMES.split())]
"""Those that fold within their own process, where a mutant can be put; a process that a test starts has none."""
FEW, MOST_OUTCOMES = 6, 20
"""Of the tests that notice most and take longest, so many are tried before all others, and so many in all."""
PARTS = ("bnfold.affine", "bnfold.ops", "bnfold.folding")


class Selection:
    """The tests of each line.

    Args:
        folder: of what runs under coverage have found, one for each of TESTS, made where there is none.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for tests in TESTS:
            data = folder / f"{Path(tests).stem}.coverage"
            if not data.exists():
                _run_under_coverage(tests, data)
        self._coverage = [_read(data) for data in sorted(folder.glob("*.coverage"))]
        self._seconds = {test: took for times in folder.glob("*.xml") for test, took in _seconds(times).items()}
        self._idle = {"", *(test for times in folder.glob("*.xml") for test in _failed(times))}

    def of(self, path: str, line: int) -> list[str]:
        """The tests that run the statement there: those that notice most by turns with all others."""
        lines = self._contexts(path)
        whole = _run_when_imported(path, line)
        found = {test for number in whole or _statement(path, line) for test in lines.get(number, ())} - self._idle
        if not whole:
            return self._in_order(found)
        return [*DECIDED, *(test for test in self._in_order(found) if test not in DECIDED)]

    def _in_order(self, tests: set[str]) -> list[str]:
        """A few of those that notice most first, any of them, then more of them by turns with the others."""
        outcomes = sorted(test for test in tests if test.startswith(OUTCOMES))
        Random(0).shuffle(outcomes)
        turns = zip_longest(outcomes[FEW:MOST_OUTCOMES], self._by_turns(tests.difference(outcomes)))
        return [*outcomes[:FEW], *(test for turn in turns for test in turn if test is not None)]

    @cache  # noqa: B019 - one for the life of the program
    def _contexts(self, path: str) -> dict[int, set[str]]:
        found: dict[int, set[str]] = defaultdict(set)
        for data in self._coverage:
            file = next((file for file in data.measured_files() if file.endswith(f"/{path}")), path)
            for line, contexts in data.contexts_by_lineno(file).items():
                found[line].update(context.split("|")[0] for context in contexts)
        return found

    def _by_turns(self, tests: Iterable[str]) -> list[str]:
        functions: dict[str, list[str]] = defaultdict(list)
        for test in sorted(tests, key=lambda test: (self._seconds.get(test, 0.0), test)):
            functions[test.split("[")[0]].append(test)
        turns = zip_longest(*functions.values())
        return [test for turn in turns for test in turn if test is not None]


def _read(data: Path) -> CoverageData:
    found = CoverageData(str(data))
    found.read()
    return found


def _run_under_coverage(tests: str, data: Path) -> None:
    options = [
        *(f"--cov={part}" for part in PARTS),
        "--cov-context=test",
        "--cov-report=",
        f"--junitxml={data.with_suffix('.xml')}",
        "-o",
        "junit_family=xunit1",
    ]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, tests]
    done = subprocess.run(["env", f"COVERAGE_FILE={data}", *command], check=False)
    assert done.returncode in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), tests


def _seconds(times: Path) -> dict[str, float]:
    cases = ElementTree.parse(times).iter("testcase")
    return {_node_id(case.attrib): float(case.attrib["time"]) for case in cases}


def _failed(times: Path) -> Iterator[str]:
    """The tests that fail where nothing is changed, and so notice nothing."""
    cases = ElementTree.parse(times).iter("testcase")
    yield from (
        _node_id(case.attrib) for case in cases if case.find("failure") is not None or case.find("error") is not None
    )


def _node_id(case: dict[str, str]) -> str:
    return f"{case['classname'].replace('.', '/')}.py::{case['name']}"


@cache
def _run_when_imported(path: str, line: int) -> range | None:
    """Of what runs when the file is imported, by whatever test comes first: the lines of its function, class or file.

    None for a line in the body of a function.
    """
    source = Path(path).read_text(encoding="utf-8")
    tree = ast.parse(source)
    kinds = (ast.FunctionDef, ast.ClassDef)
    around = [node for node in ast.walk(tree) if isinstance(node, kinds) and line in _whole(node)]
    if any(isinstance(node, ast.FunctionDef) and line >= node.body[0].lineno for node in around):
        return None
    return min(map(_whole, around), key=len, default=range(1, source.count("\n") + 2))


def _whole(node: ast.FunctionDef | ast.ClassDef) -> range:
    assert node.end_lineno is not None
    return range(_lines(node).start, node.end_lineno + 1)


@cache
def _statement(path: str, line: int) -> range:
    """The lines of the smallest statement around that line; of one with a body those before the body."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    around = [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and line in _lines(node)]
    return min(map(_lines, around), key=len, default=range(line, line + 1))


def _lines(node: ast.stmt) -> range:
    decorators = [decorator.lineno for decorator in getattr(node, "decorator_list", ())]
    body = getattr(node, "body", None)
    assert node.end_lineno is not None
    return range(min([node.lineno, *decorators]), body[0].lineno if body else node.end_lineno + 1)
