"""What all candidates of a process share: the school that they go to, and the judge of what they keep of the return."""

from __future__ import annotations

import numpy as np

from ...errors import BadInput
from ...policy import Policy
from ...policy.scene import scene_of
from ...runtime.gate import Comparison, compare
from .effort import COPIES, Effort

JUDGING = 0x5EA2C4
"""The stream of seeds of the episodes that decide; lessons have others, and the proof of the front others again."""
NONE = np.zeros(0)


class Judge:
    """Flies candidates and the teacher through the same episodes, the teacher once; ``school`` teaches the candidates."""

    def __init__(self, teacher: Policy, env: str, effort: Effort, seed: int, device: str = "cpu") -> None:
        from ...train.evaluation import ClosedLoop, held_out_seeds
        from ...train.school import School

        scene, self.effort = scene_of(teacher.contract, env), effort
        self.school = School(teacher, scene, env, COPIES, effort.shown, seed, device)
        self.loop = ClosedLoop(scene, held_out_seeds(seed, effort.episodes, JUDGING))
        self.reference = self.loop.returns(teacher)
        self.scale = compare(self.reference, self.reference).scale

    def glance(self, policy: Policy) -> tuple[float, np.ndarray]:
        """(share of the teacher's return that ``policy`` keeps in the first few of the episodes, their returns)."""
        returns = self._returns(policy, slice(0, self.effort.glances))
        lost = float(self.reference[: len(returns)].mean() - returns.mean())
        return 1 - lost / self.scale if self.scale else 1.0, returns

    def compare(self, policy: Policy, seen: np.ndarray = NONE) -> tuple[Comparison, np.ndarray]:
        """(comparison, returns float64 [episodes]) of the float32 reference of ``policy``.

        ``seen``: what :meth:`glance` saw of it. Raises BadInput for a NaN among the returns.
        """
        rest = slice(len(seen), None)
        returns = np.concatenate([seen, self._returns(policy, rest)]) if len(seen) < len(self.reference) else seen
        return compare(returns, self.reference), returns

    def _returns(self, policy: Policy, which: slice) -> np.ndarray:
        returns = self.loop.returns(policy, self.loop.seeds[which])
        if not np.isfinite(returns).all():
            raise BadInput(f"returns of {policy.name}", expected="finite ones", found=f"{returns[~np.isfinite(returns)][0]}")
        return returns

    def close(self) -> None:
        """Release the simulators."""
        self.school.close()
        self.loop.close()


def kept(comparison: Comparison) -> float:
    """Share of the teacher's return, 1 where nothing is lost; of a negative return, 1 minus the share by which the cost grew."""
    return 1 + comparison.difference.value / comparison.scale if comparison.scale else 1.0
