"""A check in the JUnit format, which CI systems show as test results.

One test case per output and matchup; a comparison that differs, or that shows nothing, is a failure. The format has no
standard of its own: this is the part that Jenkins, GitLab and GitHub's report actions share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

from bnfold.report.checks import check_table, output_failure
from bnfold.report.whole import write_whole

if TYPE_CHECKING:
    from bnfold.checking import CheckReport

_SUITE = "bnfold check"


def write_junit(report: CheckReport, target: str, *, before: str, after: str) -> None:
    """Write a check as a JUnit file.

    Args:
        report: the check.
        target: the file.
        before: the path of the original.
        after: the path of the other model.

    Raises:
        TargetError: the file can not be written.
    """
    root = _suites(report, f"{before} against {after}")
    ElementTree.indent(root)
    write_whole(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n", target)


def _suites(report: CheckReport, models: str) -> ElementTree.Element:
    root = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(root, "testsuite", name=f"{_SUITE}: {_printable(models)}")
    _add_properties(suite, report)
    for comparison in report.comparisons:
        for output in comparison.outputs:
            case = ElementTree.SubElement(
                suite, "testcase", classname=str(comparison.matchup), name=_printable(output.name)
            )
            reason = output_failure(output, report.allow_vacuous)
            if reason:
                kind = "vacuous" if output.equal else "different"
                ElementTree.SubElement(case, "failure", message=_printable(reason), type=kind)
    ElementTree.SubElement(suite, "system-out").text = _printable(check_table(report))
    for element in (root, suite):
        element.set("tests", str(len(suite.findall("testcase"))))
        element.set("failures", str(len(suite.findall("testcase/failure"))))
        element.set("errors", "0")
    return root


def _add_properties(suite: ElementTree.Element, report: CheckReport) -> None:
    properties = ElementTree.SubElement(suite, "properties")
    facts = {"seed": str(report.seed), "draws": str(report.draws), **(report.versions or {})}
    for name, value in facts.items():
        ElementTree.SubElement(properties, "property", name=name, value=value)


def _printable(text: str) -> str:
    """Without the control characters that no XML may hold, not even escaped; a name in a graph may have them."""
    return "".join(letter if letter in "\n\t" or letter.isprintable() else "?" for letter in text)
