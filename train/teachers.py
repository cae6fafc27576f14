"""Who teaches: one policy, or several that answer together, and where each of them is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import BadInput
from ..policy.bundle import Policy
from ..policy.network import State
from ..policy.scene import Scene, scene_of
from ..policy.torch_policy import TorchPolicy, transform_action

Blend = Literal["mean", "episode"]
"""How several teachers become one. mean: every state is answered by all of them, and their mean is learned. episode: every copy
of the environment has one of them, who alone answers there."""


def answer_of(policy: TorchPolicy, obs: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
    """obs [n, observation size] -> (what a student should give, the action itself [n, m], next state)."""
    y, following = policy.network(policy.normalize(obs), state)
    action = transform_action(policy.contract.action, y)
    return (y if policy.contract.action.kind == "discrete" else action), action, following


class Faculty:
    """Teachers who answer as one: the mean of their actions; discrete: of their log-probabilities, the choices' geometric mean.

    That mean of log-probabilities is, up to a constant that the softmax takes out again, the distribution that is nearest to all
    teachers in the sum of KL(it || teacher). One teacher answers as if there were no faculty.
    """

    def __init__(self, teachers: Sequence[Policy]) -> None:
        self.members = [TorchPolicy(teacher).eval() for teacher in teachers]
        self._tensors = [len(teacher.contract.state) for teacher in teachers]

    def initial_state(self, count: int) -> State:
        """The recurrent tensors of all members, one behind the other: zeros, float32 [count, size] each."""
        return tuple(tensor for member in self.members for tensor in member.network.initial_state(count))

    def answer(self, obs: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """As :func:`answer_of`, for all members."""
        if len(self.members) == 1:
            return answer_of(self.members[0], obs, state)
        answers: list[Tensor] = []
        following: list[Tensor] = []
        begin = 0
        for member, tensors in zip(self.members, self._tensors, strict=True):
            answer, _, state_then = answer_of(member, obs, tuple(state[begin : begin + tensors]))
            answers.append(answer)
            following += state_then
            begin += tensors
        action = self.members[0].contract.action
        if action.kind == "discrete":
            mean = torch.stack([torch.log_softmax(answer, dim=-1) for answer in answers]).mean(dim=0)
            return mean, transform_action(action, mean), tuple(following)
        mean = torch.stack(answers).mean(dim=0)
        return mean, mean, tuple(following)


@dataclass(frozen=True, eq=False)
class Classroom:
    """Some copies of an environment and who answers there."""

    teachers: tuple[Policy, ...]
    """Those who answer, together."""
    scene: str | Scene
    """Where."""
    copies: int
    """How many copies of it step together."""


def classrooms(teachers: Sequence[Policy], env: str, blend: Blend, copies: int) -> list[Classroom]:
    """Divide ``copies`` among the teachers; the first one teaches in ``env``.

    With ``blend`` "episode" each of the others teaches in the environment of its own provenance, late as in its own training,
    and in ``env`` where it names none. Raises BadInput where there are fewer copies than teachers.
    """
    if blend == "mean" or len(teachers) == 1:
        return [Classroom(tuple(teachers), scene_of(teachers[0].contract, env), copies)]
    if copies < len(teachers):
        raise BadInput("distillation", expected=f"a copy of the environment per teacher: {len(teachers)}", found=f"{copies}")
    rooms = []
    for index, teacher in enumerate(teachers):
        home = (teacher.contract.provenance.env or env) if index else env
        share = copies // len(teachers) + (index < copies % len(teachers))
        rooms.append(Classroom((teacher,), scene_of(teacher.contract, home), share))
    return rooms


def check_teacher(teacher: Policy, student: Policy, *, colleague: Policy | None = None) -> None:
    """Refuse a teacher that speaks of other observations or actions than ``student``, or than its ``colleague``.

    Of a colleague's contract more is asked than sizes: names, units, bounds and the actions of a decision, wherever both say so.
    """
    theirs, ours = teacher.contract, student.contract
    facts: list[tuple[str, object, object]] = [
        ("observation of size", ours.observation.size, theirs.observation.size),
        ("action of kind", ours.action.kind, theirs.action.kind),
        ("action of size", ours.action.size, theirs.action.size),
    ]
    for what, found, expected in facts:
        if found != expected:
            raise BadInput(f"student {student.name}", expected=f"the teacher's {what} {expected}", found=f"{found}")
    if colleague is None:
        return
    first = colleague.contract
    if first.observation.history != theirs.observation.history:
        _refuse(teacher, "frames in the observation", first.observation.history, theirs.observation.history)
    if first.timing.actions_per_decision != theirs.timing.actions_per_decision:
        _refuse(teacher, "actions per decision", first.timing.actions_per_decision, theirs.timing.actions_per_decision)
    for what, one, other in (
        ("names of the observation", first.observation.names, theirs.observation.names),
        ("units of the observation", first.observation.units, theirs.observation.units),
        ("names of the action", first.action.names, theirs.action.names),
        ("units of the action", first.action.units, theirs.action.units),
        ("lower bounds of the action", first.action.low, theirs.action.low),
        ("upper bounds of the action", first.action.high, theirs.action.high),
        ("actions per second", first.timing.control_hz, theirs.timing.control_hz),
    ):
        if one and other and one != other:
            _refuse(teacher, what, one, other)


def _refuse(teacher: Policy, what: str, expected: object, found: object) -> None:
    raise BadInput(
        f"teacher {teacher.name}",
        expected=f"the first teacher's {what}: {expected}"[:300],
        found=f"{found}"[:300],
        repair="Teachers of one student must mean the same by what they see and by what they answer",
    )
