"""Whether a tag may be released: one version everywhere, and a section of the changelog that is finished.

    python .ci/release.py v1.2.3              # exit status 1, and a sentence per reason, where it may not
    python .ci/release.py v1.2.3 --notes FILE # and write that section of the changelog

docs/releasing.md says what comes before.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SECTION = re.compile(r"^## \[(?P<name>[^\]]+)\](?: - (?P<date>\S+))?$", re.MULTILINE)


class Section(NamedTuple):
    """A part of the changelog: its version or `Unreleased`, its date, and what it says."""

    name: str
    date: str
    text: str


def version_of(root: Path) -> str:
    """The version, from the one place where it is written."""
    return _found(r'^__version__ = "(.+)"$', root / "bnfold" / "_version.py")


def cited_version(root: Path) -> str:
    """The version in CITATION.cff."""
    return _found(r"^version: (.+)$", root / "CITATION.cff")


def sections(root: Path) -> list[Section]:
    """The parts of the changelog, the newest first."""
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    heads = list(SECTION.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return [
        Section(head["name"], head["date"] or "", text[head.end() : end].strip())
        for head, end in zip(heads, ends, strict=True)
    ]


def objections(tag: str, root: Path = ROOT) -> Iterator[str]:
    """Why that tag may not be released, a sentence each."""
    version = version_of(root)
    if tag != f"v{version}":
        yield f"the tag is {tag!r}, and bnfold/_version.py has {version}: the tag has to be 'v{version}'"
    if cited_version(root) != version:
        yield f"CITATION.cff has version {cited_version(root)}, and bnfold/_version.py {version}: make them one"
    yield from _of_changelog(version, sections(root))
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if not project.get("urls"):
        yield "pyproject.toml has no [project.urls]: say where the sources, the changelog and the issues are"


def _of_changelog(version: str, found: list[Section]) -> Iterator[str]:
    waiting = next((section for section in found if section.name == "Unreleased"), None)
    if waiting is not None and waiting.text:
        yield f"CHANGELOG.md has lines under Unreleased: put them under '## [{version}] - DATE'"
    section = next((section for section in found if section.name == version), None)
    if section is None or not section.text:
        yield f"CHANGELOG.md says nothing under '## [{version}] - DATE'"
    elif not re.fullmatch(r"\d{4}-\d\d-\d\d", section.date):
        yield f"CHANGELOG.md has no date behind '## [{version}]': write it as 2026-01-31"


def _found(pattern: str, path: Path) -> str:
    match = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise SystemExit(f"{path} has no line like {pattern}")
    return match[1]


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tag")
    parser.add_argument("--notes", type=Path, metavar="FILE", help="where to write the section of the changelog")
    asked = parser.parse_args()
    reasons = list(objections(asked.tag))
    for reason in reasons:
        print(reason, file=sys.stderr)
    if reasons:
        return 1
    if asked.notes:
        version = version_of(ROOT)
        asked.notes.write_text(next(s.text for s in sections(ROOT) if s.name == version) + "\n", encoding="utf-8")
    print(version_of(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
