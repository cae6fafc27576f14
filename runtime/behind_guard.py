"""What is sent to a robot: the session of an artifact behind the guard that it was exported with, in C where there is one."""

from __future__ import annotations

from ..errors import Unsupported
from ..policy.guard_table import GUARD_FILE, read_guard
from .artifact import Artifact
from .c_session import CSession
from .guarded_c_session import GuardedCSession
from .guarded_session import GuardedSession
from .open import open_session
from .session import Session

Guarded = GuardedCSession | GuardedSession


def behind_guard(session: Session, artifact: Artifact, *, judge_deadline: bool = False) -> Session | Guarded:
    """``session`` itself where ``artifact`` has no guard.

    The guard in C where the artifact's library holds one and its table was sealed with it, else the mirror in Python.
    ``judge_deadline``: see :class:`pilotfish.runtime.guarded_session.GuardedSession`.
    """
    table = read_guard(artifact.path)
    if table is None:
        return session
    if isinstance(session, CSession) and GUARD_FILE in artifact.manifest.files and session.has("policy_guard_step"):
        return GuardedCSession(session, judge_deadline=judge_deadline)
    return GuardedSession(session, table, judge_deadline=judge_deadline)


def guard_of(session: Session) -> Guarded | None:
    """The session's guard, or None where it has none."""
    return session if isinstance(session, Guarded) else None


def way_of(session: Session) -> str:
    """What a figure's note says of a decision by this session; empty for the policy alone."""
    if isinstance(session, GuardedCSession):
        return "through the guard, both in C, called through ctypes"
    if isinstance(session, GuardedSession):
        return "through the guard on the device" if session.on_device else "through the guard, which is in Python"
    return ""


def open_guarded(artifact: Artifact, *, trust: bool = False, judge_deadline: bool = False) -> Guarded:
    """A session for an artifact that was exported with ``--guard``, behind that guard; Unsupported for any other."""
    if read_guard(artifact.path) is None:
        raise Unsupported(
            artifact.path, expected="an artifact with a guard", found="none", repair="Export it with --guard auto, or a TOML file"
        )
    session = behind_guard(open_session(artifact, trust=trust), artifact, judge_deadline=judge_deadline)
    assert isinstance(session, Guarded)
    return session
