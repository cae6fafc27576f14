"""``pilotfish agent``: a device that takes orders over gRPC from those who know its token or have a certificate.

Whoever is let in can run what they install, as the account that runs the agent: give it an account of its own. It listens on
127.0.0.1 unless told otherwise, and elsewhere only with TLS: a token must not travel in the open.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BadInput, Unreachable, require
from .agent_orders import (
    CLIENT,
    MAX_MESSAGE_BYTES,
    METHOD,
    PIECE,
    RELEASE,
    TOKEN,
    Answer,
    Asked,
    Refused,
    checked_order,
    message,
    told,
)
from .agent_turns import Busy, Turns
from .link import Dropped, Ended
from .local import LocalProcess
from .process import Process

MIN_TOKEN = 16
"""Characters; ``openssl rand -hex 32`` makes 64."""
MAX_STREAMS = 24
LOOK_S = 0.2


@dataclass(frozen=True)
class AgentSettings:
    """How an agent listens."""

    address: str = "127.0.0.1:7788"
    """HOST:PORT; port 0: any."""
    token: str = ""
    """What hosts must show; "": a client certificate alone."""
    certificate: Path | None = None
    """PEM file of the agent's own certificate."""
    key: Path | None = None
    """PEM file of its private key."""
    clients: Path | None = None
    """PEM file of the authority that signed the clients' certificates; None: clients need none."""
    cache: Path = Path("~/.cache/pilotfish")
    """Where what is installed lies."""
    lease_s: float = 60.0
    """How long a user keeps the device after a job."""

    def __post_init__(self) -> None:
        if self.token and len(self.token) < MIN_TOKEN:
            raise BadInput(
                "the agent's token",
                expected=f"at least {MIN_TOKEN} characters",
                found=f"{len(self.token)}",
                repair="openssl rand -hex 32 makes one",
            )
        if not self.token and self.clients is None:
            raise BadInput(
                "pilotfish agent",
                expected="a token or a client authority",
                found="neither",
                repair="--token-file or --clients: an open agent would run anybody's code",
            )
        if (self.certificate is None) != (self.key is None) or (self.clients and self.certificate is None):
            raise BadInput(
                "pilotfish agent",
                expected="--certificate and --key together, and both beside --clients",
                found="one without the other",
            )
        if self.certificate is None and not is_loopback(self.address):
            raise BadInput(
                f"--listen {self.address}",
                expected="127.0.0.1, or TLS (--certificate and --key)",
                found="an address that others reach, in the open",
            )


def is_loopback(address: str) -> bool:
    """True for HOST:PORT of this machine alone."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Agent:
    """A running agent; :meth:`close` ends it and everything that it runs."""

    def __init__(self, settings: AgentSettings) -> None:
        grpc = require("grpc", "agent")
        self.settings, self.turns, self._grpc = settings, Turns(settings.lease_s), grpc
        self.cache = str(settings.cache.expanduser().resolve())
        os.environ["PILOTFISH_DEVICE_CACHE"] = self.cache
        handler = grpc.stream_stream_rpc_method_handler(self._start)
        service, name = METHOD.strip("/").split("/")
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_metadata_size", 8192),
            ("grpc.so_reuseport", 0),  # a second agent on the port is an error, not a partner
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 4000),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
        self._server = grpc.server(ThreadPoolExecutor(MAX_STREAMS), options=options, maximum_concurrent_rpcs=MAX_STREAMS)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
        try:
            if settings.certificate and settings.key:
                pair = (settings.key.read_bytes(), settings.certificate.read_bytes())
                authority = settings.clients.read_bytes() if settings.clients else None
                credentials = grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)
                port = self._server.add_secure_port(settings.address, credentials)
            else:
                port = self._server.add_insecure_port(settings.address)
        except (OSError, RuntimeError) as error:
            raise Unreachable(f"the agent cannot listen on {settings.address}: {error}") from error
        self.address = f"{settings.address.rpartition(':')[0]}:{port}"
        self._server.start()

    def wait(self) -> None:
        """Until :meth:`close`, or for ever."""
        self._server.wait_for_termination()

    def close(self) -> None:
        self._server.stop(grace=0).wait()

    def _start(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """One order, from its check to its exit code."""
        status = self._grpc.StatusCode
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        wanted = f"Bearer {self.settings.token}".encode()
        if self.settings.token and not hmac.compare_digest(metadata.get(TOKEN, "").encode(), wanted):
            context.abort(status.UNAUTHENTICATED, "wrong token" if TOKEN in metadata else "no token")
        client = metadata.get(CLIENT, "")
        try:
            if not re.fullmatch("[0-9a-f]{32}", client):
                raise Refused("who asks is not told")
            order, wait_s = checked_order(next(requests, b""), self.cache, sys.executable)
        except Refused as error:
            context.abort(status.INVALID_ARGUMENT, str(error))
            return
        if order.name == RELEASE:
            self.turns.release(client)
            yield told(Answer.ENDED, status=0)
            return
        if order.name == "facts":  # reading what it is disturbs nobody
            yield from self._run(order.text, requests, context)
            return
        try:
            ticket = self.turns.ask(client)
        except Busy as error:
            context.abort(status.RESOURCE_EXHAUSTED, f"busy: {error}")
            return
        try:
            waited, last = 0.0, -1
            while before := self.turns.granted(ticket, LOOK_S if wait_s else 0.0):
                if not context.is_active():
                    return
                if waited >= wait_s:
                    context.abort(
                        status.RESOURCE_EXHAUSTED,
                        f"busy: another user has the device; {before} before you, waited {waited:.0f} s",
                    )
                if before != last:
                    yield told(Answer.QUEUED, before=before)
                waited, last = waited + LOOK_S, before
            yield from self._run(order.text, requests, context)
        finally:
            self.turns.leave(ticket)

    def _run(self, script: str, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        process = LocalProcess("agent", script)
        try:
            if not context.add_callback(process.close):  # the host is gone already
                return
            yield message(Answer.STARTED)
            threading.Thread(target=_feed, args=(process, requests), daemon=True).start()
            while context.is_active():
                try:
                    data = process.read(PIECE, LOOK_S)
                except (Dropped, Ended):
                    yield message(Answer.ERRORS, process.said.encode())
                    yield told(Answer.ENDED, status=process.wait())
                    return
                if data:
                    yield message(Answer.OUTPUT, data)
        finally:
            process.close()


def _feed(process: Process, requests: Iterator[bytes]) -> None:
    """The host's data to the process, until it says that there is no more, or is gone."""
    try:
        for request in requests:
            if request[:1] == bytes([Asked.DATA]):
                process.write(request[1:])
            elif request[:1] == bytes([Asked.FINISH]):
                break
    except (Dropped, Ended):
        return
    except Exception:  # noqa: BLE001 - gRPC ends the iteration with exceptions of its own, of which none has a public name
        pass
    process.finish()
