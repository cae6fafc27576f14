"""The contract of a link: what a device is, install a folder there, run a step there, talk to a policy there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...errors import BadInput, PilotfishError, Unreachable

Progress = Callable[[int, int], None]
"""Called with (done, total) as the device tells it."""
MAX_FILES = 20_000
_PATH = re.compile(r"[A-Za-z0-9_.@+=,-][A-Za-z0-9_.@+=, -]*(/[A-Za-z0-9_.@+=,-][A-Za-z0-9_.@+=, -]*)*")
"""Names that travel: no control characters, nothing absolute; ".." is refused apart."""


class Dropped(Unreachable):
    """The connection was lost. What was under way is void; the step may be tried again."""


class Ended(Unreachable):
    """The program on the device ended, or could not be started."""


class DeviceFull(PilotfishError):
    """The device has no room; nothing half written was left there."""

    exit_code = 3


@dataclass(frozen=True)
class Device:
    """What answers at the other end."""

    name: str
    """The board's name, else the processor's."""
    machine: str
    """Instruction set and system, such as "aarch64-linux"."""
    python: str | None
    """Version of a Python that can run Pilotfish there; None: none."""
    why: str
    """Where there is none: what was found instead."""
    free_bytes: int | None
    """Room in the cache folder."""
    facts: dict[str, Any]
    """A fingerprint as :func:`pilotfish.targets.host.fingerprint` gives; what could not be read is None."""


@dataclass(frozen=True)
class Installed:
    """A folder that lies on the device, every hash verified there."""

    where: str
    """Its path on the device."""
    digest: str
    """sha256 of its list of files: equal folders have equal digests."""
    files: frozenset[str]
    """Relative paths."""
    sent_bytes: int
    """What had to be carried; 0: everything lay there already."""


class Channel(Protocol):
    """Bytes to and from a running policy: what :mod:`pilotfish.targets.wire` talks over."""

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        """1 to ``max_bytes`` bytes, or b"" when ``timeout_s`` passed without any; Dropped or Ended when there will be no more."""

    def write(self, data: bytes) -> None:
        """Send all of it; Dropped or Ended if that cannot be."""

    def close(self) -> None:
        """End the policy and release what the channel holds; more than once is fine."""


class Link(Protocol):
    """One way to one device. Methods raise Unreachable (Dropped, Ended), DeviceFull, or the error that the device told."""

    name: str
    """For people, such as ssh://pi@raspberrypi.local."""

    def device(self) -> Device:
        """What is there; asked once."""

    def install(self, folder: Path, files: Mapping[str, str]) -> Installed:
        """Carry ``folder`` there, of which only ``files`` (relative path -> sha256): what already lies there is not sent again,
        hashes are verified on arrival, and the folder appears whole or not at all."""

    def run(
        self, installed: Installed, verb: str, options: Mapping[str, Any], progress: Progress | None = None
    ) -> dict[str, Any]:
        """Run a step on the installed artifact by a Python there; its whole result. A dropped connection voids it and it is run
        again, a few times; it needs a device with Python, else MissingTool."""

    def channel(self, installed: Installed, arguments: tuple[str, ...] = ()) -> Channel:
        """Start the installed artifact's policy there, speaking the wire protocol: by Python, or by its native runner, which
        takes ``arguments``."""

    def close(self) -> None:
        """End the connection; nothing keeps running there."""


def checked_files(files: Mapping[str, str]) -> dict[str, str]:
    """``files`` if every path is relative, plain and inside its folder, and every hash is a sha256; BadInput otherwise."""
    if len(files) > MAX_FILES:
        raise BadInput("a folder to install", expected=f"at most {MAX_FILES:,} files", found=f"{len(files):,}")
    for path, digest in files.items():
        if not _PATH.fullmatch(path) or ".." in path.split("/") or "." in path.split("/"):
            raise BadInput("a folder to install", expected="plain relative paths", found=repr(path[:80]))
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise BadInput(path, expected="a sha256", found=repr(digest[:80]))
    return dict(files)
