"""An artifact's shared library, policy.so: called through the CPython extension beside it, else through ctypes.

The interpreter lock stays held around all but the largest decisions (RELEASE_AT). Giving it up around a microsecond's
work lets another Python thread take it and hold it for the whole switch interval (5 ms), which is the tail that a
control loop must not have.
"""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput, Unsupported
from ..policy.contract import Contract
from ..targets import host
from .artifact import Artifact
from .c_binding import NoBinding, load_binding
from .c_calls import Calls, CtypesCalls
from .session import action_size, checked_observation, checked_output, checked_rows, checked_state, state_size

_POINTER = ctypes.c_void_p
RELEASE_AT = 32e6
"""Multiply-adds from which one decision gives up the interpreter lock: some 5 ms of work, the time for which another
thread may hold it anyway. Measured on a shared two-core x86-64 (AVX2) beside one busy Python thread, held against given
up: 78 thousand, p99 0.04 against 8.7 ms; 1.1 million, p90 0.3 against 7.9 ms; 4.3 million (0.8 ms a call), p90 1.3
against 8.2 ms, with the same medians."""
RELEASE_BATCH_AT = 1e6
"""The same for a batch as a whole, where throughput counts and not the tail: giving the lock up and taking it back costs
0.04 us, 1e6 multiply-adds take 60 us (same machine)."""


class CSession:
    """See :class:`pilotfish.runtime.session.Preallocated`. Loads machine code: :func:`require_trust` comes first.

    The four calls are the extension's own functions: nothing of Python's lies between the caller and the policy. Fastest
    of all is ``act_into`` with a contiguous float32 observation and an output that is made once::

        act_into, out = session.act_into, np.empty(6, np.float32)
        while flying:
            act_into(obs, out)

    ``act`` costs the same as long as the caller lets go of older actions: an array that it gave out is used again when
    nobody holds it, or a view of it, any more. Several sessions of one artifact may act at once, each in its own thread.
    """

    act: Callable[[np.ndarray], np.ndarray]
    """obs float32 [n] -> a new array, float32 [m] or int64 [1]. Other numbers, and lists, are converted."""
    act_into: Callable[[np.ndarray, np.ndarray], None]
    """(obs, out): the same into ``out``, which must be of that shape and type, contiguous, and not overlap ``obs``."""
    act_batch: Callable[..., np.ndarray]
    """(obs float32 [N, n], out=None) -> float32 [N, m] or int64 [N, 1]. Unsupported for a recurrent policy."""
    reset: Callable[[], None]
    """Start an episode: the state goes back to zero."""
    call_path: str
    """How calls reach the library: "CPython extension", or "ctypes: " and why."""

    def __init__(self, artifact: Artifact) -> None:
        self.contract = contract = artifact.manifest.contract
        _check_machine(artifact)
        self._obs = np.zeros(contract.observation.size, np.float32)
        self._state = np.zeros(max(1, state_size(contract)), np.float32)
        with _private_copy(artifact) as path:
            self._library = library = _load(artifact, path)
            try:
                _check_sizes(artifact, tuple((ctypes.c_int32 * 4).in_dll(library, "policy_sizes")))
                calls, self.call_path = self._bind(artifact, path)
            except (ValueError, AttributeError) as error:
                _unload(library)
                expected = "policy_sizes, policy_reset and policy_step"
                raise BadInput(artifact.entry, expected=expected, found=str(error)) from error
            except BadInput:
                _unload(library)
                raise
        self._calls = calls
        self.act, self.act_into, self.reset = calls.act, calls.act_into, calls.reset
        self.act_batch = partial(_refuse_batch, contract) if contract.state else calls.act_batch
        self.reset()

    def _bind(self, artifact: Artifact, path: Path) -> tuple[Calls, str]:
        """The calls of the library at ``path``, by the extension where there is one."""
        contract, buffer = self.contract, self._obs
        try:
            module = load_binding(artifact)
        except NoBinding as reason:
            return CtypesCalls(self._library, contract, self._obs, self._state), f"ctypes: {reason}"

        # These close over no session: it, its calls and they would keep each other alive.
        def prepare(obs: Any) -> None:
            buffer[:] = checked_observation(contract, obs)

        def prepare_rows(obs: Any) -> np.ndarray:
            return checked_rows(contract, obs)

        def refuse(out: Any, shape: tuple[int, ...], obs: Any) -> None:
            checked_output(contract, out, shape, obs)

        calls = module.Policy(
            path=str(path),
            obs=self._obs,
            state=self._state,
            prepare=prepare,
            prepare_rows=prepare_rows,
            refuse=refuse,
            multiply_adds=_multiply_adds(artifact),
            release_at=RELEASE_AT,
            release_batch_at=RELEASE_BATCH_AT,
        )
        return calls, "CPython extension"

    @property
    def state(self) -> np.ndarray:
        return self._state[: state_size(self.contract)].copy()

    @state.setter
    def state(self, flat: np.ndarray) -> None:
        self._state[: state_size(self.contract)] = checked_state(self.contract, flat)

    def time_native(self, observations: np.ndarray, calls: int, function: str = "policy_time") -> np.ndarray | None:
        """Nanoseconds of each of ``calls`` self-timed calls, int64 [calls], rotating over ``observations`` float32 [N, n].

        The clock is read inside the library (CLOCK_MONOTONIC), so no Python is in the figure; None where the
        library has no such ``function``: policy_time, or policy_guard_time for decisions that pass the guard.
        """
        time = getattr(self._library, function, None)
        if time is None:
            return None
        time.restype = ctypes.c_int32
        rows = np.ascontiguousarray(observations, np.float32)
        elapsed = np.zeros(calls, np.int64)
        code = time(ctypes.c_int32(calls), _POINTER(rows.ctypes.data), ctypes.c_int32(len(rows)), _POINTER(elapsed.ctypes.data))
        if code:
            raise BadInput(function, expected="0 (it timed its calls)", found=f"{code}")
        return elapsed

    def has(self, function: str) -> bool:
        """Whether the library offers a ``function`` beside the policy's own."""
        return getattr(self._library, function, None) is not None

    def loaded(self) -> tuple[Any, np.ndarray]:
        """(the library, the array that holds the state): for callers that have the library decide in another way."""
        return self._library, self._state

    def close(self) -> None:
        """Release the library; RuntimeError while another thread is deciding with this session."""
        if self._library is None:
            return
        self._calls.close()
        library, self._library = self._library, None
        _unload(library)


