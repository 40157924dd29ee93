"""Digests of what bnfold makes of random networks: the same in every process, whatever hash seed and threads it has.

python tests/digests.py --count 5                       # the digests of one process
python tests/digests.py --compare --count 300 --record  # those of five processes, compared
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from onnx import ModelProto
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, RuntimeException
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel
from random_networks import Network, build
from random_networks.changes import CHANGES
from random_networks.onnxruntime_levels import run_at

from bnfold.errors import BnfoldError

Source: TypeAlias = ModelProto | bytes | Path

FORMS = ("proto", "bytes", "path")
ENVIRONMENTS: tuple[Mapping[str, str], ...] = (
    {"PYTHONHASHSEED": "0", "BNFOLD_THREADS": "1"},
    {"PYTHONHASHSEED": "1", "BNFOLD_THREADS": "1"},
    {"PYTHONHASHSEED": "2", "BNFOLD_THREADS": "2"},
    {"PYTHONHASHSEED": "3", "BNFOLD_THREADS": "4"},
    {"PYTHONHASHSEED": "random"},
)
"""Of five processes; each gets its models in one of the forms."""
SEED = 3


def digests(numbers: range, form: str) -> Iterator[str]:
    """A line per network and change."""
    with TemporaryDirectory() as folder:
        for number in numbers:
            network = build(SEED, number=number)
            runs = _runs(network)
            for name, change in CHANGES.items():
                if change.needs_data and not runs:
                    continue
                yield f"{number} {name}: {_digest(network, name, _source(network.model, form, Path(folder)))}"


def _source(model: ModelProto, form: str, folder: Path) -> Source:
    if form == "proto":
        return model
    stored = model.SerializeToString(deterministic=True)
    if form == "bytes":
        return stored
    path = folder / "model.onnx"
    path.write_bytes(stored)
    return path


def _digest(network: Network, name: str, source: Source) -> str:
    try:
        made = CHANGES[name].make(source, network.data).model
    except BnfoldError as error:
        return type(error).__name__
    return sha256(made.SerializeToString(deterministic=True)).hexdigest()


def _runs(network: Network) -> bool:
    try:
        run_at(network.model, network.feeds[:1], "off")
    except (Fail, InvalidGraph, NoKernel, RuntimeException, RuntimeError):  # RuntimeError: bfloat16 can not be fed
        return False
    return True


def of_process(count: int, environment: Mapping[str, str], form: str) -> list[str]:
    """The digests that a process of its own prints."""
    command = [sys.executable, str(Path(__file__)), "--count", str(count), "--form", form]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, check=True, timeout=7200
    )
    return done.stdout.splitlines()


def differing(count: int) -> tuple[int, list[str]]:
    """How many digests each process gives, and those that are not the same in all."""
    found = [of_process(count, one, form) for one, form in zip(ENVIRONMENTS, cycle(FORMS), strict=False)]
    assert len({len(lines) for lines in found}) == 1, "some of the processes made other calls"
    return len(found[0]), [one[0] for one in zip(*found, strict=True) if len(set(one)) > 1]


def main() -> int:
    """Print digests, or compare those of several processes."""
    parser = argparse.ArgumentParser(description="Digests of what bnfold makes of random networks.")
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--form", choices=FORMS, default=FORMS[0], help="in which bnfold gets the models")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--record", action="store_true", help="write the figures down, for docs/reliability.md")
    given = parser.parse_args()
    if not given.compare:
        for line in digests(range(given.count), given.form):
            print(line)
        return 0
    started = time.perf_counter()
    total, differ = differing(given.count)
    print(f"{total} results in each of {len(ENVIRONMENTS)} processes, {len(differ)} not the same", *differ, sep="\n")
    if given.record:
        import record

        figures: dict[str, int | str] = {
            "networks": given.count,
            "results compared": total,
            "processes": len(ENVIRONMENTS),
            "results that are not the same in all": len(differ),
        }
        command = f"python tests/digests.py --compare --count {given.count} --record"
        record.write("determinism", command, time.perf_counter() - started, figures)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
