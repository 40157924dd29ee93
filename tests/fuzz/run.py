"""Fuzz the file reader, or `fold`.

    python tests/fuzz/run.py reader --runs 1000000
    python tests/fuzz/run.py fold --runs 100000 --seed 7
    python tests/fuzz/run.py reader --runs 100000 --plain       # without atheris
    python tests/fuzz/run.py reader FILE...                     # these files alone, as a finding is looked at

atheris (`pip install atheris`, for Python 3.11) keeps what reaches code that nothing has reached before, and changes
that further. Without it, models of the corpus are changed at random, and a run is the same for the same seed. It ends
at the first finding: an exception that is no `BnfoldError`, a model that is not what it has to be, more than `SECONDS`
or `MEMORY` for one, a crash. The finding is written to a file, and named.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import resource
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from fuzz import seeds

SECONDS = 20
MEMORY = 3 << 30
"""Of address space, beyond what the process has when it begins."""

STRUCTURED = 0.75
"""How many changes are of a model's structure where the target is `fold`; of the reader, the others are."""

LONGEST = 8192
"""How many bytes a model has at most."""

HEAD = struct.Struct("<qq")

Target = Callable[[bytes], None]


def target_of(name: str, folder: Path) -> Target:
    """The target of that name, on models in that folder."""
    from fuzz.folding import Folding
    from fuzz.reader import Reader
    from fuzz.watched import Watch

    (folder / "out").mkdir()
    (folder / seeds.DATA).write_bytes(seeds.data())
    kind = Folding if name == "fold" else Reader
    return kind(folder, Watch(folder))


