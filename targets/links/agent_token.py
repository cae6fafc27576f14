"""The token of an agent: in a file that only its owner reads, never on a command line or in a profile."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ...errors import BadInput

MAX_BYTES = 4096


def read_token(path: str | Path) -> str:
    """The token in a file; BadInput where there is none, or where other users could read or write it."""
    try:
        with Path(path).expanduser().open("rb") as stream:
            info, data = os.fstat(stream.fileno()), stream.read(MAX_BYTES)
    except OSError as error:
        raise BadInput(path, expected="a file with the agent's token", found=str(error)) from error
    if info.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BadInput(
            path,
            expected="a token file of the user's own",
            found=f"mode {stat.S_IMODE(info.st_mode):o}",
            repair=f"chmod 600 {path}",
        )
    text = data.decode("ascii", "replace").strip()
    if not text or not text.isprintable() or "\ufffd" in text:
        raise BadInput(
            path,
            expected="a token of printable ASCII on one line",
            found="something else",
            repair=f"openssl rand -hex 32 > {path}",
        )
    return text
