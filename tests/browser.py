"""A real browser, Chromium without a window, and a page in it that is watched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser as _Browser
    from playwright.sync_api import Page

Browser: TypeAlias = "_Browser"

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def chromium() -> str | None:
    """Where it is: as the environment says, on the path, or where playwright has put one of its own."""
    named = os.environ.get("BNFOLD_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if found is not None:
        return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser, for as long as the block lasts; where there is none, the test that asks is left out."""
    pytest.importorskip("playwright", reason="playwright, which drives the browser, is not installed")
    path = chromium()
    if path is None:
        pytest.skip("no Chromium is on this machine; BNFOLD_CHROMIUM says where one is")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A process of root has no sandbox, nor has one in a container; the pages are the tests' own.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page, and what it did that no page of bnfold does.

    Attributes:
        page: as playwright has it.
        complaints: errors and warnings on its console, and scripts that failed.
        requests: what it asked of the network.
    """

    def __init__(self, browser: Browser, path: Path, **context: Any) -> None:
        """Open a file in a context of its own."""
        self.page: Page = browser.new_context(**context).new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.requests = [url for url in self.requests if url != path.as_uri()]
