"""Run the tests with the oldest supported versions of everything, and with the newest there are on each newer Python.

    python tests/versions.py                   # a third of the tests of files that meet all rooms, as CI does
    python tests/versions.py --whole           # all tests
    python tests/versions.py oldest --whole    # of one set alone, and no record of it

A Python that this machine lacks is left out, and said to be.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import record

ROOT = Path(__file__).resolve().parent.parent
NAMES = (
    "check cli corpus data file functions insert onnx_ir public_api public_api_frozen providers quantized refusals "
    "shapes types"
)
PART = [
    *(f"tests/test_{name}.py" for name in NAMES.split()),
    *("tests/ops/test_linear.py", "tests/ops/test_pooling.py", "--every", "3"),
]
SHOWN = ("onnx", "onnx_ir", "onnxruntime", "numpy", "ml_dtypes", "protobuf", "typer", "rich")


class Versions(NamedTuple):
    """One set of versions: a Python, and what pip is bound by."""

    name: str
    python: str
    bounds: tuple[str, ...] = ()


SETS = [
    Versions("oldest", "3.11", ("-c", "tests/oldest.txt")),
    Versions("newest, Python 3.12", "3.12"),
    Versions("newest, Python 3.13", "3.13"),
]


def find_python(minor: str) -> str | None:
    """A Python of that version: this one, one on the path, or one of pyenv's."""
    if sys.version_info[:2] == tuple(map(int, minor.split("."))):
        return sys.executable
    found = shutil.which(f"python{minor}")
    kept = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{minor}.*/bin/python3"))
    candidates = [*([found] if found else []), *map(str, kept)]
    return next((python for python in candidates if _is_of(python, minor)), None)


def _is_of(python: str, minor: str) -> bool:
    """Whether it runs, and as that version: pyenv's shims are on the path for what they then can not find."""
    asked = [python, "-c", "import sys; print('{}.{}'.format(*sys.version_info))"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() == minor


def tried(versions: Versions, python: str, tests: Iterable[str]) -> tuple[str, str, int]:
    """Install and test: the versions that there were, pytest's last line, and its exit status."""
    folder = ROOT / "build" / "versions" / versions.python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", folder], check=True)
    inside = str(folder / "bin" / "python")
    install = [inside, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-e", ".[cpu,dev,ir]"]
    subprocess.run([*install, *versions.bounds], cwd=ROOT, check=True)
    workers = os.environ.get("BNFOLD_WORKERS", "auto")
    command = [inside, "-m", "pytest", "-n", workers, "-p", "no:cacheprovider", "--tb=short", *tests]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(done.stdout)
    told = re.sub(r" in [\d.]+s.*", "", done.stdout.strip().splitlines()[-1]).strip("= ")
    return _installed(inside), told, done.returncode


def _installed(python: str) -> str:
    script = (
        "import platform, sys; from importlib.metadata import version as v; print('Python', platform.python_version(), "
    )
    script += "*(f'{name} {v(name)}' for name in sys.argv[1:]), sep=', ')"
    told = subprocess.run([python, "-c", script, *SHOWN], capture_output=True, text=True, check=True).stdout
    return told.strip().replace("Python, ", "Python ")


def main() -> int:
    """0 where all hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="of the sets: the first word, or the Python; all by default")
    parser.add_argument("--whole", action="store_true")
    given = parser.parse_args()
    start, worst, figures = time.monotonic(), 0, {}
    for versions in SETS:
        if given.names and not {versions.name.split(",")[0], versions.python} & set(given.names):
            continue
        python = find_python(versions.python)
        if python is None:
            print(f"LEFT OUT: {versions.name}: there is no Python {versions.python} on this machine", flush=True)
            continue
        installed, told, status = tried(versions, python, () if given.whole else PART)
        print(f"{versions.name}: {installed}: {told}", flush=True)
        figures[f"{versions.name}: {installed}"] = told
        worst = max(worst, status)
    if not given.names:
        command = f"python tests/versions.py{' --whole' if given.whole else ''}"
        record.write("versions", command, time.monotonic() - start, figures)
    return worst


if __name__ == "__main__":
    sys.exit(main())
