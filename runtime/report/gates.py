"""Gates for CI: what must hold of every artifact in a report, such as "in_time", "paced_p99_us<500" or "regression"."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ...errors import BadInput
from .compare import Entry, figure
from .headline import QUESTIONS
from .numerals import plain

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "==": operator.eq, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
REGRESSION = "regression"
_LIMIT = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*(<=|>=|==|<|>)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Gate:
    """One condition."""

    text: str
    """As it was written."""
    name: str
    """A verdict's, a figure's, or "regression"."""
    comparison: str = ""
    """Of a figure: one of OPERATORS; empty: a verdict that must be good, or no regression."""
    limit: float = 0.0
    """Of a figure, in its unit."""


@dataclass(frozen=True)
class Outcome:
    """A gate, judged for one artifact."""

    gate: str
    """As it was written."""
    artifact: str
    """The entry's id."""
    label: str
    """The entry's label."""
    state: Literal["passed", "failed", "skipped"]
    """skipped: there is nothing to judge by, such as a cycle count on a computer."""
    message: str
    """In words."""


def parse_gate(text: str, where: str = "--fail-on") -> Gate:
    """ "in_time", "regression" or "FIGURE OPERATOR NUMBER"; BadInput for anything else, which stands ``where``."""
    known = (*QUESTIONS, REGRESSION)
    if text.strip() in known:
        return Gate(text.strip(), text.strip())
    found = _LIMIT.fullmatch(text)
    if not found:
        raise BadInput(where, expected=f"{', '.join(known)}, or a figure's limit such as paced_p99_us<500", found=repr(text))
    return Gate(text.strip(), found[1], found[2], float(found[3]))


def judge_gates(entries: Sequence[Entry], gates: Sequence[Gate], regressions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every gate for every artifact, as plain data; ``regressions`` as :mod:`pilotfish.runtime.report.history` finds them.

    A figure that no artifact has fails its gate everywhere: a typo must not pass.
    """
    outcomes = []
    for gate in gates:
        absent = bool(gate.comparison) and not any(figure(entry, gate.name) for entry in entries)
        outcomes += [_judge(entry, gate, regressions, absent) for entry in entries]
    return [asdict(outcome) for outcome in outcomes]


def _judge(entry: Entry, gate: Gate, regressions: Sequence[dict[str, Any]], absent: bool) -> Outcome:
    def outcome(state: Literal["passed", "failed", "skipped"], message: str) -> Outcome:
        return Outcome(gate.text, entry["id"], entry["label"], state, message)

    if gate.name == REGRESSION:
        worse = [each["sentence"] for each in regressions if each["artifact"] == entry["id"] and each["mark"] == "bad"]
        return outcome("failed" if worse else "passed", "; ".join(worse) or "no figure is worse than in the earlier report")
    if not gate.comparison:
        verdict = entry["verdicts"][gate.name]
        state: Literal["passed", "failed", "skipped"] = {"good": "passed", "none": "skipped"}.get(verdict["mark"], "failed")  # type: ignore[assignment]
        return outcome(state, f"{entry['label']} {verdict['sentence']}")
    one = figure(entry, gate.name)
    if one is None:
        return outcome(
            "failed" if absent else "skipped", f"{entry['label']} has no figure {gate.name}" + (", nor has any other" * absent)
        )
    good = OPERATORS[gate.comparison](one["value"], gate.limit)
    return outcome("passed" if good else "failed", f"{gate.name} is {plain(one['value'], 4)} {one['unit']} ({one['source']})")