def _refuse_batch(contract: Contract, obs: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:  # noqa: ARG001 as act_batch
    raise Unsupported(
        "act_batch",
        expected="a policy without state: its rows are decisions that know nothing of each other",
        found="one that carries " + ", ".join(f"{tensor.name}[{tensor.size}]" for tensor in contract.state),
        repair="Call act row by row, one session per episode",
    )


def _unload(library: Any) -> None:
    import _ctypes

    _ctypes.dlclose(library._handle)


def _check_machine(artifact: Artifact) -> None:
    """Refuse, in words, code for another machine or with instructions that this CPU lacks (it would die of SIGILL)."""
    manifest = artifact.manifest
    source, target = artifact.path / "source.policy", manifest.target.name
    rebuild = f"Build it here: pilotfish export {source} -t {target} --backend {manifest.backend}"
    if manifest.machine != host.machine():
        crossed = manifest.target.tvm is not None and manifest.target.tvm.host != ""
        repair = "It was cross-compiled: copy the folder to such a machine, and run it there" if crossed else rebuild
        raise BadInput(artifact.path, expected=f"code for {host.machine()}", found=f"for {manifest.machine}", repair=repair)
    here = host.cpu_flags()
    missing = sorted(set(manifest.tools.get("cpu_flags", "").replace(",", " ").split()) - here) if here else []
    if missing:
        raise BadInput(
            artifact.path, expected="a CPU with the features it was built for", found=f"no {', '.join(missing)}", repair=rebuild
        )


@contextmanager
def _private_copy(artifact: Artifact) -> Iterator[Path]:
    """A copy of the library to load, gone afterwards (what is loaded stays).

    The copy is the very bytes whose hash was checked, and its name is new: the dynamic loader would answer a path
    that it has seen with the library it loaded then, even after a rebuild. It also gives each session its own arena.
    """
    code = artifact.read()
    with tempfile.TemporaryDirectory(prefix="pilotfish-") as folder:
        copy = Path(folder) / artifact.entry.name
        copy.write_bytes(code)
        yield copy


def _load(artifact: Artifact, copy: Path) -> Any:
    """dlopen it. ``PyDLL`` keeps the interpreter lock."""
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


def _multiply_adds(artifact: Artifact) -> float:
    """Of one decision, from the bytes of constants: a dense layer uses each weight once, a sparse one no more than that."""
    each = 1 if artifact.manifest.precision == "int8" else 4
    return artifact.manifest.sizes.get("weights", 0) / each


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
