"""Masks for the networks of a learner, hooked into its optimizers."""

from __future__ import annotations

from collections.abc import Mapping

from ..clipped_adam import ClippedAdam
from ..critics import Critics
from ..flat import Adam
from ..memory import Net
from ..off_actor import Actor, PlainActor
from ..simba_critics import SimbaCritics
from .masked import Masked
from .places import places_of
from .settings import Sparsity
from .training import SparseTraining

_STREAM = 0x5A
"""Random numbers of their own: whether weights are sparse changes no other draw."""


def sparse_ppo(config: Sparsity, networks: Mapping[str, Net], optimizer: ClippedAdam, seed: int) -> SparseTraining:
    """For the networks ("actor", "critic") that the settings name, all stepped by ``optimizer``."""
    masked = {
        name: Masked(
            network.flat, optimizer.moments(network.flat), places_of(network), config.scope, config.by_gradient,
            [seed, _STREAM, index],
        )
        for index, (name, network) in enumerate(networks.items()) if config.of in (name, "both")
    }  # fmt: skip
    optimizer.before_step += [network.before_step for network in masked.values()]
    return SparseTraining(config, masked)


def sparse_off_policy(
    config: Sparsity, actor: Actor | PlainActor, adam: Adam, actions: int, critics: Critics | SimbaCritics, seed: int
) -> SparseTraining:
    """For the actor, stepped by ``adam``, of whose outputs the first ``actions`` fly, and for the critics with their copies."""
    masked = {}
    for index, (name, network, own) in enumerate((("actor", actor, adam), ("critic", critics, critics.adam))):
        if config.of in (name, "both"):
            places = places_of(network, actions if name == "actor" else None)
            masked[name] = Masked(
                own.flat, (own.first, own.second), places, config.scope, config.by_gradient, [seed, _STREAM, index]
            )
            own.before_step = masked[name].before_step
    training = SparseTraining(config, masked)
    if "critic" in masked:
        masked["critic"].lead(critics.slow.value)
    return training
