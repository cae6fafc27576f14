"""Stable-Baselines3 zips: PPO, A2C, TRPO, SAC, TQC, TD3, DDPG and DQN with fully connected policies; PPO, A2C, TRPO and DQN
with convolutional ones, too."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

import numpy as np

from ...errors import BadInput, Unsupported
from ..bundle import Policy
from ..contract import Action, Contract, Normalizer, Observation, Provenance, Timing
from ..layers import Activation, ActivationName, Clip, Layer, Linear, Weights
from .archive import Archive
from .rl_zoo import find_config, find_normalizer, read_config
from .sb3_cnn import Eyes, read_eyes
from .sb3_data import ActionSpace, Sb3Data
from .source import Source
from .torch_archive import read_state_dict
from .unpickler import Global
from .vecnormalize import read_vecnormalize


@dataclass(frozen=True)
class _Family:
    """Where a family of algorithms keeps its deterministic actor in the state dict."""

    hidden: tuple[str, ...]
    """Prefixes of nn.Sequential stacks, an activation after every layer."""
    output: str
    """Prefix of the last layer; empty: the last layer of the last stack, which then has no activation behind it."""
    squash: bool
    """tanh, then rescaled from [-1, 1] to the action bounds."""
    activation: ActivationName
    """Default of the family's policy class."""
    distribution: str
    """What the deterministic action is."""
    extractor: str = ""
    """Prefix of the convolutional feature extractor; empty: there is none."""


_ON_POLICY = _Family(
    ("mlp_extractor.shared_net", "mlp_extractor.policy_net"), "action_net", False, "tanh", "Gaussian mean, clipped to the bounds"
)
_SQUASHED = _Family(("actor.latent_pi",), "actor.mu", True, "relu", "squashed Gaussian mean")
_DIRECT = _Family(("actor.mu",), "", True, "relu", "deterministic actor")
_VALUES = _Family(("q_net.q_net",), "", False, "relu", "greedy choice of the largest value")
_ON_POLICY_EYES = dataclasses.replace(_ON_POLICY, extractor="features_extractor")
_VALUES_EYES = dataclasses.replace(_VALUES, extractor="q_net.features_extractor")
_FAMILIES = {
    "ActorCriticPolicy": _ON_POLICY,
    "SACPolicy": _SQUASHED,
    "TQCPolicy": _SQUASHED,
    "TD3Policy": _DIRECT,
    "DQNPolicy": _VALUES,
    "ActorCriticCnnPolicy": _ON_POLICY_EYES,
}
_ACTIVATIONS: dict[str, tuple[ActivationName, float]] = {
    "Tanh": ("tanh", 1.0),
    "ReLU": ("relu", 1.0),
    "ELU": ("elu", 1.0),
    "SiLU": ("silu", 1.0),
    "Sigmoid": ("sigmoid", 1.0),
    "Softsign": ("softsign", 1.0),
    "LeakyReLU": ("leaky_relu", 0.01),
}
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def read_sb3(source: Source) -> Policy:
    """The deterministic policy of a Stable-Baselines3 zip, with its normalizer.

    Raises BadInput for damaged files and for a normalizer that is missing although training used one;
    Unsupported for Dict, recurrent and other policies, naming what was found.
    """
    archive = Archive(source.path)
    data = Sb3Data(archive.json("data"), str(source.path))
    family, algorithm = _family(data)
    arguments = data.policy_arguments()
    seen = None if family.extractor else data.observation_size()
    space = data.action_space()
    tensors = read_state_dict(
        Archive(source.path, archive.read("policy.pth"), "policy.pth"), "the policy.pth of Stable-Baselines3"
    )
    eyes: Eyes | None = None
    if family.extractor:
        eyes = read_eyes(data, family.extractor, tensors, arguments)
        tensors = {name: tensor for name, tensor in tensors.items() if "features_extractor." not in name}
        arguments = {name: value for name, value in arguments.items() if name != "features_extractor_class"}
    size = eyes.size if eyes is not None else seen or 0
    normalizer, origin, notes = _normalizer(source, size)
    layers, weights = _network(str(source.path), family, tensors, arguments)
    if eyes is not None:
        if normalizer is not None:
            raise Unsupported(source.path, expected="images that are not normalized", found=f"a normalizer ({origin})")
        layers, weights, normalizer = (*eyes.layers, *layers), eyes.weights | weights, eyes.normalizer
        origin = "Stable-Baselines3 divides images by 255" if normalizer else origin
    contract = Contract(
        observation=Observation(size=size, normalizer=normalizer, shape=() if eyes is None else eyes.shape),
        action=_action(source, space, family, arguments),
        timing=Timing(control_hz=source.control_hz),
        provenance=Provenance(
            source=f"Stable-Baselines3 {algorithm} zip ({source.path.name})",
            algorithm=algorithm,
            steps=data.integer("num_timesteps"),
            seed=data.integer("seed"),
            tools=_tools(archive),
            normalizer_source=origin,
            notes=notes,
        ),
    )
    return Policy(source.name, contract, layers, weights)


