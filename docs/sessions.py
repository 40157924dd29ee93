"""Run a page whose commands are one session: in order, in one folder, each compared with what the page shows.

    python docs/sessions.py docs/howto/trace.md           # fail where a command prints something else
    python docs/sessions.py docs/howto/*.md --update      # write what was printed where it differs

A page is a session if it has a block of `console`. What counts in it, in this order:

- `console`: lines that begin with `$ ` are given to bash, the lines below each are what it writes, to both streams. A
  command that ends with another status than 0 has to be followed by `echo $?` in its block.
- `python`: a program; the block of `text` right below it, if there is one, is what it prints to stdout.

In what a page shows, a line `...` stands for any lines, and `...` within a line for any text. Blanks count as one.
Numbers with an exponent are roundings, which differ from machine to machine: they may be off by a factor of 100, and
one of them may be zero where the other is small.
Behind `<!-- about: 10% -->` numbers with a point may be off by that much: trainings differ from machine to machine.
`<!-- needs: torch -->` anywhere in a page names what has to be installed to run it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGES = (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
FENCE = re.compile(
    r"(?:<!-- about: (?P<about>\d+)% -->\n)?```(?P<language>console|python)\n(?P<body>.*?)```\n"
    r"(?:\n(?:<!-- about: (?P<about_text>\d+)% -->\n)?```text\n(?P<text>.*?)```\n)?",
    re.DOTALL,
)
NEEDS = re.compile(r"<!-- needs: (.*?) -->")
ROUNDING = re.compile(r"\d\.\d+e[-+]\d\d")
DECIMAL = re.compile(r"\d+\.\d+(?!e)")
FACTOR = 100
"""How far a rounding may be off; a fault moves an output by more than thousands of them."""
SMALL = 1e-4
"""What stands beside a rounding that is zero may be this large."""


class Step(NamedTuple):
    """A command or program, and where its output stands in the page.

    Attributes:
        command: for bash, or a whole program.
        is_program: whether it is one, in Python.
        start: where its output begins in the page's text.
        end: where it ends.
        is_shown: whether the page shows an output.
        may_fail: whether the page goes on to show an exit status.
        about: by how many percent numbers with a point may be off.
    """

    command: str
    is_program: bool
    start: int
    end: int
    is_shown: bool
    may_fail: bool
    about: int


class Difference(NamedTuple):
    """A step that printed something else than the page shows."""

    step: Step
    printed: str


def sessions() -> list[Path]:
    """The pages that are sessions, in the order of their names."""
    return sorted(page for page in PAGES if "```console\n" in page.read_text(encoding="utf-8"))


def needs(text: str) -> list[str]:
    """The modules that a page needs beyond those of the tests."""
    return " ".join(NEEDS.findall(text)).replace(",", " ").split()


def missing(modules: Sequence[str]) -> list[str]:
    """Those that this environment lacks."""
    return [name for name in modules if find_spec(name) is None]


def steps(text: str) -> Iterator[Step]:
    """The steps of a page, in order."""
    for fence in FENCE.finditer(text):
        if fence["language"] == "console":
            yield from _commands(fence)
        else:
            is_shown = fence["text"] is not None
            yield Step(fence["body"], True, *fence.span("text"), is_shown, False, int(fence["about_text"] or 0))


def _commands(fence: re.Match[str]) -> Iterator[Step]:
    body, offset = fence["body"], fence.start("body")
    if not body.startswith("$ "):
        raise ValueError(f"a block of console begins with no command: {body.splitlines()[0]}")
    found = list(re.finditer(r"^\$ (.*)\n", body, re.MULTILINE))
    ends = [command.start() for command in found[1:]] + [len(body)]
    for command, end in zip(found, ends, strict=True):
        may_fail = "\n$ echo $?\n" in body[command.end() - 1 :]
        yield Step(command[1], False, offset + command.end(), offset + end, True, may_fail, int(fence["about"] or 0))


def furnish(folder: Path) -> None:
    """Make a folder as a reader has it who stands in a clone: models to write beside, and the scripts of the docs."""
    shutil.copytree(ROOT / "models", folder / "models", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("docs", "examples"):
        (folder / name).symlink_to(ROOT / name)


def differences(text: str, folder: Path) -> list[Difference]:
    """Run all steps of a page in a folder. Warnings are errors where nothing but bnfold itself is needed.

    Raises:
        RuntimeError: a step failed, and the page does not say so.
    """
    found, status = [], 0
    python = [sys.executable] if needs(text) else [sys.executable, "-W", "error"]
    for step in steps(text):
        if step.is_program:
            printed, status = _run([*python, "-c", step.command], folder, errors=subprocess.PIPE)
        else:
            printed, status = _run(["bash", "-c", f"(exit {status}); {step.command}"], folder, errors=subprocess.STDOUT)
        if status != 0 and not step.may_fail:
            raise RuntimeError(f"status {status}: {step.command}\n{printed}")
        if step.is_shown and not same(text[step.start : step.end], printed, step.about):
            found.append(Difference(step, printed))
    return found


def _run(command: list[str], folder: Path, *, errors: int) -> tuple[str, int]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=errors,
        # One thread each: pages run beside each other, and threads that wait for their turn cost more than they bring.
        env={"OMP_NUM_THREADS": "1", **os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"},
        check=False,
    )
    printed = done.stdout if done.returncode == 0 else done.stdout + (done.stderr or "")
    return "".join(line.rstrip() + "\n" for line in printed.splitlines()), done.returncode


def same(shown: str, printed: str, about: int = 0) -> bool:
    """Whether what a page shows is what was printed, as far as it has to be."""
    expected = re.fullmatch("".join(_pattern(line) for line in shown.splitlines()), printed)
    if expected is None:
        return False
    numbers = [n for line in shown.splitlines() for n in _loose(line)]
    return all(_near(a, b, about) for a, b in zip(numbers, expected.groups(), strict=True))


def _pattern(line: str) -> str:
    if line.strip() == "...":
        return r"(?:.*\n)*?"
    parts, last = [], 0
    for number in _LOOSE.finditer(line):
        parts += [_literal(line[last : number.start()]), r"(-?\d+\.\d+(?:e[-+]\d\d)?)"]
        last = number.end()
    return "".join([*parts, _literal(line[last:]), r"\n"])


_LOOSE = re.compile(f"{ROUNDING.pattern}|{DECIMAL.pattern}")


def _literal(text: str) -> str:
    words = re.escape(text).replace(re.escape("..."), ".*")
    return re.sub(r"(?:\\ )+", r" +", words)


def _loose(line: str) -> list[str]:
    return [] if line.strip() == "..." else _LOOSE.findall(line)


def _near(shown: str, printed: str, about: int) -> bool:
    a, b = float(shown), float(printed)
    if ROUNDING.fullmatch(shown):
        return a == b or max(a, b) <= (FACTOR * min(a, b) or SMALL)
    return shown == printed or abs(a - b) <= abs(a) * about / 100


def updated(text: str, found: list[Difference]) -> str:
    """The page with what was printed in place of what it shows."""
    for step, printed in reversed(found):
        text = text[: step.start] + printed + text[step.end :]
    return text


def main() -> int:
    """Run the pages that are named, and compare or update them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--update", action="store_true", help="write what was printed where it differs")
    asked = parser.parse_args()
    stale = 0
    for page in asked.pages:
        text = page.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            furnish(Path(folder))
            found = differences(text, Path(folder))
        stale += len(found)
        for step, printed in found:
            print(f"{page}: $ {step.command}\n{printed}", end="")
        if asked.update:
            page.write_text(updated(text, found), encoding="utf-8")
    return 0 if asked.update or not stale else 1


if __name__ == "__main__":
    sys.exit(main())
