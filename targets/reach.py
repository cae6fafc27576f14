"""How a device is reached: the [link] part of a target profile, and the same as one URL for ``--link``."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ..errors import BadInput

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)
Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\s\x00-\x1f]+$")]


@dataclass(frozen=True, config=STRICT)
class LocalLink:
    """This machine."""

    kind: Literal["local"] = "local"
    """In this process."""


@dataclass(frozen=True, config=STRICT)
class VirtualLink:
    """No device at all."""

    kind: Literal["virtual"] = "virtual"
    """The real binary, executed instruction by instruction by an emulator."""


@dataclass(frozen=True, config=STRICT)
class SshLink:
    """A computer with a POSIX shell. What is left out stands in ~/.ssh/config, or is ssh's own default."""

    host: Name
    """Its name or address, or an alias from ~/.ssh/config."""
    kind: Literal["ssh"] = "ssh"
    """Over SSH: a key or an agent opens it, never a password."""
    user: Name | None = None
    """Account there; it needs no rights beyond its own home."""
    port: Port | None = None
    """Of its SSH server; default: 22."""
    key: Name | None = None
    """Path of a private key; default: the agent's, and those in ~/.ssh."""
    jump: Name | None = None
    """[USER@]HOST[:PORT] of a host to go through; its key is checked, too."""
    known_hosts: Name | None = None
    """File of host keys; default: ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts."""
    python: str = "python3"
    """Python there; empty: use none, run the policy by its native runner."""


@dataclass(frozen=True, config=STRICT)
class SerialLink:
    """A board on a serial port, with firmware that speaks the wire protocol."""

    port: Name
    """Such as /dev/ttyACM0."""
    kind: Literal["serial"] = "serial"
    """Over pyserial."""
    baud: int = Field(default=115200, gt=0)
    """Bits a second on the line, start and stop bits included."""

    @property
    def behind_terminal(self) -> bool:
        """True for a pseudo-terminal: an emulator, or a bridge to something that cannot be told from one."""
        return self.port.startswith("/dev/pts/")


@dataclass(frozen=True, config=STRICT)
class AgentLink:
    """A computer that runs ``pilotfish agent``."""

    address: Name
    """HOST:PORT."""
    kind: Literal["agent"] = "agent"
    """Over gRPC."""
    token_file: Name | None = None
    """File that holds the token; default: $PILOTFISH_AGENT_TOKEN_FILE. Never the token itself."""
    authority: Name | None = None
    """PEM file of the certificate authority that signed the agent's certificate; None: no TLS, for an address on this machine."""
    certificate: Name | None = None
    """PEM file of this client's certificate, where the agent asks for one."""
    key: Name | None = None
    """PEM file of its private key."""


Link = Annotated[LocalLink | VirtualLink | SshLink | SerialLink | AgentLink, Field(discriminator="kind")]
LINK: TypeAdapter[Link] = TypeAdapter(Link)
REMOTE = ("ssh", "serial", "agent")
"""Kinds that need a connection: whatever runs there, the artifact's machine code does not run in this process."""
EXAMPLES = "ssh://pi@raspberrypi.local:22?key=~/.ssh/id_ed25519, serial:///dev/ttyACM0?baud=115200, agent://127.0.0.1:7788"


def parse_link(url: str) -> Link:
    """``--link URL`` as settings: ssh://[USER@]HOST[:PORT][?key=…&jump=…], serial://PORT[?baud=…], agent://HOST:PORT[?token_file=…]
    or local:. The query takes the fields of the [link] part by name.

    Raises BadInput for any other text, and for a password: it would end up in shell histories and results.
    """
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise BadInput(f"--link {url!r}", expected=f"a URL, such as {EXAMPLES}", found=str(error)) from error
    if parts.password is not None:
        raise BadInput("--link", expected="no password in the URL", found="one", repair="Use a key (ssh-copy-id) or an agent")
    fields: dict[str, object] = dict(pairs)
    own: dict[str, object] = {}
    if parts.scheme == "ssh":
        own = {"host": host, "user": parts.username and unquote(parts.username), "port": port}
    elif parts.scheme == "serial":
        own = {"port": unquote(parts.netloc + parts.path)}
    elif parts.scheme == "agent":
        own = {"address": parts.netloc}
    if parts.scheme not in (*REMOTE, "local") or set(own) & set(fields) or len(pairs) != len(fields) or parts.fragment:
        raise BadInput(
            f"--link {url!r}",
            expected=f"a URL, such as {EXAMPLES}",
            found=f"{parts.scheme or 'no scheme'}, {parts.query or 'no query'}",
        )
    if parts.scheme in ("ssh", "local", "agent") and parts.path not in ("", "/"):
        raise BadInput(f"--link {url!r}", expected="no path after the host", found=parts.path)
    known = {"kind": parts.scheme} | {name: value for name, value in own.items() if value not in (None, "")} | fields
    try:
        return LINK.validate_python(known)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        raise BadInput(
            f"--link {url!r}", expected=f"a valid {place or 'link'}", found=first["msg"], repair=f"Such as {EXAMPLES}"
        ) from error


def link_name(link: Link) -> str:
    """The link as people name it, without paths of keys: ssh://pi@raspberrypi.local."""
    if isinstance(link, SshLink):
        host = f"[{link.host}]" if ":" in link.host else link.host
        return "ssh://" + (f"{link.user}@" if link.user else "") + host + (f":{link.port}" if link.port else "")
    if isinstance(link, SerialLink):
        return f"serial://{link.port}"
    return f"agent://{link.address}" if isinstance(link, AgentLink) else link.kind
