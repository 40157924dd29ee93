"""The conformance corpus through bnfold and its peers, each in its own process and environment.

    python benchmarks/peers.py                        # print the section
    python benchmarks/peers.py --write                # and put it into docs/coverage.md
    python benchmarks/peers.py --tools bnfold,onnxsim --only traps

The peers' environments are made in build/peers (or --venvs DIR), each with the newest versions that pip finds; a folder
that is there is used as it is, so delete it for newer versions. bnfold runs in the environment of this command.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from machine import processor
from peer_judge import is_settled
from peer_process import SECONDS_PER_CASE, Died, Process
from peer_report import Result, section, write

from corpus import CASES, Case  # isort: skip - peer_judge puts tests/ on the path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PAGE = ROOT / "docs" / "coverage.md"
PACKAGES = {
    "bnfold": (),
    "onnxruntime": ("onnxruntime", "onnx"),
    "onnxslim": ("onnxslim", "onnx", "onnxruntime"),
    "onnxsim": ("onnxsim", "onnx", "onnxruntime"),
    "onnxscript": ("onnxscript", "onnx"),
    "onnxoptimizer": ("onnxoptimizer", "onnx"),
}
"""By tool what pip installs; nothing for bnfold, which is here."""


def interpreter(tool: str, venvs: Path) -> Path:
    """The Python of a tool's environment, which is made where it is missing."""
    if not PACKAGES[tool]:
        return Path(sys.executable)
    python = venvs / tool / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venvs / tool], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--upgrade", *PACKAGES[tool]], check=True)
    return python


def run(tool: str, python: Path, cases: Sequence[Case], folder: Path, versions: list[str]) -> Iterator[Result]:
    """One tool over all cases, judged."""
    worker = Process([str(python), str(HERE / "peer_worker.py"), tool])
    judge = Process([sys.executable, str(HERE / "peer_judge.py")])
    versions.append(f"{tool} {worker.greeting['version']}")
    for number, case in enumerate(cases):
        source, target = folder / f"{number}.onnx", folder / f"{number}.{tool}.onnx"
        outcome, text = _outcome(worker, judge, case, source, target)
        settled = is_settled(case, case.build())
        yield Result(tool, case.family, case.label, settled, case.untouched, outcome, text)
    worker.close()
    judge.close()


def _outcome(worker: Process, judge: Process, case: Case, source: Path, target: Path) -> tuple[str, str]:
    try:
        worker.ask({"source": str(source), "target": str(target), "freeze": case.freeze})
    except Died as death:
        return "crashed", str(death)
    try:
        told = judge.ask({"case": case.label, "result": str(target)})
    except Died as death:
        return "invalid", str(death)
    return str(told["outcome"]), str(told["text"])


def head(versions: Sequence[str]) -> str:
    """Versions, date, machine."""
    judged = f"judged by onnxruntime {version('onnxruntime')} and onnx {version('onnx')}"
    place = f"Python {platform.python_version()}, {processor()}"
    return f"{', '.join(versions)}; {judged}; {time.strftime('%Y-%m-%d')}, {place}."


def main() -> None:
    """Run, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help="put the section into docs/coverage.md")
    parser.add_argument("--venvs", type=Path, default=ROOT / "build" / "peers", help="where the environments are")
    parser.add_argument("--tools", default=",".join(PACKAGES), help="some of them, separated by commas")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose family or name contains it")
    arguments = parser.parse_args()
    cases = [case for case in CASES if arguments.only in case.label]
    results: list[Result] = []
    versions: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bnfold-peers-") as folder:
        for number, case in enumerate(cases):
            Path(folder, f"{number}.onnx").write_bytes(case.build().SerializeToString())
        for tool in arguments.tools.split(","):
            print(tool, file=sys.stderr)
            results += run(tool, interpreter(tool, arguments.venvs), cases, Path(folder), versions)
    text = section(results, versions=head(versions), seconds=SECONDS_PER_CASE)
    print(text)
    if arguments.write:
        write(PAGE, text)


if __name__ == "__main__":
    main()
