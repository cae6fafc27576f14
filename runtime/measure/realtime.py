"""What a control loop asks of its operating system, for as long as a measurement lasts: priority, a core, memory that stays.

Each wish says whether it was granted, and a refusal never ends a run: a figure taken without is still a figure.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from ...errors import BadInput

PRIORITY = 80
"""Of SCHED_FIFO: above the kernel's interrupt threads (50), below its own watchdogs (99); cyclictest's habit."""
_MCL_CURRENT, _MCL_FUTURE = 1, 2
"""<sys/mman.h>, the same on x86, Arm and RISC-V."""


@dataclass(frozen=True)
class Granted:
    """A wish, and what became of it."""

    name: str
    """ "SCHED_FIFO", "pinning" or "mlockall"."""
    asked: str
    """What was asked for, in words."""
    granted: bool
    """The operating system agreed."""
    note: str = ""
    """Why not, and what would help."""

    def data(self) -> dict[str, Any]:
        """For a stored result."""
        return asdict(self)


@contextmanager
def conditions(*, realtime: bool = False, pin: int | None = None) -> Iterator[tuple[Granted, ...]]:
    """Run what is inside pinned to core ``pin``, and with ``realtime`` under SCHED_FIFO with all memory locked.

    Concerns the calling thread (memory: the process); everything is as before afterwards. Raises BadInput for a core that
    there is not.
    """
    with ExitStack() as undo:
        found = []
        if pin is not None:
            found.append(_pin(pin, undo))
        if realtime:
            found += [_lock_memory(undo), _first_in_line(undo)]
        yield tuple(found)


def _pin(core: int, undo: ExitStack) -> Granted:
    asked = f"core {core}"
    if not hasattr(os, "sched_setaffinity"):
        return Granted("pinning", asked, False, "this system offers none")
    before = os.sched_getaffinity(0)
    count = os.cpu_count() or 1
    if not 0 <= core < count:
        raise BadInput("pin", expected=f"a core from 0 to {count - 1}", found=f"{core}")
    try:
        os.sched_setaffinity(0, {core})
    except OSError as error:
        return Granted("pinning", asked, False, f"{error.strerror}; allowed are {sorted(before)}")
    undo.callback(os.sched_setaffinity, 0, before)
    return Granted("pinning", asked, True)


def _first_in_line(undo: ExitStack) -> Granted:
    asked = f"priority {PRIORITY}"
    if not hasattr(os, "sched_setscheduler"):
        return Granted("SCHED_FIFO", asked, False, "this system offers none")
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except OSError as error:
        repair = f"allow it with: sudo setcap cap_sys_nice+ep PYTHON, or rtprio {PRIORITY} in /etc/security/limits.conf"
        return Granted("SCHED_FIFO", asked, False, f"{error.strerror}; {repair}")
    undo.callback(os.sched_setscheduler, 0, policy, priority)
    return Granted("SCHED_FIFO", asked, True)


def _lock_memory(undo: ExitStack) -> Granted:
    """Future memory only where there is no limit: beyond one, the next allocation of the run itself would fail."""
    try:
        import resource
    except ModuleNotFoundError:
        return Granted("mlockall", "all memory", False, "this system offers none")
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    boundless = limit == resource.RLIM_INFINITY
    asked = "all memory, present and future" if boundless else "all present memory"
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        code = libc.mlockall(_MCL_CURRENT | (_MCL_FUTURE if boundless else 0))
    except (OSError, AttributeError) as error:
        return Granted("mlockall", asked, False, str(error))
    if code:
        reason = os.strerror(ctypes.get_errno())
        return Granted("mlockall", asked, False, f"{reason}; the limit is {limit:,} bytes: memlock unlimited in limits.conf")
    undo.callback(libc.munlockall)
    return Granted("mlockall", asked, True)
