"""Open a link: from the settings of a profile or a URL to the functions of the contract."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import Unsupported
from ..reach import AgentLink, LocalLink, SerialLink, SshLink, link_name
from ..reach import Link as Settings
from .link import Link


def open_link(settings: Settings, extras: tuple[str, ...] = (), say: Callable[[str], None] | None = None) -> Link:
    """The link that ``settings`` describe; nothing is connected yet. ``extras``: what the artifact's back-end needs of a Python
    there, such as "ort"; ``say`` is told, in a line, of what takes time or is tried again.

    Raises Unsupported for an emulator: it is a sandbox in this process, and nothing is installed.
    """
    from .shell_link import ShellLink

    if isinstance(settings, SshLink):
        from .ssh import SshShell

        return ShellLink(SshShell(settings), settings.python, extras, say)
    if isinstance(settings, LocalLink):
        from .local import LocalShell

        return ShellLink(LocalShell(), extras=extras, say=say)
    if isinstance(settings, AgentLink):
        from .agent_link import RemoteAgent

        return RemoteAgent(settings, extras, say)
    if isinstance(settings, SerialLink):
        from .serial import BoardOnSerial

        return BoardOnSerial(settings)
    raise Unsupported(f"the link {link_name(settings)}", expected="ssh, serial, agent or local", found=settings.kind)
