"""Which codes a rule can refuse with: read from its source, and from the functions of bnfold/ops that it uses."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from bnfold.ops.codes import CODES

OPS = Path(__file__).resolve().parent.parent / "bnfold" / "ops"


class Function(NamedTuple):
    """A function of bnfold/ops.

    Attributes:
        module: the name of its file.
        tree: its source.
    """

    module: str
    tree: ast.FunctionDef


@cache
def _trees() -> dict[str, ast.Module]:
    return {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in OPS.glob("*.py")}


@cache
def _names(module: str) -> dict[str, Function]:
    """Every function that a name means in a module: its own, those that it imports, and methods by their names."""
    found: dict[str, Function] = {}
    for node in ast.walk(_trees()[module]):
        if isinstance(node, ast.FunctionDef):
            found[node.name] = Function(module, node)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bnfold.ops."):
            home = str(node.module).removeprefix("bnfold.ops.")
            found |= {alias.name: known[alias.name] for alias in node.names if alias.name in (known := _names(home))}
    return found


def codes_of(rule: Callable[..., Any]) -> list[str]:
    """The codes that the rule, or what it uses, can refuse with; those of the registry are not among them."""
    home = Path(inspect.getfile(rule)).stem
    todo, seen = [_names(home)[rule.__name__]], dict[tuple[str, str], Function]()
    while todo:
        function = todo.pop()
        if (function.module, function.tree.name) not in seen:
            seen[function.module, function.tree.name] = function
            todo += _used(function)
    return sorted({code for function in seen.values() for code in _own_codes(function.tree)})


def _used(function: Function) -> Iterator[Function]:
    """The functions whose names stand in a function, and `Operator.refuse_overridable`."""
    known = _names(function.module)
    for node in ast.walk(function.tree):
        if isinstance(node, ast.Name) and node.id in known:
            yield known[node.id]
        elif isinstance(node, ast.Attribute) and node.attr == "refuse_overridable":
            yield _names("rule")["refuse_overridable"]


def _own_codes(tree: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "refuse":
            yield from _meant(node.args[0], tree)


def _meant(code: ast.expr, tree: ast.FunctionDef) -> Iterator[str]:
    """The codes that an expression can be."""
    if isinstance(code, ast.IfExp):
        yield from (*_meant(code.body, tree), *_meant(code.orelse, tree))
    elif isinstance(code, ast.JoinedStr):
        pattern = "".join(_pattern(part) for part in code.values)
        yield from (known for known in CODES if re.fullmatch(pattern, known))
    elif isinstance(code, ast.Name):
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and any(ast.unparse(target) == code.id for target in node.targets):
                yield from _meant(node.value, tree)
    elif isinstance(code, ast.Constant):
        yield str(code.value)


def _pattern(part: ast.expr) -> str:
    """What a part of an f-string can be, as a regular expression."""
    if isinstance(part, ast.Constant):
        return re.escape(str(part.value))
    if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.IfExp):
        return f"(?:{_pattern(part.value.body)}|{_pattern(part.value.orelse)})"
    return ".+"
