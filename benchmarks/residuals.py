"""When does which form of an affine that has to stay pay on onnxruntime? Ratios of times, measured in turns.

    python benchmarks/residuals.py             # all scenarios, sizes and settings: about five minutes
    python benchmarks/residuals.py --quick     # two sizes, one thread: about a minute
    python benchmarks/residuals.py --only MaxPool

Prints a table per scenario and setting. A cell reads `1.03 (1.01-1.05) 1.02`: the median of the form's time over that
of the affine as it was written, both of the same round; its quartiles; the ratio of the best times. "Fewer" is the same
form where the tensor is smaller. "Bound" leaves the shift away: no exact form can be faster. A form pays (costs) where
the median and the ratio of the best times both are below 0.98 (above 1.02), else it is even.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version

from machine import processor
from residual_report import Measured, answers, noise, tables, verdicts
from residual_scenarios import SCENARIOS, AnySize, Scenario
from timing import Setting, interleaved

SETTINGS = (Setting("all", 1), Setting("all", 2), Setting("off", 1), Setting("off", 2))
SECONDS, QUICK_SECONDS = 270.0, 30.0
"""What the measuring may take in all; building and loading the graphs comes on top."""


def work(only: str, *, quick: bool) -> list[tuple[Scenario, AnySize, Setting]]:
    """What is to be measured."""
    settings = [setting for setting in SETTINGS if not quick or setting.threads == 1]
    chosen = [scenario for scenario in SCENARIOS if only in scenario.label]
    return [
        (scenario, size, setting)
        for scenario in chosen
        for setting in settings
        for size in _sizes(scenario, setting, quick=quick)
    ]


def _sizes(scenario: Scenario, setting: Setting, *, quick: bool) -> Sequence[AnySize]:
    """All of them, but with two threads, which say little else, the first ones only."""
    if quick:
        return scenario.sizes[:2]
    return scenario.sizes if setting.threads == 1 else scenario.sizes[:2]


def measure(parts: Sequence[tuple[Scenario, AnySize, Setting]], seconds: float) -> Iterator[Measured]:
    """Every part, in its share of the time."""
    for scenario, size, setting in parts:
        times = interleaved(scenario.build(size), setting, seconds / len(parts))
        yield Measured(scenario.label, str(size), setting, times)


def head() -> str:
    """What was measured where."""
    versions = ", ".join(f"{package} {version(package)}" for package in ("onnxruntime", "onnx", "numpy"))
    return f"{time.strftime('%Y-%m-%d')}; {versions}, Python {platform.python_version()}; {processor()}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="two sizes, one thread")
    parser.add_argument("--only", default="", metavar="TEXT", help="scenarios whose name or layout contains it")
    arguments = parser.parse_args()
    parts = work(arguments.only, quick=arguments.quick)
    begin = time.perf_counter()
    found = list(measure(parts, QUICK_SECONDS if arguments.quick else SECONDS))
    print(head())
    print("\n".join([f"measured in {time.perf_counter() - begin:.0f} s, the sessions of a row in turns", noise(found)]))
    print("\n".join(tables(found)))
    print("\n".join(["", "Which form over which:", *answers(found)]))
    print("\n".join(["", "When a form pays over the affine as it was written:", "", *verdicts(found)]))


if __name__ == "__main__":
    main()