def _family(data: Sb3Data) -> tuple[_Family, str]:
    """(family, algorithm) from the policy class and from the settings that only one algorithm has."""
    policy = data.policy_class()
    # SAC's and TD3's convolutional policies bear the same name as DQN's.
    dqn = policy.path.startswith("stable_baselines3.dqn.") and policy.name == "CnnPolicy"
    family = _VALUES_EYES if dqn else _FAMILIES.get(policy.name)
    if family is None:
        raise Unsupported(
            data.where,
            expected=f"one of the policies {', '.join(_FAMILIES)}, or DQN's CnnPolicy",
            found=policy.path,
            repair="Dict, recurrent and maskable policies, and the images of SAC and TD3, are not adopted yet",
        )
    keys = data.fields.keys()
    if family in (_ON_POLICY, _ON_POLICY_EYES):
        return family, "TRPO" if "cg_max_steps" in keys else "PPO" if "clip_range" in keys else "A2C"
    if family is _DIRECT:
        return family, "DDPG" if data.integer("policy_delay") == 1 and data.fields.get("target_noise_clip") == 0 else "TD3"
    return family, "DQN" if dqn else policy.name.removesuffix("Policy")


def _network(where: str, family: _Family, tensors: Weights, arguments: dict[str, object]) -> tuple[tuple[Layer, ...], Weights]:
    """Layers and weights of the actor, read off the names and shapes of its tensors."""
    extractor = arguments.get("features_extractor_class")
    if isinstance(extractor, Global) and extractor.name != "FlattenExtractor":
        raise Unsupported(where, expected="a plain vector policy", found=f"the feature extractor {extractor.path}")
    if found := sorted(name for name in tensors if "features_extractor." in name):
        raise Unsupported(where, expected="a plain vector policy", found=f"a feature extractor with weights ({found[0]} …)")
    function, alpha = _activation(where, arguments.get("activation_fn"), family)
    prefixes = [prefix for stack in family.hidden for prefix in _stack(where, stack, tensors)]
    tail: list[Layer] = []
    if family.output:
        output = family.output
        if f"{output}.0.weight" in tensors:
            # SAC with gSDE ends in Hardtanh(±clip_mean) before the squash (stable_baselines3/sac/policies.py).
            output, bound = f"{output}.0", arguments.get("clip_mean", 2.0)
            if not isinstance(bound, int | float) or not bound > 0:
                raise BadInput(where, expected="clip_mean as a positive number", found=f"{bound!r}"[:60])
            tail.append(Clip(-float(bound), float(bound)))
        prefixes.append(output)
    layers: list[Layer] = []
    weights: Weights = {}
    for index, prefix in enumerate(prefixes):
        last = index == len(prefixes) - 1
        weight, bias = tensors.get(f"{prefix}.weight"), tensors.get(f"{prefix}.bias")
        if weight is None or weight.ndim != 2:
            shape = "none" if weight is None else f"shape {weight.shape}"
            raise Unsupported(where, expected=f"a linear layer's weight {prefix}.weight", found=shape)
        name = "output" if last else f"hidden{index}"
        weights[f"{name}.weight"] = weight
        if bias is not None:
            weights[f"{name}.bias"] = bias
        layers.append(Linear(name, weight.shape[1], weight.shape[0], bias is not None))
        if not last:
            layers.append(Activation(function, alpha))
    return (*layers, *tail), weights


