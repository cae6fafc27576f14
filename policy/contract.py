"""The contract: everything that must travel with the weights, and that people lose today."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from pydantic.dataclasses import dataclass

from .latency import Latency

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
MAX_DELAY = 1000
"""Steps by which an observation may be late."""


@dataclass(frozen=True, config=STRICT)
class Normalizer:
    """z = clip((x - mean) / s), with s = sqrt(variance + epsilon) or sqrt(variance) + epsilon."""

    mean: tuple[float, ...]
    """Per observation entry, in the observation's unit."""
    variance: tuple[float, ...]
    """Per observation entry, unit squared; never negative."""
    epsilon: float = 1e-8
    """Keeps the division finite; where it stands changes the result."""
    epsilon_inside_sqrt: bool = True
    """True: sqrt(variance + epsilon), as Stable-Baselines3. False: sqrt(variance) + epsilon, as rsl_rl."""
    clip: float | None = None
    """z is clipped to ±clip; None: not clipped."""

    @model_validator(mode="after")
    def _check(self) -> Normalizer:
        if len(self.mean) != len(self.variance):
            raise ValueError(f"mean has {len(self.mean)} entries and variance {len(self.variance)}")
        if any(v < 0 for v in self.variance):
            raise ValueError("variance has a negative entry")
        return self


