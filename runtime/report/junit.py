"""Gates as JUnit XML, which every CI server shows: a suite per artifact, a case per gate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(outcomes: Sequence[dict[str, Any]], title: str, date: str) -> str:
    """The XML of judged gates; ``date``: ISO time. Texts are strangers': escaped, and without what XML cannot hold."""
    root = ElementTree.Element("testsuites", _attributes(name=title, **_counts(outcomes)))
    for artifact in dict.fromkeys(outcome["artifact"] for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome["artifact"] == artifact]
        label = mine[0]["label"]
        suite = ElementTree.SubElement(root, "testsuite", _attributes(name=label, timestamp=date, **_counts(mine)))
        for outcome in mine:
            case = ElementTree.SubElement(suite, "testcase", _attributes(classname=label, name=outcome["gate"], time="0"))
            tag = {"failed": "failure", "skipped": "skipped"}.get(outcome["state"])
            if tag:
                ElementTree.SubElement(case, tag, _attributes(message=outcome["message"]))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _counts(outcomes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    states = [outcome["state"] for outcome in outcomes]
    return {"tests": len(states), "failures": states.count("failed"), "skipped": states.count("skipped"), "errors": 0}


def _attributes(**values: Any) -> dict[str, str]:
    return {name: _NOT_XML.sub("?", str(value)) for name, value in values.items()}
