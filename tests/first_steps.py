"""The two commands of the README as a newcomer gives them: in a fresh clone, with an empty home, and timed.

    python tests/first_steps.py fold             # the first alone: set up, and fold a model
    python tests/first_steps.py --record         # both, and write the figures down, for docs/reliability.md

Nothing of this environment reaches them but where pip finds packages. What is cloned is what is committed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import record

ROOT = Path(__file__).resolve().parent.parent
COMMAND = re.compile(r"^<!-- setup: (\w+) -->\n```bash\n(.*)\n```$", re.MULTILINE)
WHAT = {"fold": "set up and fold a model", "test": "set up and run the tests"}
KEPT = re.compile(r"PIP_.*|.*_proxy|.*_PROXY|SSL_CERT_.*|REQUESTS_CA_BUNDLE")
"""What says where pip finds packages."""


class Step(NamedTuple):
    """A command that was run.

    Attributes:
        name: of its marker in the README.
        seconds: from the clone to its end.
        megabytes: of the environment that it has made.
        output: both streams.
    """

    name: str
    seconds: float
    megabytes: int
    output: str


def commands() -> Mapping[str, str]:
    """The lines behind the markers of the README, by name."""
    return dict(COMMAND.findall((ROOT / "README.md").read_text(encoding="utf-8")))


@contextmanager
def clone() -> Iterator[Path]:
    """What is committed, in a folder of its own beside an empty home."""
    with TemporaryDirectory() as folder:
        home, place = Path(folder, "home"), Path(folder, "bnfold")
        home.mkdir()
        subprocess.run(["git", "clone", "-q", ROOT, place], check=True)
        yield place


def environment(home: Path) -> dict[str, str]:
    """As after a login: the system's programs, and a Python that is new enough."""
    python = home / "bin" / "python3"
    python.parent.mkdir(exist_ok=True)
    python.unlink(missing_ok=True)
    python.symlink_to(Path(sys.base_prefix, "bin", "python3"))
    kept = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
    return {**kept, "HOME": str(home), "PATH": f"{python.parent}:/usr/bin:/bin", "LANG": "C.UTF-8"}


def run(name: str) -> Step:
    """Give a command in a fresh clone.

    Raises:
        RuntimeError: it failed.
    """
    with clone() as place:
        begun = time.perf_counter()
        done = subprocess.run(
            ["bash", "-c", commands()[name]],
            cwd=place,
            env=environment(place.parent / "home"),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        seconds = time.perf_counter() - begun
        if done.returncode != 0:
            raise RuntimeError(f"'{name}' of the README ended with {done.returncode}:\n{done.stdout}")
        size = sum(path.stat().st_size for path in (place / ".venv").rglob("*") if not path.is_symlink())
    return Step(name, seconds, size // 1_000_000, done.stdout)


def figures(steps: Sequence[Step]) -> dict[str, int | str]:
    """A row per figure, as `record.write` takes them."""
    found: dict[str, int | str] = {}
    for step in steps:
        found[WHAT[step.name]] = f"{step.seconds:.0f} s"
        found[f"{WHAT[step.name]}: size of the environment"] = f"{step.megabytes} MB"
        found[f"{WHAT[step.name]}: last line"] = step.output.splitlines()[-1]
    return found


def main() -> None:
    """Run the commands that are named, by default both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{' or '.join(WHAT)}; by default both")
    parser.add_argument("--record", action="store_true", help="write the figures down, for docs/reliability.md")
    asked = parser.parse_args()
    begun, load = time.perf_counter(), os.getloadavg()[0]
    steps = [run(name) for name in asked.names or WHAT]
    for what, figure in figures(steps).items():
        print(f"{what}: {figure}")
    if asked.record:
        given = " ".join(["python tests/first_steps.py", *asked.names, "--record"])
        shown = {**figures(steps), "load of the machine at the beginning": f"{load:.1f}"}
        record.write("first-steps", given, time.perf_counter() - begun, shown)


if __name__ == "__main__":
    if shutil.which("git") is None:
        sys.exit("first_steps.py clones the repository with git, which is not here")
    main()
