"""Options of pytest by which CI does not run a test again that tells nothing new.

    pytest --every 3          # every third test of a file
    pytest --left-out         # what the last run skipped, for what is installed by now, and what is marked `does_more`

The first is for other versions of what is installed, the second for what more is installed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

KEPT = "bnfold/left_out"
"""Where pytest's cache has the tests, and the files of tests, that the last run skipped."""


class Skipped:
    """Collects what is skipped, also in other processes, whose reports come here."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._found = set[str]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test that says itself that it can not run."""
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that does."""
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped:
            self._found.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """Keep it for another run."""
        cache = _cache(self._config)
        if cache is not None and not hasattr(self._config, "workerinput"):
            cache.set(KEPT, sorted(self._found))


def add_options(parser: pytest.Parser) -> None:
    """Let pytest know them."""
    parser.addoption("--every", type=int, default=1, metavar="N", help="run only each Nth test of a file")
    parser.addoption("--left-out", action="store_true", help="run what the last run skipped, and what does more by now")


def choose(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take the others out of `items`."""
    if config.getoption("--left-out"):
        cache = _cache(config)
        left_out = set(cache.get(KEPT, [])) if cache is not None else set()
        _keep(config, items, [item for item in items if _is_left_out(item, left_out)])
    _keep(config, items, list(_every(items, config.getoption("--every"))))


def _cache(config: pytest.Config) -> pytest.Cache | None:
    """What pytest keeps; None where it is told to keep nothing, as by ``-p no:cacheprovider``."""
    return getattr(config, "cache", None)


def _is_left_out(item: pytest.Item, left_out: set[str]) -> bool:
    file = item.nodeid.partition("::")[0]
    return item.nodeid in left_out or file in left_out or item.get_closest_marker("does_more") is not None


def _every(items: Iterable[pytest.Item], number: int) -> Iterable[pytest.Item]:
    met = Counter[str]()
    for item in items:
        file = item.nodeid.partition("::")[0]
        if met[file] % number == 0:
            yield item
        met[file] += 1


def _keep(config: pytest.Config, items: list[pytest.Item], kept: list[pytest.Item]) -> None:
    if len(kept) < len(items):
        chosen = set(kept)
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = kept
