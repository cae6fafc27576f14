"""Pilotfish's own C back-end: called from Python through the public session, and from C."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

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
    session: Any = open_session(artifact, trust=True)
    library = ctypes.PyDLL(str(artifact.entry))
    rows, actions = np.ascontiguousarray(subject.observations), subject.sizes[2]

    def into(row: np.ndarray) -> np.ndarray:
        out = np.zeros(actions, np.float32)
        session.act_into(row, out)
        return out

    def self_timed(calls: int) -> np.ndarray:
        return np.asarray(session.time_native(rows, calls), np.float64)

    path = getattr(session, "call_path", "")
    inside = "policy_time in the library: contains one reading of clock_gettime"
    return [
        Contestant("Pilotfish C, from Python", f"session.act(row), a new array out ({path})", session.act, session.reset),
        Contestant("Pilotfish C, act_into", f"session.act_into(row, out) ({path})", into, session.reset, session.act_into),
        from_c("Pilotfish C, from C", "policy_step(obs, state, action)", library.policy_step, subject, scratch),
        Contestant("Pilotfish C, timing itself", inside, session.act, session.reset, block=self_timed),
    ]
