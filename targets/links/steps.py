"""A step run on a device: one line asks for it, lines of JSON tell how it goes, and the last one how it ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import PilotfishError, Unreachable
from .link import Dropped, Progress
from .process import LineReader, plain

MAX_REQUEST_BYTES = 1 << 20
WORDS = 2000


class Told(PilotfishError):
    """An error of Pilotfish that was raised on the device, in its own words and with its own exit code."""

    def __init__(self, kind: str, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.kind, self.exit_code = kind, exit_code


def request(verb: str, options: Mapping[str, Any]) -> bytes:
    """The line that asks. The device's end keeps listening behind it: when its input ends, so does the step."""
    return json.dumps({"verb": verb, "options": dict(options)}).encode() + b"\n"


def result_of(reader: LineReader, progress: Progress | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Follow a step to its end. The result counts only if it came whole and the program then ended well."""
    name, found = reader.process.name, None
    while (line := reader.next()) is not None:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            continue  # a library's own words
        if isinstance(event.get("error"), dict):
            error = event["error"]
            code = error.get("exit_code")
            text = plain(str(error.get("text", "")), WORDS)
            raise Told(plain(str(error.get("kind", ""))), f"{name}: {text}", code if code in (1, 2, 3) else 2)
        if isinstance(event.get("result"), dict):
            found = event["result"]
        elif isinstance(event.get("said"), str):
            say(f"{name}: {plain(event['said'])}")
        elif progress and isinstance(event.get("progress"), list):
            numbers = [n for n in event["progress"] if isinstance(n, int) and n >= 0]
            if len(numbers) == 2 and numbers[0] <= numbers[1]:
                progress(numbers[0], numbers[1])
    if found is None:
        raise Unreachable(f"{name}: the step ended without a result")
    return found


__all__ = ["MAX_REQUEST_BYTES", "Dropped", "Told", "request", "result_of"]
