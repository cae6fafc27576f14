"""The stored results as a report reads them: checked here, because an artifact may come from a stranger."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from ...errors import BadInput
from ...figure import Figure
from ...targets.profile import validated
from ..artifact import Artifact

LENIENT = ConfigDict(extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False)
"""Unknown keys are a newer writer's business; known ones must be what they say."""


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        for key in ("value", "low", "high"):
            if isinstance(data.get(key), float) and not math.isfinite(data[key]):
                raise ValueError(f"{key} is {data[key]}, not a finite number")
    return data


Figures = dict[str, Annotated[Figure, BeforeValidator(_finite)]]


@dataclass(frozen=True, config=LENIENT)
class Verify:
    """Parity with the golden rollout."""

    passed: bool
    """Every step stayed within the tolerance."""
    figures: Figures = Field(default_factory=dict)
    """max_abs_error, one_step_max_abs_error, agreement …"""
    tolerance: float | None = None
    """Largest absolute error of an action that passes."""
    steps: int | None = None
    """Decisions compared."""
    golden_source: str = ""
    """Where the golden observations come from."""
    failures: tuple[str, ...] = ()
    """Reasons for not passing."""
    rule: str = ""
    """What was asked, in words."""
    error_by_step: tuple[float | None, ...] = ()
    """Largest absolute error per step, downsampled over the rollout."""
    device: dict[str, Any] = Field(default_factory=dict)
    """Fingerprint of the device."""
    date: str = ""
    """ISO time."""


@dataclass(frozen=True, config=LENIENT)
class Histogram:
    """Counts between edges."""

    edges_us: Annotated[tuple[float, ...], Field(min_length=2, max_length=100_001)]
    """Ascending, one more than counts."""
    counts: tuple[Annotated[int, Field(ge=0)], ...]
    """Decisions per bin."""

    @model_validator(mode="after")
    def _check(self) -> Histogram:
        if len(self.edges_us) != len(self.counts) + 1:
            raise ValueError(f"{len(self.edges_us)} edges for {len(self.counts)} counts")
        if any(b <= a for a, b in zip(self.edges_us, self.edges_us[1:], strict=False)):
            raise ValueError("edges do not ascend")
        return self


@dataclass(frozen=True, config=LENIENT)
class Bench:
    """Latency and sizes."""

    figures: Figures = Field(default_factory=dict)
    """Percentiles, cycles, sizes."""
    histograms: dict[str, Histogram] = Field(default_factory=dict)
    """ "tight" and "paced"."""
    control_hz: float | None = Field(default=None, gt=0)
    """Rate that it was paced at."""
    deadline_us: float | None = Field(default=None, gt=0)
    """Time between two decisions."""
    deadline_met: bool | None = None
    """None: not judged."""
    jitter_histogram: Histogram | None = None
    """Deviations of the period."""
    conditions: tuple[dict[str, Any], ...] = ()
    """What was asked of the operating system: name, asked, granted, note."""
    warm_up: dict[str, Any] = Field(default_factory=dict)
    """calls, seconds, steady …"""
    device_facts: dict[str, Any] = Field(default_factory=dict)
    """What the device was and in what state, by section."""
    warnings: tuple[str, ...] = ()
    """Why the figures should not be trusted."""
    notes: tuple[str, ...] = ()
    """What was asked for and could not be measured, and why."""
    device: dict[str, Any] = Field(default_factory=dict)
    """Fingerprint of the device."""
    date: str = ""
    """ISO time."""


Number = Annotated[float | None, Field(allow_inf_nan=False)]


@dataclass(frozen=True, config=LENIENT)
class Stretch:
    """A part of a soak."""

    start_s: float
    """Seconds from the beginning."""
    seconds: float
    """How long it lasted."""
    worst_us: float
    """The slowest response."""
    p50_us: Number = None
    """Median; None: the sample does not support it."""
    p99_us: Number = None
    """99th percentile."""
    misses: int = 0
    """Periods without their action in time."""
    hottest_c: Number = None
    """Temperature at its end."""


@dataclass(frozen=True, config=LENIENT)
class Soak:
    """Latency over minutes to hours."""

    figures: Figures = Field(default_factory=dict)
    """Percentiles, misses, drift, temperature."""
    stretches: Annotated[tuple[Stretch, ...], Field(max_length=10_000)] = ()
    """In order."""
    seconds: float | None = None
    """Measured."""
    interrupted: bool = False
    """It ended before its time."""
    control_hz: float | None = Field(default=None, gt=0)
    """Rate that it was paced at."""
    deadline_us: float | None = Field(default=None, gt=0)
    """Time between two decisions."""
    deadline_met: bool | None = None
    """No period was missed."""
    device_facts: dict[str, Any] = Field(default_factory=dict)
    """What the device was and in what state, by section."""
    warnings: tuple[str, ...] = ()
    """Why the figures should not be trusted."""
    device: dict[str, Any] = Field(default_factory=dict)
    """Fingerprint of the device."""
    date: str = ""
    """ISO time."""


@dataclass(frozen=True, config=LENIENT)
class Evaluate:
    """Closed-loop return."""

    figures: Figures = Field(default_factory=dict)
    """return, reference_return, difference, retained."""
    env: str | None = None
    """Gymnasium id."""
    episodes: int | None = None
    """Episodes flown."""
    seeds: tuple[int, ...] = ()
    """One per episode."""
    returns: tuple[float, ...] = ()
    """One per episode."""
    reference_returns: tuple[float, ...] = ()
    """The reference with the same seeds."""
    lengths: tuple[int, ...] = ()
    """Decisions per episode."""
    reference: str = ""
    """Name of the reference policy."""
    reference_digest: str = ""
    """Digest of the reference policy."""
    gate: float | None = None
    """Least share of the reference return that passes; None: no gate."""
    passed: bool | None = None
    """Verdict of the gate."""
    scene: str = ""
    """What time did between observations and actions, in words."""
    slowest: dict[str, Any] = Field(default_factory=dict)
    """Down to which rate the gate is passed: ``sentence`` and more."""
    guard: dict[str, int] = Field(default_factory=dict)
    """What the guard did, by counter."""
    device: dict[str, Any] = Field(default_factory=dict)
    """Fingerprint of the device."""
    date: str = ""
    """ISO time."""

    @model_validator(mode="after")
    def _check(self) -> Evaluate:
        if self.reference_returns and len(self.reference_returns) != len(self.returns):
            raise ValueError(f"{len(self.returns)} returns for {len(self.reference_returns)} reference returns")
        return self


SCHEMAS: dict[str, TypeAdapter[Any]] = {
    "verify": TypeAdapter(Verify),
    "bench": TypeAdapter(Bench),
    "soak": TypeAdapter(Soak),
    "evaluate": TypeAdapter(Evaluate),
}

COMMANDS = {"soak": "bench --soak 10m"}
"""Result -> the command that makes it, where that is not its own name."""


def read_result(artifact: Artifact, name: str) -> dict[str, Any] | None:
    """One stored result as plain data with every field present, or None where it was never obtained.

    Raises BadInput where the stored file is not what this version writes.
    """
    data = artifact.result(name)
    if data is None:
        return None
    where = f"{artifact.path.name}: stored result {name}"
    try:
        return SCHEMAS[name].dump_python(validated(SCHEMAS[name], data, where), mode="json")
    except BadInput as error:
        raise BadInput(
            where,
            expected=error.expected,
            found=error.found,
            repair=f"Run pilotfish {COMMANDS.get(name, name)} on this artifact again",
        ) from error
