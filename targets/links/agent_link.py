"""The host's side of an agent: orders instead of scripts, over gRPC, with a token from a file or a certificate."""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...errors import BadInput, Unreachable, require
from ..reach import AgentLink, link_name
from .agent_orders import CLIENT, MAX_MESSAGE_BYTES, METHOD, PIECE, RELEASE, TOKEN, Answer, Asked, Refused, message, parsed, told
from .agent_server import is_loopback
from .agent_token import read_token
from .link import Dropped, Ended
from .process import Process
from .scripts import Order
from .shell_link import ShellLink

WAIT_S = 3600.0
"""A job waits for its turn no longer."""
CONNECT_S = 15.0
WAITING = 16
"""Messages between a writer and the line."""


class AgentProcess(Process):
    """One order that an agent carries out."""

    def __init__(self, name: str, start: Callable[[Iterator[bytes]], Any], first: bytes, say: Callable[[str], None]) -> None:
        super().__init__(name)
        self.started = threading.Event()
        self.error: Any = None
        self._out_going: queue.Queue[bytes | None] = queue.Queue(WAITING)
        self._out_going.put(first)
        self._say, self._room = say, threading.Event()
        self._room.set()
        self._call = start(iter(self._out_going.get, None))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        status: int | None = None
        try:
            for answer in self._call:
                tag, payload = answer[:1], answer[1:]
                if tag == bytes([Answer.OUTPUT]):
                    if not self.feed(payload):
                        self._room.clear()
                        self._room.wait()
                elif tag == bytes([Answer.ERRORS]):
                    self.feed_error(payload)
                elif tag == bytes([Answer.STARTED]):
                    self.started.set()
                elif tag == bytes([Answer.QUEUED]):
                    self._say(f"{self.name}: another job has the device; {parsed(payload).get('before')} before this one")
                elif tag == bytes([Answer.ENDED]):
                    found = parsed(payload).get("status")
                    status = found if isinstance(found, int) else None
        except Refused:
            status = None
        except Exception as error:  # noqa: BLE001 - grpc.RpcError, whose details the starter reads
            self.error = error
        lost = "" if self.error is None else getattr(self.error, "details", lambda: "")() or str(self.error)
        self.ended(status if self.error is None else None, lost or "the agent ended the stream")
        self.started.set()

    def drained(self) -> None:
        self._room.set()

    def write(self, data: bytes) -> None:
        for at in range(0, len(data), PIECE):
            self._put(message(Asked.DATA, data[at : at + PIECE]))

    def finish(self) -> None:
        with contextlib.suppress(Dropped, Ended):
            self._put(message(Asked.FINISH))

    def close(self) -> None:
        self._call.cancel()
        self._room.set()
        with contextlib.suppress(queue.Full):
            self._out_going.put_nowait(None)

    def _put(self, piece: bytes) -> None:
        while not self.over:
            with contextlib.suppress(queue.Full):
                self._out_going.put(piece, timeout=0.2)
                return
        raise self._why()


class AgentShell:
    """What :class:`ShellLink` takes for a shell."""

    def __init__(self, link: AgentLink, say: Callable[[str], None]) -> None:
        self.link, self.name, self._say = link, link_name(link), say
        self._grpc: Any = require("grpc", "agent")
        self._client = secrets.token_hex(16)
        self._channel: Any = None
        self._token = _token(link)
        if link.authority is None and not is_loopback(link.address):
            raise BadInput(
                f"--link {self.name}", expected="TLS (authority=PEM of the agent's certificate authority), or 127.0.0.1",
                found="neither: a token must not travel in the open", repair="Or tunnel: ssh -L 7788:127.0.0.1:7788 DEVICE",
            )  # fmt: skip

    def start(self, order: Order, wait_s: float = WAIT_S) -> Process:
        if self._channel is None:
            self._channel = self._connect()
        method = self._channel.stream_stream(METHOD)
        metadata = [(CLIENT, self._client)] + ([(TOKEN, f"Bearer {self._token}")] if self._token else [])
        first = told(Asked.ORDER, name=order.name, words=order.words, wait_s=wait_s)
        process = AgentProcess(self.name, lambda requests: method(requests, metadata=metadata), first, self._say)
        try:
            while not process.started.wait(0.5):  # in slices, so that Ctrl-C is heard
                pass
        except BaseException:
            process.close()
            raise
        if process.error is not None:
            raise self._why(process.error)
        return process

    def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is None:
            return
        self._channel = channel
        with contextlib.suppress(Unreachable, BadInput):
            self.start(Order(RELEASE, ()), 0).wait(2)
        self._channel = None
        channel.close()

    def _connect(self) -> Any:
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", 5000),
            ("grpc.keepalive_timeout_ms", 10000),
            ("grpc.enable_http_proxy", 0),
        ]
        if self.link.authority is None:
            return self._grpc.insecure_channel(self.link.address, options)
        pem = [None if path is None else _read(path) for path in (self.link.authority, self.link.key, self.link.certificate)]
        return self._grpc.secure_channel(self.link.address, self._grpc.ssl_channel_credentials(*pem), options)

    def _why(self, error: Any) -> Exception:
        code, status = getattr(error, "code", lambda: None)(), self._grpc.StatusCode
        details = getattr(error, "details", lambda: "")() or str(error)
        if code is status.UNAUTHENTICATED:
            return Unreachable(
                f"{self.name}: not let in ({details}). Name the file with the agent's token: ?token_file=PATH in --link, "
                "token_file in the profile's [link], or PILOTFISH_AGENT_TOKEN_FILE"
            )
        if code is status.RESOURCE_EXHAUSTED:
            return Unreachable(f"{self.name}: {details}")
        if code is status.INVALID_ARGUMENT:
            return BadInput(self.name, expected="an agent of this version of Pilotfish", found=details)
        return Dropped(f"{self.name}: {details}")


class RemoteAgent(ShellLink):
    """See :class:`pilotfish.targets.links.link.Link`. The Python there is the agent's own."""

    def __init__(self, settings: AgentLink, extras: tuple[str, ...] = (), say: Callable[[str], None] | None = None) -> None:
        super().__init__(AgentShell(settings, say or (lambda _: None)), "python3", extras, say)


def _token(link: AgentLink) -> str:
    """The token from its file; "" where there is none, and a certificate must do."""
    path = link.token_file or os.environ.get("PILOTFISH_AGENT_TOKEN_FILE")
    return read_token(path) if path else ""


def _read(path: str) -> bytes:
    try:
        with Path(path).expanduser().open("rb") as stream:
            return stream.read(1 << 20)
    except OSError as error:
        raise BadInput(path, expected="a file of the agent's link", found=str(error)) from error
