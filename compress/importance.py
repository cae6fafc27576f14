"""How much each hidden unit matters: by its weights, by what it contributes on recorded steps, or by what the action feels."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np

from ..errors import require
from ..policy import Golden, Policy
from ..policy.cells import GRU, LSTM, CfC
from .signals import matrix_inputs
from .surgeon import elimination_scores
from .units import Group, columns, hidden_groups, norms

Criterion = Literal["surgeon", "magnitude", "activation", "taylor"]
"""See :func:`importance`."""
PROBES = 8
"""Random signs per recorded step in the Taylor criterion: an average over 1,000 steps needs no more."""

Scores = dict[str, np.ndarray]
"""Name of a group -> float64 [units], larger for what matters more."""


def importance(policy: Policy, criterion: Criterion, golden: Golden | None, seed: int = 0) -> Scores:
    """Score every hidden unit of ``policy``; all but "magnitude" need a recorded rollout (observations and starts).

    surgeon: error that is left in what comes next when the unit leaves and the others take over by least squares, found by
    taking out the cheapest again and again (:mod:`.surgeon`). magnitude: norm of the incoming times norm of the outgoing
    weights (Li et al. 2017, arXiv 1608.08710, rank filters by their own norm alone, which misses units that nobody hears).
    activation: root mean square over the rollout of the unit's deviation from its mean, times the outgoing norm: the error
    that taking it out, mean folded away, makes in what comes next. These three are divided by the norm over their layer,
    which lets layers be compared (Molchanov et al. 2017, arXiv 1611.06440, section 2.2).
    taylor: first-order change of the action if the unit held still at its mean, root mean square over the rollout and summed
    over action entries; Molchanov's |a dC/da| with the action in the place of the loss C, whose gradient is nothing where
    the student equals its teacher. It is in action units and is compared as it stands.
    """
    groups = hidden_groups(policy.layers)
    if criterion == "magnitude":
        return {group.name: _normed(np.prod(norms(group, policy.weights), axis=0)) for group in groups}
    assert golden is not None
    if criterion == "taylor":
        return _taylor(policy, groups, golden, seed)
    heard = matrix_inputs(policy, golden)
    if criterion == "surgeon":
        return {group.name: _normed(elimination_scores(group, policy.weights, heard)) for group in groups}
    return {group.name: _normed(_contribution(group, policy, heard)) for group in groups}


def _normed(scores: np.ndarray) -> np.ndarray:
    total = np.linalg.norm(scores)
    return scores / total if total else scores


def _contribution(group: Group, policy: Policy, heard: dict[str, np.ndarray]) -> np.ndarray:
    """Root of the sum over readers of variance times squared outgoing weights [size]."""
    square = np.zeros(group.size)
    for reader in group.readers:
        where = columns(group, reader, np.arange(group.size))
        spread = heard[reader.weight][:, where].astype(np.float64).var(axis=0)
        outgoing = (policy.weights[reader.weight][:, where].astype(np.float64) ** 2).sum(axis=0)
        square += (spread * outgoing).reshape(reader.blocks, group.size).sum(axis=0)
    return np.asarray(np.sqrt(square))


def _taylor(policy: Policy, groups: list[Group], golden: Golden, seed: int) -> Scores:
    """Squared first-order changes, estimated with random signs v: E[(a sum_k v_k dy_k/da)^2] = sum_k (a dy_k/da)^2."""
    torch = require("torch", "train")
    from ..policy.network import Network
    from ..policy.torch_policy import Normalize, transform_action

    network = Network(policy.layers, policy.weights)
    action = dataclasses.replace(policy.contract.action, low=(), high=())  # a clip hides what a unit does, but not for long
    x = Normalize(policy.contract.observation)(torch.from_numpy(np.array(golden.obs, np.float32)))
    y, outputs = _watched(network, x, golden.start, {group.heard_at: group.name for group in groups})
    if action.kind != "discrete":
        y = transform_action(action, y)
    signs = torch.Generator().manual_seed(seed)
    sizes = {group.name: group.size for group in groups}
    square = {name: np.zeros(size) for name, size in sizes.items()}
    flat = [step for steps in outputs.values() for step in steps]
    for _ in range(PROBES):
        ones = torch.randint(0, 2, y.shape, generator=signs) * 2.0 - 1.0
        gradients = iter(torch.autograd.grad(y, flat, ones, retain_graph=True, allow_unused=True))
        for name, steps in outputs.items():
            values = torch.cat(steps).detach().double()
            slopes = torch.cat(
                [torch.zeros_like(step) if (slope := next(gradients)) is None else slope for step in steps]
            ).double()
            # A channel leaves at all pixels at once.
            change = ((values - values.mean(dim=0)) * slopes).unflatten(1, (-1, sizes[name])).sum(dim=1)
            square[name] += change.square().mean(dim=0).numpy() / PROBES
    return {name: np.sqrt(total) for name, total in square.items()}


def _watched(network: Any, x: Any, start: np.ndarray, wanted: dict[int, str]) -> tuple[Any, dict[str, list[Any]]]:
    """y [T, out] and, per wanted layer, its outputs as tensors of the graph: one [T, n], or T of [1, n] for a cell."""
    import torch

    outputs: dict[str, list[Any]] = {}
    for index, layer in enumerate(network.layers):
        if isinstance(layer, GRU | LSTM | CfC) or layer.kind == "history":
            blank = type(network)((layer,)).initial_state(1)
            state, steps = blank, []
            for row, first in zip(x, start, strict=True):
                step, state = network.through(layer, row[None], blank if first else state)
                steps.append(step)
            x = torch.cat(steps)
        else:
            x, _ = network.through(layer, x, ())
            steps = [x]
        if index in wanted:
            outputs[wanted[index]] = steps
    return x, outputs
