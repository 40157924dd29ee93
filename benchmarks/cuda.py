"""Every model on the CUDA provider: original against folded, and CPU against CUDA. Numbers for benchmarks/results/.

    python benchmarks/cuda.py                     # models/*.onnx, and those of the folder that BNFOLD_MODELS names
    python benchmarks/cuda.py --tf32 MODEL...     # with the factors of float32 products rounded to 10 bits

A line per model and matchup: where it ran, the largest error over max|y| and over the tolerance, and how many nodes of
each model CUDA took. Ends with status 2 and a sentence where there is no device.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from machine import processor

import bnfold
from bnfold.runtime import CUDA, open_session, versions

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("BNFOLD_MODELS", ROOT.parent / "shared" / "models"))
_ASKED = "name,driver_version,compute_cap,memory.total"


def main() -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL")
    parser.add_argument("--tf32", action="store_true")
    options = parser.parse_args()
    try:
        open_session(ROOT / "models" / "residual.onnx", provider=CUDA)
    except bnfold.RuntimeUnavailable as error:
        print(error, file=sys.stderr)
        return 2
    print(head())
    paths = options.models or [path for folder in (ROOT / "models", SHARED) for path in sorted(folder.glob("*.onnx"))]
    equal = [_printed(path, tf32=options.tf32) for path in paths]
    print(f"{sum(equal)} of {len(equal)} models equal")
    return 0 if all(equal) else 1


def head() -> str:
    """What was measured on what."""
    asked = ["nvidia-smi", f"--query-gpu={_ASKED}", "--format=csv,noheader"]
    device = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"bnfold {bnfold.__version__}; {packages}; {device or 'no nvidia-smi'}; {processor()}"


def _printed(path: Path, *, tf32: bool) -> bool:
    print(f"\n{path.name}")
    try:
        report = bnfold.check(path, bnfold.fold(path).model, provider="all", tf32=tf32, allow_vacuous=True)
    except bnfold.BnfoldError as error:
        print(f"    {error}")
        return False
    print("\n".join(lines(report)), flush=True)
    on_cuda = any(comparison.matchup.after == CUDA for comparison in report.comparisons)
    return bool(report) and on_cuda


def lines(report: bnfold.CheckReport) -> Iterator[str]:
    """A line per matchup, and the remarks."""
    for found in report.comparisons:
        worst = max(found.outputs, key=lambda output: output.rel_to_max)
        share = max(output.needed / output.tolerance if output.tolerance else output.needed for output in found.outputs)
        taken = " and ".join(
            f"{len(placed.get(CUDA, ()))} of {sum(map(len, placed.values()))} nodes"
            for placed in (found.placement_before, found.placement_after)
        )
        vacuous = f"; vacuous: {worst.vacuous}" if worst.vacuous else ""
        yield f"    {found.matchup}: {worst.rel_to_max:.1e} of max|y|, {share:.2f} of the tolerance; {taken}{vacuous}"
    yield from (f"    {remark}" for remark in report.remarks)


if __name__ == "__main__":
    sys.exit(main())
