"""A batch of Crazyflies to hover or to follow a figure of eight with: rotor speeds as actions, nothing between.

After Eschmann, Albani, Loianno, "Learning to Fly in Seconds", 2023 (arXiv 2311.13081): its observation (position error,
rotation matrix, velocities, history of actions), its direct control of rotor speeds and its true state for the critic.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .crazyflie import CRAZYFLIE, GRAVITY_M_S2
from .flight import Body, Flight, Physics, rotation
from .quadrotor_task import QuadrotorTask
from .world import WorldStep

_FIRST_DRAWS = 28
"""Uniform numbers that begin an episode."""


class Quadrotor:
    """n Crazyflies in one task; follows :class:`pilotfish.train.worlds.world.World`.

    Observation, float32 [n, 18 + 4 history]: position - target in m (3), rotation matrix row by row (9), velocity -
    target's in m/s (3), all in the world; body rates in rad/s (3); the last ``history`` actions, oldest first.
    Privileged, float32 [n, 36 + 4 history]: the same without noise, then rotor speeds / max (4), push / weight (3), torque
    in mN m (3), mass, thrust, inertia (3) and lag factors - 1, delay in steps (1), share of the episode that is over (1).
    Action, float32 [n, 4]: set-points of rotors 1 to 4, -1 for 0 rpm and +1 for the highest.
    """

    action_size = 4

    def __init__(self, num_envs: int, task: QuadrotorTask | None = None, device: str | torch.device = "cpu") -> None:
        self.num_envs, self.task, self.device = num_envs, task or QuadrotorTask(), torch.device(device)
        self.control_hz = self.task.control_hz
        self.observation_size = 18 + 4 * self.task.history
        self.privileged_size = self.observation_size + 18
        self.airframe = CRAZYFLIE
        self.flight = Flight(self.airframe, 1 / self.control_hz, self.device)
        self._limit = round(self.task.episode_s * self.control_hz)
        self._nominal_inertia = torch.tensor(self.airframe.inertia_kg_m2, device=self.device)
        self._noise = torch.tensor(
            [s for s, count in zip(self.task.noise, (3, 9, 3, 3), strict=True) for _ in range(count)], device=self.device
        )
        self.random = torch.Generator(self.device)
        self.rows: dict[str, Tensor] = {}
        self.seed(0)

    def seed(self, seed: int) -> None:
        """Start the random stream and an episode in every row."""
        self.random.manual_seed(seed)
        self.reset()

    def reset(self) -> Tensor:
        """Begin an episode in every row -> observation, float32 [n, observation_size]."""
        self.rows = self._first()
        return self._observe(self.rows, noisy=True)

    @torch.no_grad()
    def step(self, actions: Tensor) -> WorldStep:
        """actions: float32 [n, 4]. Every row draws the random numbers of a new episode, whether it begins one or not."""
        rows, task = self.rows, self.task
        action = actions.to(self.device, torch.float32).clamp(-1.0, 1.0)
        sent = torch.cat((rows["sent"][:, 1:], action[:, None]), dim=1)
        taken = sent.gather(1, (sent.shape[1] - 1 - rows["delay"])[:, None, None].expand(-1, 1, 4))[:, 0]
        body = self.flight.step(self._body(rows), (taken + 1) * (self.airframe.max_rpm / 2), self._physics(rows))
        after = rows | {
            "position": body.position_m,
            "quaternion": body.quaternion,
            "velocity": body.velocity_m_s,
            "rate": body.rate_rad_s,
            "rpm": body.rpm,
            "sent": sent,
            "age": rows["age"] + 1,
        }
        place, speed = self._target(after)
        error, slip = body.position_m - place, body.velocity_m_s - speed
        # "not inside" rather than "outside": a row that is no number any more ends as well.
        inside = (error.abs() <= task.max_error_m).all(1) & (body.rate_rad_s.abs() <= task.max_rate_rad_s).all(1)
        terminated = ~inside
        truncated = inside & (after["age"] >= self._limit)
        reward = torch.where(inside, self._reward(body, error, slip, action, rows["sent"][:, -1]), -task.termination_penalty)
        last = self._observe(after, noisy=True)
        ended = terminated | truncated
        fresh = self._first()
        self.rows = {name: torch.where(_over(ended, value), fresh[name], value) for name, value in after.items()}
        obs = torch.where(ended[:, None], self._observe(self.rows, noisy=True), last)
        return WorldStep(obs, reward, terminated, truncated, last)

    def privileged(self) -> Tensor:
        """float32 [n, privileged_size]; see the class."""
        rows = self.rows
        parts = (
            self._observe(rows, noisy=False),
            rows["rpm"] / self.airframe.max_rpm,
            rows["force"] / (self.airframe.mass_kg * GRAVITY_M_S2),
            rows["torque"] * 1e3,
            rows["mass"] / self.airframe.mass_kg - 1,
            rows["thrust"] - 1,
            rows["inertia"] / self._nominal_inertia - 1,
            rows["lag"] - 1,
            rows["delay"][:, None].float(),
            rows["age"][:, None] / self._limit,
        )
        return torch.cat(parts, dim=1)

    def position_error_m(self) -> Tensor:
        """True distance from the target, float32 [n]."""
        return (self.rows["position"] - self._target(self.rows)[0]).norm(dim=1)

    def state(self) -> dict[str, Any]:
        """Rows and random stream, copied."""
        return {"rows": {name: value.clone() for name, value in self.rows.items()}, "random": self.random.get_state()}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.rows = {name: value.to(self.device).clone() for name, value in state["rows"].items()}
        self.random.set_state(state["random"])

    def _reward(self, body: Body, error: Tensor, slip: Tensor, action: Tensor, before: Tensor) -> Tensor:
        task = self.task
        cost = task.position * error.norm(dim=1)
        cost = cost + task.orientation * (1 - body.quaternion[:, 0].square())
        cost = cost + task.velocity * slip.square().sum(1) + task.rate * body.rate_rad_s.square().sum(1)
        cost = cost + task.effort * (action - self.airframe.hover_action).square().sum(1)
        return task.alive - cost - task.change * (action - before).square().sum(1)

    def _observe(self, rows: dict[str, Tensor], noisy: bool) -> Tensor:
        place, speed = self._target(rows)
        seen = torch.cat((rows["position"] - place, rotation(rows["quaternion"]), rows["velocity"] - speed, rows["rate"]), dim=1)
        if noisy and any(self.task.noise):
            seen = seen + self._noise * torch.randn(seen.shape, generator=self.random, device=self.device)
        return torch.cat((seen, rows["sent"][:, rows["sent"].shape[1] - self.task.history :].flatten(1)), dim=1)

    def _target(self, rows: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(position, velocity) to be at, each [n, 3]."""
        if self.task.kind == "hover":
            still = torch.zeros_like(rows["position"])
            return still, still
        turn = 2 * math.pi / self.task.lissajous_period_s
        angle = rows["phase"] + turn / self.control_hz * rows["age"]
        wide, long = self.task.lissajous_m
        flat = torch.zeros_like(angle)
        place = torch.stack((wide * torch.sin(2 * angle), long * torch.sin(angle), flat), dim=1)
        return place, turn * torch.stack((2 * wide * torch.cos(2 * angle), long * torch.cos(angle), flat), dim=1)

    def _first(self) -> dict[str, Tensor]:
        """Beginnings of episodes for all rows, of which only those are used whose last one ended."""
        task, frame, n = self.task, self.airframe, self.num_envs
        unit = torch.rand((n, _FIRST_DRAWS), generator=self.random, device=self.device)
        signed = 2 * unit - 1
        moved = (unit[:, :1] >= task.guidance).float()
        turn, height = 2 * math.pi * unit[:, 4], signed[:, 5]
        flat = (1 - height.square()).clamp(min=0).sqrt()
        axis = torch.stack((flat * torch.cos(turn), flat * torch.sin(turn), height), dim=1)
        half = moved * task.start_angle_rad / 2 * unit[:, 6:7]
        level = task.start_rotors * unit[:, 13:14].expand(n, 4)
        span = task.delay_steps[1] - task.delay_steps[0] + 1
        weight_n = frame.mass_kg * GRAVITY_M_S2
        rows = {
            "position": moved * task.start_position_m * signed[:, 1:4],
            "quaternion": torch.cat((torch.cos(half), torch.sin(half) * axis), dim=1),
            "velocity": moved * task.start_velocity_m_s * signed[:, 7:10],
            "rate": moved * task.start_rate_rad_s * signed[:, 10:13],
            "rpm": level * frame.max_rpm,
            "sent": (2 * level - 1)[:, None].expand(n, max(task.history, task.delay_steps[1] + 1), 4).contiguous(),
            "age": torch.zeros(n, dtype=torch.int64, device=self.device),
            "phase": 2 * math.pi * unit[:, 14],
            "delay": task.delay_steps[0] + (span * unit[:, 15]).long().clamp(max=span - 1),
            "mass": frame.mass_kg * (1 + task.vary_mass * signed[:, 16:17]),
            "thrust": 1 + task.vary_thrust * signed[:, 17:18],
            "lag": 1 + task.vary_lag * signed[:, 18:19],
            "inertia": self._nominal_inertia * (1 + task.vary_inertia * signed[:, 19:22]),
            "force": task.push_weights * weight_n * signed[:, 22:25],
            "torque": task.push_torque_nm * signed[:, 25:28],
        }
        place, speed = self._target(rows)
        return rows | {"position": rows["position"] + place, "velocity": rows["velocity"] + speed}

    def _body(self, rows: dict[str, Tensor]) -> Body:
        return Body(rows["position"], rows["quaternion"], rows["velocity"], rows["rate"], rows["rpm"])

    def _physics(self, rows: dict[str, Tensor]) -> Physics:
        return Physics(rows["mass"], rows["inertia"], rows["thrust"], rows["lag"], rows["force"], rows["torque"])


def _over(mask: Tensor, value: Tensor) -> Tensor:
    """mask [n] with as many trailing axes as value has."""
    return mask.reshape(-1, *(1,) * (value.dim() - 1))
