"""What distillation learns from: states that the student (or the teacher) reaches, each with the teacher's answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..policy.bundle import Policy
from ..policy.network import State
from ..policy.record import record_golden
from ..policy.scene import Scene
from ..policy.torch_policy import TorchPolicy
from .environments import VectorEnv
from .teachers import Faculty, answer_of


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """T steps of n copies of the environment, in the order in which they happened."""

    obs: Tensor
    """float32 [T, n, observation size], raw."""
    answer: Tensor
    """float32 [T, n, action size]: the teacher's action; discrete: the teacher's network output y."""
    start: Tensor
    """float32 [T, n]: 1 where an episode starts."""
    memory: tuple[Tensor, ...]
    """The student's recurrent tensors *before* the step, float32 [T, n, size] each; empty for feed-forward students."""

    def to(self, device: torch.device) -> Demonstrations:
        """The same on another device."""
        memory = tuple(tensor.to(device) for tensor in self.memory)
        return Demonstrations(self.obs.to(device), self.answer.to(device), self.start.to(device), memory)


def joined(parts: Sequence[Demonstrations]) -> Demonstrations:
    """The copies of all ``parts`` beside each other; they have as many steps and the same student."""
    if len(parts) == 1:
        return parts[0]
    obs, answer, start = (torch.cat([getattr(part, name) for part in parts], dim=1) for name in ("obs", "answer", "start"))
    memory = tuple(torch.cat(tensors, dim=1) for tensors in zip(*(part.memory for part in parts), strict=True))
    return Demonstrations(obs, answer, start, memory)


class Collector:
    """Steps the environments with the student or the teacher; episodes go on from one round to the next."""

    def __init__(
        self,
        teacher: Policy | Sequence[Policy],
        env: str | Scene,
        n_envs: int,
        restart_share: float,
        seed: int,
        noise: float = 0.0,
    ) -> None:
        """``teacher``: several answer with their mean; ``noise``: of the actions in every other copy, as a share of half the
        action's range."""
        teachers = (teacher,) if isinstance(teacher, Policy) else tuple(teacher)
        self.envs = VectorEnv(env, n_envs, seed)  # type: ignore[arg-type]
        self.limits = action = teachers[0].contract.action
        half = 0.5 * (np.array(action.high) - np.array(action.low)) if action.low else np.abs(np.array(action.scale or 1.0))
        loud = (np.arange(n_envs) % 2 == 1)[:, None]
        self.noise = noise * half * loud if noise and action.kind == "continuous" else None
        self.restart_share = restart_share
        self.random = np.random.default_rng([seed, 3])
        self.teacher = Faculty(teachers)
        self.teacher_state = self.teacher.initial_state(n_envs)
        self.student_state: State | None = None
        self.fresh = np.ones(n_envs, bool)

    def begin(self, seed: int) -> None:
        """Start all copies over, as if this collector had just been made with ``seed``; the next student is another one."""
        self.envs.begin(seed)
        self.random = np.random.default_rng([seed, 3])
        self.teacher_state = self.teacher.initial_state(len(self.envs))
        self.student_state = None
        self.fresh = np.ones(len(self.envs), bool)

    @torch.no_grad()
    def collect(self, student: TorchPolicy, horizon: int, teacher_share: float) -> Demonstrations:
        """``horizon`` steps of every copy; each action is the teacher's with probability ``teacher_share``."""
        n = len(self.envs)
        if self.student_state is None:
            self.student_state = student.network.initial_state(n)
        else:
            self._restart(self.random.permutation(n)[: round(n * self.restart_share)])
        rows: list[tuple[Tensor, Tensor, Tensor]] = []
        memories: list[State] = []
        for _ in range(horizon):
            obs, start = torch.from_numpy(self.envs.obs), torch.from_numpy(self.fresh.astype(np.float32))
            memories.append(self.student_state)
            answer, theirs, self.teacher_state = self.teacher.answer(obs, self.teacher_state)
            _, own, self.student_state = answer_of(student, obs, self.student_state)
            rows.append((obs, answer, start))
            from_teacher = torch.from_numpy(self.random.random((n, 1)) < teacher_share)
            action = torch.where(from_teacher, theirs, own).numpy()
            if self.noise is not None:
                action = self._disturbed(action)
            step = self.envs.step(action[:, 0] if self.envs.discrete else action)
            self.fresh = step.terminated | step.truncated
            if step.last:
                self._forget()
        obs, answer, start = (torch.stack(column) for column in zip(*rows, strict=True))
        return Demonstrations(obs, answer, start, tuple(torch.stack(column) for column in zip(*memories, strict=True)))

    def _disturbed(self, action: np.ndarray) -> np.ndarray:
        """States beside the beaten track: what is learned there is how to come back (Laskey et al. 2017, arXiv 1703.09327)."""
        assert self.noise is not None  # only then is it called
        limits = self.limits
        action = action + (self.random.standard_normal(action.shape) * self.noise).astype(np.float32)
        return np.clip(action, limits.low, limits.high).astype(np.float32) if limits.low else action

    def _restart(self, indices: np.ndarray) -> None:
        """Episodes differ most where they begin: every round must see students begin."""
        self.envs.restart(indices)
        self.fresh[indices] = True
        self._forget()

    def _forget(self) -> None:
        """Recurrent tensors go back to zero where an episode starts."""
        going = torch.from_numpy(~self.fresh).float()[:, None]
        self.teacher_state = tuple(tensor * going for tensor in self.teacher_state)
        self.student_state = tuple(tensor * going for tensor in self.student_state or ())

    def close(self) -> None:
        """Release the simulators."""
        self.envs.close()


@torch.no_grad()
def without_environment(teachers: Sequence[Policy], student: TorchPolicy, steps: int, seed: int) -> Demonstrations:
    """The teachers' answers to the first one's recorded rollout; to random observations where no environment was recorded."""
    teacher = teachers[0]
    golden = teacher.golden
    if golden is None or golden.source != "environment":
        golden = record_golden(teacher, None, steps=steps, seed=seed)
    expert = Faculty(teachers)
    theirs, own = expert.initial_state(1), student.network.initial_state(1)
    answers: list[Tensor] = []
    memories: list[State] = []
    for obs, start in zip(golden.obs, golden.start, strict=True):
        if start:
            theirs, own = expert.initial_state(1), student.network.initial_state(1)
        row = torch.from_numpy(obs)[None]
        memories.append(own)
        answer, _, theirs = expert.answer(row, theirs)
        _, _, own = answer_of(student, row, own)
        answers.append(answer)
    return Demonstrations(
        torch.from_numpy(golden.obs)[:, None],
        torch.stack(answers),
        torch.from_numpy(golden.start.astype(np.float32))[:, None],
        tuple(torch.stack(column) for column in zip(*memories, strict=True)),
    )
