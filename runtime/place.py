"""Where an artifact runs: in this process, on a device behind a link, or in an emulator; and what that makes of its figures."""

from __future__ import annotations

from collections.abc import Callable

from ..figure import Source
from ..targets.reach import REMOTE, SerialLink
from .artifact import Artifact

Progress = Callable[[int, int], None]
"""Called now and then with (done, total); never with done > total."""


def is_virtual(artifact: Artifact) -> bool:
    """True where an emulator stands for the device."""
    return artifact.manifest.target.link.kind == "virtual"


def is_remote(artifact: Artifact) -> bool:
    """True where the artifact's link leads to another computer or board (see :mod:`pilotfish.runtime.remote`)."""
    return artifact.manifest.target.link.kind in REMOTE


def is_behind_terminal(artifact: Artifact) -> bool:
    """True where a serial link leads to a pseudo-terminal: an emulator, or a bridge to something that cannot be told from one."""
    link = artifact.manifest.target.link
    return isinstance(link, SerialLink) and link.behind_terminal


def source_of(artifact: Artifact) -> Source:
    """Where numbers come from that the artifact itself computed: the real device, or its binary in an emulator."""
    return "emulated" if is_virtual(artifact) or is_behind_terminal(artifact) else "measured"
