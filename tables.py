"""Tables for people, JSON for machines: what the verbs show of policies, artifacts, targets and trainings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape
from rich.table import Table

from .terminal import data, err, out, say

if TYPE_CHECKING:
    from .compress.explain import Explanation
    from .compress.search import Found
    from .compress.search.one_shot.family_found import FamilyFound
    from .doctor import Finding
    from .policy.bundle import Policy
    from .runtime.artifact import Artifact
    from .targets.profile import Target
    from .train.seeds import SeedsResult

_SOURCE_LETTER = {"measured": "m", "emulated": "e", "estimated": "~"}


def seeds_table(result: SeedsResult) -> None:
    """Every seed's return on standard error, and what they say together."""
    table = Table("seed", caption=f"kept: {result.rule}", caption_justify="left")
    for title in ("return", "on choosing episodes", "kept from step"):
        table.add_column(title, justify="right")
    for run in result.runs:
        steps = run.policy.contract.provenance.steps or 0
        mark = " ◀ kept" if run.seed == result.best.seed else ""
        table.add_row(f"{run.seed}{mark}", f"{run.mean_return:,.1f}", f"{run.choosing_return:,.1f}", f"{steps:,}")
    err.print(table)
    for name, figure in (("mean", result.mean), ("interquartile mean", result.iqm)):
        ends = "" if figure.low is None else f", {figure.spread} {figure.low:,.1f} to {figure.high:,.1f}"
        err.print(f"{name}: {figure.value:,.1f}{ends}", markup=False)


def pass_table(before: Policy, after: Policy) -> None:
    """What each pass of a recipe changed."""
    table = Table("pass", "what it changed", title=f"{before.parameters:,} → {after.parameters:,} parameters")
    for record in after.contract.provenance.passes[len(before.contract.provenance.passes) :]:
        changed = {key: value for key, value in record.changed.items() if key != "measured"}
        table.add_row(escape(record.name), escape(", ".join(f"{key} {_short(value)}" for key, value in changed.items())))
    err.print(table)


def explanations(told: Sequence[Explanation], as_json: bool) -> None:
    """What each variant of a policy costs and earns on each target, and which one wins."""
    if as_json:
        data([one.data() for one in told])
        return
    for one in told:
        _explanation(one)


def _explanation(told: Explanation) -> None:
    caption = f"kept: of the original's mean return, paired; wanted: {told.keep:.0%}. m measured, e emulated, ~ estimated"
    table = Table(title=f"{escape(told.policy)} on {told.target}", caption=caption, caption_justify="left")
    table.add_column("variant", min_width=14)
    for title, width in (("weights ≠ 0", 7), ("return kept", 13), ("latency us", 7), ("bytes", 9), ("RAM B", 7)):
        table.add_column(title, justify="right", min_width=width)
    table.add_column("beside the original", min_width=12)
    for row in told.rows:
        name = escape(f"{row.variant} ({row.backend})" if row.backend else row.variant)
        if row.refused:
            table.add_row(name, *["—"] * 5, escape(row.refused))
            continue
        size = row.figures.get("flash_bytes") or row.figures.get("artifact_bytes")
        mark = " ◀" if f"{row.variant} ({row.backend})" == told.winner else ""
        cells = [_cell(figure) for figure in (row.figures.get("latency_us"), size, row.figures.get("ram_bytes"))]
        table.add_row(name + mark, f"{row.nonzero:,}", _kept(row.figures), *cells, escape(row.verdict))
    out.print(table)
    won = f"{told.winner} wins: {told.reason}" if told.winner else f"no winner: {told.reason}"
    out.print(escape(won))


def searched(found: Found, folder: Path, as_json: bool) -> None:
    """The proven fronts of a search, its two arms, and what to take."""
    if as_json:
        data(found.data())
        return
    caption = (
        f"kept: of the original's mean return on fresh episodes, paired; wanted: {found.min_return:.0%}. ● not dominated, "
        "m measured, e emulated, ~ estimated"
    )
    table = Table(title=f"{escape(found.teacher)} on {escape(found.target)}", caption=caption, caption_justify="left")
    table.add_column("", width=1)
    table.add_column("policy", min_width=14)
    for title, width in (("weights ≠ 0", 7), ("return kept", 13), ("latency us", 7), ("bytes", 9), ("RAM B", 7)):
        table.add_column(title, justify="right", min_width=width)
    table.add_column("found by", min_width=6)
    for index, proof in enumerate(found.proofs):
        name = escape(proof.outcome.genome.name) + (" ◀" if index == found.best else "")
        if proof.failed or not proof.verified:
            table.add_row("", name, *["—"] * 5, escape(proof.failed or "not verified on the target"))
            continue
        size = proof.figures.get("flash_bytes") or proof.figures.get("artifact_bytes")
        cells = [_cell(figure) for figure in (proof.figures.get("latency_us"), size, proof.figures.get("ram_bytes"))]
        mark = "●" if index in found.pareto else ""
        table.add_row(mark, name, f"{proof.outcome.nonzero:,}", _kept(proof.figures), *cells, proof.arm)
    out.print(table)
    arms = Table("arm", "candidates", "done", "stopped", "beyond limits", "failed", "seconds", "hypervolume")
    for name, arm in found.arms.items():
        counts = [arm[state] for state in ("done", "stopped", "infeasible", "failed")]
        arms.add_row(name, f"{sum(counts)}", *map(str, counts), f"{arm['seconds']:,.0f}", f"{arm['hypervolume']:.4f}")
    out.print(arms)
    for line in found.told():
        out.print(escape(line))
    if found.best is not None:
        out.print(escape(f"take {folder / found.bundle(found.best)}"))


