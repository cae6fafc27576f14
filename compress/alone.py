"""One timing at a time: processes that compress or search side by side do not time their artifacts over each other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..runtime.trust import state_folder
from ..targets import Target

EMULATED = "virtual"
"""The kind of link behind which cycles are counted, not timed: nothing can disturb them."""


@contextlib.contextmanager
def alone(target: Target) -> Iterator[None]:
    """Wait until no other process of this user times anything on the device of ``target``, and keep the others waiting.

    A lock on a file in the user's state folder, per machine and device; it ends with its process, however that ends. What else
    runs on a machine (the lessons of other candidates) goes on and can still be felt: the proof of a search's front comes after
    all of them. Where files cannot be locked, nothing is.
    """
    if target.link.kind == EMULATED:
        yield
        return
    device = "here" if target.link.kind == "local" else target.name
    try:
        import fcntl

        folder = state_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stream = (folder / f"timing-{device}.lock").open("w")
    except (ImportError, OSError):
        yield
        return
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
