"""Compiled contestants: a C function ``void step(const float *obs, float *state, float *action)`` under one stopwatch."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pilotfish.export.c.toolchain import host_compiler

from .contestant import Contestant
from .subject import Subject

GROUP = 8
"""Calls between two readings of the counter, as in timer.c."""
CALIBRATION_MS = 100.0
"""How long the processor's counter is held against the system's clock."""


def compile_library(folder: Path, name: str, sources: list[str], flags: list[str]) -> ctypes.CDLL:
    """Compile C ``sources`` of ``folder`` to NAME.so with the compiler that builds Pilotfish's own libraries, and load it."""
    compiler = host_compiler()
    compiler.run([*flags, "-fPIC", "-shared", "-Wl,-Bsymbolic", "-o", f"{name}.so", *sources, "-lm"], folder)
    return ctypes.CDLL(str(folder / f"{name}.so"))


class Stopwatch:
    """timer.c, compiled and calibrated."""

    def __init__(self, folder: Path) -> None:
        source = Path(__file__).with_name("timer.c")
        (folder / source.name).write_text(source.read_text())
        self._library = library = compile_library(folder, "timer", [source.name], ["-std=gnu11", "-O2"])
        library.timer_tick_ns.restype = ctypes.c_double
        library.timer_tick_ns.argtypes = [ctypes.c_double]
        library.timer_run.restype = None
        pointer, integer = ctypes.c_void_p, ctypes.c_int32
        library.timer_run.argtypes = [pointer, integer, pointer, integer, integer, pointer, pointer, pointer]
        self.tick_ns = library.timer_tick_ns(CALIBRATION_MS)

    def run(self, step: int, calls: int, rows: np.ndarray, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Nanoseconds of a call of the function at address ``step``, one entry per group of calls."""
        groups = -(-calls // GROUP)
        elapsed = np.zeros(groups, np.uint64)
        arrays = rows.ctypes.data, len(rows), rows.shape[1], state.ctypes.data, action.ctypes.data, elapsed.ctypes.data
        self._library.timer_run(step, groups, *arrays)
        return elapsed * (self.tick_ns / GROUP)

    def empty(self, calls: int) -> np.ndarray:
        """What it shows for a function that does nothing."""
        one = np.zeros((1, 1), np.float32)
        return self.run(address_of(self._library.timer_empty), calls, one, one, one)


def address_of(function: Callable[..., object]) -> int:
    """Where a function of a loaded library lies."""
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
    if address is None:
        raise ValueError("a null function")
    return address


_STOPWATCHES: dict[Path, Stopwatch] = {}


def stopwatch(scratch: Path) -> Stopwatch:
    """The one of this process."""
    if scratch not in _STOPWATCHES:
        _STOPWATCHES[scratch] = Stopwatch(scratch)
    return _STOPWATCHES[scratch]


def from_c(label: str, contains: str, function: Callable[..., object], subject: Subject, scratch: Path) -> Contestant:
    """A contestant for a C function with the signature above; its state starts at zero."""
    _, state_size, action_size = subject.sizes
    rows = np.ascontiguousarray(subject.observations)
    state, action = np.zeros(max(state_size, 1), np.float32), np.zeros(action_size, np.float32)
    address, watch = address_of(function), stopwatch(scratch)
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(address)

    def step(row: np.ndarray) -> np.ndarray:
        row = np.ascontiguousarray(row)
        call(row.ctypes.data, state.ctypes.data, action.ctypes.data)
        return action.copy()

    def reset() -> None:
        state[:] = 0

    def block(calls: int) -> np.ndarray:
        return watch.run(address, calls, rows, state, action)

    return Contestant(label, contains, step, reset, block=block)