@dataclass(frozen=True, config=STRICT)
class Observation:
    """What the policy sees: one flat float vector per decision."""

    size: int = Field(gt=0, le=1_000_000)
    """Length of the vector, history included."""
    names: tuple[str, ...] = ()
    """One name per entry; empty where nobody knows them."""
    slices: dict[str, tuple[int, int]] = Field(default_factory=dict)
    """Named parts of the vector, as [start, stop)."""
    units: str = ""
    """Units of the entries, in words."""
    history: int = Field(default=1, ge=1)
    """h, how many frames the vector stacks, row-major [h, size / h], the newest last; one frame per decision. Above 1, a frame is
    the observation followed by the action that was returned before it (all of its entries; zero at first), and an episode begins
    with h equal frames: whoever feeds the policy keeps them."""
    shape: tuple[int, ...] = ()
    """Shape of the environment's observation, [height, width, channels] or [channels, height, width] of an image, where it is
    not a vector: ``size`` numbers, flattened row-major, the last axis fastest. Empty: a vector, or nobody knows."""
    dtype: Literal["float32"] = "float32"
    """What the exported graph takes."""
    normalizer: Normalizer | None = None
    """Applied inside the exported graph, before the network."""

    @model_validator(mode="after")
    def _check(self) -> Observation:
        if self.names and len(self.names) != self.size:
            raise ValueError(f"{len(self.names)} names for an observation of size {self.size}")
        if self.normalizer and len(self.normalizer.mean) != self.size:
            raise ValueError(f"normalizer of {len(self.normalizer.mean)} entries for an observation of size {self.size}")
        if self.size % self.history:
            raise ValueError(f"an observation of size {self.size} is not made of {self.history} equal frames")
        if self.shape and (any(side < 1 for side in self.shape) or math.prod(self.shape) != self.size):
            raise ValueError(f"an observation of size {self.size} has not the shape {list(self.shape)}")
        return self

    @model_serializer(mode="wrap")
    def _without_shape(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Bundles of policies that see vectors keep the digests that they had before there were shapes."""
        table: dict[str, Any] = dump(self)
        return {key: value for key, value in table.items() if key != "shape" or value}


@dataclass(frozen=True, config=STRICT)
class Action:
    """What the policy returns. continuous: clip(scale * squash(y) + offset); discrete: argmax(y)."""

    kind: Literal["continuous", "discrete"]
    """continuous: a float32 vector of ``size``. discrete: one index in [0, size)."""
    size: int = Field(gt=0, le=100_000)
    """Number of network outputs y: actuators, or choices. Where a decision holds k actions (``Timing``): k times the actuators,
    row-major [k, actuators], the action to take first in front; every per-entry field below is laid out like that, too."""
    squash: Literal["none", "tanh"] = "none"
    """Applied to y first (squashed Gaussian: tanh)."""
    scale: tuple[float, ...] = ()
    """Per entry, after the squash; empty: 1."""
    offset: tuple[float, ...] = ()
    """Per entry, after the scale; empty: 0."""
    low: tuple[float, ...] = ()
    """Per entry, the action is clipped from below; empty: not clipped."""
    high: tuple[float, ...] = ()
    """Per entry, the action is clipped from above; empty: not clipped."""
    names: tuple[str, ...] = ()
    """One name per entry; empty where nobody knows them."""
    units: str = ""
    """Units of the action and what the receiver does with it, in words."""
    distribution: str = "deterministic"
    """What the deterministic action came from: Gaussian mean, squashed Gaussian mean, categorical mode…"""

    @model_validator(mode="after")
    def _check(self) -> Action:
        for field in ("scale", "offset", "low", "high", "names"):
            value = getattr(self, field)
            if value and len(value) != self.size:
                raise ValueError(f"{field} has {len(value)} entries for an action of size {self.size}")
        if bool(self.low) != bool(self.high):
            raise ValueError("low and high must be given together")
        return self


@dataclass(frozen=True, config=STRICT)
class StateTensor:
    """One recurrent tensor that the caller carries from decision to decision; starts at zero."""

    name: str
    """LAYER_h or LAYER_c; the graph's tensors are state_in_NAME and state_out_NAME, shape [1, size]."""
    size: int = Field(gt=0)
    """Number of float32 values."""
    resets: Literal["episode"] = "episode"
    """When it goes back to zero."""


@dataclass(frozen=True, config=STRICT)
class Timing:
    """When the policy decides."""

    control_hz: float | None = Field(default=None, gt=0)
    """Actions per second it was trained at; None where nobody knows. A decision is due every k / control_hz seconds."""
    actions_per_decision: int = Field(default=1, ge=1, le=10_000)
    """k > 1: one observation in, k actions out, taken one after another at ``control_hz``."""
    observation_delay: tuple[int, int] = (0, 0)
    """Steps of the environment by which observations were late in training: fewest and most, drawn anew for every episode."""
    latency: Latency | None = None
    """By how much the actions of a decision were late in training; None: not at all."""
    hold: int = Field(default=1, ge=1, le=10_000)
    """Steps of its environment that an action is held for; ``control_hz`` counts actions: it is the environment's over this."""

    @model_validator(mode="after")
    def _check(self) -> Timing:
        if not 0 <= self.observation_delay[0] <= self.observation_delay[1] <= MAX_DELAY:
            raise ValueError(f"observation_delay must be 0 <= fewest <= most <= {MAX_DELAY}, not {self.observation_delay}")
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Bundles of punctual policies keep the digests that they had before there were delays."""
        table: dict[str, Any] = dump(self)
        usual = {"observation_delay": [0, 0], "latency": None, "hold": 1}
        return {key: value for key, value in table.items() if key not in usual or value not in (usual[key], (0, 0))}


@dataclass(frozen=True, config=STRICT)
class PassRecord:
    """One transformation that made this policy from its parent."""

    name: str
    """The pass, as in a recipe."""
    settings: dict[str, Any]
    """Its settings."""
    changed: dict[str, Any]
    """What it changed, in numbers (sparsity, rank, parameters, loss …)."""


@dataclass(frozen=True, config=STRICT)
class Provenance:
    """Where the policy comes from."""

    source: str = ""
    """In words: "trained by Pilotfish PPO", "Stable-Baselines3 PPO zip (ppo_X.zip)"."""
    env: str | None = None
    """Gymnasium id that it acts in; None where there is none here."""
    algorithm: str = ""
    """PPO, SAC, TRPO …"""
    steps: int | None = None
    """Environment steps it was trained for."""
    seed: int | None = None
    """Training seed."""
    parents: tuple[str, ...] = ()
    """sha256 digests of the policies it was made from, oldest first."""
    passes: tuple[PassRecord, ...] = ()
    """The compression passes behind it, in order."""
    tools: dict[str, str] = Field(default_factory=dict)
    """Versions of what made it."""
    normalizer_source: str = ""
    """Where the normalizer came from, or why there is none."""
    notes: tuple[str, ...] = ()
    """Warnings that a user of the policy must read."""


@dataclass(frozen=True, config=STRICT)
class Contract:
    """What a policy expects and promises; a mismatch is refused in words."""

    observation: Observation
    """What goes in."""
    action: Action
    """What comes out."""
    state: tuple[StateTensor, ...] = ()
    """Recurrent tensors, empty for feed-forward policies."""
    timing: Timing = Field(default_factory=Timing)
    """When it decides."""
    provenance: Provenance = Field(default_factory=Provenance)
    """Where it comes from."""

    @model_validator(mode="after")
    def _check(self) -> Contract:
        count = self.timing.actions_per_decision
        if count > 1 and (self.action.kind == "discrete" or self.action.size % count):
            raise ValueError(f"{count} actions per decision need a continuous action whose size is a multiple of {count}")
        if count > 1 and self.timing.hold > 1:
            raise ValueError("either several actions per decision, or one that is held for several steps")
        return self
