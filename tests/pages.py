"""A page of the report, read back: its elements, its tables, its pictures."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """What is on a page; an element that is not closed where it should be is an error.

    Attributes:
        elements: every element with its attributes.
        tables: per caption the rows, each a text per heading.
        headings: the texts of h1 and h2.
        words: all text, one space between.
        boxes: per picture of a graph, by its title, the class and the lines of each box.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[dict[str, str]]] = {}
        self.headings: list[str] = []
        self.boxes: dict[str, list[tuple[str, list[str]]]] = {}
        self._open: list[tuple[str, list[str]]] = []
        self._heads: list[str] = []
        self._cells: list[str] = []
        self._caption = self._picture = ""
        self._texts: list[str] = []
        self.feed(text)
        self.close()
        assert [name for name, _ in self._open] == [], "elements that are not closed"
        self.words = " ".join("".join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.elements.append((tag, values))
        if tag == "svg" and values.get("role") == "img":
            self._picture = values.get("aria-label") or ""
            self.boxes[self._picture] = []
        if tag == "g" and (values.get("class") or "").startswith("box "):
            self.boxes[self._picture].append(((values["class"] or "").removeprefix("box "), []))
        if tag not in VOID:
            self._open.append((tag, []))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if any(name in {"script", "style"} for name, _ in self._open):
            return
        for _, texts in self._open:
            texts.append(data)
        self._texts.append(f"{data} ")

    def handle_endtag(self, tag: str) -> None:
        name, texts = self._open.pop()
        assert name == tag, f"<{name}> is closed by </{tag}>"
        text = "".join(texts)
        if tag in {"h1", "h2"}:
            self.headings.append(text)
        elif tag == "caption":
            self._caption = text
            self.tables[text] = []
        elif tag == "table":
            self._heads = []
        elif tag == "th":
            self._heads.append(text)
        elif tag == "td":
            self._cells.append(text)
        elif tag == "tr" and self._cells:
            self.tables[self._caption].append(dict(zip(self._heads, self._cells, strict=True)))
            self._cells = []
        elif tag == "text" and self.boxes.get(self._picture):
            self.boxes[self._picture][-1][1].append(text)
