"""What the quadrotor is to do, where its episodes begin, what varies between them, and what is rewarded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ...errors import BadInput


@dataclass(frozen=True, kw_only=True)
class QuadrotorTask:
    """Settings of :class:`pilotfish.train.worlds.quadrotor.Quadrotor`; variations are drawn uniformly at each episode's start."""

    kind: Literal["hover", "lissajous"] = "hover"
    """hover: stay at the origin. lissajous: follow (A sin 2 p, B sin p, 0)."""
    control_hz: float = 500.0
    """Decisions, and Runge-Kutta steps, per second. The paper flies at 500 and more, and trains at 100."""
    episode_s: float = 5.0
    """Episodes are truncated after this long."""
    stagger: bool = False
    """Whether the first episodes have already lasted a random time: else all of them end together, again and again."""
    history: int = 8
    """Windows of past actions in the observation. The paper has 32; the lag of the rotors asks for some 10 of 10 ms."""
    history_s: float = 0.01
    """Seconds of one window of that history: being fixed, a policy can fly at another rate than it was trained at, as the
    paper's does."""
    delay_s: tuple[float, float] = (0.0, 0.01)
    """Shortest and longest time between an action and its reaching the motors, rounded to control steps."""
    lissajous_m: tuple[float, float] = (0.5, 1.0)
    """A and B, RLtools' default."""
    lissajous_period_s: float = 6.5
    """Seconds per round, RLtools' default; each episode begins at a random phase."""

    guidance: float = 0.1
    """Share of the episodes that begin at rest, level and on target."""
    start_position_m: float = 0.2
    """The others begin within ± this of the target along each axis (the paper's value),"""
    start_angle_rad: float = math.pi / 2
    """turned about a random axis by up to this,"""
    start_velocity_m_s: float = 1.0
    """within ± this per axis,"""
    start_rate_rad_s: float = 1.0
    """and this."""
    start_rotors: float = 0.5
    """The four rotors begin alike, anywhere between standing and this share of full speed (RLtools' default). Rotors slow down
    so much later than they speed up that a tilted start at full speed is lost whatever one does."""

    ramp_steps: int = 0
    """A curriculum: over so many steps of each row, all four of these ranges grow from nothing to what is said here."""

    vary_mass: float = 0.05
    """Largest relative deviation of the mass,"""
    vary_thrust: float = 0.05
    """of the thrust curve (a battery's state of charge),"""
    vary_inertia: float = 0.1
    """of each moment of inertia,"""
    vary_lag: float = 0.1
    """and of the rotors' time constants."""
    push_weights: float = 0.02
    """A constant push in the world, up to this many weights along each axis,"""
    push_torque_nm: float = 1e-5
    """and a constant torque up to this about each axis."""
    noise: tuple[float, float, float, float] = (0.001, 0.001, 0.002, 0.002)
    """Standard deviations of position (m), rotation matrix, velocity (m/s) and body rate (rad/s) as seen."""

    max_error_m: float = 1.0
    """An episode terminates farther from the target than this along an axis (RLtools' default),"""
    max_rate_rad_s: float = 35.0
    """or turning faster than this (the same)."""

    alive: float = 4.0
    """Reward of 10 ms before costs, which are per 10 ms as well."""
    position: float = 3.0
    """Cost of the distance from the target, per metre: the norm itself as in RLtools today, not the paper's square. At 1 a
    learner that stays in the air is content to hover 10 cm too low."""
    near: float = 6.0
    """Cost of the same distance on top, per metre,"""
    near_m: float = 0.15
    """up to here and constant beyond: more precision near the target, without punishing who starts far from it."""
    orientation: float = 0.2
    """Cost of 1 - w^2 of the quaternion; with it yaw is held at 0."""
    velocity: float = 0.02
    """Cost of velocity squared, per (m/s)^2."""
    rate: float = 0.001
    """Cost of body rate squared, per (rad/s)^2."""
    effort: float = 0.02
    """Cost of the squared distance of the action from the one that hovers."""
    change: float = 0.05
    """Cost of the squared change of the action: what keeps motors cool."""
    termination_penalty: float = 10.0
    """Paid once, instead of a reward."""

    def __post_init__(self) -> None:
        fewest, most = self.delay_s
        checks = (
            (self.kind in ("hover", "lissajous"), "kind", "hover or lissajous", self.kind),
            (10 <= self.control_hz <= 10_000, "control_hz", "10 to 10,000 per second", self.control_hz),
            (self.episode_s * self.control_hz >= 1, "episode_s", "at least one step", self.episode_s),
            (self.history_s > 0, "history_s", "a time above 0", self.history_s),
            (self.history >= 1, "history", "at least 1 action", self.history),
            (0 <= fewest <= most, "delay_s", "0 <= shortest <= longest", self.delay_s),
            (self.ramp_steps >= 0, "ramp_steps", "0 or more steps", self.ramp_steps),
            (0 <= self.guidance <= 1, "guidance", "a share between 0 and 1", self.guidance),
            (0 <= self.start_rotors <= 1, "start_rotors", "a share between 0 and 1", self.start_rotors),
            (len(self.noise) == 4 and min(self.noise) >= 0, "noise", "four standard deviations", self.noise),
        )
        for fine, name, expected, found in checks:
            if not fine:
                raise BadInput(f"quadrotor task, {name}", expected=expected, found=f"{found}")
        for name in ("vary_mass", "vary_thrust", "vary_inertia", "vary_lag"):
            if not 0 <= getattr(self, name) < 1:
                raise BadInput(f"quadrotor task, {name}", expected="a share in [0, 1)", found=f"{getattr(self, name)}")


def lesson(kind: Literal["hover", "lissajous"]) -> QuadrotorTask:
    """What a learner practises to master ``QuadrotorTask(kind=kind)``: other clocks, the same world.

    A hundred decisions a second, since what an action does shows no sooner and exploration at 500 averages itself away; episodes
    of two seconds, so that half a learner's time is recovery and not hovering; and rows that do not all end together.
    """
    return QuadrotorTask(kind=kind, control_hz=100.0, episode_s=2.0, stagger=True)
