"""The results of the host benchmark as text: aligned for a terminal, or Markdown."""

from __future__ import annotations

from host_goals import verdicts
from host_results import ORT, OURS, Line, Results

HEAD = ("contestant", "called from", "µs", "quartiles", "less clock", "of ONNX Runtime", "of Pilotfish", "deviation")


def rows_of(results: Results, subject: str) -> list[tuple[str, ...]]:
    """One row of cells per contestant of a subject, fastest first; those that are wrong or failed at the end."""
    lines = [line for line in results.lines if line.subject == subject]
    timed = sorted((line for line in lines if line.timed), key=results.median_ns)
    return [_row(results, line) for line in timed] + [
        (line.label, line.caller, "wrong" if not line.right else "failed", "", "", "", "", f"{line.deviation:.0e}")
        for line in lines
        if not line.timed
    ]


def _row(results: Results, line: Line) -> tuple[str, ...]:
    low, high = results.quartiles_ns(line)
    ratio, spread, ours = results.ratio(line, ORT), results.spread(line, ORT), results.ratio(line, OURS[line.caller])
    return (
        line.label,
        line.caller,
        _us(results.median_ns(line)),
        f"{_us(low)}-{_us(high)}",
        _us(results.net_ns(line)),
        f"{ratio:.3f} [{spread[0]:.3f}, {spread[1]:.3f}]" if ratio is not None and spread is not None else "",
        f"{ours:.2f}" if ours is not None else "",
        f"{line.deviation:.0e}",
    )


def _us(nanoseconds: float) -> str:
    return f"{nanoseconds / 1000:.3g}" if nanoseconds >= 1000 else f"{nanoseconds / 1000:.3f}"


def preface(results: Results) -> list[str]:
    """Machine, method and versions."""
    device, settings = results.device, results.settings
    clocks = ", ".join(f"{value:.0f} ns from {caller}" for caller, value in results.clock_ns.items())
    pinned = "not pinned" if settings["cpu"] is None else f"peers on CPU {settings['cpu']}"
    versions = "; ".join(
        f"{peer}: {', '.join(f'{package} {version}' for package, version in packages.items())}"
        for peer, packages in results.versions.items()
    )
    return [
        f"{device['cpu']}, {device['usable_cores']} CPUs, kernel {device['kernel']}, Python {device['python']}, "
        f"load {device['load']} at the start and {settings['load_at_end']:.2f} at the end, {device['date']}",
        f"{settings['rounds']} rounds, blocks of {settings['block_ms']:g} ms, one thread, {pinned}; "
        f"{settings['seconds']:.0f} s in all",
        f"A clock around nothing shows {clocks}: contained in 'µs', taken off in 'less clock' and in both ratios.",
        versions,
    ]


def closing(results: Results) -> list[str]:
    """What is not in the tables, and why."""
    return [f"{who}: {why}" for who, why in results.absent.items()]


def terminal(results: Results) -> str:
    """Everything for a person at a terminal."""
    parts = preface(results)
    for subject, title in results.titles.items():
        rows = [HEAD, *rows_of(results, subject)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
        parts += ["", f"{subject}: {title}"]
        for row in rows:
            cells = (
                cell.ljust(width) if column in (0, 1) else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            parts.append("  " + "  ".join(cells).rstrip())
    if results.absent:
        parts += ["", "Not in the tables", *(f"  {line}" for line in closing(results))]
    parts += ["", "Goals (times as fast, less the clocks)", *(f"  {verdict.text}" for verdict in verdicts(results))]
    return "\n".join(parts)


def markdown(results: Results) -> str:
    """The same as a section of a document."""
    parts = [f"{line}\n" for line in preface(results)]
    for subject, title in results.titles.items():
        parts += [f"### {subject}: {title}\n", "| " + " | ".join(HEAD) + " |", "|---|---" + "|--:" * (len(HEAD) - 2) + "|"]
        parts += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows_of(results, subject)]
        parts.append("")
    if results.absent:
        parts += ["### Not in the tables\n", *(f"- {line}" for line in closing(results)), ""]
    parts += ["### Goals\n", "| verdict | goal | less the clocks | as measured |", "|---|---|--:|--:|"]
    for verdict in verdicts(results):
        wanted = verdict.text[14:].split(": ")
        shown = ["", ""] if verdict.speedup is None else [f"{verdict.speedup:.2f} ×", f"{verdict.raw:.2f} ×"]
        parts.append(f"| {verdict.word} | {wanted[0]}: {wanted[1]} | {shown[0]} | {shown[1]} |")
    return "\n".join(parts) + "\n"
