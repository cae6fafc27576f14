"""Known hosts: who answers is who was meant, or nothing is sent."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ...errors import BadInput, Unreachable

SYSTEM_HOSTS = Path("/etc/ssh/ssh_known_hosts")


class BadHostKey(Unreachable):
    """The key of a host is unknown, or another one than is known: nothing was sent to it."""


class HostKeys:
    """Known hosts, and what became of the check of one host's key."""

    def __init__(self, asyncssh: Any, path: str | None) -> None:
        self._asyncssh = asyncssh
        self.own = bool(path)
        """The file is not one that ssh looks into by itself."""
        self.file = Path(path or "~/.ssh/known_hosts").expanduser().absolute()
        files = [file for file in ((self.file,) if path else (self.file, SYSTEM_HOSTS)) if file.is_file()]
        self.known = self._read(files) if files else asyncssh.import_known_hosts("")
        self.presented: Any = None
        self.name = ""
        """The host as a file of known hosts names it: with its port, unless that is 22."""
        self.other_in: Path | None = None
        """The file that knows another key of this host."""
        keys = self

        class Client(asyncssh.SSHClient):
            def validate_host_public_key(self, host: str, addr: str, port: int, key: Any) -> bool:
                keys.presented, keys.name = key, host if port == 22 else f"[{host}]:{port}"
                knows = [file for file in files if any(keys._read([file]).match(host, addr, port)[:1])]
                keys.other_in = knows[0] if knows else None
                return False  # AsyncSSH asks only about keys that are not among the known ones

        self.client = Client

    def _read(self, files: list[Path]) -> Any:
        try:
            return self._asyncssh.read_known_hosts([str(file) for file in files])
        except (ValueError, OSError) as error:
            raise BadInput(files[0], expected="a file of known hosts", found=str(error)) from error

    def told(self, words: list[str], error: str) -> str:
        """What to say, and how to mend it. ``words``: the ssh that connects by hand, up to the host."""
        print_ = self.presented.get_fingerprint() if self.presented is not None else error
        by_hand = shlex.join([*words, "true"])
        if self.other_in is not None:
            forget = shlex.join(["ssh-keygen", "-f", str(self.other_in), "-R", self.name])
            return (
                f"{self.name}: its host key {print_} is not the one in {self.other_in}. Somebody may be listening in, or the "
                f"device was set up anew. Only if you know that it was, forget the old key and compare the new one: "
                f"{forget} && {by_hand}"
            )
        return (
            f"{self.name or words[-1]}: its host key {print_} is unknown, and nothing was sent. Compare it with the device's own "
            f"(there: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then connect once by hand, which adds it to "
            f"{self.file}: {by_hand}"
        )
