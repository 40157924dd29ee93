"""What other tools make of the models, each tool in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from peer_programs import PEERS, command, interpreter, make_environments, version_of

MOST_SECONDS = 300
"""What a tool may take for a model."""


def make_peers(models: Sequence[Path], folder: Path) -> None:
    """Write `<model>.<tool>.onnx` where there is none, or an older one; what a tool fails at is said and left out."""
    make_environments(PEERS, _environments(folder))
    for tool in PEERS:
        for path in models:
            made = folder / f"{path.stem}.{tool}.onnx"
            if not made.exists() or made.stat().st_mtime < path.stat().st_mtime:
                _make(tool, folder, path, made)


def _make(tool: str, folder: Path, path: Path, made: Path) -> None:
    made.unlink(missing_ok=True)
    arguments = command(tool, _environments(folder), path, made)
    try:
        ran = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"{tool} takes more than {MOST_SECONDS} s for {path.name}", file=sys.stderr)
        return
    if ran.returncode:
        made.unlink(missing_ok=True)
        print(f"{tool} fails at {path.name}: {ran.stderr.strip()[-200:]}", file=sys.stderr)


def peer_versions(folder: Path) -> Iterator[tuple[str, str]]:
    """The version of every tool that has an environment."""
    for tool in PEERS:
        if interpreter(tool, _environments(folder)).exists():
            yield tool, version_of(tool, _environments(folder))


def _environments(folder: Path) -> Path:
    return folder / "environments"
