"""How Pilotfish speaks in a terminal: lines and progress for people, JSON for machines, one line per error."""

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

from .doctor import EXTRAS
from .errors import BadInput, GateFailed, PilotfishError

if TYPE_CHECKING:
    from .policy.bundle import Policy

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
_verbose = False


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
    out.print(markup)


def plain(text: str) -> None:
    """Text as it is on standard output, so that it can be redirected into a file."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def note(text: str) -> None:
    """A warning that a person must read."""
    err.print(f"[yellow]note:[/yellow] {escape(text)}")


def progress_line(text: str) -> None:
    """How a long run goes, on standard error, where somebody watches."""
    if interactive():
        err.print(f"[dim]{escape(text)}[/dim]")


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
    err.print(f"[red]error:[/red] {escape(' '.join(message.split()))}")
    return code


def end_with_gates(failed: Sequence[str]) -> None:
    """Exit code 1, and why, if any gate failed."""
    if failed:
        raise GateFailed("; ".join(failed))


@contextmanager
def counting(title: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar with time left on standard error, where somebody watches; it vanishes at the end."""
    if not err.is_terminal:
        yield None
        return
    with Progress(console=err, transient=True) as bar:
        task = bar.add_task(escape(title), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class StepPrinter:
    """Tells the steps of a job as they happen, on standard error."""

    def started(self, step: str) -> None:
        err.print(f"[cyan]▸[/cyan] {escape(step)} …")

    def finished(self, step: str, seconds: float, cached: bool, summary: str) -> None:
        how = "[dim]kept from before[/dim]" if cached else f"{seconds:.1f} s"
        err.print(f"[green]✓[/green] {escape(step)}  {how}  [dim]{escape(summary)}[/dim]")

    def said(self, step: str, line: str) -> None:
        """A part of a long step is done."""
        err.print(f"  [dim]{escape(step)}: {escape(line)}[/dim]")

    def counting(self, step: str) -> AbstractContextManager[Callable[[int, int], None] | None]:
        """A bar while a step counts; see :func:`counting`."""
        return counting(step)


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
