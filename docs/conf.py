"""How the documentation becomes a site.

    python -m sphinx -W --keep-going -c docs . build/site

The source folder is the repository itself, so that a link from page to page, or to a file of the repository, is the
same on the site as where the repository is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pygments.lexers.special import TextLexer

import bnfold

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "bnfold"
version = release = bnfold.__version__
author = "the authors of bnfold"
copyright = author  # noqa: A001 (the name is Sphinx's)

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
include_patterns = ["*.md", "docs/**.md", "models/README.md", "examples/README.md"]
exclude_patterns = [".*", "build", "shared"]
root_doc = "docs/index"

myst_heading_anchors = 4
default_role = "py:obj"
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"bnfold {release}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["site.css"]

FRONT = """<!doctype html>
<meta charset="utf-8">
<title>bnfold</title>
<meta http-equiv="refresh" content="0; url=docs/index.html">
<a href="docs/index.html">bnfold</a>
"""
"""The page at the foot of the site: the first one lies where it lies in the repository."""


def _write_front(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        Path(app.outdir, "index.html").write_text(FRONT, encoding="utf-8")


def _with_pages_beside(app: Sphinx, docname: str, source: list[str]) -> None:
    """A README of a folder of pages leads to them all on the site; on GitHub the folder itself does."""
    if docname.endswith("/README") and docname.startswith("docs/"):
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n[!R]*\n```\n"


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx does not know by itself: that ONNX's text is text, and where the site begins."""
    app.add_lexer("onnx", TextLexer)
    app.connect("source-read", _with_pages_beside)
    app.connect("build-finished", _write_front)
    return {"parallel_read_safe": True}
