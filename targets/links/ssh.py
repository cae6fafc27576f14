"""SSH: a shell on another computer, through AsyncSSH.

AsyncSSH rather than Paramiko: both are kept (2.24.1 and 5.1.0 in autumn 2026), but Paramiko's blocking threads wait without a
limit in places (its issues 515, 793 and 1815: a connection that hangs in the handshake, ``recv_exit_status`` that ignores the
timeout), which is what a board on a bad radio does; and AsyncSSH goes through jump hosts, checks their keys and reads
~/.ssh/config by itself. Its event loop runs in a thread of the shell's own, so that callers need not know of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

from ...errors import BadInput, Unreachable, require
from ..reach import SshLink, link_name
from .host_keys import BadHostKey, HostKeys
from .link import Dropped
from .process import Process
from .scripts import Order
from .ssh_process import SshProcess

CONNECT_S, LOGIN_S = 15.0, 30.0
KEEPALIVE_S, KEEPALIVE_COUNT = 5.0, 3
"""A silent connection counts as lost after their product."""
T = TypeVar("T")


class SshShell:
    """``sh`` on the host of ``link``. Connects at the first start, and again after :meth:`close`."""

    def __init__(self, link: SshLink, config: tuple[str, ...] | None = None) -> None:
        self.link, self.name = link, link_name(link)
        self._asyncssh: Any = require("asyncssh", "ssh")
        self._config = config
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: list[Any] = []

    def start(self, order: Order) -> Process:
        with self._lock:
            connection = self._connected()
            assert self._loop is not None
            process = SshProcess(self.name, self._loop)
        try:
            # The account's own shell may be any; this one is a POSIX shell.
            command = "exec sh -c " + shlex.quote(order.text)
            self._wait(connection.create_session(lambda: process, command, encoding=None), LOGIN_S)
        except (self._asyncssh.Error, OSError, TimeoutError) as error:
            raise Dropped(f"{self.name}: no session: {error or 'no answer'}") from error
        return process

    def close(self) -> None:
        with self._lock:
            loop, connections, self._loop, self._connections = self._loop, self._connections, None, []
        if loop is None:
            return

        async def end() -> None:
            for connection in reversed(connections):
                connection.abort()
            await asyncio.sleep(0)

        with contextlib.suppress(TimeoutError, RuntimeError):
            asyncio.run_coroutine_threadsafe(end(), loop).result(KEEPALIVE_S)
        loop.call_soon_threadsafe(loop.stop)

    def _connected(self) -> Any:
        if self._connections:
            return self._connections[-1]
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=_forever, args=(self._loop,), name=self.name, daemon=True).start()
        made: list[Any] = []
        try:
            if self.link.jump:
                user, host, port = _jump(self.link.jump)
                made.append(self._connect(host, user, port, None))
            made.append(self._connect(self.link.host, self.link.user, self.link.port, made[0] if made else None))
        finally:
            self._connections = made
        return made[-1]

    def _connect(self, host: str, user: str | None, port: int | None, tunnel: Any) -> Any:
        asyncssh, keys = self._asyncssh, HostKeys(self._asyncssh, self.link.known_hosts)
        options: dict[str, Any] = {
            "known_hosts": keys.known,
            "client_factory": keys.client,
            "connect_timeout": CONNECT_S,
            "login_timeout": LOGIN_S,
            "keepalive_interval": KEEPALIVE_S,
            "keepalive_count_max": KEEPALIVE_COUNT,
            "password": None,
            "preferred_auth": ("publickey",),
            "compression_algs": ["none"],
            "tunnel": tunnel or (),
        }
        options |= {"config": self._config} if self._config is not None else {}
        options |= {"username": user} if user else {}
        options |= {"port": port} if port else {}
        if self.link.key:
            options["client_keys"] = [str(Path(self.link.key).expanduser())]
        where = f"{user}@{host}" if user else host
        try:
            return self._wait(asyncssh.connect(host, **options), CONNECT_S + LOGIN_S)
        except asyncssh.HostKeyNotVerifiable as error:
            raise BadHostKey(keys.told(self._by_hand(keys, host, user, port, tunnel), str(error))) from error
        except asyncssh.PermissionDenied as error:
            raise Unreachable(
                f"ssh {where}: not let in: {error.reason}. A key opens it, never a password: ssh-copy-id {where}, "
                "or name one with ?key=PATH in --link, or key in the profile's [link]"
            ) from error
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            raise BadInput(
                f"the key {self.link.key or 'in ~/.ssh'}",
                expected="a private key, without a passphrase or in an ssh-agent",
                found=str(error),
            ) from error
        except (asyncssh.Error, OSError, TimeoutError, ValueError) as error:
            raise Unreachable(
                f"{self.name}: ssh {where}{f' port {port}' if port else ''} does not answer: {error or 'timed out'}. "
                f"Try by hand: ssh {f'-p {port} ' if port else ''}{where} true"
            ) from error

    def _by_hand(self, keys: HostKeys, host: str, user: str | None, port: int | None, tunnel: Any) -> list[str]:
        """The words of an ssh that goes the same way, and asks about the host's key."""

        def words(host: str, user: str | None, port: int | None) -> list[str]:
            said = ["ssh", *(("-p", str(port)) if port else ())]
            said += ["-i", str(Path(self.link.key).expanduser())] if self.link.key else []
            said += ["-o", f"UserKnownHostsFile={_quoted(str(keys.file))}"] if keys.own else []
            return [*said, f"{user}@{host}" if user else host]

        found = words(host, user, port)
        if tunnel and self.link.jump:
            jump_user, jump_host, jump_port = _jump(self.link.jump)
            *first, jump = words(jump_host, jump_user, jump_port)
            found[1:1] = ["-o", "ProxyCommand=" + shlex.join([*first, "-W", "[%h]:%p", jump])]
        return found

    def _wait(self, awaited: Awaitable[T], timeout_s: float) -> T:
        async def result() -> T:
            return await awaited

        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(result(), self._loop)
        try:
            return future.result(timeout_s)
        except BaseException:
            future.cancel()
            raise


def _quoted(path: str) -> str:
    """As a word of ssh's own configuration."""
    return f'"{path}"' if " " in path else path


def _jump(text: str) -> tuple[str | None, str, int | None]:
    """[USER@]HOST[:PORT] -> (user, host, port)."""
    user, at, rest = text.rpartition("@")
    host, colon, port = rest.rpartition(":")
    if colon and port.isdigit() and not host.endswith(":"):
        return (user or None), host.strip("[]"), int(port)
    if not rest:
        raise BadInput("jump", expected="[USER@]HOST[:PORT]", found=repr(text))
    return (user if at else None), rest.strip("[]"), None


def _forever(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        with contextlib.suppress(RuntimeError):
            loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