def _stack(where: str, prefix: str, tensors: Weights) -> list[str]:
    """Prefixes of the linear layers of an nn.Sequential, which must alternate with activations: 0, 2, 4 …"""
    pattern = re.compile(rf"{re.escape(prefix)}\.(\d+)\.weight")
    indices = sorted(int(match[1]) for name in tensors if (match := pattern.fullmatch(name)))
    if indices != list(range(0, 2 * len(indices), 2)):
        raise Unsupported(where, expected=f"linear layers and activations in turn in {prefix}", found=f"weights at {indices[:8]}")
    return [f"{prefix}.{index}" for index in indices]


def _activation(where: str, value: object, family: _Family) -> tuple[ActivationName, float]:
    if value is None:
        return family.activation, 1.0
    name = value.name if isinstance(value, Global) else str(value).rpartition(".")[2].rstrip("'>")
    if name not in _ACTIVATIONS:
        raise Unsupported(where, expected=f"an activation out of {', '.join(_ACTIVATIONS)}", found=name[:60])
    return _ACTIVATIONS[name]


def _action(source: Source, space: ActionSpace, family: _Family, arguments: dict[str, object]) -> Action:
    """The action transform of ``BasePolicy.predict(deterministic=True)``."""
    if space.kind == "discrete":
        if family.squash:
            raise BadInput(source.path, expected="a Box action for this algorithm", found="a Discrete one")
        mode = "categorical mode" if family in (_ON_POLICY, _ON_POLICY_EYES) else family.distribution
        return Action("discrete", space.size, distribution=mode)
    if family in (_VALUES, _VALUES_EYES):
        raise BadInput(source.path, expected="a Discrete action for DQN", found="a Box")
    low, high = space.low, space.high
    if family.squash or arguments.get("squash_output") is True:
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise BadInput(source.path, expected="finite action bounds for a squashed policy", found="infinite ones")
        scale, offset = (high - low) / 2, (high + low) / 2
        plain = bool((scale == 1).all() and (offset == 0).all())
        return Action(
            "continuous",
            space.size,
            squash="tanh",
            scale=() if plain else tuple(scale.tolist()),
            offset=() if plain else tuple(offset.tolist()),
            distribution=family.distribution if family.squash else "squashed Gaussian mean",
        )
    bounded = bool(np.isfinite(low).any() or np.isfinite(high).any())
    clipped = [tuple(np.clip(side, -_FLOAT32_MAX, _FLOAT32_MAX).tolist()) if bounded else () for side in (low, high)]
    return Action("continuous", space.size, low=clipped[0], high=clipped[1], distribution=family.distribution)


def _normalizer(source: Source, size: int) -> tuple[Normalizer | None, str, tuple[str, ...]]:
    """(normalizer, where it came from, notes); refuses to guess where training normalized and no file was named."""
    config_path = source.config or find_config(source.path)
    config = read_config(config_path) if config_path else None
    notes = (f"trained behind {config.wrappers} ({config.path.name})",) if config and config.wrappers else ()
    if source.says_no_normalizer:
        return None, "none: the user says that observations are not normalized", notes
    if source.normalizer is not None:
        return *read_vecnormalize(source.normalizer, size), notes
    beside = find_normalizer(source.path)
    if (config and config.normalize) or beside:
        reason = f"{config.path.name} says normalize: true" if config and config.normalize else f"{beside} lies beside it"
        raise BadInput(
            source.path,
            expected=f"the observation normalizer that it was trained with ({reason})",
            found="no --normalizer",
            repair=f"Pass --normalizer {beside or 'VECNORMALIZE.pkl'} (or --normalizer none if observations were not normalized)",
        )
    return None, f"none: {config.path.name} does not ask for one" if config else "none was named or found", notes


def _tools(archive: Archive) -> dict[str, str]:
    """Versions that the zip records."""
    tools: dict[str, str] = {}
    if "_stable_baselines3_version" in archive.names:
        tools["stable_baselines3"] = archive.text("_stable_baselines3_version", 1000).strip()[:40]
    if "system_info.txt" in archive.names:
        for line in archive.text("system_info.txt", 100_000).splitlines()[:20]:
            key, _, value = line.lstrip("- ").partition(":")
            if key in ("Python", "PyTorch", "Numpy", "Gym", "Gymnasium"):
                tools[key.lower()] = value.strip()[:40]
    return tools
