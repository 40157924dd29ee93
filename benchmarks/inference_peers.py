"""What other tools make of the models, each tool in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

MOST_SECONDS = 300
"""What a tool may take for a model."""


class Program(Protocol):
    """A tool: what to install, and a program that reads argv[1] and writes argv[2]."""

    @property
    def packages(self) -> tuple[str, ...]:
        """The first of them is the tool."""

    @property
    def program(self) -> str:
        """In Python, with the two paths in `argv`."""


def make_peers(tools: Mapping[str, Program], models: Sequence[Path], folder: Path) -> None:
    """Write `<model>.<tool>.onnx` where there is none, or an older one; what a tool fails at is said and left out."""
    for tool, peer in tools.items():
        python = environment(folder, tool)
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", python.parent.parent], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", *peer.packages], check=True)
        for path in models:
            made = folder / f"{path.stem}.{tool}.onnx"
            if not made.exists() or made.stat().st_mtime < path.stat().st_mtime:
                _make(python, tool, peer, path, made)


def _make(python: Path, tool: str, peer: Program, path: Path, made: Path) -> None:
    made.unlink(missing_ok=True)
    arguments: list[str | Path] = [python, "-c", f"from sys import argv; argv = argv[1:]; {peer.program}", path, made]
    try:
        ran = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"{tool} takes more than {MOST_SECONDS} s for {path.name}", file=sys.stderr)
        return
    if ran.returncode:
        made.unlink(missing_ok=True)
        print(f"{tool} fails at {path.name}: {ran.stderr.strip()[-200:]}", file=sys.stderr)


def peer_versions(tools: Mapping[str, Program], folder: Path) -> Iterator[tuple[str, str]]:
    """The version of every tool that has an environment."""
    for tool, peer in tools.items():
        python = environment(folder, tool)
        program = f"from importlib.metadata import version; print(version('{peer.packages[0]}'))"
        if python.exists():
            ran = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
            yield tool, ran.stdout.strip()


def environment(folder: Path, tool: str) -> Path:
    """The Python of another tool's environment."""
    return folder / "environments" / tool / "bin" / "python"