def changed(name: str, data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Another model made of one."""
    from fuzz.mutate import mutated_bytes, mutated_model

    structured = rng.random() < (STRUCTURED if name == "fold" else 1 - STRUCTURED)
    return (mutated_model if structured else mutated_bytes)(data, other, rng)


class Last:
    """The model that is being tried, where it outlasts the process that tries it."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, HEAD.size + LONGEST)

    def note(self, count: int, data: bytes) -> None:
        """Remember the model that is tried next, and how many have been with it."""
        self._shared[: HEAD.size + len(data)] = HEAD.pack(count, len(data)) + data

    @property
    def count(self) -> int:
        """How many have been tried."""
        return int(HEAD.unpack_from(self._shared)[0])

    @property
    def data(self) -> bytes:
        """The model that was noted last."""
        return self._shared[HEAD.size : HEAD.size + HEAD.unpack_from(self._shared)[1]]


def run_apart(attempt: Callable[[Target], None], target: Target) -> bytes | None:
    """Try models in a process of its own; the one that it ended with, if it did not end well.

    Args:
        attempt: calls what it is given with one model after the other.
        target: what is to be tried; what it raises ends the process.
    """
    last = Last()
    child = os.fork()
    if not child:
        _try(attempt, target, last)
    seen, deadline = -1, time.monotonic() + SECONDS
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        time.sleep(0.1)
        if last.count != seen:
            seen, deadline = last.count, time.monotonic() + SECONDS
        elif time.monotonic() > deadline:
            print(f"more than {SECONDS} s for one model", file=sys.stderr)
            os.kill(child, signal.SIGKILL)
            deadline = float("inf")
    return last.data if ended[1] else None


def _try(attempt: Callable[[Target], None], target: Target, last: Last) -> NoReturn:
    """In the new process."""
    count = 0

    def noted(data: bytes) -> None:
        nonlocal count
        count += 1
        last.note(count, data)
        try:
            target(data)
        except BaseException:  # noqa: BLE001 (whatever it is, it is a finding)
            traceback.print_exc()
            os._exit(1)

    attempt(noted)
    os._exit(0)


def these(models: Sequence[bytes]) -> Callable[[Target], None]:
    """These models, one after the other."""

    def attempt(target: Target) -> None:
        for data in models:
            target(data)

    return attempt


def plainly(name: str, corpus: Sequence[bytes], runs: int, seed: int) -> Callable[[Target], None]:
    """Models of the corpus changed at random, a few times each."""

    def attempt(target: Target) -> None:
        rng = random.Random(seed)
        left = runs
        while left:
            data = rng.choice(corpus)
            for _ in range(min(rng.choice((1, 1, 2, 3, 6)), left)):
                data = changed(name, data, rng.choice(corpus), rng)[:LONGEST]
                left -= 1
                target(data)

    return attempt


def guidedly(name: str, corpus: Sequence[bytes], runs: int, seed: int, folder: Path) -> Callable[[Target], None]:
    """The same with atheris, which keeps what reaches new code."""
    import atheris

    place = folder / "corpus"
    place.mkdir()
    for number, data in enumerate(corpus):
        (place / str(number)).write_bytes(data)

    def change(data: bytes, largest: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if name == "reader" and rng.random() < STRUCTURED:
            return bytes(atheris.Mutate(data, largest))
        return changed(name, data, rng.choice(corpus), rng)[:largest]

    def attempt(target: Target) -> None:
        # Time, memory and signals are looked after here, and not by atheris, which leaves no file where it is killed.
        options = {"atheris_runs": runs, "seed": seed or 1, "max_len": LONGEST, "timeout": 10**6, "rss_limit_mb": 0}
        flags = [f"-{key}={value}" for key, value in options.items()]
        atheris.Setup([sys.argv[0], *flags, f"-artifact_prefix={folder}/", str(place)], target, custom_mutator=change)
        atheris.Fuzz()

    return attempt


def main() -> int:
    """Fuzz; 1 where there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("target", choices=("reader", "fold"))
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="without atheris")
    parser.add_argument("--record", action="store_true", help="write the figures for docs/reliability.md")
    asked = parser.parse_args()
    guided = not asked.plain and not asked.files and _instrumented()
    with TemporaryDirectory(prefix="bnfold-fuzz-") as name:
        return _fuzz(asked, Path(name), guided=guided)


def _instrumented() -> bool:
    """Whether atheris is there; then bnfold is imported in such a way that it sees what is reached."""
    try:
        import atheris
    except ImportError:
        return False
    with atheris.instrument_imports(include=["bnfold"], enable_loader_override=False):
        import fuzz.folding
        import fuzz.reader  # noqa: F401
    return True


def _fuzz(asked: argparse.Namespace, folder: Path, *, guided: bool) -> int:
    models = folder / "models"
    models.mkdir()
    target = target_of(asked.target, models)
    limit = _virtual() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    if asked.files:
        return int(run_apart(these([file.read_bytes() for file in asked.files]), target) is not None)
    corpus = [path.read_bytes() for path in sorted(seeds.CORPUS.iterdir())]
    begun = time.monotonic()
    how = (asked.target, corpus, asked.runs, asked.seed)
    found = run_apart(guidedly(*how, folder) if guided else plainly(*how), target)
    if found is not None:
        place = Path(f"finding-{asked.target}.onnx")
        place.write_bytes(found)
        print(f"a finding: {place}", file=sys.stderr)
        return 1
    print(f"{asked.runs} models, no finding, {time.monotonic() - begun:.0f} s")
    if asked.record:
        _record(asked, time.monotonic() - begun, guided=guided)
    return 0


def _record(asked: argparse.Namespace, seconds: float, *, guided: bool) -> None:
    import record

    how = "" if guided else " --plain"
    command = f"python tests/fuzz/run.py {asked.target}{how} --runs {asked.runs} --seed {asked.seed} --record"
    figures: dict[str, int | str] = {
        "models of the corpus": len(list(seeds.CORPUS.iterdir())),
        "models made of them and tried": asked.runs,
        "findings": 0,
        "changed by": "atheris and tests/fuzz/mutate.py" if guided else "tests/fuzz/mutate.py",
    }
    record.write(f"fuzz-{asked.target}", command, seconds, figures)


def _virtual() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main())
