"""Energy per action, where the device has a sensor for it: RAPL (x86), INA3221 (Jetson), or a function that reads your own meter.

A sensor sees the whole machine or processor, not the policy. So two loops take turns, paced alike: one that calls the policy, one
that does not. Their difference, divided by the actions, is what an action costs; the loop without the policy is the overhead, and
is reported beside it. Reading a sensor takes time and energy, too: both loops read it equally often, and the time is reported.
"""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ...errors import BadInput
from ...figure import Figure
from .pace import SPIN_NS, Clock, MonotonicClock, pace

PAIRS = 6
"""Turns that the two loops take."""
TURN_SECONDS = 0.5
SAMPLE_SECONDS = 0.02
"""How often a sensor of power is read; the INA3221 of a Jetson averages over a few milliseconds by itself."""
MOST_WATT = 10_000.0


class Meter(Protocol):
    """Joules that only ever grow."""

    name: str
    """What is measured and by what, for people."""
    every_s: float | None
    """How often ``joules`` must be called at least, so that it sees enough; None: a counter, the ends are enough."""

    def joules(self) -> float:
        """Energy since some fixed moment."""


class Rapl:
    """Intel's and AMD's running average power limit: a counter of microjoules per processor package (kernel: powercap)."""

    every_s: float | None = None

    def __init__(self, folders: list[Path]) -> None:
        self._files = [(folder / "energy_uj", _number(folder / "max_energy_range_uj")) for folder in folders]
        self._last = [_number(path) for path, _ in self._files]
        self._turns = [0] * len(self._files)
        names = ", ".join((folder / "name").read_text(encoding="utf-8").strip() for folder in folders)
        self.name = f"RAPL ({names}): the processor, without memory, board and power supply"

    def joules(self) -> float:
        """Counters start over at their range, at full load about once in some minutes."""
        total = 0
        for index, (path, span) in enumerate(self._files):
            now = _number(path)
            self._turns[index] += now < self._last[index]
            self._last[index] = now
            total += now + self._turns[index] * (span + 1)
        return total * 1e-6


class Ina3221:
    """The power monitor of a Jetson module: volts and amperes of its rails now, integrated from reading to reading."""

    every_s: float | None = SAMPLE_SECONDS

    def __init__(self, rails: dict[str, tuple[Path, Path]], now_s: Callable[[], float] = time.perf_counter) -> None:
        self._rails, self._now_s, self._total = rails, now_s, 0.0
        self.name = f"INA3221 ({', '.join(rails)}): the module, without the carrier board"
        self._before = (now_s(), self._watt())

    def _watt(self) -> float:
        return sum(_number(millivolt) * _number(milliampere) * 1e-6 for millivolt, milliampere in self._rails.values())

    def joules(self) -> float:
        """By the trapezoidal rule since the reading before."""
        now, watt = self._now_s(), self._watt()
        self._total += (now - self._before[0]) * (watt + self._before[1]) / 2
        self._before = (now, watt)
        return self._total


class Plugin:
    """A function of the user's own that returns joules so far: an external meter, a bench supply."""

    every_s: float | None = SAMPLE_SECONDS

    def __init__(self, name: str, read: Callable[[], float]) -> None:
        self.name, self._read = f"{name}, a meter of the user's own", read

    def joules(self) -> float:
        return float(self._read())


def find_meter(root: Path = Path("/"), now_s: Callable[[], float] = time.perf_counter) -> tuple[Meter | None, str]:
    """(a meter, "") for the sensor that this machine offers, or (None, why not in words)."""
    packages = [
        folder
        for folder in sorted((root / "sys/class/powercap").glob("*-rapl:*"))
        if re.fullmatch(r"[a-z-]+-rapl:\d+", folder.name) and _text(folder / "name").startswith("package")
    ]
    denied = ""
    if packages:
        try:
            return Rapl(packages), ""
        except (OSError, ValueError) as error:
            denied = f"RAPL is there and cannot be read ({error}): sudo chmod a+r /sys/class/powercap/*/energy_uj; "
    rails: dict[str, tuple[Path, Path]] = {}
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if _text(folder / "name") != "ina3221":
            continue
        for channel in (1, 2, 3):
            label = _text(folder / f"in{channel}_label")
            files = (folder / f"in{channel}_input", folder / f"curr{channel}_input")
            if label and label != "NC" and all(file.is_file() for file in files):
                rails[label] = files
    whole = {label: files for label, files in rails.items() if label == "VDD_IN"}  # what the other rails are fed from
    if rails:
        try:
            return Ina3221(whole or rails, now_s), ""
        except (OSError, ValueError) as error:
            denied += f"the INA3221 cannot be read ({error}); "
    return None, denied + "no RAPL counter, no INA3221; an external meter is read by --energy MODULE:FUNCTION"


