"""On what a benchmark ran."""

from __future__ import annotations

import platform


def processor() -> str:
    """Its name as Linux gives it, and the number of its cores."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()
