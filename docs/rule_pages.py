"""What docs/reference/rules.md says, from the registry of rules and the docstrings of the rules in it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rule_codes import codes_of

import bnfold.ops  # noqa: F401 (fills the registry)
from bnfold.ops import registry
from bnfold.ops.registry import Entry, Registry

ROOT = Path(__file__).resolve().parent.parent
DERIVATIONS = ROOT / "docs" / "mathematics.md"

HEAD = """# Rules

What each operator does with an affine map `y = a x + b` that arrives at its output, *pulled* towards the inputs, or at
its input, *pushed* towards the outputs. The operator *absorbs* the map into its constants, or *carries* it: the same
map, or one that says the same, appears on its other side. An operator that is not listed is a barrier, and so is every
operator of another domain.

Written by `python docs/reference.py`, from the registry and the docstrings in
[bnfold/ops](../../bnfold/ops/__init__.py). The versions are those of the operator, not of the opset. Each name leads to
the formulas below, and those to their [derivation](../mathematics.md). A rule that refuses gives a code, and
[refusals](../refusals.md) says what it means and what unblocks it; a rule that is asked for a map over more axes than
it knows refuses with `axes`.

## Operators, directions, conditions

| operator | versions | pulled: exact | pushed: exact | axes |
|---|---|---|---|---|
"""

REPLACING = """
*Axes*: over how many axes the map may differ that the rule is asked for.

## What may become another operator

Asked only where all else refuses, and used where the [cost](../performance.md) is less, or with
`--prefer no-batchnorm`.

| operator | direction | becomes, and exact |
|---|---|---|
"""

PARALLEL = """
## What takes an affine beside it

