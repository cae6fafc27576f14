"""What a sparse training is to do: one frozen table of settings, checked where it is made; imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from .distribution import Scope
from .schedule import FALLING, Schedule, ScheduleName

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False))
class Sparsity:
    """Weights that are zero when the training ends; biases, norms and a Gaussian's deviation never are."""

    method: Literal["prune", "rigl", "set", "static"] = "prune"
    """prune: dense at first, then gradually fewer by magnitude (Zhu and Gupta 2017, arXiv 1710.01878; best by Graesser et al.
    2022, arXiv 2206.10369). The others have the final number from the first step on, at random places: rigl drops the smallest
    and lets those with the largest gradient grow (Evci et al. 2020, arXiv 1911.11134), set any (Mocanu et al. 2018, arXiv
    1707.04780), static moves nothing, for comparison."""
    final: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Share of the weights that is zero at the end, counted exactly over all weight matrices of a network."""
    schedule: ScheduleName | None = None
    """prune: the way there, cubic (the default), linear or harmonic, which lets weights grow back at times."""
    begin: Share | None = None
    """Fraction of ``steps`` at which changes begin; None: 0.2 for prune, 0 for rigl and set."""
    end: Share | None = None
    """Fraction of ``steps`` at which prune reaches ``final`` (None: 0.8), or rigl and set stop moving weights (None: 0.75)."""
    every: Annotated[int, Field(ge=1, le=1_000_000_000)] = 500
    """Gradient steps between two changes."""
    scope: Scope = "erdos-renyi"
    """erdos-renyi: a layer's density is proportional to (in + out) / (in * out); uniform: the same in all; global: whatever one
    ranking over all matrices leaves, which can empty a layer whose weights are small, such as PPO's last one."""
    of: Literal["actor", "critic", "both"] = "actor"
    """Which networks; the critic never leaves the training machine, and suffers more (arXiv 2206.10369)."""
    drop: Annotated[float, Field(gt=0, le=1)] | None = None
    """rigl, set: share of the weights that the first change moves; it falls to zero at ``end`` along a cosine. None: 0.5."""

    @model_validator(mode="after")
    def _check(self) -> Sparsity:
        if self.schedule is not None and self.method != "prune":
            raise ValueError(f"schedule is a setting of method = prune; {self.method} has its final sparsity from the first step")
        if self.drop is not None and self.method not in ("rigl", "set"):
            raise ValueError(f"drop is a setting of method = rigl or set, not of {self.method}")
        if not self.span[0] < self.span[1]:
            raise ValueError(f"begin {self.span[0]:g} is not before end {self.span[1]:g}")
        return self

    @property
    def span(self) -> tuple[float, float]:
        """Fractions of training where changes begin and end, resolved."""
        begin, end = (0.2, 0.8) if self.method == "prune" else (0.0, 0.75)
        return (begin if self.begin is None else self.begin), (end if self.end is None else self.end)

    @property
    def by_gradient(self) -> bool:
        """Do weights grow where the dense gradient is largest?"""
        return self.method == "rigl" or self.schedule in FALLING

    def plan(self) -> Schedule:
        """Sparsity over the training."""
        begin, end = self.span
        initial = 0.0 if self.method == "prune" else self.final
        return Schedule(self.final, self.schedule or "cubic", begin, end, self.every, initial)
