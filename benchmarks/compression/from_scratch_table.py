"""The results of from_scratch.py as Markdown: returns with intervals over trainings, and verdicts against dense and small."""

from __future__ import annotations

from typing import Any

import numpy as np

from pilotfish.runtime.interquartile import mean, stratified_bootstrap
from pilotfish.runtime.statistics import Interval

HEAD = "| contestant | numbers that are not 0 | return, mean [95 %] | by seed | of dense | than dense | than small | CPU s |"
RULE = "|---|--:|--:|---|--:|---|---|--:|"


def table(lines: list[dict[str, Any]]) -> str:
    """One table per algorithm, task, steps and setup."""
    groups: dict[tuple[Any, ...], dict[str, list[dict[str, Any]]]] = {}
    chance: dict[tuple[str, int], float] = {}
    for line in lines:
        if line["contestant"] == "random":
            chance[line["task"], line["episodes"]] = line["return"]
            continue
        setup = ", ".join(f"{name} {value}" for name, value in line["setup"].items() if value)
        group = groups.setdefault((line["algorithm"], line["task"], line["steps"], line["episodes"], setup), {})
        group.setdefault(line["contestant"], []).append(line)
    parts = [
        f"### {algorithm.upper()}, {task}, {steps:,} steps, {episodes} episodes; {setup}\n\n"
        + "\n".join([HEAD, RULE, *_rows(group, chance.get((task, episodes)))])
        for (algorithm, task, steps, episodes, setup), group in sorted(groups.items())
    ]
    note = (
        "Intervals: 95 % stratified bootstrap over trainings; few trainings make them too narrow. of dense: the gain over random "
        "actions in gains of the dense mean. than dense, than small (of as many numbers): above or below if the interval of the "
        "difference says so, else even."
    )
    return "\n\n".join([*parts, note])


def _rows(group: dict[str, list[dict[str, Any]]], chance: float | None) -> list[str]:
    dense = _scores(group.get("dense", []))
    rows = []
    for name in sorted(group, key=_order):
        runs, scores = group[name], _scores(group[name])
        kind, _, share = name.partition("-")
        rival = _scores(group.get(f"small-{share}", [])) if kind in ("prune", "rigl") else np.array([])
        gain = ""
        if chance is not None and len(dense) and name != "dense" and dense.mean() > chance:
            gain = f"{(scores.mean() - chance) / (dense.mean() - chance):.1%}"
        cells = (
            name,
            f"{np.mean([run['nonzero'] for run in runs]):,.0f}",
            _shown(stratified_bootstrap(scores, mean)),
            ", ".join(f"{score:,.1f}" for score in scores),
            gain,
            _verdict(scores, dense) if name != "dense" else "",
            _verdict(scores, rival),
            f"{np.mean([run['cpu_s'] for run in runs]):,.0f}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _order(name: str) -> tuple[int, int]:
    kind, _, share = name.partition("-")
    return int(share or 0), ("dense", "prune", "rigl", "small").index(kind)


def _scores(runs: list[dict[str, Any]]) -> np.ndarray:
    return np.array([run["return"] for run in sorted(runs, key=lambda run: int(run["seed"]))])


def _shown(interval: Interval) -> str:
    ends = "" if interval.low is None or interval.high is None else f" [{interval.low:,.1f}, {interval.high:,.1f}]"
    return f"{interval.value:,.1f}{ends}"


def difference(scores: np.ndarray, others: np.ndarray) -> Interval:
    """Interval of the difference of two means over as many trainings; each side is drawn on its own."""
    return stratified_bootstrap(np.stack([scores, others], axis=1), lambda x: x[..., 0::2].mean(-1) - x[..., 1::2].mean(-1))


def _verdict(scores: np.ndarray, others: np.ndarray) -> str:
    runs = min(len(scores), len(others))
    if runs < 2:
        return ""
    interval = difference(scores[:runs], others[:runs])
    if interval.low is None or interval.high is None:
        return ""
    return "above" if interval.low > 0 else "below" if interval.high < 0 else "even"
