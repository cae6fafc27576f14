"""What all candidates of a process share: the schools that they go to, and the judge of what they keep of the return."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from ...errors import BadInput
from ...policy import Policy
from ...policy.scene import scene_of
from ...runtime.gate import Comparison, compare
from .effort import COPIES, Effort

if TYPE_CHECKING:
    from ...train.school import School

JUDGING = 0x5EA2C4
"""The stream of seeds of the episodes that decide; lessons have others, and the proof of the front others again."""
NONE = np.zeros(0)


class Judge:
    """Flies candidates and the teacher through the same episodes, the teacher once, at its own rate.

    For every decision rate there is a teacher that decides as seldom and holds its action: it teaches, in a school of its own.
    What it loses by that is not forgiven: all are compared with the teacher as it is.
    """

    def __init__(self, teacher: Policy, env: str, effort: Effort, seed: int, device: str = "cpu") -> None:
        from ...train.evaluation import ClosedLoop, held_out_seeds

        self.env, self.effort, self.seed, self.device = env, effort, seed, device
        self.seeds = held_out_seeds(seed, effort.episodes, JUDGING)
        self.teachers = {1: teacher}
        self._schools: dict[int, School] = {}
        self._loops = {teacher.contract.timing.hold: ClosedLoop(scene_of(teacher.contract, env), self.seeds)}
        self.reference = self._flown(teacher, slice(None))
        self.scale = compare(self.reference, self.reference).scale

    def teacher(self, every: int) -> Policy:
        """The teacher that decides once in ``every`` of its steps."""
        from ...policy.record import record_golden
        from ..recipe import GOLDEN_SEED, GOLDEN_STEPS

        if every not in self.teachers:
            slow = slowed(self.teachers[1], every)
            self.teachers[every] = slow.replace(golden=record_golden(slow, self.env, GOLDEN_STEPS, GOLDEN_SEED))
        return self.teachers[every]

    def school(self, every: int = 1) -> School:
        """Where candidates learn from it."""
        from ...train.school import School

        if every not in self._schools:
            teacher = self.teacher(every)
            scene = scene_of(teacher.contract, self.env)
            self._schools[every] = School(teacher, scene, self.env, COPIES, self.effort.shown, self.seed, self.device)
        return self._schools[every]

    def glance(self, policy: Policy) -> tuple[float, np.ndarray]:
        """(share of the teacher's return that ``policy`` keeps in the first few of the episodes, their returns)."""
        returns = self._flown(policy, slice(0, self.effort.glances))
        lost = float(self.reference[: len(returns)].mean() - returns.mean())
        return 1 - lost / self.scale if self.scale else 1.0, returns

    def compare(self, policy: Policy, seen: np.ndarray = NONE) -> tuple[Comparison, np.ndarray]:
        """(comparison, returns float64 [episodes]) of the float32 reference of ``policy``.

        ``seen``: what :meth:`glance` saw of it. Raises BadInput for a NaN among the returns.
        """
        rest = slice(len(seen), None)
        returns = np.concatenate([seen, self._flown(policy, rest)]) if len(seen) < len(self.seeds) else seen
        return compare(returns, self.reference), returns

    def _flown(self, policy: Policy, which: slice) -> np.ndarray:
        from ...train.evaluation import ClosedLoop

        hold = policy.contract.timing.hold
        if hold not in self._loops:
            self._loops[hold] = ClosedLoop(scene_of(policy.contract, self.env), self.seeds)
        returns = self._loops[hold].returns(policy, self.seeds[which])
        if not np.isfinite(returns).all():
            raise BadInput(f"returns of {policy.name}", expected="finite ones", found=f"{returns[~np.isfinite(returns)][0]}")
        return returns

    def close(self) -> None:
        """Release the simulators."""
        for school in self._schools.values():
            school.close()
        for loop in self._loops.values():
            loop.close()


def slowed(teacher: Policy, every: int) -> Policy:
    """``teacher`` as a policy that decides once in ``every`` of its steps and holds its action meanwhile, without a rollout."""
    if every == 1:
        return teacher
    timing = teacher.contract.timing
    hz = None if timing.control_hz is None else timing.control_hz / every
    timing = dataclasses.replace(timing, control_hz=hz, hold=timing.hold * every)
    return teacher.replace(contract=dataclasses.replace(teacher.contract, timing=timing), golden=None)


def descended(policy: Policy, slow: Policy, teacher: Policy, every: int) -> Policy:
    """What was made from the ``slow`` teacher, with the real one as its parent and a word about its rate."""
    if every == 1:
        return policy
    provenance = policy.contract.provenance
    parents = tuple(dict.fromkeys(teacher.digest if one == slow.digest else one for one in provenance.parents))
    note = f"decides once in {every} steps of {teacher.name} and holds its action between"
    provenance = dataclasses.replace(provenance, parents=parents, notes=(*provenance.notes, note))
    return policy.replace(contract=dataclasses.replace(policy.contract, provenance=provenance))


def kept(comparison: Comparison) -> float:
    """Share of the teacher's return, 1 where nothing is lost; of a negative return, 1 minus the share by which the cost grew."""
    return 1 + comparison.difference.value / comparison.scale if comparison.scale else 1.0
