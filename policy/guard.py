"""The guard: a small shell around a policy that never lets a senseless action through. C mirrors what is said here.

One decision: the observation is admitted or not, the policy decides, its action is filtered. Where either fails, or the
decision is not there at its deadline, a fallback takes its place. Every action that leaves has passed the clamp and the rate
limit, fallbacks included. All arithmetic is float32, in this order, so that export/c/templates/guard.c.in gives the same bits.

1. admit: refused if an entry is NaN or infinite, if an entry is out of range (or clipped, as the table says), or if the
   observation is older than ``stale_us``. A refused observation is not shown to the policy: its state stays as it was.
2. filter: an action with a NaN or infinity is dropped and the policy's state goes back to its start, since it may hold the NaN.
3. fallback: hold the last action, at most ``hold_steps`` times in a row, then the neutral one; or neutral at once; or a linear
   policy of the observation, if that is finite, else hold.
4. clamp to [low, high], then at most ``rate`` away from the action before it, entry by entry. After a reset there is no action
   before the first one: it is clamped only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from typing import Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass as checked

MOST = float(np.finfo(np.float32).max)
SATURATED = 2**32 - 1
"""Counters stop there, as the C ones do."""


class Flag(IntFlag):
    """What happened in one decision; one counter each, and one for the decisions themselves."""

    OBS_NOT_FINITE = 1
    OBS_OUT_OF_RANGE = 2
    OBS_STALE = 4
    ACTION_NOT_FINITE = 8
    LATE = 16
    FELL_BACK = 32
    CLAMPED = 64
    RATE_LIMITED = 128


_OBS_NOT_FINITE, _OBS_OUT_OF_RANGE, _OBS_STALE, _ACTION_NOT_FINITE, _LATE, _FELL_BACK, _CLAMPED, _RATE_LIMITED = map(int, Flag)
_BITS = tuple((flag.name.lower(), int(flag)) for flag in Flag if flag.name)
COUNTERS = ("steps", *(name for name, _ in _BITS))
"""In the order of the C struct."""


@checked(frozen=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False))
class GuardTable:
    """What a guard checks, every number given; n: entries of the observation, m: of an action, k: actions per decision."""

    obs_low: tuple[float, ...]
    """n; the largest negative float32 where there is no limit."""
    obs_high: tuple[float, ...]
    """n; the largest float32 where there is no limit."""
    low: tuple[float, ...]
    """m; the clamp."""
    high: tuple[float, ...]
    """m"""
    neutral: tuple[float, ...]
    """m; the action when nothing else is known, such as zero, or the thrust that hovers."""
    rate: tuple[float, ...] = ()
    """m; largest change from one action to the next; empty: no limit."""
    actions: int = Field(default=1, ge=1)
    """k"""
    stale_us: int | None = Field(default=None, ge=0, lt=2**32)
    """An older observation is refused; None: age does not matter."""
    deadline_us: int | None = Field(default=None, gt=0, lt=2**32)
    """A decision that took longer is dropped; None: it is waited for."""
    out_of_range: Literal["refuse", "clip"] = "refuse"
    """What becomes of an observation that has an entry out of range."""
    fallback: Literal["hold", "neutral", "linear"] = "hold"
    """What takes the place of a decision that is none."""
    hold_steps: int | None = Field(default=None, ge=0, lt=2**31)
    """Decisions in a row that are held, then the neutral action; None: for ever."""
    gain: tuple[tuple[float, ...], ...] = ()
    """m x n of the linear fallback, action = gain obs + bias."""
    bias: tuple[float, ...] = ()
    """m"""

    @model_validator(mode="after")
    def _check(self) -> GuardTable:
        n, m = len(self.obs_low), len(self.low)
        for name, size in (("obs_high", n), ("high", m), ("neutral", m)):
            if len(getattr(self, name)) != size:
                raise ValueError(f"{name} has {len(getattr(self, name))} entries, and {size} are needed")
        if not n or not m:
            raise ValueError("a guard needs an observation and an action")
        if len(self.rate) not in (0, m) or any(rate <= 0 for rate in self.rate):
            raise ValueError(f"rate must hold {m} positive numbers, or none")
        if any(high < low for low, high in zip(self.low + self.obs_low, self.high + self.obs_high, strict=True)):
            raise ValueError("low must not exceed high")
        if any(abs(value) > MOST for row in (self.low, self.high, self.obs_low, self.obs_high) for value in row):
            raise ValueError("limits must be float32 numbers")
        linear = self.fallback == "linear"
        if linear != bool(self.gain) or linear != bool(self.bias):
            raise ValueError("gain and bias belong to the fallback linear, and it needs both")
        if linear and (len(self.gain) != m or len(self.bias) != m or any(len(row) != n for row in self.gain)):
            raise ValueError(f"gain must be {m} x {n}, and bias {m}")
        return self


@dataclass
class Guard:
    """One guarded policy: ``step`` per decision. Keeps the action before, how long it has been held, and the counters."""

    table: GuardTable

    def __post_init__(self) -> None:
        table = self.table
        self._obs_low, self._obs_high, self._low, self._high, self._neutral, self._rate = (
            np.array(each, np.float32)
            for each in (table.obs_low, table.obs_high, table.low, table.high, table.neutral, table.rate)
        )
        # float64 holds a product of two float32 exactly, so that fused and separate multiply-adds agree.
        self._gain, self._bias = (np.array(each, np.float32).astype(np.float64) for each in (table.gain, table.bias))
        reach = np.float64(max(map(abs, table.low + table.high))) + np.float64(max(table.rate, default=0.0))
        self._overflows = bool(reach > MOST)
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.reset()

    def reset(self) -> None:
        """Start an episode: no action before; the counters go on."""
        self._last: np.ndarray | None = None
        self._held = 0

    def step(
        self,
        obs: np.ndarray,
        decide: Callable[[np.ndarray], np.ndarray],
        *,
        age_us: int = 0,
        took_us: Callable[[], int] | None = None,
        restart: Callable[[], None] | None = None,
    ) -> tuple[np.ndarray, Flag]:
        """(action float32 [k m], what happened) for ``obs`` float32 [n] that is ``age_us`` old.

        ``decide``: the policy, obs -> action [k m]. ``took_us``: how long it took, asked afterwards. ``restart``: called where
        the policy's state must go back to its start.
        """
        seen = np.asarray(obs, np.float32)
        flags, shown = self._admit(seen, age_us)
        action = None
        if shown is not None:
            action = np.asarray(decide(shown), np.float32).reshape(-1)
            if took_us is not None and self.table.deadline_us is not None and took_us() > self.table.deadline_us:
                flags |= _LATE
            if not np.isfinite(action).all():
                flags |= _ACTION_NOT_FINITE
                if restart is not None:
                    restart()
            if flags & (_LATE | _ACTION_NOT_FINITE):
                action = None
        return self._send(seen, action, flags)

    def late(self, obs: np.ndarray | None = None) -> tuple[np.ndarray, Flag]:
        """The action for a deadline that passes without a decision, which must not be sent when it comes; ``obs``: the newest."""
        return self._send(None if obs is None else np.asarray(obs, np.float32), None, _LATE)

    def _admit(self, obs: np.ndarray, age_us: int) -> tuple[int, np.ndarray | None]:
        flags, clip = 0, self.table.out_of_range == "clip"
        outside = (obs < self._obs_low) | (obs > self._obs_high)
        if not np.isfinite(obs).all():
            flags |= _OBS_NOT_FINITE
            outside &= np.isfinite(obs)
        if outside.any():
            flags |= _OBS_OUT_OF_RANGE
        if self.table.stale_us is not None and age_us > self.table.stale_us:
            flags |= _OBS_STALE
        if flags & ~(_OBS_OUT_OF_RANGE if clip else 0):
            return flags, None
        return flags, _within(obs, self._obs_low, self._obs_high) if clip else obs

    def _send(self, obs: np.ndarray | None, action: np.ndarray | None, flags: int) -> tuple[np.ndarray, Flag]:
        count, m = self.table.actions, len(self._low)
        if action is None:
            flags |= _FELL_BACK
            rows = np.tile(self._fallback(obs), (count, 1))
        else:
            self._held = 0
            rows = action.reshape(count, m)
        sent = np.empty((count, m), np.float32)
        for row, wanted in enumerate(rows):
            value = _within(wanted, self._low, self._high)
            if (value != wanted).any():
                flags |= _CLAMPED
            if len(self._rate) and self._last is not None:
                limited = self._limited(value, self._last)
                if (limited != value).any():
                    flags |= _RATE_LIMITED
                value = limited
            sent[row] = self._last = value
        self._count("steps")
        for name, bit in _BITS:
            if flags & bit:
                self._count(name)
        return sent.reshape(-1), Flag(flags)

    def _limited(self, value: np.ndarray, last: np.ndarray) -> np.ndarray:
        if not self._overflows:
            return _within(value, last - self._rate, last + self._rate)
        with np.errstate(over="ignore"):  # past the largest float32 there is nothing to limit
            return _within(value, last - self._rate, last + self._rate)

    def _fallback(self, obs: np.ndarray | None) -> np.ndarray:
        table = self.table
        if table.fallback == "linear" and obs is not None and np.isfinite(obs).all():
            total = self._bias.copy()
            with np.errstate(over="ignore"):
                for j, value in enumerate(_within(obs, self._obs_low, self._obs_high).astype(np.float64)):
                    total += self._gain[:, j] * value  # one after the other, as C does
                return np.clip(total, -MOST, MOST).astype(np.float32)
        over = table.hold_steps is not None and self._held >= table.hold_steps
        if table.fallback == "neutral" or self._last is None or over:
            return self._neutral
        self._held += 1
        return self._last

    def _count(self, name: str) -> None:
        self.counters[name] = min(self.counters[name] + 1, SATURATED)


def _within(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Clip by comparisons, as C does: np.clip may turn -0 into 0."""
    raised = np.where(values < low, low, values)
    return np.where(raised > high, high, raised)
