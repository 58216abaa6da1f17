"""Results as JUnit XML, which every continuous integration can show: one test case for each law of each way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

#: Characters that XML 1.0 cannot hold, whatever way they are written.
_UNPRINTABLE = {c: "\N{REPLACEMENT CHARACTER}" for c in range(32) if chr(c) not in "\t\n\r"}


@dataclass(frozen=True)
class Verdict:
    """A law of a way: how many comparisons were made, and the texts of counter-examples, their first lines apart."""

    law: str
    way: str
    checks: int
    failures: tuple[tuple[str, str], ...] = ()


def junit(suite: str, verdicts: Iterable[Verdict], seconds: float, properties: Mapping[str, str]) -> str:
    """The text of a JUnit file.

    A test case is a law (`name`) of a way (`classname`); it fails if there is a counter-example, whose first line is
    the message and whose text is the body. Laws that nothing could be compared of are skipped.
    """
    found = list(verdicts)
    failed = sum(bool(v.failures) for v in found)
    skipped = sum(not v.checks and not v.failures for v in found)
    counts = {"tests": str(len(found)), "failures": str(failed), "errors": "0", "skipped": str(skipped)}
    root = ElementTree.Element("testsuites", counts | {"time": f"{seconds:.3f}"})
    each = ElementTree.SubElement(root, "testsuite", {"name": _clean(suite), **counts, "time": f"{seconds:.3f}"})
    facts = ElementTree.SubElement(each, "properties")
    for name, value in properties.items():
        ElementTree.SubElement(facts, "property", {"name": _clean(name), "value": _clean(value)})
    for verdict in found:
        where = {"classname": f"recc.fuzz.{_clean(verdict.way).replace(' ', '.')}", "name": _clean(verdict.law)}
        test = ElementTree.SubElement(each, "testcase", {**where, "time": "0"})
        for message, text in verdict.failures:
            failure = {"type": "CounterExample", "message": _clean(message)}
            ElementTree.SubElement(test, "failure", failure).text = _clean(text)
        if not verdict.checks and not verdict.failures:
            ElementTree.SubElement(test, "skipped", {"message": "no case could be compared"})
        out = ElementTree.SubElement(test, "system-out")
        out.text = f"{verdict.checks} comparisons"
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _clean(text: str) -> str:
    return text.translate(_UNPRINTABLE)


__all__ = ["Verdict", "junit"]
