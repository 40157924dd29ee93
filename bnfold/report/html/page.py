"""One page: everything in it, nothing from elsewhere, and readable without its script."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

from bnfold.report.html.markup import Child, Markup, joined, tag


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: by which links find it.
        title: its heading.
        body: what is in it.
        pictures: how many there are in it that links lead to.
    """

    name: str
    title: str
    body: Markup
    pictures: int = 0


@dataclass(frozen=True)
class Verdict:
    """What came of it all.

    Attributes:
        text: in a sentence.
        mark: a class of the page's style: "good", "bad" or "tight".
    """

    text: str
    mark: str


def page(title: str, verdict: Verdict, facts: Mapping[str, str], sections: Sequence[Section | None]) -> str:
    """The whole page.

    Args:
        title: its heading.
        verdict: what came of it all.
        facts: the most important ones, by what they are.
        sections: what else there is; None for one that has nothing to say.
    """
    shown = [section for section in sections if section is not None]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        _policy(),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        Markup(f"<style>{_part('page.css')}</style>"),
    )
    body = tag(
        "body",
        _arrow(),
        tag("header", tag("h1", title), tag("p", verdict.text, class_=f"verdict {verdict.mark}"), _facts(facts)),
        tag("nav", tag("ul", [tag("li", tag("a", s.title, href=f"#{s.name}")) for s in shown]), aria_label="Sections"),
        tag("main", [tag("section", tag("h2", s.title, id=s.name), s.body, aria_labelledby=s.name) for s in shown]),
        Markup(f"<script>{_part('page.js')}</script>"),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def paragraphs(*texts: Child) -> Markup:
    """One paragraph for each text that there is."""
    return joined(tag("p", text) for text in texts if text)


def listed(texts: Sequence[Child]) -> Markup:
    """A list of texts; nothing where there are none."""
    return tag("ul", [tag("li", text) for text in texts]) if texts else Markup("")


def _facts(facts: Mapping[str, str]) -> Markup:
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts.items()], class_="facts")


def _policy() -> Markup:
    """No network, and no script or style but the page's own: what would come in through a name is not run."""
    content = (
        f"default-src 'none'; img-src data:; script-src {_digest('page.js')}; style-src {_digest('page.css')}; "
        "base-uri 'none'; form-action 'none'"
    )
    return Markup(f'<meta http-equiv="Content-Security-Policy" content="{content}"/>')


def _arrow() -> Markup:
    """The head of every arrow; an `svg` that is not shown would not be found."""
    return Markup(
        '<svg class="defs" aria-hidden="true" focusable="false"><defs><marker id="arrow" viewBox="0 0 8 8" refX="7" '
        'refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs></svg>'
    )


@cache
def _part(name: str) -> str:
    return files("bnfold.report.html").joinpath(name).read_text(encoding="utf-8")


@cache
def _digest(name: str) -> str:
    return f"'sha256-{b64encode(sha256(_part(name).encode()).digest()).decode()}'"
