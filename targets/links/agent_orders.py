"""What an agent is told and tells: messages of a tag and a payload; and which orders it takes, all others are refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

from .scripts import Order
from .shell_link import RUNNER

METHOD = "/pilotfish.Agent/Start"
"""The one method: a stream of messages each way, for one order."""
MAX_MESSAGE_BYTES = 1 << 20
"""Longer ones are refused by gRPC before they are read."""
PIECE = 1 << 18
TOKEN, CLIENT = "authorization", "pilotfish-client"
"""Metadata: the token, as "Bearer …"; and who asks, 32 hexadecimal digits of chance for each link that is open."""
RELEASE = "release"
"""An order that runs nothing: the lease ends."""
MODULES = ("runtime.there", "runtime.serve")


class Asked(IntEnum):
    """From the host."""

    ORDER = 0
    DATA = 1
    FINISH = 2


class Answer(IntEnum):
    """From the agent."""

    OUTPUT = 0
    ERRORS = 1
    ENDED = 2
    QUEUED = 3
    STARTED = 4


class Refused(ValueError):
    """A message that is no order, or none that an agent takes."""


def message(tag: int, payload: bytes = b"") -> bytes:
    """One message."""
    return bytes([tag]) + payload


def told(tag: int, **fields: Any) -> bytes:
    """A message whose payload is JSON."""
    return message(tag, json.dumps(fields).encode())


def parsed(payload: bytes) -> dict[str, Any]:
    """The JSON of a message; Refused for anything else."""
    try:
        fields = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise Refused("not JSON") from error
    if not isinstance(fields, dict):
        raise Refused("not a JSON object")
    return fields


def checked_order(first: bytes, cache: str, python: str) -> tuple[Order, float]:
    """(order, seconds that it may wait for its turn) of a stream's first message; Refused for whatever else it is.

    ``cache``: the agent's folder, inside which every path must lie; ``python``: the agent's own, whatever the host named.
    """
    if not first or first[0] != Asked.ORDER:
        raise Refused("a stream begins with an order")
    fields = parsed(first[1:])
    name, words, wait_s = fields.get("name"), fields.get("words"), fields.get("wait_s", 0)
    if (
        not isinstance(name, str)
        or not isinstance(words, list)
        or isinstance(wait_s, bool)
        or not isinstance(wait_s, int | float)
    ):
        raise Refused("an order has a name, words and wait_s")
    if not 0 <= wait_s <= 86_400:
        raise Refused("wait_s lies between 0 and a day")
    if name == RELEASE and not words:
        return Order(RELEASE, ()), 0.0
    check = _CHECKS.get(name)
    if check is None:
        raise Refused(f"no such order; known: {', '.join(_CHECKS)}")
    try:
        return Order(name, check(_Words(words, cache), python)), float(wait_s)
    except (IndexError, TypeError) as error:
        raise Refused(f"the words of {name} are not as they should be") from error


class _Words:
    """The words of an order, taken one after another."""

    def __init__(self, words: Sequence[Any], cache: str) -> None:
        self._words, self._cache = words, cache

    def count(self, wanted: int) -> None:
        if len(self._words) != wanted:
            raise Refused(f"expected {wanted} words, found {len(self._words)}")

    def text(self, index: int, pattern: str) -> str:
        word = self._words[index]
        if not isinstance(word, str) or not re.fullmatch(pattern, word):
            raise Refused(f"word {index} is not as it should be")
        return word

    def texts(self, index: int, pattern: str, most: int = 16) -> tuple[str, ...]:
        words = self._words[index]
        if not isinstance(words, list) or len(words) > most:
            raise Refused(f"word {index} is a list of at most {most}")
        return tuple(_Words(words, self._cache).text(at, pattern) for at in range(len(words)))

    def inside(self, index: int, folder: str, *, empty: bool = False) -> str:
        """A folder of the cache by its digest; or "" where ``empty``."""
        place = re.escape(f"{self._cache}/{folder}/") + "[0-9a-f]{64}"
        return self.text(index, f"({place})?" if empty else place)


def _facts(words: _Words, python: str) -> tuple[Any, ...]:
    words.count(2)
    return python if words.text(0, ".{0,200}") else "", words.texts(1, r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _nothing(words: _Words, _: str) -> tuple[Any, ...]:
    words.count(0)
    return ()


def _assemble(words: _Words, _: str) -> tuple[Any, ...]:
    words.count(1)
    return (words.text(0, "[0-9a-f]{64}"),)


def _unpack(words: _Words, python: str) -> tuple[Any, ...]:
    words.count(3)
    return words.text(0, "[0-9a-f]{64}"), words.inside(1, "folders", empty=True), python


def _module(words: _Words, python: str) -> tuple[Any, ...]:
    words.count(5)
    name, folder = words.text(0, "|".join(map(re.escape, MODULES))), words.inside(4, "folders")
    arguments = words.texts(1, re.escape(folder) + "|--trust", 2)
    if arguments != ((folder, "--trust") if name == "runtime.serve" else ()):
        raise Refused(f"{name} takes no such words")
    return name, arguments, python, words.inside(3, "sites", empty=True), folder


def _program(words: _Words, _: str) -> tuple[Any, ...]:
    words.count(3)
    return words.inside(0, "folders"), words.text(1, RUNNER), words.texts(2, r"--realtime|--pin|[0-9]{1,4}", 4)


_CHECKS: dict[str, Callable[[_Words, str], tuple[Any, ...]]] = {
    "facts": _facts,
    "missing": _nothing,
    "put": _nothing,
    "assemble": _assemble,
    "unpack": _unpack,
    "module": _module,
    "program": _program,
}
