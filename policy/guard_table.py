"""From a contract and a few settings (TOML) to a guard's table: what is not said follows from the contract."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from .. import sealed
from ..errors import BadInput, Unsupported
from .contract import Contract
from .guard import MOST, GuardTable

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
PerEntry = float | tuple[float, ...] | None
"""One number for all entries, or one each; None: not said."""


@dataclass(frozen=True, config=STRICT)
class ObservationLimits:
    """[observation]: which observations may be believed."""

    low: PerEntry = None
    """Least value that a sensor can give."""
    high: PerEntry = None
    """Largest value."""
    sigmas: float | None = Field(default=None, gt=0)
    """Instead: so many standard deviations around the mean of the contract's normalizer, which is what training saw."""
    out_of_range: Literal["refuse", "clip"] = "refuse"
    """What becomes of an observation that has an entry out of range."""
    stale_us: int | None = Field(default=None, ge=0)
    """An older observation is refused; None: age does not matter."""


@dataclass(frozen=True, config=STRICT)
class ActionLimits:
    """[action]: what may be sent."""

    low: PerEntry = None
    """Default: the contract's."""
    high: PerEntry = None
    """Default: the contract's."""
    rate_per_s: PerEntry = None
    """Largest change per second, in the action's unit; None: no limit."""


@dataclass(frozen=True, config=STRICT)
class Fallback:
    """[fallback]: what takes the place of a decision that is none."""

    kind: Literal["hold", "neutral", "zero", "linear"] = "hold"
    """hold: the last action. neutral: the one below. zero: all zeros. linear: gain times observation plus bias."""
    hold_steps: int | None = Field(default=None, ge=0)
    """Decisions in a row that are held, then the neutral action; None: for ever."""
    neutral: PerEntry = None
    """The action when nothing else is known; default: zero, clamped."""
    gain: tuple[tuple[float, ...], ...] = ()
    """A row per action entry, a column per observation entry."""
    bias: PerEntry = None
    """Default: zero."""


@dataclass(frozen=True, config=STRICT)
class GuardSettings:
    """A guard as a TOML file says it."""

    observation: ObservationLimits = Field(default_factory=ObservationLimits)
    action: ActionLimits = Field(default_factory=ActionLimits)
    fallback: Fallback = Field(default_factory=Fallback)
    deadline_us: int | None = Field(default=None, gt=0)
    """A decision that took longer is dropped; default: the control period, where the contract names a rate."""


SETTINGS: TypeAdapter[GuardSettings] = TypeAdapter(GuardSettings)


