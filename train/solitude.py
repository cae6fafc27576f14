"""One process per run: a lock that dies with its holder, and what a killed holder left half-written."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import BadInput


@contextlib.contextmanager
def alone(checkpoint: Path) -> Iterator[None]:
    """Hold the run that writes ``checkpoint`` for this process alone, and remove temporary files that a kill left beside it.

    Raises BadInput while another process holds it. The lock is the kernel's (POSIX record lock: not inherited by children,
    gone with the process however it ends), so there is nothing to clean up after kill -9. File systems that offer no
    locks are used without one; then leftovers stay, since they might be somebody's.
    """
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(checkpoint.with_name(f".{checkpoint.stem}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if _taken(handle, checkpoint):
            for leftover in checkpoint.parent.glob(f".{checkpoint.name}.*"):
                leftover.unlink(missing_ok=True)
        yield
    finally:
        os.close(handle)


def _taken(handle: int, checkpoint: Path) -> bool:
    """True once the lock is ours, False where there are no locks."""
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:  # POSIX allows either
        raise BadInput(
            checkpoint.parent,
            expected="no other training of these settings in this folder",
            found="one that is running",
            repair="Wait for it or stop it; the same command then goes on from its checkpoint",
        ) from error
    except OSError:
        return False
    return True