def family_searched(found: FamilyFound, folder: Path, as_json: bool) -> None:
    """The proven front of a one-shot search, and what to take."""
    if as_json:
        data(found.data())
        return
    caption = "kept: of the leader's mean return on fresh episodes, paired. ● not dominated, m measured, e emulated, ~ estimated"
    table = Table(title=f"{escape(found.env)} on {escape(found.target)}", caption=caption, caption_justify="left")
    table.add_column("", width=1)
    table.add_column("architecture", min_width=14)
    for title, width in (("weights", 7), ("return kept", 13), ("latency us", 7), ("bytes", 9), ("RAM B", 7)):
        table.add_column(title, justify="right", min_width=width)
    for index, point in enumerate(found.points):
        name = escape(point.surveyed.name) + (" ◀" if index == found.best else "")
        if point.failed or not point.verified:
            table.add_row("", name, *["—"] * 4, escape(point.failed or "not verified on the target"))
            continue
        size = point.figures.get("flash_bytes") or point.figures.get("artifact_bytes")
        cells = [_cell(figure) for figure in (point.figures.get("latency_us"), size, point.figures.get("ram_bytes"))]
        mark = "●" if index in found.pareto else ""
        table.add_row(mark, name, f"{point.surveyed.weights:,}", _kept(point.figures), *cells)
    out.print(table)
    for line in found.told():
        out.print(escape(line))
    if found.best is not None:
        out.print(escape(f"take {folder / found.points[found.best].policy}"))


def _kept(figures: dict[str, Any]) -> str:
    """Share of the return with its interval; the paired difference where a ratio means nothing."""
    share, difference = figures.get("retained"), figures.get("difference")
    if share is not None and share["value"] is not None:
        ends = "" if share["low"] is None else f"\n{100 * share['low']:.1f} … {100 * share['high']:.1f}"
        return f"{share['value']:.1%}{ends}"
    if difference is None:
        return "—"
    ends = "" if difference["low"] is None else f"\n{difference['low']:+.3g} … {difference['high']:+.3g}"
    return f"by {difference['value']:+.3g}{ends}"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def result(name: str, artifact: Artifact, outcome: dict[str, Any], as_json: bool) -> None:
    """The figures of one proof, each with its source."""
    if as_json:
        data(outcome)
        return
    table = Table("figure", "value", "spread", "source", "samples", title=f"{name} {escape(artifact.label)}")
    for key, figure in outcome["figures"].items():
        value = "—" if figure["value"] is None else f"{figure['value']:,.6g} {figure['unit']}"
        spread = "" if figure["low"] is None else f"{figure['low']:,.6g} … {figure['high']:,.6g}"
        table.add_row(
            key,
            value,
            spread,
            figure["source"],
            f"{figure['samples']:,}" if figure["value"] is not None else escape(figure["note"]),
        )
    out.print(table)
    from .job.summary import one_line

    out.print(escape(one_line(name, outcome)))


def artifact_table(artifacts: Sequence[Artifact]) -> None:
    """Every artifact of a job in one table; a letter behind each number says where it comes from."""
    table = Table("artifact", caption="m measured, e emulated, ~ estimated", caption_justify="left")
    for title in ("max error", "return", "latency us", "flash B", "RAM B"):
        table.add_column(title, justify="right", no_wrap=True)
    table.columns[0].overflow = "fold"
    for artifact in artifacts:
        figures: dict[str, Any] = {}
        for proof in ("verify", "bench", "evaluate"):
            figures |= (artifact.result(proof) or {}).get("figures", {})
        latency = "latency_us" if "latency_us" in figures else "tight_p50_us"
        names = ("max_abs_error", "return", latency, "flash_bytes", "ram_bytes")
        table.add_row(escape(artifact.label), *(_cell(figures.get(name)) for name in names))
    out.print(table)


def _cell(figure: dict[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return "—"
    value = figure["value"]
    number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{number} {_SOURCE_LETTER[figure['source']]}"


def target_list(targets: Sequence[Target], as_json: bool) -> None:
    """The shipped profiles."""
    if as_json:
        data([{"name": t.name, "description": t.description, "backends": t.backends, "link": t.link.kind} for t in targets])
        return
    table = Table("target", "what it is", "back-ends", "link")
    table.columns[0].no_wrap = True  # what -t takes must be readable whole
    for t in targets:
        table.add_row(t.name, t.description, "\n".join(t.backends), t.link.kind)
    out.print(table)


def findings(found: Sequence[tuple[str, str]], as_json: bool) -> None:
    """What is wrong with a target here; exit code 3 if it cannot be used."""
    if as_json:
        data([{"severity": severity, "message": message} for severity, message in found])
    else:
        marks = {"ok": "[green]✓[/green]", "warning": "[yellow]![/yellow]", "error": "[red]✗[/red]"}
        for severity, message in found:
            say(f"{marks.get(severity, '·')} {escape(message)}")
    if any(severity == "error" for severity, _ in found):
        raise typer.Exit(3)


def doctor_report(found: Sequence[Finding], as_json: bool) -> None:
    """What is installed, group by group."""
    if as_json:
        data([vars(finding) for finding in found])
        return
    table = Table("what", "found", "note")
    groups = list(dict.fromkeys(finding.group for finding in found))
    for group in groups:
        table.add_section()
        table.add_row(f"[bold]{escape(group)}[/bold]", "", "")
        for finding in (f for f in found if f.group == group):
            shown = escape(finding.found) if finding.found else "[yellow]not found[/yellow]"
            table.add_row(f"  {finding.name}", shown, "" if finding.found and group.startswith("extra") else escape(finding.adds))
    out.print(table)
