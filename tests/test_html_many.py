"""The pages of several models: one for each, and one of all that leads there."""

import json
import re
import shutil
from pathlib import Path

import pytest
from command_line import Run, bnfold_process
from pages import Page
from support import MODELS

from bnfold.cli.pages import pages_of
from bnfold.report import many_page
from bnfold.report.many import Entry


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    return [Path(shutil.copy(MODELS / name, tmp_path / name)) for name in ("mlp.onnx", "residual.onnx")]


def links(page: Page) -> list[str | None]:
    return [values["href"] for tag, values in page.elements if tag == "a" and "#" not in (values["href"] or "")]


def test_each_model_has_a_page_and_one_page_leads_to_all(models: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    documents = ("--html", tmp_path / "pages", "--json", tmp_path / "all.json")
    outcome = bnfold_process("fold", *models, broken, "--jobs", "2", *documents)
    assert outcome.status == 2
    assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == ["index.html", "mlp.html", "residual.html"]
    index = Page((tmp_path / "pages" / "index.html").read_text(encoding="utf-8"))
    document = json.loads((tmp_path / "all.json").read_text())
    rows = index.tables["A click on a model shows its page"]
    assert [row["model"] for row in rows] == ["mlp.onnx", "residual.onnx", "broken.onnx"]
    assert [row["written"] for row in rows] == [entry.get("output", "failed") for entry in document["models"]]
    assert links(index) == ["mlp.html", "residual.html"]
    assert document["models"][2]["error"]["text"] in index.words
    for name in ("mlp", "residual"):
        page = Page((tmp_path / "pages" / f"{name}.html").read_text(encoding="utf-8"))
        assert page.headings[0] == f"bnfold fold: {name}.onnx"


def test_a_name_with_marks_of_an_address_is_linked_as_a_file() -> None:
    entries = [Entry(name, 0, "", None) for name in ("a#b?c.onnx", "javascript:1.onnx", "m.onnx")]
    page = Page(many_page(entries, ["a#b?c.html", "javascript:1.html", None]))
    assert links(page) == ["a%23b%3Fc.html", "javascript%3A1.html"]


@pytest.mark.parametrize("html", ["-", "all.html"])
def test_a_page_for_several_models_is_refused_before_the_work(
    run: Run, models: list[Path], tmp_path: Path, html: str
) -> None:
    outcome = run("fold", *models, "--html", html if html == "-" else tmp_path / html)
    assert outcome.status == 2
    assert re.fullmatch(r"bnfold: --html names one page, [^\n]*name a folder[^\n]*\n", outcome.err)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlp.onnx", "residual.onnx"]


def test_models_of_one_name_get_pages_of_their_own() -> None:
    models = ["a/m.onnx", "b/m.onnx", "c/M.onnx", "d/index.onnx", "d/n"]
    assert pages_of(models, "p") == [
        Path("p", name) for name in ("m.html", "m-2.html", "M-3.html", "index-2.html", "n.html")
    ]
