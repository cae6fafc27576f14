"""A whole policy in torch, from the raw observation to the action: the float32 reference of every artifact."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from .bundle import Policy
from .contract import Action, Observation
from .network import Network, State


class Normalize(nn.Module):
    """The contract's normalizer as constant buffers; the identity where there is none."""

    mean: Tensor
    inverse: Tensor

    def __init__(self, observation: Observation) -> None:
        super().__init__()
        normalizer = observation.normalizer
        self.clip = normalizer.clip if normalizer else None
        self.active = normalizer is not None
        if normalizer:
            variance = np.asarray(normalizer.variance)
            eps = normalizer.epsilon
            spread = np.sqrt(variance + eps) if normalizer.epsilon_inside_sqrt else np.sqrt(variance) + eps
            self.register_buffer("mean", torch.tensor(normalizer.mean, dtype=torch.float64).float())
            self.register_buffer("inverse", torch.from_numpy(1 / spread).float())

    def forward(self, obs: Tensor) -> Tensor:
        if not self.active:
            return obs
        z = (obs - self.mean) * self.inverse
        return z if self.clip is None else z.clamp(-self.clip, self.clip)


def transform_action(action: Action, y: Tensor) -> Tensor:
    """Network output y [B, size] -> action: float [B, size], or int64 [B, 1] if discrete."""
    if action.kind == "discrete":
        return y.argmax(dim=-1, keepdim=True)
    a = torch.tanh(y) if action.squash == "tanh" else y
    if action.scale:
        a = a * torch.tensor(action.scale, dtype=y.dtype, device=y.device)
    if action.offset:
        a = a + torch.tensor(action.offset, dtype=y.dtype, device=y.device)
    if action.low:
        a = a.clamp(
            torch.tensor(action.low, dtype=y.dtype, device=y.device),
            torch.tensor(action.high, dtype=y.dtype, device=y.device),
        )
    return a


class TorchPolicy(nn.Module):
    """A whole policy in torch: raw obs [B, n] (and state) -> (action, next state). The float32 reference."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.contract = policy.contract
        self.normalize = Normalize(policy.contract.observation)
        self.network = Network(policy.layers, policy.weights)

    def forward(self, obs: Tensor, state: State = ()) -> tuple[Tensor, State]:
        y, following = self.network(self.normalize(obs), state)
        return transform_action(self.contract.action, y), following