def guard_table(
    contract: Contract, settings: dict[str, Any] | None = None, *, control_hz: float | None = None, where: str = "the guard"
) -> GuardTable:
    """The table of a guard for a policy of this contract; ``settings``: as parsed from TOML, nothing: the contract alone.

    ``control_hz``: actions per second; default: the contract's. Raises BadInput for settings that do not fit, Unsupported for
    a discrete action, which has nothing to clamp.
    """
    if contract.action.kind == "discrete":
        raise Unsupported(where, expected="a continuous action", found="an index among choices")
    try:
        said = SETTINGS.validate_python(settings or {})
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(
            where, expected="a guard's settings", found=f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from error
    count = contract.timing.actions_per_decision
    m, n = contract.action.size // count, contract.observation.size
    hz = control_hz or contract.timing.control_hz

    def entries(value: PerEntry, default: tuple[float, ...], name: str) -> tuple[float, ...]:
        if value is None:
            return default
        spread = (value,) * len(default) if isinstance(value, int | float) else tuple(value)
        if len(spread) != len(default):
            raise BadInput(f"{where}, {name}", expected=f"one number, or {len(default)}", found=f"{len(spread)}")
        return spread

    obs_low, obs_high = _range(contract, said.observation, entries, where)
    low = entries(said.action.low, _alike(contract.action.low, m, -MOST, max), "action.low")
    high = entries(said.action.high, _alike(contract.action.high, m, MOST, min), "action.high")
    rate: tuple[float, ...] = ()
    if said.action.rate_per_s is not None:
        if not hz:
            raise BadInput(f"{where}, action.rate_per_s", expected="a control rate to divide it by", found="none in the contract")
        rate = tuple(each / hz for each in entries(said.action.rate_per_s, (0.0,) * m, "action.rate_per_s"))
    zero = tuple(float(np.clip(0.0, each_low, each_high)) for each_low, each_high in zip(low, high, strict=True))
    kind = "neutral" if said.fallback.kind == "zero" else said.fallback.kind
    linear = kind == "linear"
    table = {
        "obs_low": obs_low, "obs_high": obs_high, "low": low, "high": high, "rate": rate, "actions": count,
        "neutral": zero if said.fallback.kind == "zero" else entries(said.fallback.neutral, zero, "fallback.neutral"),
        "stale_us": said.observation.stale_us, "out_of_range": said.observation.out_of_range,
        "deadline_us": said.deadline_us or (int(1e6 * count / hz) if hz else None),
        "fallback": kind, "hold_steps": said.fallback.hold_steps, "gain": said.fallback.gain,
        "bias": entries(said.fallback.bias, (0.0,) * m, "fallback.bias") if linear else (),
    }  # fmt: skip
    try:
        return GuardTable(**_as_float32(table))
    except ValidationError as error:
        found = error.errors()[0]["msg"]
        raise BadInput(where, expected=f"a guard for {n} observation entries and {m} actions", found=found) from error


def _alike(limits: tuple[float, ...], m: int, default: float, narrower: Any) -> tuple[float, ...]:
    """The contract's limits of one action; where a decision holds several, the narrowest of each entry."""
    if not limits:
        return (default,) * m
    return tuple(float(narrower(limits[entry::m])) for entry in range(m))


def _range(contract: Contract, said: ObservationLimits, entries: Any, where: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    n, normalizer = contract.observation.size, contract.observation.normalizer
    if said.sigmas is None:
        return entries(said.low, (-MOST,) * n, "observation.low"), entries(said.high, (MOST,) * n, "observation.high")
    if said.low is not None or said.high is not None or normalizer is None:
        found = "a contract without normalizer" if normalizer is None else "low or high beside it"
        raise BadInput(f"{where}, observation.sigmas", expected="it alone, and a contract with a normalizer", found=found)
    mean, width = np.array(normalizer.mean), said.sigmas * np.sqrt(np.array(normalizer.variance) + normalizer.epsilon)
    return tuple((mean - width).tolist()), tuple((mean + width).tolist())


def _as_float32(table: dict[str, Any]) -> dict[str, Any]:
    """Every number as the float32 that the guard computes with, so that the stored table says what is checked."""
    for name in ("obs_low", "obs_high", "low", "high", "neutral", "rate", "bias"):
        table[name] = tuple(np.clip(np.array(table[name], np.float64), -MOST, MOST).astype(np.float32).astype(float).tolist())
    table["gain"] = tuple(tuple(np.array(row, np.float32).astype(float).tolist()) for row in table["gain"])
    return table


GUARD_FILE = "guard.json"
"""In an artifact: the table of the guard that it was exported with."""
TABLE: TypeAdapter[GuardTable] = TypeAdapter(GuardTable)


def dumped(table: GuardTable) -> str:
    """The text of an artifact's guard.json."""
    return sealed.canonical_json(TABLE.dump_python(table, mode="json"))


def read_guard(folder: Path) -> GuardTable | None:
    """The guard of the artifact in ``folder``, or None; BadInput for a file that is none."""
    path = folder / GUARD_FILE
    if not path.is_file():
        return None
    data = sealed.read_json(path, "the table of a guard")
    try:
        return TABLE.validate_python(data)
    except ValidationError as error:
        raise BadInput(path, expected="the table of a guard", found=error.errors()[0]["msg"]) from error


def load_guard(path: str | os.PathLike[str], contract: Contract, *, control_hz: float | None = None) -> GuardTable:
    """A guard from a TOML file of :class:`GuardSettings`; "auto": from the contract alone."""
    if str(path) == "auto":
        return guard_table(contract, control_hz=control_hz)
    try:
        settings = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(path, expected='the settings of a guard, or "auto"', found="no such file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise BadInput(path, expected="the settings of a guard (TOML)", found=str(error)) from error
    return guard_table(contract, settings, control_hz=control_hz, where=str(path))


def said(table: GuardTable) -> list[str]:
    """What a guard does, a line per rule."""
    n, m = len(table.obs_low), len(table.low)
    lines = [f"an observation with a NaN or an infinity among its {n} entries is refused"]
    ranged = sum(low > -MOST or high < MOST for low, high in zip(table.obs_low, table.obs_high, strict=True))
    if ranged:
        verb = "clipped" if table.out_of_range == "clip" else "refused"
        lines.append(f"{ranged} entries have a range; an observation out of it is {verb}")
    if table.stale_us is not None:
        lines.append(f"an observation older than {table.stale_us:,} us is refused")
    lines.append("an action with a NaN or an infinity is dropped, and the policy's state reset")
    if table.deadline_us is not None:
        lines.append(f"a decision that takes more than {table.deadline_us:,} us is dropped, where the caller brings a clock")
    held = "the last action" + ("" if table.hold_steps is None else f", {table.hold_steps} times in a row at most")
    kinds = {"hold": held, "neutral": "the neutral action", "linear": f"a linear policy of the observation, else {held}"}
    lines.append(f"in place of a decision that is none: {kinds[table.fallback]}")
    limited = sum(low > -MOST or high < MOST for low, high in zip(table.low, table.high, strict=True))
    lines.append(f"{limited} of {m} entries of the action are clamped")
    if table.rate:
        lines.append("every entry changes by no more than its rate from one action to the next")
    return lines