def load_meter(name: str) -> Meter | None:
    """ "auto": the machine's own sensor or None; "MODULE:FUNCTION": a function that takes nothing and returns joules so far.

    The module is imported, which runs its code: the user named it. Raises BadInput where it is no such function.
    """
    if name == "auto":
        return find_meter()[0]
    module, colon, function = name.partition(":")
    try:
        if not colon:
            raise ValueError("no ':'")
        read = getattr(importlib.import_module(module), function)
        float(read())
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise BadInput(
            "--energy", expected="auto, or MODULE:FUNCTION that returns joules so far", found=f"{name} ({error})"
        ) from error
    return Plugin(name, read)


@dataclass(frozen=True)
class Spent:
    """What the two loops took, a value per pair of turns."""

    net_j: np.ndarray
    """float64 [pairs]: per action, the loop without the policy taken off."""
    gross_j: np.ndarray
    """float64 [pairs]: per action, everything that the sensor saw."""
    baseline_w: np.ndarray
    """float64 [pairs]: power of the loop without the policy."""
    actions: int
    """Altogether."""
    reading_us: float
    """How long a reading of the sensor takes."""


def spend(
    call: Callable[[int], object],
    meter: Meter,
    hz: float,
    *,
    pairs: int = PAIRS,
    turn_seconds: float | None = None,
    clock: Clock | None = None,
    spin_ns: int = SPIN_NS,
) -> Spent:
    """Let the paced loops with and without ``call(k)`` take turns under a meter."""
    clock = clock or MonotonicClock()
    periods = max(1, round(hz * (TURN_SECONDS if turn_seconds is None else turn_seconds)))
    begun = clock.now_ns()
    for _ in range(20):
        meter.joules()
    reading_us = (clock.now_ns() - begun) / 20e3
    net, gross, base = np.zeros(pairs), np.zeros(pairs), np.zeros(pairs)
    for pair in range(pairs):
        order = (False, True) if pair % 2 else (True, False)  # so that a drift of the temperature favors neither
        watt: dict[bool, float] = {}
        for acting in order:
            joules, seconds = _turn(call if acting else None, meter, hz, periods, clock, spin_ns)
            watt[acting] = joules / seconds
            if acting:
                per_action = seconds / periods
        net[pair] = (watt[True] - watt[False]) * per_action
        gross[pair], base[pair] = watt[True] * per_action, watt[False]
    return Spent(net, gross, base, pairs * periods, reading_us)


def _turn(
    call: Callable[[int], object] | None, meter: Meter, hz: float, periods: int, clock: Clock, spin_ns: int
) -> tuple[float, float]:
    """(joules, seconds) of a paced loop; the sensor is read in it as often as it must be."""
    every = int(meter.every_s * 1e9) if meter.every_s else None
    due = clock.now_ns()

    def step(k: int) -> None:
        nonlocal due
        if call is not None:
            call(k)
        if every is not None and clock.now_ns() >= due:
            meter.joules()
            due = clock.now_ns() + every

    begun, before = clock.now_ns(), meter.joules()
    pace(step, hz, periods, clock=clock, spin_ns=spin_ns)
    rest = begun + round(periods * 1e9 / hz) - clock.now_ns()
    if rest > 0:
        clock.sleep_ns(rest)  # the last period counts in full, as the others do
    after = meter.joules()
    return after - before, (clock.now_ns() - begun) * 1e-9


def energy_figures(spent: Spent, meter: Meter, device: str) -> dict[str, Figure]:
    """energy_uj (net), energy_gross_uj and energy_baseline_w; without a value where the meter said nothing sensible."""
    sane = np.isfinite(spent.net_j).all() and (spent.baseline_w >= 0).all() and (spent.baseline_w < MOST_WATT).all()

    def figure(values: np.ndarray, unit: str, note: str) -> Figure:
        if not sane:
            return Figure(
                None, unit, "measured", samples=spent.actions, device=device, note=f"the meter went astray: {meter.name}"
            )
        low, high = float(values.min()), float(values.max())
        spread = f"min-max of {len(values)} pairs of turns"
        return Figure(float(np.median(values)), unit, "measured", spent.actions, low, high, spread, device, note)

    net = spent.net_j * 1e6
    doubt = "; not above the noise of the sensor" if sane and net.min() <= 0 else ""
    overhead = f"reading the sensor takes {spent.reading_us:.1f} us and is in both loops"
    return {
        "energy_uj": figure(net, "uJ", f"{meter.name}; the same loop without the policy taken off; {overhead}{doubt}"),
        "energy_gross_uj": figure(spent.gross_j * 1e6, "uJ", f"{meter.name}; all that the sensor saw, idle machine included"),
        "energy_baseline_w": figure(spent.baseline_w, "W", f"{meter.name}; the loop without the policy: the overhead"),
    }


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int:
    return int(path.read_text(encoding="utf-8"))
