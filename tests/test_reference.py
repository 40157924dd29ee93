"""Every rule says what it does and when that is exact, is read in the operator's real versions, and is derived."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

from bnfold.model.graph import ONNX_DOMAIN
from bnfold.ops import registry
from bnfold.ops.registry import Entry, Registry

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "docs"))  # scripts, and no package; last, as one of them is called coverage

import refusals  # noqa: E402
import rule_codes  # noqa: E402
import rule_pages  # noqa: E402

READ = 28
"""The newest opset whose operators the rules were read in."""

REGISTRIES = (registry.pull, registry.push, registry.replacing_pull, registry.replacing_push, registry.parallel)
ENTRIES = [entry for rules in REGISTRIES for entry in rules.entries()]


def versions_of(operator: str) -> set[int]:
    """The versions of an operator that there are."""
    schemas = onnx.defs.get_all_schemas_with_history()
    return {s.since_version for s in schemas if (s.domain, s.name) == (ONNX_DOMAIN, operator)}


def stated_versions(text: str, known: set[int]) -> Iterator[int]:
    """`1, 6 to 13` as numbers; of a range those that there are."""
    for part in text.split(", "):
        first, _, last = part.partition(" to ")
        assert int(first) in known or int(first) > onnx.defs.onnx_opset_version()
        yield int(first)
        yield from (version for version in known if last and int(first) < version <= int(last))


def holding(entry: Entry, rules: Registry) -> set[int]:
    """The versions for which the entry's rule holds: until the next one."""
    later = [other.since for other in rules.entries() if other.op_type == entry.op_type and other.since > entry.since]
    return {v for v in versions_of(entry.op_type) if entry.since <= v < min(later, default=READ + 1)}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.op_type}-{entry.since}-{entry.written.__name__}")
def test_a_rule_says_what_is_given_the_result_and_when_it_is_exact(entry: Entry) -> None:
    said = rule_pages.written(entry.written)
    assert said.given
    assert said.result
    assert said.exact
    assert (ROOT / said.home).is_file()


@pytest.mark.parametrize("rules", [registry.pull, registry.push], ids=["pull", "push"])
def test_a_rule_was_read_in_every_version_for_which_it_holds(rules: Registry) -> None:
    wrong = {}
    for entry in rules.entries():
        known, stated = versions_of(entry.op_type), rule_pages.written(entry.written).versions[entry.op_type]
        read = {v for v in stated_versions(stated, known) if v <= onnx.defs.onnx_opset_version()}
        if read != holding(entry, rules):
            wrong[entry.op_type] = (stated, holding(entry, rules))
    assert not wrong


def refusing_operators() -> Iterator[tuple[str, str]]:
    """(operator, code) of every refusal that an example of docs/refusals.md ends with, either way."""
    for example in refusals.EXAMPLES.values():
        for refusal in refusals.refusals_of(example):
            for each in filter(None, (refusal, refusal.other)):
                if found := re.match(r"(\w+) '", each.text):
                    yield found[1], each.code


def test_the_codes_of_a_rule_are_those_that_it_refuses_with() -> None:
    """The page has them from the source; here they come from real folds. What the search refuses too is left out."""
    stated: dict[str, set[str]] = {}
    for entry in ENTRIES:
        stated.setdefault(entry.op_type, set()).update(rule_codes.codes_of(entry.written))
    search = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "bnfold" / "folding").glob("*.py"))
    of_rules = {code for codes in stated.values() for code in codes if f'"{code}"' not in search}
    seen = {(operator, code) for operator, code in refusing_operators() if operator in stated and code in of_rules}
    assert len(seen) > 15
    assert not {(operator, code) for operator, code in seen if code not in stated[operator]}


def test_the_condition_of_another_rule_is_shown_in_full() -> None:
    """`Exact: as for ...` is good to read in the code, where the other rule stands above."""
    text = rule_pages.text()
    assert not re.findall(r"(?:Exact|Result): as for `\w+`", text)
    assert text.count("| [Cast](#cast) | 1 to 28 | equal in real arithmetic") == 1


@pytest.mark.parametrize("operator", sorted({entry.op_type for entry in ENTRIES}))
def test_every_operator_is_derived(operator: str) -> None:
    page = (ROOT / "docs" / "mathematics.md").read_text(encoding="utf-8")
    anchor = rule_pages.derivation_of(operator)
    (section,) = [part for part in re.split(r"^###? ", page, flags=re.MULTILINE) if anchor_of(part) == anchor]
    assert "=" in section, "a derivation without an equation"


def anchor_of(section: str) -> str:
    return rule_pages.anchor(section.partition("\n")[0])


def test_an_operator_that_is_not_derived_is_noticed() -> None:
    with pytest.raises(ValueError, match="no section with Sigmoidal"):
        rule_pages.derivation_of("Sigmoidal")


def test_a_docstring_without_its_condition_is_noticed() -> None:
    def rule(op: Any, placed: Any) -> None:
        """Given: x. Result: y."""

    with pytest.raises(ValueError, match="has no Exact"):
        rule_pages.written(rule)


@pytest.mark.parametrize("script", ["reference.py", "rooms.py", "comparison.py"])
def test_the_committed_pages_are_what_the_script_writes(script: str) -> None:
    done = subprocess.run([sys.executable, f"docs/{script}", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", ["reference/rules.md", "reference/commands.md", "comparison.md", "mathematics.md"])
def test_nothing_is_taken_for_html(page: str) -> None:
    """`<name>.onnx` outside of code is a tag that nobody sees."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```|`[^`]*`|<!-- .*? -->", "", text, flags=re.DOTALL)
    assert not re.findall(r"<[a-z/]", prose)
