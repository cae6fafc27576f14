"""How Pilotfish speaks in a terminal: tables and progress for people, JSON for machines, one line per error."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import sys
import tomllib
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from .doctor import EXTRAS
from .errors import BadInput, GateFailed, PilotfishError

if TYPE_CHECKING:
    from .compress.explain import Explanation
    from .doctor import Finding
    from .policy.bundle import Policy
    from .runtime.artifact import Artifact
    from .targets.profile import Target
    from .train.seeds import SeedsResult

_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)
_verbose = False
_SOURCE_LETTER = {"measured": "m", "emulated": "e", "estimated": "~"}


def set_verbose(value: bool) -> bool:
    """The -v flag, accepted before and after the verb."""
    global _verbose
    _verbose = _verbose or value
    return value


def interactive() -> bool:
    """Progress bars only where somebody watches."""
    return sys.stderr.isatty() or bool(os.environ.get("PILOTFISH_PROGRESS"))


def say(markup: str) -> None:
    """A line for people on standard output."""
    _out.print(markup)


def plain(text: str) -> None:
    """Text as it is on standard output, so that it can be redirected into a file."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def note(text: str) -> None:
    """A warning that a person must read."""
    _err.print(f"[yellow]note:[/yellow] {escape(text)}")


def data(value: Any) -> None:
    """JSON for machines."""
    plain(json.dumps(value, indent=1, sort_keys=True, allow_nan=False))


def key_values(items: Sequence[str]) -> dict[str, Any]:
    """["hidden=[32,32]", "gamma=0.99"] -> dict; values are TOML, a bare word is a string."""
    settings: dict[str, Any] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals:
            raise BadInput(f"--set {item}", expected="KEY=VALUE", found="no '='")
        try:
            settings[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key.strip()] = value
    return settings


def number_or_text(value: str | None) -> float | str | None:
    """Microseconds where it is a number, else the path that it is."""
    try:
        return value if value is None else float(value)
    except ValueError:
        return value


def file_safe(text: str) -> str:
    """The nearest name that a policy may have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:120] or "policy"


def guarded(action: Callable[[], Any]) -> int:
    """Run ``action`` and turn whatever it raises into one line and an exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    interrupted = "interrupted; finished steps and earlier results are kept. Run the same command again to go on"
    try:
        code = action()
    except typer.TyperException as error:
        return _fail(f"{error.format_message()} See: pilotfish --help", 2, error)
    except (KeyboardInterrupt, typer.Abort) as error:
        return _fail(interrupted, 2, error)
    except PilotfishError as error:
        return _fail(str(error), error.exit_code, error)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - the reader left; nothing more can be said to it
        return 0
    except OSError as error:
        return _fail(_system_error(error), 2, error)
    except MemoryError as error:
        return _fail("out of memory; earlier results are intact. Free memory or use a smaller input", 2, error)
    except ModuleNotFoundError as error:
        return _fail(_missing_package(error), 3, error)
    except Exception as error:  # noqa: BLE001 - the last resort: a line for the user, and with -v the traceback for us
        return _fail(f"internal error, please report it: {type(error).__name__}: {error}. Add -v to see where", 2, error)
    if code == 130:  # typer turns KeyboardInterrupt into this code
        return _fail(interrupted, 2, KeyboardInterrupt())
    return code if isinstance(code, int) else 0


def _terminated(*_: Any) -> None:
    raise KeyboardInterrupt


def _missing_package(error: ModuleNotFoundError) -> str:
    package = (error.name or "a package").partition(".")[0]
    for extra, (_, packages) in EXTRAS.items():
        if package in packages:
            return f'{package} is not installed; run: pip install "pilotfish[{extra}]"'
    return f"{package} is not installed; run: pip install {package}"


def _system_error(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{where}no space left on the device; earlier results are intact. Free some space and run the same command again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where}expected permission to read or write here, found: {error.strerror}. Choose another folder with -o"
    return f"{where}{error.strerror or error}"


