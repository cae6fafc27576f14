"""Trust: native code runs only if it was built here or the user named it; the ledger of what was built here."""

from __future__ import annotations

import datetime
import os
import re
import stat
import warnings
from pathlib import Path

from ..errors import BadInput, Untrusted
from .artifact import SOURCE, Artifact

LEDGER = "built-here.txt"
"""One line per artifact built by this user on this machine: digest, date, label."""
MAX_LEDGER_BYTES = 64 << 20
MIN_PREFIX = 16
"""Hexadecimal digits of a digest that PILOTFISH_TRUST must name: 64 bits, beyond what a stranger can collide."""


def state_folder() -> Path:
    """Where Pilotfish keeps what belongs to the user: $PILOTFISH_HOME, $XDG_STATE_HOME/pilotfish or ~/.local/state/pilotfish."""
    home = os.environ.get("PILOTFISH_HOME")
    if home:
        return Path(home).expanduser()
    state = os.environ.get("XDG_STATE_HOME")
    # The XDG specification: a relative path is invalid and must be ignored.
    base = Path(state) if state and Path(state).is_absolute() else Path("~/.local/state").expanduser()
    return base / "pilotfish"


def remember(artifact: Artifact) -> bool:
    """Note in the ledger that ``artifact`` was built here; False, after a warning, if the ledger cannot be written.

    One short O_APPEND write per artifact: concurrent builds need no lock, and a torn line only costs its own entry.
    """
    folder = state_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if artifact.digest in _ledger(folder / LEDGER):
            return True
        line = f"{artifact.digest} {datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ} {artifact.label}\n"
        handle = os.open(folder / LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            written = os.write(handle, line.encode())
        finally:
            os.close(handle)
        if written != len(line.encode()):
            raise OSError("the line was cut short (disk full?)")
    except OSError as error:
        warnings.warn(
            f"{artifact.label} was built, but {folder} cannot note that it was built here ({error}): "
            "running it will ask for --trust. Set PILOTFISH_HOME to a folder that you can write",
            stacklevel=2,
        )
        return False
    return True


def is_trusted(artifact: Artifact) -> bool:
    """True if the artifact is in the ledger, or PILOTFISH_TRUST names its digest."""
    if any(artifact.digest.startswith(prefix) for prefix in _named()):
        return True
    return artifact.digest in _ledger(state_folder() / LEDGER)


def require_trust(artifact: Artifact, trust: bool = False) -> None:
    """Raise Untrusted unless ``trust``, the ledger or PILOTFISH_TRUST vouches for the artifact's native code."""
    if trust or is_trusted(artifact):
        return
    target = artifact.manifest.target.name
    raise Untrusted(
        f"{artifact.path} holds machine code ({artifact.manifest.entry}) that was not built here. "
        f"To inspect it: its sources lie beside it, and this builds your own from them: "
        f"pilotfish export {artifact.path / SOURCE} -t {target} --backend {artifact.manifest.backend}. "
        f"To run it as it is: --trust, or PILOTFISH_TRUST={artifact.digest[:MIN_PREFIX]}"
    )


def _named() -> list[str]:
    """Digest prefixes from PILOTFISH_TRUST, separated by commas or spaces."""
    prefixes = [word.lower() for word in re.split(r"[,\s]+", os.environ.get("PILOTFISH_TRUST", "")) if word]
    for prefix in prefixes:
        if not re.fullmatch(rf"[0-9a-f]{{{MIN_PREFIX},64}}", prefix):
            raise BadInput(
                "PILOTFISH_TRUST",
                expected=f"artifact digests of {MIN_PREFIX} to 64 hexadecimal digits, separated by commas",
                found=repr(prefix[:80]),
            )
    return prefixes


def _ledger(path: Path) -> set[str]:
    """Digests in the ledger; empty, after a warning, if somebody else could have written them."""
    try:
        for place in (path, path.parent):
            info = place.stat()
            if info.st_uid not in (os.geteuid(), 0) or info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                warnings.warn(f"{place} can be written by other users: it is not believed. chmod go-w it", stacklevel=3)
                return set()
        if path.stat().st_size > MAX_LEDGER_BYTES:
            warnings.warn(f"{path} is larger than {MAX_LEDGER_BYTES >> 20} MiB: it is not read. Delete it", stacklevel=3)
            return set()
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return set()
    except OSError as error:
        warnings.warn(f"{path} cannot be read ({error}): artifacts built here will ask for --trust", stacklevel=3)
        return set()
    return {line.split(" ", 1)[0] for line in lines}
