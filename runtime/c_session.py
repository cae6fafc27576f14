"""An artifact's shared library, policy.so, through ctypes with every pointer bound once (about 1 us per call).

Measured: making a pointer with ``array.ctypes.data_as`` costs 1.5 us per array and call, more than a small policy.
``PyDLL`` keeps the interpreter lock: giving it up around a microsecond's work lets another Python thread take it
and hold it for the whole switch interval (5 ms), which is the tail that a control loop must not have.
"""

from __future__ import annotations

import ctypes
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput
from ..sealed import sha256_bytes
from ..targets import host
from .artifact import Artifact
from .session import action_size, checked_observation, checked_state, state_size

_POINTER = ctypes.c_void_p
_FLOAT32 = np.dtype(np.float32)


class CSession:
    """See :class:`pilotfish.runtime.session.Session`. Loads machine code: :func:`require_trust` comes first."""

    def __init__(self, artifact: Artifact) -> None:
        self.contract = contract = artifact.manifest.contract
        _check_machine(artifact)
        self._library = library = _load(artifact)
        try:
            _check_sizes(artifact, tuple((ctypes.c_int32 * 4).in_dll(library, "policy_sizes")))
            self._reset, self._step = library.policy_reset, library.policy_step
        except (ValueError, AttributeError) as error:
            self.close()
            raise BadInput(artifact.entry, expected="policy_sizes, policy_reset and policy_step", found=str(error)) from error
        except BadInput:
            self.close()
            raise
        self._reset.restype = self._step.restype = None
        self._discrete = contract.action.kind == "discrete"
        self._shape = (contract.observation.size,)
        self._obs = np.zeros(contract.observation.size, np.float32)
        self._state = np.zeros(max(1, state_size(contract)), np.float32)
        self._action = np.zeros(action_size(contract), np.int32 if self._discrete else np.float32)
        # Converted once here; the arrays live as long as the session, so the addresses stay good.
        self._pointers = tuple(_POINTER(array.ctypes.data) for array in (self._obs, self._state, self._action))
        self.reset()

    def reset(self) -> None:
        self._reset(self._pointers[1])

    @property
    def state(self) -> np.ndarray:
        return self._state[: state_size(self.contract)].copy()

    @state.setter
    def state(self, flat: np.ndarray) -> None:
        self._state[: state_size(self.contract)] = checked_state(self.contract, flat)

    def act(self, obs: np.ndarray) -> np.ndarray:
        if type(obs) is not np.ndarray or obs.dtype is not _FLOAT32 or obs.shape != self._shape:
            obs = checked_observation(self.contract, obs)
        self._obs[:] = obs
        self._step(*self._pointers)
        return self._action.astype(np.int64) if self._discrete else self._action.copy()

    def time_native(self, observations: np.ndarray, calls: int) -> np.ndarray | None:
        """Nanoseconds of each of ``calls`` self-timed calls, int64 [calls], rotating over ``observations`` float32 [N, n].

        The clock is read inside the library (CLOCK_MONOTONIC), so no Python is in the figure; None where the
        library has no ``policy_time``.
        """
        time = getattr(self._library, "policy_time", None)
        if time is None:
            return None
        time.restype = ctypes.c_int32
        rows = np.ascontiguousarray(observations, np.float32)
        elapsed = np.zeros(calls, np.int64)
        code = time(ctypes.c_int32(calls), _POINTER(rows.ctypes.data), ctypes.c_int32(len(rows)), _POINTER(elapsed.ctypes.data))
        if code:
            raise BadInput("policy_time", expected="0 (it timed its calls)", found=f"{code}")
        return elapsed

    def close(self) -> None:
        if self._library is None:
            return
        self._reset = self._step = _closed
        handle, self._library = self._library._handle, None
        import _ctypes

        _ctypes.dlclose(handle)


def _closed(*_: Any) -> None:
    raise RuntimeError("this session is closed")


def _check_machine(artifact: Artifact) -> None:
    """Refuse, in words, code for another machine or with instructions that this CPU lacks (it would die of SIGILL)."""
    manifest = artifact.manifest
    rebuild = f"Build it here: pilotfish export {artifact.path / 'source.policy'} -t {manifest.target.name} --backend c"
    if manifest.machine != host.machine():
        raise BadInput(artifact.path, expected=f"code for {host.machine()}", found=f"for {manifest.machine}", repair=rebuild)
    here = host.cpu_flags()
    missing = sorted(set(manifest.tools.get("cpu_flags", "").replace(",", " ").split()) - here) if here else []
    if missing:
        raise BadInput(
            artifact.path, expected="a CPU with the features it was built for", found=f"no {', '.join(missing)}", repair=rebuild
        )


def _load(artifact: Artifact) -> Any:
    """dlopen a private copy of the library.

    The copy is the very bytes whose hash was checked, and its name is new: the dynamic loader would answer a path
    that it has seen with the library it loaded then, even after a rebuild. It also gives each session its own arena.
    """
    code = artifact.entry.read_bytes()
    if sha256_bytes(code) != artifact.manifest.files[artifact.manifest.entry]:
        raise BadInput(artifact.entry, expected="the file that was sealed", found="another one since it was loaded")
    with tempfile.TemporaryDirectory(prefix="pilotfish-") as folder:
        copy = Path(folder) / artifact.entry.name
        copy.write_bytes(code)
        try:
            return ctypes.PyDLL(str(copy))
        except OSError as error:
            noexec = " If the temporary folder forbids execution, set TMPDIR to one that allows it"
            raise BadInput(
                artifact.entry,
                expected="a shared library that loads here",
                found=str(error).replace(str(copy), artifact.entry.name),
                repair="Build it here with pilotfish export." + noexec,
            ) from error


def _check_sizes(artifact: Artifact, found: tuple[int, ...]) -> None:
    contract = artifact.manifest.contract
    discrete = contract.action.kind == "discrete"
    wanted = (contract.observation.size, state_size(contract), action_size(contract), int(discrete))
    if found != wanted:
        raise BadInput(
            artifact.entry,
            expected=f"observation, state and action of {wanted[:3]} values (discrete: {discrete}), as the contract says",
            found=f"{found[:3]} (discrete: {bool(found[3])})",
        )
