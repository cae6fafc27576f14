"""An artifact's firmware on a virtual board: the real binary, emulated instruction by instruction (a sandbox)."""

from __future__ import annotations

import numpy as np

from ..errors import BadInput
from .artifact import Artifact
from .session import action_size, checked_observation, checked_state, state_size


class VirtualSession:
    """See :class:`pilotfish.runtime.session.Session`. ``board`` is the machine, for profiling."""

    def __init__(self, artifact: Artifact) -> None:
        from ..targets.virtual.board import VirtualBoard

        self.contract = contract = artifact.manifest.contract
        artifact.read()
        self.board = VirtualBoard(artifact.entry, artifact.manifest.target)
        wanted = (contract.observation.size, state_size(contract), action_size(contract), int(contract.action.kind == "discrete"))
        found = tuple(int(size) for size in self.board.sizes)
        if found != wanted:
            self.board.close()
            raise BadInput(
                artifact.entry,
                expected=f"firmware of sizes {wanted} (observation, state, action values, discrete), as the contract says",
                found=f"{found}",
            )
        self._discrete = bool(wanted[3])
        self.reset()

    def reset(self) -> None:
        self.board.reset()

    @property
    def state(self) -> np.ndarray:
        return np.asarray(self.board.state, np.float32)[: state_size(self.contract)].copy()

    @state.setter
    def state(self, flat: np.ndarray) -> None:
        self.board.state = checked_state(self.contract, flat)

    def act(self, obs: np.ndarray) -> np.ndarray:
        action = self.board.step(checked_observation(self.contract, obs))
        return np.asarray(action, np.int64 if self._discrete else np.float32)

    def close(self) -> None:
        self.board.close()
