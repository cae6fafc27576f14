"""Known hosts: who answers is who was meant, or nothing is sent."""

from __future__ import annotations

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
        own = Path(path or "~/.ssh/known_hosts").expanduser()
        files = [file for file in ((own,) if path else (own, SYSTEM_HOSTS)) if file.is_file()]
        self.file = own
        try:
            self.known = asyncssh.read_known_hosts([str(file) for file in files]) if files else asyncssh.import_known_hosts("")
        except (ValueError, OSError) as error:
            raise BadInput(own, expected="a file of known hosts", found=str(error)) from error
        self.presented: Any = None
        self.others = False
        keys = self

        class Client(asyncssh.SSHClient):
            def validate_host_public_key(self, host: str, addr: str, port: int, key: Any) -> bool:
                keys.presented = key
                keys.others = any(keys.known.match(host, addr, port)[:1])
                return False  # AsyncSSH asks only about keys that are not among the known ones

        self.client = Client

    def told(self, host: str, port: int | None, error: str) -> str:
        """What to say, and how to mend it."""
        name = host if port in (None, 22) else f"[{host}]:{port}"
        print_ = self.presented.get_fingerprint() if self.presented is not None else error
        if self.others:
            return (
                f"{name}: its host key {print_} is not the one in {self.file}. Somebody may be listening in, or the device was "
                f"set up anew. Only if you know that it was: ssh-keygen -f {self.file} -R '{name}', then connect once with ssh"
            )
        return (
            f"{name}: its host key {print_} is unknown, and nothing was sent. Compare it with the device's own "
            f"(there: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then connect once by hand, which adds it to "
            f"{self.file}: ssh {f'-p {port} ' if port not in (None, 22) else ''}{host}"
        )