def _fail(message: str, code: int, error: BaseException) -> int:
    if _verbose:
        traceback.print_exception(error)
    _err.print(f"[red]error:[/red] {escape(' '.join(message.split()))}")
    return code


def end_with_gates(failed: Sequence[str]) -> None:
    """Exit code 1, and why, if any gate failed."""
    if failed:
        raise GateFailed("; ".join(failed))


@contextmanager
def counting(title: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar with time left on standard error, where somebody watches; it vanishes at the end."""
    if not _err.is_terminal:
        yield None
        return
    with Progress(console=_err, transient=True) as bar:
        task = bar.add_task(escape(title), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class StepPrinter:
    """Tells the steps of a job as they happen, on standard error."""

    def started(self, step: str) -> None:
        _err.print(f"[cyan]▸[/cyan] {escape(step)} …")

    def finished(self, step: str, seconds: float, cached: bool, summary: str) -> None:
        how = "[dim]kept from before[/dim]" if cached else f"{seconds:.1f} s"
        _err.print(f"[green]✓[/green] {escape(step)}  {how}  [dim]{escape(summary)}[/dim]")

    def said(self, step: str, line: str) -> None:
        """A part of a long step is done."""
        _err.print(f"  [dim]{escape(step)}: {escape(line)}[/dim]")

    def counting(self, step: str) -> AbstractContextManager[Callable[[int, int], None] | None]:
        """A bar while a step counts; see :func:`counting`."""
        return counting(step)


def seeds_table(result: SeedsResult) -> None:
    """Every seed's return on standard error, and what they say together."""
    table = Table("seed", caption=f"kept: {result.rule}", caption_justify="left")
    for title in ("return", "on choosing episodes", "kept from step"):
        table.add_column(title, justify="right")
    for run in result.runs:
        steps = run.policy.contract.provenance.steps or 0
        mark = " ◀ kept" if run.seed == result.best.seed else ""
        table.add_row(f"{run.seed}{mark}", f"{run.mean_return:,.1f}", f"{run.choosing_return:,.1f}", f"{steps:,}")
    _err.print(table)
    for name, figure in (("mean", result.mean), ("interquartile mean", result.iqm)):
        ends = "" if figure.low is None else f", {figure.spread} {figure.low:,.1f} to {figure.high:,.1f}"
        _err.print(f"{name}: {figure.value:,.1f}{ends}", markup=False)


def saved(policy: Policy, path: Path, as_json: bool, also: dict[str, Any] | None = None) -> None:
    """Write a policy's bundle and say what it is; ``also``: more for machines."""
    policy.save(path)
    if as_json:
        data(
            {
                "policy": str(path),
                "parameters": policy.parameters,
                "nonzero_parameters": policy.nonzero_parameters,
                "weight_bytes": policy.weight_bytes,
                "precision": policy.precision,
                "digest": policy.digest,
            }
            | (also or {})
        )
    else:
        say(
            f"[green]✓[/green] {escape(str(path))}  ({policy.parameters:,} parameters, {policy.nonzero_parameters:,} not zero, "
            f"{policy.weight_bytes:,} bytes, {policy.precision})"
        )


def pass_table(before: Policy, after: Policy) -> None:
    """What each pass of a recipe changed."""
    table = Table("pass", "what it changed", title=f"{before.parameters:,} → {after.parameters:,} parameters")
    for record in after.contract.provenance.passes[len(before.contract.provenance.passes) :]:
        changed = {key: value for key, value in record.changed.items() if key != "measured"}
        table.add_row(escape(record.name), escape(", ".join(f"{key} {_short(value)}" for key, value in changed.items())))
    _err.print(table)


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
    _out.print(table)
    won = f"{told.winner} wins: {told.reason}" if told.winner else f"no winner: {told.reason}"
    _out.print(escape(won))


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
    _out.print(table)
    from .job.summary import one_line

    _out.print(escape(one_line(name, outcome)))


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
    _out.print(table)


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
    _out.print(table)


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
    _out.print(table)
