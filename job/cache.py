"""The step cache: a finished step is not run again while nothing that it depends on has changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from .. import __version__, sealed


class Listener(Protocol):
    """Is told what the job does; the CLI prints it."""

    def started(self, step: str) -> None: ...

    def finished(self, step: str, seconds: float, cached: bool, summary: str) -> None: ...

    def said(self, step: str, line: str) -> None:
        """A part of a long step is done; ``line`` says what it did."""

    def counting(self, step: str) -> AbstractContextManager[Callable[[int, int], None] | None]:
        """A progress bar for the length of a step: called with (done, total); None: nobody watches."""


class Silent:
    """A listener for callers that want no output."""

    def started(self, step: str) -> None:
        """Say nothing."""

    def finished(self, step: str, seconds: float, cached: bool, summary: str) -> None:
        """Say nothing."""

    def said(self, step: str, line: str) -> None:
        """Say nothing."""

    def counting(self, step: str) -> AbstractContextManager[None]:  # noqa: ARG002 - the protocol's name
        """Show nothing."""
        return nullcontext()


class StepCache:
    """Records in FOLDER/STEP.json: the key (hash of everything the step depends on) and its outputs' hashes."""

    def __init__(self, folder: Path, listener: Listener) -> None:
        self.folder, self.listener = folder, listener

    def run(self, step: str, depends: dict[str, Any], outputs: Sequence[Path], action: Callable[[], str]) -> bool:
        """Run ``action`` unless an equal run has finished and its outputs are untouched; True if it ran.

        ``action`` returns one line that sums the step up. The record is written last, so an interrupt
        leaves a step that runs again.
        """
        key = sealed.sha256_bytes(sealed.canonical_json({"step": step, "version": __version__, "depends": depends}).encode())
        record_path = self.folder / f"{step}.json"
        record = _read(record_path)
        begin = time.perf_counter()
        if record.get("key") == key and record.get("outputs") == _fingerprints(outputs):
            self.listener.finished(step, float(record.get("seconds", 0.0)), True, str(record.get("summary", "")))
            return False
        self.listener.started(step)
        record_path.unlink(missing_ok=True)
        summary = action()
        seconds = time.perf_counter() - begin
        made = _fingerprints(outputs)
        if None in made.values():
            raise RuntimeError(f"the step {step} ended without writing {[k for k, v in made.items() if v is None]}")
        sealed.write_atomic(
            record_path, sealed.canonical_json({"key": key, "outputs": made, "summary": summary, "seconds": round(seconds, 3)})
        )
        self.listener.finished(step, seconds, False, summary)
        return True


def _read(path: Path) -> dict[str, Any]:
    """A record, or nothing where there is none or it is damaged: then the step simply runs again."""
    try:
        data = sealed.read_json(path, "a step record")
    except sealed.BadInput:
        return {}
    return data if isinstance(data, dict) else {}


def _fingerprints(outputs: Sequence[Path]) -> dict[str, str | None]:
    return {path.name: fingerprint(path) for path in outputs}


def fingerprint(path: Path) -> str | None:
    """Hash of a file; of a sealed folder, the hash of its manifest, which holds the hash of every file. None: not there."""
    for file in (path / "policy.json", path / "artifact.json", path):
        if file.is_file():
            return sealed.sha256_file(file)
    return None