An affine of the value that the operator reads too, added to what the operator makes, with nothing in between that
something else sees: asked where the affine can not be pulled ([derivation](../mathematics.md#beside-an-operator)).

| operator | becomes, and exact |
|---|---|
"""

PART = re.compile(r"(?P<name>Given|Result|Exact): ")
VERSIONS = re.compile(r" ?\(ONNX (?P<text>[^)]*)\)")
SAME = re.compile(r"as for `(?P<rule>\w+)`\.?$")


class Written(NamedTuple):
    """What a rule's docstring says, each part on one line.

    Attributes:
        summary: the first line; empty where there is none.
        given: the operator, and where the map lies.
        result: what becomes of its constants, and which maps are on the other side.
        exact: the condition.
        versions: per operator, the versions that the rule was read in.
        home: the file of the rule.
    """

    summary: str
    given: str
    result: str
    exact: str
    versions: dict[str, str]
    home: str


class Versioned(NamedTuple):
    """The rules of an operator from one version on, until others hold.

    Attributes:
        since: that version.
        pull: the rule for a map at its output; None for a barrier.
        push: the rule for a map at its input; None for a barrier.
    """

    since: int
    pull: Entry | None
    push: Entry | None


def written(rule: Callable[..., Any]) -> Written:
    """What the docstring of a rule says.

    Raises:
        ValueError: a part is missing.
    """
    text = " ".join((inspect.getdoc(rule) or "").replace("``", "`").split())
    summary, *rest = PART.split(text)
    parts = dict(zip(rest[::2], rest[1::2], strict=True))
    if missing := {"Given", "Result", "Exact"} - set(parts):
        raise ValueError(f"the docstring of {rule.__name__} has no {', '.join(sorted(missing))}")
    found = VERSIONS.search(parts["Exact"])
    exact = VERSIONS.sub("", parts["Exact"]).strip().removesuffix(".")
    versions = _versions(found["text"]) if found else {}
    if same := SAME.fullmatch(exact):
        other = written(getattr(inspect.getmodule(rule), same["rule"]))
        exact, versions = other.exact, versions or other.versions
    result = parts["Result"].strip()
    if same := SAME.fullmatch(result):
        result = written(getattr(inspect.getmodule(rule), same["rule"])).result
    home = Path(inspect.getfile(rule)).resolve().relative_to(ROOT).as_posix()
    return Written(summary.strip(), parts["Given"].strip(), result, exact, versions, home)


def _versions(text: str) -> dict[str, str]:
    """`Relu-1 to 14, Clip-1, 6` by operator."""
    stated = text.partition(";")[0]
    return {name: versions.strip(" ,") for name, versions in re.findall(r"([A-Z]\w+)-(\d[\d, to]*)", stated)}


def versions_by_operator() -> dict[str, list[Versioned]]:
    """Operator to its rules, one entry for each version from which on there are others."""
    found: dict[str, dict[int, dict[str, Entry]]] = {}
    for side, rules in (("pull", registry.pull), ("push", registry.push)):
        for entry in rules.entries():
            found.setdefault(entry.op_type, {}).setdefault(entry.since, {})[side] = entry
    return {name: list(_holding(found[name])) for name in sorted(found)}


def _holding(registered: dict[int, dict[str, Entry]]) -> Iterator[Versioned]:
    """The rules from each version on: those of an earlier one hold until there are others."""
    holding: dict[str, Entry] = {}
    for since, sides in sorted(registered.items()):
        holding |= sides
        yield Versioned(since, holding.get("pull"), holding.get("push"))


def text() -> str:
    """The whole page."""
    lines = [_row(name, rules) for name, versions in versions_by_operator().items() for rules in versions]
    replacing = [*_replacing("pulled", registry.replacing_pull), *_replacing("pushed", registry.replacing_push)]
    parallel = _parallel(registry.parallel)
    tables = REPLACING + "".join(replacing) + PARALLEL + "".join(parallel)
    return HEAD + "".join(lines) + tables + "".join(_sections())


def _row(name: str, rules: Versioned) -> str:
    entries = (rules.pull, rules.push)
    said = [None if entry is None else written(entry.written) for entry in entries]
    stated = next(part.versions[name] for part in said if part is not None)
    pulled, pushed = ("" if part is None else _cell(part.exact) for part in said)
    pushed = "the same" if pushed == pulled else pushed
    axes = "any" if any(entry is not None and entry.several_axes for entry in entries) else "one"
    return f"| [{name}](#{name.lower()}) | {stated} | {pulled} | {pushed} | {axes} |\n"


def _cell(prose: str) -> str:
    return prose.replace("|", "\\|")


def _replacing(direction: str, rules: Registry) -> Iterator[str]:
    for entry in rules.entries():
        said = written(entry.written)
        name = f"[{entry.op_type}](../mathematics.md#{derivation_of(entry.op_type)})"
        yield f"| {name} | {direction} | {_cell(said.result)} Exact: {_cell(said.exact)}. |\n"


def _parallel(rules: Registry) -> Iterator[str]:
    for entry in rules.entries():
        said = written(entry.written)
        yield f"| [{entry.op_type}](../../{said.home}) | {_cell(said.result)} Exact: {_cell(said.exact)}. |\n"


def _sections() -> Iterator[str]:
    for name, versions in versions_by_operator().items():
        yield f"\n## {name}\n\n[Derivation](../mathematics.md#{derivation_of(name)}).\n"
        for since, pull, push in versions:
            yield f"\nFrom version {since} on:\n" if len(versions) > 1 else ""
            if pull is not None and push is not None and pull.written is push.written:
                yield _formulas("Pulled and pushed", pull)
                continue
            yield from (_formulas(way, entry) for way, entry in (("Pulled", pull), ("Pushed", push)) if entry)


def _formulas(way: str, entry: Entry) -> str:
    said = written(entry.written)
    name = f"[{way}](../../{said.home})"
    summary = f": {said.summary}" if said.summary else "."
    codes = ", ".join(f"[`{code}`](../refusals.md#{code})" for code in codes_of(entry.written))
    refuses = f"- May refuse with: {codes}\n" if codes else ""
    return f"\n**{name}**{summary}\n\n- Given: {said.given}\n- Result: {said.result}\n- Exact: {said.exact}.\n{refuses}"


def derivation_of(name: str) -> str:
    """The anchor of the section of docs/mathematics.md that has the operator in its heading.

    Raises:
        ValueError: there is none.
    """
    for heading in re.findall(r"^###? (.+)$", DERIVATIONS.read_text(encoding="utf-8"), re.MULTILINE):
        if name in re.findall(r"\w+", heading):
            return anchor(heading)
    raise ValueError(f"docs/mathematics.md has no section with {name} in its heading")


def anchor(heading: str) -> str:
    """What GitHub and the site call the place of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
