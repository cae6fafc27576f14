"""A school: simulators and the teacher's demonstrations, made once for many students of the same teacher.

A search teaches dozens of students. What each of them needs alone is what it meets itself; that the teacher acts in the first
round of a distillation (:mod:`.distill`) has nothing to do with who learns from it, so that round is flown once for all, and what
a student has met in one lesson stays with it through the next ones, whatever becomes of its layers between them.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

from ..policy.bundle import Policy
from ..policy.scene import Scene
from ..policy.torch_policy import TorchPolicy
from .config import DistillConfig
from .demonstrations import Collector, Demonstrations
from .device import one_thread, resolve_device
from .distill import taught_contract
from .pupil import Masks, Pupil
from .teachers import check_teacher


@torch.no_grad()
def remembered(student: TorchPolicy, data: Demonstrations) -> Demonstrations:
    """``data`` with the memory that ``student`` has at every step of it, whoever acted; as it is for one without memory."""
    state = student.network.initial_state(data.obs.shape[1])
    if not state:
        return data
    memories = []
    for obs, start in zip(data.obs, data.start, strict=True):
        state = tuple(tensor * (1 - start)[:, None] for tensor in state)
        memories.append(state)
        _, state = student(obs, state)
    return dataclasses.replace(data, memory=tuple(torch.stack(column) for column in zip(*memories, strict=True)))


class School:
    """Teaches one student after another; :meth:`welcome` says that another one comes.

    Unlike :func:`~pilotfish.train.distill.distill` it returns the student of the last round, without judging any: whoever teaches
    so many has a judge of his own. It records no golden rollout either.
    """

    def __init__(self, teacher: Policy, env: str | Scene, env_id: str, copies: int, steps: int, seed: int, device: str = "cpu"):
        """``steps`` of the teacher in ``copies`` of ``env``, in whole rounds, are what every student sees first; ``env_id``:
        what the environment is called in provenances."""
        self.teacher, self.env_id, self.copies, self.seed = teacher, env_id, copies, seed
        self.device = resolve_device(device)
        self.collector = Collector(teacher, env, copies, 1.0, seed)
        with one_thread():
            own = TorchPolicy(teacher).eval()
            self.shown = self.collector.collect(own, math.ceil(steps / copies), 1.0)
        self.shown = dataclasses.replace(self.shown, memory=())
        self.welcome(seed)

    @property
    def steps(self) -> int:
        """Environment steps of the teacher that all students see."""
        return self.shown.obs.shape[0] * self.copies

    def welcome(self, seed: int) -> None:
        """The next lessons are another student's: what the last one met is forgotten, and all seeds follow from ``seed``,
        so that what a student learns does not hang on who learned before."""
        self.met: list[Demonstrations] = []
        self._lessons = np.random.SeedSequence(seed)

    def teach(self, student: Policy, config: DistillConfig, masks: Masks | None = None) -> Policy:
        """One lesson of ``config.iterations`` rounds: in each the student acts for its share of ``config.steps``, then learns
        from all that it has met and what the teacher has shown. With a ``teacher_share`` the first round is the teacher's, which
        has been flown. ``masks`` as for :func:`~pilotfish.train.distill.distill`. Raises BadInput if the policies do not fit
        each other.
        """
        check_teacher(self.teacher, student)
        horizon = max(1, math.ceil(config.steps / config.iterations / self.copies))
        self._start(config.restart_share)
        with one_thread():
            pupil = Pupil(student, config, self.device, masks)
            for index in range(config.iterations):
                new = self.shown
                if index or not config.teacher_share:
                    new = self.collector.collect(pupil.acting(), horizon, 0.0)
                    self.met.append(new)
                if index == 0:
                    acting = pupil.acting()
                    pupil.seen = [remembered(acting, part) for part in (self.shown, *self.met) if part is not new]
                new = remembered(pupil.acting(), new) if new is self.shown else new
                pupil.learn(new, last=index == config.iterations - 1)
        taught = pupil.policy()
        return taught.replace(contract=taught_contract((self.teacher,), student, self.env_id))

    def watch(self, student: Policy, steps: int) -> None:
        """Let a student that was taught elsewhere act for ``steps``, so that what it meets is there for the lessons to come."""
        check_teacher(self.teacher, student)
        self._start(1.0)
        with one_thread():
            self.met.append(self.collector.collect(TorchPolicy(student).eval(), math.ceil(steps / self.copies), 0.0))

    def _start(self, restart_share: float) -> None:
        """All copies begin an episode, with seeds that this student has not had."""
        self.collector.restart_share = restart_share
        self.collector.begin(int(self._lessons.spawn(1)[0].generate_state(1)[0]))

    def close(self) -> None:
        """Release the simulators."""
        self.collector.close()
