"""Take the pictures of a report that docs/report.md shows, with Chromium.

    python docs/screenshots.py      # the fold of models/source_cnn.onnx: light, dark, and on a phone

Chromium is the one that BNFOLD_CHROMIUM names, or that is on the path; playwright drives it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"

DESK = {"viewport": {"width": 1000, "height": 1600}}
LOWER = {"viewport": {"width": 1000, "height": 1150}}
PHONE = {"viewport": {"width": 360, "height": 720}, "is_mobile": True, "has_touch": True}

SHOTS: dict[str, dict[str, Any]] = {
    "report-light": {**DESK, "color_scheme": "light"},
    "report-dark": {**LOWER, "color_scheme": "dark"},
    "report-phone": {**PHONE, "color_scheme": "light"},
}

AT = {"report-dark": "#weights", "report-phone": "#around"}
"""Which part of the page is shown, where it is not the beginning."""


def main() -> None:
    """Fold, and take all of them."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        report = _report(Path(folder))
        browser = playwright.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
        for name, context in SHOTS.items():
            _shoot(browser, report, name, context)
        browser.close()


def _chromium() -> str:
    found = os.environ.get("BNFOLD_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        sys.exit("docs/screenshots.py: no Chromium is on the path; set BNFOLD_CHROMIUM to one")
    return found


def _report(folder: Path) -> Path:
    shutil.copy(ROOT / "models" / "source_cnn.onnx", folder / "source_cnn.onnx")
    command = [sys.executable, "-m", "bnfold", "fold", "source_cnn.onnx", "--html", "report.html"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder / "report.html"


def _shoot(browser: Browser, report: Path, name: str, context: dict[str, Any]) -> None:
    page = browser.new_context(**context).new_page()
    page.goto(report.as_uri() + AT.get(name, ""))
    target = IMAGES / f"{name}.png"
    page.screenshot(path=target)
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
