"""The record of a long run: what was run, when, on what, and its figures; `docs/reliability.md` is written from it."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "benchmarks" / "results" / "reliability"
PACKAGES = ("bnfold", "onnx", "numpy", "onnxruntime")


def write(name: str, command: str, seconds: float, figures: Mapping[str, int | str]) -> Path:
    """Write `figures` (a row each) as the record `name`; `command` is what runs it again."""
    document = {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(seconds, 1),
        "machine": _machine(),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        "figures": dict(figures),
    }
    path = RECORDS / f"{name}.json"
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _machine() -> str:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from machine import processor

    return str(processor())
