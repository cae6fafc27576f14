"""Pilotfish's own C back-end: called from Python through the public session, and from C."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

import pilotfish
from pilotfish.export.build import export_policy
from pilotfish.export.c.toolchain import host_compiler
from pilotfish.policy.bundle import Policy
from pilotfish.runtime.open import open_session
from pilotfish.targets.profile import load_target

from .contestant import Contestant
from .native import from_c
from .subject import Subject


def versions() -> dict[str, str]:
    return {"pilotfish": pilotfish.__version__, "compiler": host_compiler().version}


def prepare(subject: Subject, scratch: Path) -> list[Contestant]:
    artifact = export_policy(Policy.load(subject.folder / "subject.policy"), load_target("host-cpu"), "c", scratch)
    session = open_session(artifact, trust=True)
    library = ctypes.PyDLL(str(artifact.entry))
    rows = np.ascontiguousarray(subject.observations)

    def self_timed(calls: int) -> np.ndarray:
        times = session.time_native(rows, calls)  # type: ignore[attr-defined]
        return np.asarray(times, np.float64)

    ordinary = "session.act(row): observation checked, new array out"
    inside = "policy_time in the library; contains one reading of clock_gettime"
    out = np.zeros(subject.sizes[2], np.float32)

    def into(row: np.ndarray) -> np.ndarray:
        session.act_into(row, out)  # type: ignore[attr-defined]
        return out

    return [
        Contestant("Pilotfish C, from Python", ordinary, session.act, session.reset),
        from_c("Pilotfish C, from C", "policy_step(obs, state, action)", library.policy_step, subject, scratch),
        Contestant("Pilotfish C, timing itself", inside, session.act, session.reset, self_timed),
    ]
