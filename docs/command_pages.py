"""What docs/reference/commands.md says, from the command line itself."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator

import typer

import bnfold
from bnfold.cli.commands import SUMMARIES
from bnfold.cli.main import BAD_INPUT, DIFFERENT, INTERRUPTED, OWN_FAULT, judged
from bnfold.errors import BnfoldError

HEAD = """# Commands

Every command, argument and option, written by `python docs/reference.py` from the command line itself. `bnfold --help`
and `bnfold COMMAND --help` say the same. The result goes to stdout, what happens on the way to stderr.

"""

STATUSES = {
    0: "done, and equal",
    DIFFERENT: "a difference was found and nothing written, or `--strict` and a BatchNormalization stayed",
    BAD_INPUT: "bad usage or a bad model; one sentence says what, where and what to do",
    OWN_FAULT: "a fault of bnfold's own, with a traceback to report",
    INTERRUPTED: "interrupted; nothing was written. 128 + N for another signal N",
}

KINDS = {"<int>": "N", "INTEGER": "N", "<float>": "X", "FLOAT": "X"}
"""What versions of typer call numbers, and how the page does, whichever made it."""


def text() -> str:
    """The whole page."""
    index = "".join(f"- [`bnfold {name}`](#bnfold-{name}): {summary}\n" for name, summary in SUMMARIES.items())
    return HEAD + index + _statuses() + "".join(_command(name) for name in SUMMARIES)


def _statuses() -> str:
    lines = ["\n## Exit statuses\n\n| status | meaning | errors of the Python call |\n|---:|---|---|\n"]
    for status, meaning in STATUSES.items():
        errors = ", ".join(f"`{name}`" for name in _errors_of(status))
        lines.append(f"| {status} | {meaning} | {errors} |\n")
    return "".join(lines)


def _errors_of(status: int) -> Iterator[str]:
    """The public errors that end a command with the status."""
    for name in bnfold.__all__:
        kind = getattr(bnfold, name)
        if inspect.isclass(kind) and issubclass(kind, BnfoldError) and _status_of(kind) == status:
            yield name


def _status_of(kind: type[BnfoldError]) -> int:
    def command() -> None:
        raise kind("")

    return judged(command)[0]


def _command(name: str) -> str:
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name)(getattr(importlib.import_module(f"bnfold.cli.{name}"), name))
    command = typer.main.get_command(alone)
    context = typer.Context(command, info_name=f"bnfold {name}")
    usage = re.sub(r"[{}]", "", " ".join(command.collect_usage_pieces(context)))
    records = [(p.param_type_name, p.get_help_record(context)) for p in command.get_params(context)]
    parts = [f"\n## `bnfold {name}`\n\n{_plain(command.help or '')}\n\n```text\nbnfold {name} {usage}\n```\n"]
    for kind in ("argument", "option"):
        rows = [_row(*record) for each, record in records if each == kind and record]
        parts += [f"\n| {kind} | meaning |\n|---|---|\n", *rows]
    return "".join(parts)


def _row(spelled: str, meaning: str) -> str:
    for word, kind in KINDS.items():
        spelled = spelled.replace(word, kind)
    return f"| `{_cell(spelled)}` | {_cell(_plain(meaning))} |\n"


def _plain(prose: str) -> str:
    """Help as Markdown: on one line, and what stands for a name as code."""
    return re.sub(r"<\w+>[\w.]*", r"`\g<0>`", " ".join(prose.split()))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
