"""What users of bnfold may rely on, as text: names, signatures, options, exit statuses, and keys of JSON documents.

python tests/api.py > tests/api.txt    # where it changes on purpose; then CHANGELOG.md says so
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import typer

import bnfold
from bnfold.cli.commands import SUMMARIES

MODELS = Path(__file__).resolve().parent.parent / "models"
PLAIN = {"__call__", "__bool__", "__len__", "__iter__", "__getitem__", "__enter__", "__exit__"}

WORDS = {"text": "str", "integer": "int"}
"""What typer before 0.28 calls the types of parameters."""


def lines() -> Iterator[str]:
    """All of it."""
    yield "# Python"
    for name in bnfold.__all__:
        yield from _named(name, getattr(bnfold, name))
    yield from ("", "# Command line")
    for name in SUMMARIES:
        yield from _command(name)
    yield from ("", "# Exit statuses")
    yield from _statuses()
    yield from ("", "# Keys of JSON documents")
    yield from _documents()


def _named(name: str, value: Any) -> Iterator[str]:
    if inspect.isfunction(value):
        yield f"def {name}"
        yield from (f"    {line}" for line in _parameters(value))
    elif inspect.isclass(value):
        yield f"class {name}({', '.join(base.__name__ for base in value.__bases__)})"
        yield from (f"    {line}" for line in _members(value))
    else:
        yield f"{name}: {type(value).__name__}"


def _parameters(function: Any) -> Iterator[str]:
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        default = "" if parameter.default is parameter.empty else f" = {_default(parameter.default)}"
        yield f"{parameter.kind.description}: {parameter.name}: {_shown(parameter.annotation)}{default}"
    yield f"-> {_shown(signature.return_annotation)}"


def _members(kind: type) -> Iterator[str]:
    if dataclasses.is_dataclass(kind):
        for field in dataclasses.fields(kind):
            has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
            yield f"{field.name}: {_shown(field.type)}{' = ...' if has_default else ''}"
    elif issubclass(kind, tuple):
        yield from (f"{field}: {_shown(kind.__annotations__[field])}" for field in getattr(kind, "_fields", ()))
    own = {name: member for home in reversed(kind.__mro__) if _is_ours(home) for name, member in vars(home).items()}
    for name, member in sorted(own.items()):
        if name.startswith("_") and name not in PLAIN:
            continue
        if inspect.isfunction(member):
            yield f"def {name}"
            yield from (f"    {line}" for line in _parameters(member))
        elif isinstance(member, property) or type(member).__name__ == "cached_property":
            getter = getattr(member, "fget", None) or getattr(member, "func", None) or vars(member)["compute"]
            yield f"{name} -> {_shown(getter.__annotations__.get('return'))}"


def _default(value: object) -> str:
    return value.__name__ if inspect.isfunction(value) else repr(value)


def _is_ours(kind: type) -> bool:
    return kind.__module__.split(".")[0] == "bnfold"


def _shown(value: object) -> str:
    if value is inspect.Parameter.empty:
        return "?"
    return value if isinstance(value, str) else repr(value)


def _command(name: str) -> Iterator[str]:
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name)(getattr(importlib.import_module(f"bnfold.cli.{name}"), name))
    yield f"bnfold {name}"
    for parameter in typer.main.get_command(alone).params:
        spelled = ", ".join([*parameter.opts, *parameter.secondary_opts])
        several = " several" if parameter.multiple or parameter.nargs != 1 else ""
        needed = " required" if parameter.required else f" = {parameter.default!r}"
        kind = WORDS.get(parameter.type.name, parameter.type.name)
        yield f"    {spelled}: {kind}{several}{needed}"


def _statuses() -> Iterator[str]:
    """Of calls that come to each of them, and of every error."""
    from bnfold.cli.main import judged

    def raising(error: BaseException) -> Any:
        def command() -> None:
            raise error

        return command

    yield f"done: {judged(lambda: None)[0]}"
    for name in bnfold.__all__:
        kind = getattr(bnfold, name)
        if inspect.isclass(kind) and issubclass(kind, bnfold.BnfoldError):
            yield f"{name}: {judged(raising(kind('x')))[0]}"
    with redirect_stderr(StringIO()):  # the traceback
        yield f"any other exception: {judged(raising(ZeroDivisionError()))[0]}"


def _documents() -> Iterator[str]:
    """Of real calls; what a mapping is keyed by a name of the model with is written as `*`."""
    model = str(MODELS / "residual.onnx")
    with tempfile.TemporaryDirectory() as folder:
        folded = f"{folder}/folded.onnx"
        calls = {
            "fold": ["fold", model, "-o", folded],
            "fold of several": ["fold", model, str(MODELS / "mlp.onnx"), "--out-dir", folder],
            "check --locate": ["check", model, folded, "--locate"],
            "inspect": ["inspect", model],
            "insert": ["insert", folded, "-o", f"{folder}/inserted.onnx"],
        }
        for title, call in calls.items():
            yield title
            command = [sys.executable, "-m", "bnfold", *call, "--json", "-"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            yield from (f"    {key}" for key in sorted(set(_keys(json.loads(done.stdout)))))


def _keys(value: Any, path: str = "") -> Iterator[str]:
    """Every path to a value, with its type."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _keys(inner, f"{path}.{key if key.replace('_', '').islower() else '*'}")
    elif isinstance(value, list):
        yield from ([f"{path}[]"] if not value else ())
        for inner in value:
            yield from _keys(inner, f"{path}[]")
    else:
        yield f"{path}: {type(value).__name__}"


if __name__ == "__main__":
    print("\n".join(lines()))
