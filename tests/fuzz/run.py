"""Fuzz the file reader, or `fold`.

    python tests/fuzz/run.py reader --runs 1000000
    python tests/fuzz/run.py fold --runs 100000 --seed 7
    python tests/fuzz/run.py reader --runs 100000 --plain       # without atheris
    python tests/fuzz/run.py reader FILE...                     # these files alone, as a finding is looked at

atheris (`pip install atheris`, for Python 3.11) keeps what reaches code that nothing has reached before, and changes
that further. Without it, models of the corpus are changed at random. Either way a run is the same for the same seed, but
for atheris' own sense of time. It ends at the first finding: an exception that is no `BnfoldError`, a model that is not
what it has to be, more than `SECONDS` or `MEMORY` for one, a crash. The finding is written to a file, and named.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from fuzz import seeds

SECONDS = 20
MEMORY = 3 << 30
"""Of address space, beyond what the process has when it begins."""

STRUCTURED = 0.75
"""How many changes are of a model's structure where the target is `fold`; of the reader, the others are."""

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


def run_plain(name: str, target: Target, corpus: Sequence[bytes], runs: int, seed: int) -> bytes | None:
    """Change models of the corpus at random, a few times each; the first finding."""
    rng = random.Random(seed)
    done = 0
    while done < runs:
        data = rng.choice(corpus)
        for _ in range(min(rng.choice((1, 1, 2, 3, 6)), runs - done)):
            data = changed(name, data, rng.choice(corpus), rng)
            done += 1
            if not is_harmless(target, data):
                return data
    return None


def is_harmless(target: Target, data: bytes) -> bool:
    """Whether the target makes of the data what it has to; else it is said why."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    try:
        target(data)
    except BaseException:  # noqa: BLE001 (whatever it is, it is a finding)
        traceback.print_exc()
        return False
    finally:
        faulthandler.cancel_dump_traceback_later()
    return True


def run_guided(name: str, target: Target, corpus: Sequence[bytes], runs: int, seed: int, folder: Path) -> bytes | None:
    """The same with atheris; it ends the process by itself, so this is done in one of its own."""
    import os

    child = os.fork()
    if not child:
        _run_atheris(name, target, corpus, runs, seed, folder)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found = sorted(folder.glob("finding-*"))
    if status and not found:
        raise SystemExit(f"atheris ended with {status}, and left no file")
    return found[0].read_bytes() if found else None


def _run_atheris(
    name: str, target: Target, corpus: Sequence[bytes], runs: int, seed: int, folder: Path
) -> None:
    import atheris

    place = folder / "corpus"
    place.mkdir()
    for number, data in enumerate(corpus):
        (place / str(number)).write_bytes(data)

    def change(data: bytes, largest: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if name == "reader" and rng.random() < 0.5:
            return bytes(atheris.Mutate(data, largest))
        return changed(name, data, rng.choice(corpus), rng)[:largest]

    options = {"atheris_runs": runs, "seed": seed, "timeout": SECONDS, "rss_limit_mb": 4096, "max_len": 4096}
    flags = [f"-{key}={value}" for key, value in options.items()]
    atheris.Setup(
        [sys.argv[0], *flags, f"-artifact_prefix={folder}/finding-", "-print_final_stats=1", "-verbosity=1", str(place)],
        target,
        custom_mutator=change,
    )
    atheris.Fuzz()


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
        return int(not all([is_harmless(target, file.read_bytes()) for file in asked.files]))
    corpus = [path.read_bytes() for path in sorted(seeds.CORPUS.iterdir())]
    begun = time.monotonic()
    if guided:
        found = run_guided(asked.target, target, corpus, asked.runs, asked.seed, folder)
    else:
        found = run_plain(asked.target, target, corpus, asked.runs, asked.seed)
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

    command = f"python tests/fuzz/run.py {asked.target} --runs {asked.runs} --seed {asked.seed} --record"
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
