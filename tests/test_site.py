"""The site builds without a warning, and loads nothing that comes from elsewhere. Needs `bnfold[docs]`."""

import importlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import bnfold

for needed in ("sphinx", "torch", "onnx_ir"):
    pytest.importorskip(needed, reason="the site, and what its reference imports, needs bnfold[docs]")

ROOT = Path(__file__).resolve().parent.parent

LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
"""What a browser fetches when it shows a page, by the attribute that names it."""
POINTERS = {"canonical", "next", "prev", "index", "search"}
"""Relations of a `link` that only name another page."""


class Loads(HTMLParser):
    """Everything that a page loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        target = values.get(LOADS.get(tag, ""))
        if target and values.get("rel") not in POINTERS:
            self.found.append(target)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    strict = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-E", "-c", "docs"]
    command = [*strict, "-d", str(folder / "state"), ".", str(folder / "html")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (built.returncode, built.stderr) == (0, "")
    return folder / "html"


def test_every_page_of_the_repository_is_on_the_site(site: Path) -> None:
    pages = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md"), ROOT / "models/README.md", ROOT / "examples/README.md"]
    missing = [page for page in pages if not (site / page.relative_to(ROOT)).with_suffix(".html").is_file()]
    assert not missing


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    from sphinx.util.inventory import InventoryFile

    with (site / "objects.inv").open("rb") as stream:
        known = {name for kind in InventoryFile.load(stream, "", lambda base, uri: uri).values() for name in kind}
    public = {f"bnfold.{name}" for name in bnfold.__all__ if not name.startswith("_")}
    for module in ("bnfold.torch", "bnfold.passes"):
        public |= {f"{module}.{name}" for name in importlib.import_module(module).__all__}
    assert public <= known


def test_the_site_begins_where_its_first_page_is(site: Path) -> None:
    target = re.search(r'href="([^"]+)"', (site / "index.html").read_text(encoding="utf-8"))
    assert target is not None
    assert (site / target[1]).is_file()


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loads = Loads(page.read_text(encoding="utf-8")).found
        assert not [load for load in loads if re.match(r"(\w+:)?//", load)], page


def test_no_style_loads_anything_from_elsewhere(site: Path) -> None:
    for style in site.rglob("*.css"):
        assert not re.findall(r"url\(\s*[\"']?(?:https?:)?//|@import", style.read_text(encoding="utf-8")), style


def test_what_is_loaded_is_there(site: Path) -> None:
    """And a page with no load at all would show that the test looks at nothing."""
    for page in (site / "docs").rglob("*.html"):
        loads = [load.partition("?")[0] for load in Loads(page.read_text(encoding="utf-8")).found]
        assert loads
        assert not [load for load in loads if not load.startswith("data:") and not (page.parent / load).is_file()], page
