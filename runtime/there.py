"""``python -m pilotfish.runtime.there``: the device's end of a step. A line of JSON asks, lines of JSON tell, the last one ends.

The current folder is the artifact. The line that asks is ``{"verb": …, "options": {…}}``; what is told is ``{"progress": [done,
total]}``, ``{"said": text}``, and at the end ``{"result": {…}}`` or ``{"error": {"kind", "text", "exit_code"}}``. When the input
ends, so does the step: a host that went away must leave nothing running that would disturb the next measurement.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import BadInput, PilotfishError
from ..targets.reach import LocalLink
from .artifact import Artifact

MAX_REQUEST_BYTES = 1 << 20
TELL_EVERY_S = 0.2
LOST = 76
"""Exit code of a step whose host went away."""
BUSY = "busy.lock"
"""Held beside the installed folders while a step runs: two at once would measure each other."""


class Unstored(Artifact):
    """An artifact whose results go back to the host instead of a file here."""

    def store_result(self, name: str, data: dict[str, Any]) -> Path:  # noqa: ARG002
        return self.path


Tell = Callable[[int, int], None]
Say = Callable[[str], None]


def verify(artifact: Artifact, options: Mapping[str, Any], tell: Tell, say: Say) -> dict[str, Any]:  # noqa: ARG001
    from .verify import verify

    return verify(artifact, progress=tell, **options)


def bench(artifact: Artifact, options: Mapping[str, Any], tell: Tell, say: Say) -> dict[str, Any]:  # noqa: ARG001
    from .bench import bench

    if options.get("energy") not in (None, "auto"):  # a request names no module to import here
        raise BadInput("--energy", expected="auto, over a link", found=str(options["energy"])[:80])
    return bench(artifact, progress=tell, **options)


def soak(artifact: Artifact, options: Mapping[str, Any], tell: Tell, say: Say) -> dict[str, Any]:
    from .soak import soak

    return soak(artifact, say=say, progress=tell, **options)


VERBS: dict[str, Callable[[Artifact, Mapping[str, Any], Tell, Say], dict[str, Any]]] = {
    "verify": verify,
    "bench": bench,
    "soak": soak,
}
"""What a host may ask for."""


def step(request: Any, folder: Path, tell: Tell, say: Say) -> dict[str, Any]:
    """Carry out one request on the artifact in ``folder``. Raises BadInput for what is no request."""
    if not isinstance(request, dict) or request.get("verb") not in VERBS or not isinstance(request.get("options"), dict):
        raise BadInput("the request", expected=f"a verb ({', '.join(VERBS)}) and its options", found=repr(request)[:80])
    found = Artifact.load(folder)
    artifact = Unstored(found.path, found.manifest, found.digest).reached_by(LocalLink())
    try:
        return VERBS[request["verb"]](artifact, request["options"], tell, say)
    except TypeError as error:
        raise BadInput(f"the options of {request['verb']}", expected="those it has", found=str(error)) from error


def main() -> int:
    """One step; the exit code is that of its error, or 0."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else prints: not between the answers

    def say(event: Mapping[str, Any]) -> None:
        answers.write(json.dumps(event) + "\n")
        answers.flush()

    asked = _first_line()
    threading.Thread(target=_live_with_input, daemon=True).start()
    last = [0.0]

    def tell(done: int, total: int) -> None:
        now = time.monotonic()
        if now - last[0] > TELL_EVERY_S or done == total:
            last[0] = now
            say({"progress": [done, total]})

    try:
        try:
            request = json.loads(asked)
        except (ValueError, RecursionError) as error:
            raise BadInput("the request", expected="one line of JSON", found=str(error)) from error
        with _alone(Path.cwd().parent, say):
            result = step(request, Path.cwd(), tell, lambda text: say({"said": text}))
        say({"result": result})
    except PilotfishError as error:
        say({"error": {"kind": type(error).__name__, "text": str(error), "exit_code": error.exit_code}})
        return error.exit_code
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it is, the host must hear of it
        say({"error": {"kind": type(error).__name__, "text": f"{type(error).__name__}: {error}", "exit_code": 2}})
        return 2
    return 0


def _live_with_input() -> None:
    """Ends the process when its input does."""
    while os.read(0, 4096):
        pass
    os._exit(LOST)


def _first_line() -> bytes:
    """By plain reads: a thread that waits in a buffered one cannot be left behind at the end."""
    held = bytearray()
    while b"\n" not in held and len(held) < MAX_REQUEST_BYTES and (data := os.read(0, 1 << 16)):
        held += data
    return bytes(held)


@contextlib.contextmanager
def _alone(folder: Path, say: Callable[[Mapping[str, Any]], None]) -> Iterator[None]:
    """One step at a time per cache folder; a second one waits, and says so."""
    try:
        import fcntl

        stream = (folder / BUSY).open("w")
    except (ImportError, OSError):
        yield
        return
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say({"said": "another step is running there; waiting for its end"})
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
