"""Try every hostile model with every command, and what grows with its size, and record the figures.

python tests/hostile/run.py --record
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from test_hostile import PLAIN, READING, RUNNING, assert_harmless, contents

from hostile import CASES
from hostile.case import MODEL, Case
from hostile.client import Client, Ended
from hostile.large import million_relus, row_of_normalizations

GIBIBYTE = 1 << 30
NODES = (250_000, 500_000, 1_000_000)
ROWS = (250, 500, 1000)


def calls_of(client: Client, case: Case) -> Iterator[Ended]:
    """Every call of a case; each has to be harmless."""
    with TemporaryDirectory(prefix="bnfold-hostile-") as name:
        folder = Path(name, "models")
        folder.mkdir()
        np.savez(folder / "data.npz", x=np.ones((2, 3, 5, 5), np.float32))
        case.write(folder)
        before = contents(folder)
        for arguments in [*READING, *(RUNNING if case.is_run else [])]:
            ended = client.call(folder, *arguments)
            try:
                assert_harmless(ended, folder, before)
            except AssertionError as error:
                raise AssertionError(f"{case.name}, {arguments[0]}: {error}") from error
            yield ended


def folded(client: Client, raw: bytes) -> Ended:
    """A fold of a large model, without the check."""
    with TemporaryDirectory(prefix="bnfold-hostile-") as name:
        Path(name, MODEL).write_bytes(raw)
        ended = client.call(Path(name), *PLAIN, seconds=600, memory=16 * GIBIBYTE)
        assert ended.status == 0, ended
        return ended


def figures() -> dict[str, int | str]:
    """Try everything."""
    with Client() as client:
        ended = [one for case in CASES for one in calls_of(client, case)]
        found: dict[str, int | str] = {
            "hostile models": len(CASES),
            "calls": len(ended),
            "refused with one sentence (status 2)": sum(one.status == 2 for one in ended),
            "carried out (status 0, or 1 where a check shows nothing)": sum(one.status < 2 for one in ended),
            "tracebacks, crashes, hangs, files out of place": 0,
            "longest call, seconds of the processor": f"{max(one.seconds for one in ended):.1f}",
        }
        for count in NODES:
            one = folded(client, million_relus(count))
            found[f"fold of {count:,d} nodes".replace(",", " ")] = f"{one.seconds:.0f} s, {one.peak >> 20} MiB"
        for count in ROWS:
            one = folded(client, row_of_normalizations(count))
            found[f"fold of {count} BatchNormalizations in a row behind a Sigmoid"] = f"{one.seconds:.1f} s"
    return found


def main() -> None:
    """Try, and print or record."""
    begun = time.monotonic()
    found = figures()
    for what, value in found.items():
        print(f"{what}: {value}")
    if "--record" in sys.argv:
        import record

        record.write("hostile", "python tests/hostile/run.py --record", time.monotonic() - begun, found)


if __name__ == "__main__":
    main()
