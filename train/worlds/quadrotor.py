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
from .flight import BODY_ROWS, CONSTANT_ROWS, POSITION, QUATERNION, RATE, RPM, VELOCITY, Flight, Physics
from .quadrotor_task import QuadrotorTask
from .world import WorldStep

_FIRST_DRAWS = 28
"""Uniform numbers that begin an episode."""
_DRAW_EVERY = 8
"""Steps between two draws of every row's next beginning: no episode is shorter, and drawing is a fifth of a step's work."""


class Quadrotor:
    """n Crazyflies in one task; follows :class:`pilotfish.train.worlds.world.World`.

    Observation, float32 [n, 18 + 4 history]: position - target in m (3), rotation matrix row by row (9), velocity -
    target's in m/s (3), all in the world; body rates in rad/s (3); means of the actions sent in the last ``history`` windows
    of ``history_s`` seconds, oldest first (with windows of one step: the last actions).
    Privileged, float32 [n, 36 + 4 history]: the same without noise, then rotor speeds / max (4), push / weight (3), torque
    in mN m (3), mass, thrust, inertia (3) and lag factors - 1, delay in 10 ms (1), share of the episode that is over (1).
    Action, float32 [n, 4]: set-points of rotors 1 to 4, -1 for 0 rpm and +1 for the highest.
    """

    action_size = 4

    def __init__(self, num_envs: int, task: QuadrotorTask | None = None, device: str | torch.device = "cpu") -> None:
        self.num_envs, self.task, self.device = num_envs, task or QuadrotorTask(), torch.device(device)
        task = self.task
        self.control_hz = task.control_hz
        self.observation_size = 18 + 4 * task.history
        self.privileged_size = self.observation_size + 18
        self.airframe = CRAZYFLIE
        self.rest_action: tuple[float, ...] = (self.airframe.hover_action,) * 4
        self.flight = Flight(self.airframe, 1 / self.control_hz, self.device)
        self._limit = round(task.episode_s * self.control_hz)
        self._window = max(1, round(task.history_s * self.control_hz))
        self._delays = tuple(round(seconds * self.control_hz) for seconds in task.delay_s)
        self._sent = max(self._window, self._delays[1] + 1)
        self._means = (task.history - 1) * self._window + 1
        rows = {
            "body": BODY_ROWS, "constants": CONSTANT_ROWS, "hidden": 12, "delay": 1, "phase": 1, "age": 1,
            "sent": 4 * self._sent, "means": 4 * self._means,
        }  # fmt: skip
        ends = torch.tensor([0, *rows.values()]).cumsum(0).tolist()
        self._at = {name: slice(a, b) for name, a, b in zip(rows, ends[:-1], ends[1:], strict=True)}

        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, device=self.device)[:, None]

        self._nominal_inertia = column(list(self.airframe.inertia_kg_m2))
        self._noise = column([s for s, count in zip(task.noise, (3, 9, 3, 3), strict=True) for _ in range(count)])
        per_step = 100 / self.control_hz
        weights = [task.velocity] * 3 + [task.rate] * 3 + [task.effort] * 4 + [task.change] * 4 + [task.orientation] * 3
        self._weights, self._alive, self._far = -per_step * column(weights), per_step * task.alive, per_step * task.position
        self._near = per_step * task.near
        self._bounds = column([task.max_error_m] * 3 + [task.max_rate_rad_s] * 3)
        self.random = torch.Generator(self.device)
        self.table = torch.zeros(0)
        self._next, self._next_obs = torch.zeros(0), torch.zeros(0)
        self._drawn = self._stepped = 0
        self.seed(0)

    def seed(self, seed: int) -> None:
        """Start the random stream, the curriculum and an episode in every row."""
        self.random.manual_seed(seed)
        self._stepped = 0
        self.reset()

    def reset(self, rows: Tensor | None = None) -> Tensor:
        """Begin an episode in every row, or in those of ``rows`` (bool [n]) -> observation, float32 [n, observation_size].

        What the rows that go on see is seen again, with fresh noise.
        """
        self._draw()
        if rows is None:
            self.table, obs = self._next, self._next_obs
        else:
            obs = torch.where(rows, self._next_obs, self._seen(self.table))
            self.table = torch.where(rows, self._next, self.table)
        self._draw()
        if rows is None and self.task.stagger:
            share = torch.rand((1, self.num_envs), generator=self.random, device=self.device)
            self.rows["age"][:] = (share * self._limit).floor()
        return obs.T

    @property
    def rows(self) -> dict[str, Tensor]:
        """Where every row stands, as views [k, n] into one table: writing into them changes the world."""
        body = self.table[self._at["body"]]
        parts = {"position": POSITION, "quaternion": QUATERNION, "velocity": VELOCITY, "rate": RATE, "rpm": RPM}
        return {name: body[at] for name, at in parts.items()} | {name: self.table[at] for name, at in self._at.items()}

    @torch.no_grad()
    def step(self, actions: Tensor) -> WorldStep:
        """actions: float32 [n, 4]. Every row draws the random numbers of episodes to come, whether it begins one or not."""
        table, at, task = self.table, self._at, self.task
        action = actions.to(self.device, torch.float32).T.clamp(-1.0, 1.0)
        sent = torch.cat((table[at["sent"]][4:], action))
        body = self.flight.step(table[at["body"]], (self._taken(sent) + 1) * (self.airframe.max_rpm / 2), table[at["constants"]])
        before = table[at["means"]]
        mean = action if self._window == 1 else sent[-4 * self._window :].view(self._window, 4, -1).mean(0)
        unchanged = table[at["constants"].start : at["phase"].stop]
        age = table[at["age"]] + 1
        after = torch.cat((body, unchanged, age, sent, before[4:], mean))

        true = self._true(after)
        # "not outside" would keep a row that is no number any more: it ends as well.
        inside = (torch.cat((true[:3], true[15:18])).abs() <= self._bounds).all(0)
        terminated, truncated = ~inside, inside & (age[0] >= self._limit)
        penalty = -task.termination_penalty
        reward = torch.where(inside, self._reward(true, body, action, before[-4:]), penalty)
        seen = torch.cat((self._noisy(true), self._history(after)))
        ended = terminated | truncated
        self.table = torch.where(ended, self._next, after)
        obs = torch.where(ended, self._next_obs, seen)
        self._drawn += 1
        self._stepped += 1
        if self._drawn == _DRAW_EVERY:
            self._draw()
        return WorldStep(obs.T, reward, terminated, truncated, seen.T, lambda: self._known(after))

    def privileged(self) -> Tensor:
        """float32 [n, privileged_size]; see the class."""
        return self._known(self.table)

    def position_error_m(self) -> Tensor:
        """True distance from the target, float32 [n]."""
        return self._true(self.table)[:3].norm(dim=0)

    def state(self) -> dict[str, Any]:
        """Rows, the beginnings drawn for them, and the random stream, copied."""
        tensors = {"table": self.table, "next": self._next, "next_obs": self._next_obs}
        counted = {"drawn": self._drawn, "stepped": self._stepped, "random": self.random.get_state()}
        return {name: value.clone() for name, value in tensors.items()} | counted

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        names = ("table", "next", "next_obs")
        self.table, self._next, self._next_obs = (state[name].to(self.device).clone() for name in names)
        self._drawn, self._stepped = int(state["drawn"]), int(state["stepped"])
        self.random.set_state(state["random"])

    def _taken(self, sent: Tensor) -> Tensor:
        """The actions that reach the motors now, [4, n]."""
        if self._delays == (0, 0):
            return sent[-4:]
        steps = self.table[self._at["delay"]].long()
        return sent.view(self._sent, 4, -1).gather(0, (self._sent - 1 - steps)[None].expand(1, 4, -1))[0]

    def _reward(self, true: Tensor, body: Tensor, action: Tensor, before: Tensor) -> Tensor:
        error = true[:3] * true[:3]
        apart = (error[0] + error[1] + error[2]).sqrt()
        # 1 - w^2 of a unit quaternion is the square of its vector part.
        parts = torch.cat((true[12:18], action - self.airframe.hover_action, action - before, body[1:4]))
        squares = parts * parts
        # Folded, not summed: how a sum over rows is grouped depends on how many columns there are.
        costs = squares * self._weights
        half = costs[:8] + costs[8:16]
        half = half[:4] + half[4:]
        half = half[:2] + half[2:]
        near = apart.clamp(max=self.task.near_m) * self._near
        return half[0] + half[1] + costs[16] - self._far * apart - near + self._alive

    def _true(self, table: Tensor) -> Tensor:
        """What an observation begins with, without noise: [18, n]."""
        body = table[self._at["body"]]
        position, velocity = body[POSITION], body[VELOCITY]
        if self.task.kind != "hover":
            place, speed = self._target(table[self._at["phase"]][0], table[self._at["age"]][0])
            position, velocity = position - place, velocity - speed
        return torch.cat((position, self.flight.rotation(body[QUATERNION]), velocity, body[RATE]))

    def _noisy(self, true: Tensor) -> Tensor:
        if not any(self.task.noise):
            return true
        return torch.addcmul(true, torch.randn(true.shape, generator=self.random, device=self.device), self._noise)

    def _history(self, table: Tensor) -> Tensor:
        means = table[self._at["means"]]
        return means if self._window == 1 else means.view(self._means, 4, -1)[:: self._window].flatten(0, 1)

    def _seen(self, table: Tensor) -> Tensor:
        return torch.cat((self._noisy(self._true(table)), self._history(table)))

    def _known(self, table: Tensor) -> Tensor:
        """What :meth:`privileged` gives."""
        at = self._at
        speeds, late = table[at["body"]][RPM] / self.airframe.max_rpm, table[at["delay"]] * (100 / self.control_hz)
        secrets = (speeds, table[at["hidden"]], late, table[at["age"]] / self._limit)
        return torch.cat((self._true(table), self._history(table), *secrets)).T

    def _target(self, phase: Tensor, age: Tensor) -> tuple[Tensor, Tensor]:
        """(position, velocity) to be at, each [3, n], of the figure of eight; both arguments [n]."""
        turn = 2 * math.pi / self.task.lissajous_period_s
        angle = phase + turn / self.control_hz * age
        wide, long = self.task.lissajous_m
        flat = torch.zeros_like(angle)
        place = torch.stack((wide * torch.sin(2 * angle), long * torch.sin(angle), flat))
        return place, turn * torch.stack((2 * wide * torch.cos(2 * angle), long * torch.cos(angle), flat))

    def _draw(self) -> None:
        """The next beginning of every row, and what is seen of it."""
        self._next = self._first()
        self._next_obs = self._seen(self._next)
        self._drawn = 0

    def _first(self) -> Tensor:
        """A beginning for each row, [rows of the table, n]."""
        task, frame, n = self.task, self.airframe, self.num_envs
        unit = torch.rand((_FIRST_DRAWS, n), generator=self.random, device=self.device)
        signed = 2 * unit - 1
        moved = (unit[:1] >= task.guidance).float() * (min(1.0, self._stepped / task.ramp_steps) if task.ramp_steps else 1.0)
        turn, height = 2 * math.pi * unit[4], signed[5]
        flat = (1 - height.square()).clamp(min=0).sqrt()
        axis = torch.stack((flat * torch.cos(turn), flat * torch.sin(turn), height))
        half = moved * task.start_angle_rad / 2 * unit[6:7]
        level = task.start_rotors * unit[13:14].expand(4, n)
        phase, age = 2 * math.pi * unit[14:15], torch.zeros((1, n), device=self.device)
        position, velocity = task.start_position_m * signed[1:4], task.start_velocity_m_s * signed[7:10]
        position, velocity = moved * position, moved * velocity
        if task.kind != "hover":
            place, speed = self._target(phase[0], age[0])
            position, velocity = position + place, velocity + speed
        fewest, most = self._delays
        mass, thrust, lag = task.vary_mass * signed[16:17], task.vary_thrust * signed[17:18], task.vary_lag * signed[18:19]
        inertia, push, torque = task.vary_inertia * signed[19:22], task.push_weights * signed[22:25], signed[25:28]
        torque = task.push_torque_nm * torque
        physics = Physics(
            frame.mass_kg * (1 + mass), self._nominal_inertia * (1 + inertia), 1 + thrust, 1 + lag,
            frame.mass_kg * GRAVITY_M_S2 * push, torque,
        )  # fmt: skip
        parts = (
            torch.cos(half), torch.sin(half) * axis, moved * task.start_rate_rad_s * signed[10:13], velocity, position,
            level * frame.max_rpm,
            self.flight.constants(physics),
            push, 1e3 * torque, mass, thrust, inertia, lag,
            (fewest + ((most - fewest + 1) * unit[15:16]).floor()).clamp(max=most),
            phase, age,
            (2 * level - 1).repeat(self._sent + self._means, 1),
        )  # fmt: skip
        return torch.cat(parts)
