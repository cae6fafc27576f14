"""What flows through a network on a recorded rollout: the input of each layer, for calibration."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ..errors import require
from ..policy import Golden, Policy
from ..policy.layers import Layer, state_of, tensor_shapes


def layer_inputs(policy: Policy, golden: Golden, wanted: Collection[int]) -> dict[int, np.ndarray]:
    """Index of a layer -> float32 [T, width], what it is fed while ``policy`` sees the recorded observations.

    The index behind the last layer stands for the network's output.

    Feed-forward layers see all T at once; cells and histories step through the episodes as recorded, from zero state.
    """
    torch = require("torch", "train")
    from ..policy.network import Network
    from ..policy.torch_policy import Normalize

    kept: dict[int, np.ndarray] = {}
    with torch.no_grad():
        x = Normalize(policy.contract.observation)(torch.from_numpy(np.array(golden.obs, np.float32)))
        for index, layer in enumerate(policy.layers):
            if index in wanted:
                kept[index] = x.numpy().copy()
            network = Network((layer,), _own(policy, layer))
            if state_of((layer,)):
                state, outputs = network.initial_state(1), []
                for row, start in zip(x, golden.start, strict=True):
                    y, state = network(row[None], network.initial_state(1) if start else state)
                    outputs.append(y[0])
                x = torch.stack(outputs)
            else:
                x = network(x)[0]
        if len(policy.layers) in wanted:
            kept[len(policy.layers)] = x.numpy().copy()
    return kept


def network_outputs(policy: Policy, golden: Golden | None = None) -> np.ndarray:
    """float32 [T, out]: what the network gives, before the action transform, on recorded observations (or on probes)."""
    end = len(policy.layers)
    return layer_inputs(policy, golden or probes(policy, 256), {end})[end]


def probes(policy: Policy, count: int) -> Golden:
    """``count`` observations spread over the policy's golden rollout; random ones around its normalizer's mean without it.

    They are good for checks only: nothing is calibrated on them.
    """
    golden = policy.golden
    if golden is not None:
        every = np.linspace(0, len(golden) - 1, min(count, len(golden))).astype(int)
        return Golden(golden.obs[every], golden.action[every], golden.state[every], golden.start[every], golden.source)
    observation, normalizer = policy.contract.observation, policy.contract.observation.normalizer
    obs = np.random.default_rng(0).normal(size=(count, observation.size))
    if normalizer:
        obs = np.asarray(normalizer.mean) + obs * np.sqrt(normalizer.variance)
    nothing = np.zeros((count, 0), np.float32)
    return Golden(obs.astype(np.float32), nothing, nothing, np.arange(count) == 0, "random observations")


def _own(policy: Policy, layer: Layer) -> dict[str, np.ndarray]:
    return {name: policy.weights[name] for name in tensor_shapes(layer)}
