"""hash and tie: several weights are one number, and the network is taught to live with it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from ..errors import BadInput
from ..policy import Policy
from ..policy.hashed import places
from ..policy.layers import HashedLinear, Layer, Linear, TiedLinear
from ..targets.profile import near
from .heal import imitate
from .imitation import Imitation
from .matrices import pruned_masks
from .passes import STRICT, Context, Pass, PassResult, Promise, Requirement
from .requirements import environment, float_weights, linear_layers


@dataclass(frozen=True, config=STRICT)
class Hash(Imitation):
    """Hashed parameter sharing (HashedNets, Chen et al. 2015, arXiv 1504.04788; balanced as STABLE-RPS asks for).

    A layer keeps its width and its cost in multiplications, and is made of fewer numbers: the map of
    :mod:`pilotfish.policy.hashed` says which of them each weight shows. The C back-end regenerates the map on
    microcontrollers, at every call, so that flash holds the store alone; every other back-end writes the weights out and
    gains nothing. The store begins as the mean of what it stands for and is then taught by the recipe's original policy.
    Compare with ``distill`` into a small network: on ppo_HalfCheetah, with 1,830 weights and 12,000 steps (one seed, 3 episodes),
    17-64-64-6 hashed came to 5,784 and 17-32-32-6 dense to 5,827 of 5,915, in as much flash and a quarter of the cycles.
    """

    share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Numbers in a layer's store per weight of the layer; 1: a permutation of the weights, and nothing to learn."""
    chunk: Annotated[int, Field(ge=1, le=1024)] = 16
    """Neighbouring weights of a row, about (rows are cut evenly), that are one piece of the store. Longer ones are cheaper on
    the device: 17-64-64-6 with a quarter of its weights takes 542, 449 and 387 us on the virtual Cortex-M4F at 120 MHz with 8,
    16 and 32 (estimated from executed instructions; dense 316 us), and 9.7 KB of flash in place of 25.1 KB. Without an FPU the
    map is nearly free (virtual RP2040: dense 12.7 ms, 13.7, 12.7 and 12.3 ms)."""
    layers: tuple[str, ...] = ()
    """Names of the linear layers; empty: all but the last, whose few weights are the actions' own."""
    steps: Annotated[int, Field(gt=0)] = 40_000
    """Environment steps in all."""
    iterations: Annotated[int, Field(gt=0, le=1000)] = 8
    """Rounds of acting and learning that the steps are spread over."""
    epochs: Annotated[int, Field(gt=0, le=10_000)] = 30
    """Passes over the collected steps per round."""
    teacher_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Probability that the teacher acts in the first round; it halves every round. What a quarter of the numbers remembers is
    too far from the teacher to act from the start (ppo_HalfCheetah, as above: return 3,808 with 0, 5,784 with 1)."""
    restart_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the environment's copies that start a new episode at each round: what is learned of beginnings."""
    kind: Literal["hash"] = "hash"


@dataclass(frozen=True, config=STRICT)
class Tie(Imitation):
    """Linear layers of equal shape use one weight matrix, that of the first of them; each keeps its own bias.

    What the others had learned is lost and taught again, so the distillation is longer than a healing.
    """

    layers: tuple[tuple[str, ...], ...] = ()
    """Groups of names that share; empty: all linear layers of one shape are a group."""
    steps: Annotated[int, Field(gt=0)] = 40_000
    """Environment steps in all."""
    iterations: Annotated[int, Field(gt=0, le=1000)] = 8
    """Rounds of acting and learning that the steps are spread over."""
    epochs: Annotated[int, Field(gt=0, le=10_000)] = 30
    """Passes over the collected steps per round."""
    teacher_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Probability that the teacher acts in the first round; it halves every round."""
    restart_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the environment's copies that start a new episode at each round: what is learned of beginnings."""
    kind: Literal["tie"] = "tie"


def hashed(policy: Policy, names: tuple[str, ...], share: float, chunk: int, seed: int) -> Policy:
    """The policy with hashed layers, their stores the least-squares choice: the mean of the weights that each entry shows."""
    layers: list[Layer] = []
    weights = dict(policy.weights)
    for number, layer in enumerate(policy.layers):
        if not isinstance(layer, Linear) or layer.name not in names:
            layers.append(layer)
            continue
        across = -(-layer.in_size // chunk)
        even = -(-layer.in_size // across)
        slots = max(1, round(share * layer.out_size * across))
        size, own = slots * even, (seed + 0x10001 * number) & 0xFFFFFFFF
        entry, sign = places(layer.out_size, layer.in_size, size, even, own)
        total, count = np.zeros(size), np.zeros(size)
        np.add.at(total, entry, weights.pop(f"{layer.name}.weight") * sign.astype(np.float64))
        np.add.at(count, entry, 1)
        weights[f"{layer.name}.store"] = (total / np.maximum(count, 1)).astype(np.float32)
        layers.append(HashedLinear(layer.name, layer.in_size, layer.out_size, size, even, own, layer.bias))
    return policy.replace(layers=tuple(layers), weights=weights, golden=None)


def tied(policy: Policy, groups: list[tuple[str, ...]]) -> Policy:
    """The policy in which every group of linear layers has the weight of the one that comes first."""
    layers, weights, first = list(policy.layers), dict(policy.weights), dict[int, str]()
    for index, layer in enumerate(layers):
        group = next((g for g, names in enumerate(groups) if getattr(layer, "name", None) in names), None)
        if group is None or not isinstance(layer, Linear):
            continue
        like = first.setdefault(group, layer.name)
        if like != layer.name:
            layers[index] = TiedLinear(layer.name, like, layer.in_size, layer.out_size, layer.bias)
            del weights[f"{layer.name}.weight"]
    return policy.replace(layers=tuple(layers), weights=weights, golden=None)


def _hash(policy: Policy, config: Hash, context: Context) -> PassResult:
    names = _to_hash(policy, config)
    student = hashed(policy, names, config.share, config.chunk, context.seed)
    if config.share < 1:
        student = imitate(student, context, config, pruned_masks(student), context.seed)
    stores = {
        layer.name: [layer.size, layer.in_size * layer.out_size] for layer in student.layers if isinstance(layer, HashedLinear)
    }
    return PassResult(student, {"stores": stores}, f"h{round(100 * config.share)}")


def _tie(policy: Policy, config: Tie, context: Context) -> PassResult:
    groups = _to_tie(policy, config)
    student = tied(policy, groups)
    student = imitate(student, context, config, pruned_masks(student), context.seed)
    return PassResult(student, {"groups": [list(group) for group in groups]}, "tied")


def _to_hash(policy: Policy, config: Hash) -> tuple[str, ...]:
    linear = [layer.name for layer in policy.layers if isinstance(layer, Linear)]
    used = {layer.like for layer in policy.layers if isinstance(layer, TiedLinear)}
    _known(policy, config, config.layers, linear)
    return tuple(name for name in (config.layers or linear[:-1]) if name not in used)


def _to_tie(policy: Policy, config: Tie) -> list[tuple[str, ...]]:
    linear = {layer.name: (layer.out_size, layer.in_size) for layer in policy.layers if isinstance(layer, Linear)}
    if not config.layers:
        groups = [tuple(name for name, other in linear.items() if other == shape) for shape in dict.fromkeys(linear.values())]
        return [group for group in groups if len(group) > 1]
    _known(policy, config, tuple(name for group in config.layers for name in group), list(linear))
    return list(config.layers)


def _known(policy: Policy, config: Any, names: tuple[str, ...], linear: list[str]) -> None:
    for name in names:
        if name not in linear or names.count(name) > 1:
            found = f"{name!r} twice" if name in linear else repr(name)
            where = f"pass {config.kind!r} on {policy.name}"
            raise BadInput(where, expected="names of linear layers, each once", found=found, repair=near(name, linear))


def _some_to_hash(policy: Policy, config: Hash, _: Context) -> None:
    if not _to_hash(policy, config):
        raise BadInput(f"pass 'hash' on {policy.name}", expected="a linear layer before the last one", found="none")


def _some_to_tie(policy: Policy, config: Tie, _: Context) -> None:
    shapes = {layer.name: [layer.out_size, layer.in_size] for layer in policy.layers if isinstance(layer, Linear)}
    where, groups = f"pass 'tie' on {policy.name}", _to_tie(policy, config)
    for group in groups:
        if len(group) < 2 or any(shapes[name] != shapes[group[0]] for name in group):
            found = ", ".join(f"{name} {shapes[name]}" for name in group)
            raise BadInput(where, expected="groups of at least two layers of one shape", found=found)
    if not groups:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise BadInput(where, expected="two linear layers of one shape", found=found, repair="Use 'hash', which needs no pair")


def _dense(policy: Policy, config: Any, _: Context) -> None:
    names = (
        _to_hash(policy, config) if isinstance(config, Hash) else [name for group in _to_tie(policy, config) for name in group]
    )
    for name in names:
        if zeros := int((policy.weights[f"{name}.weight"] == 0).sum()):
            raise BadInput(
                f"pass {config.kind!r} on {policy.name}",
                expected=f"no zeros in {name}: what is shared cannot be zero in one place and not in another",
                found=f"{zeros}",
                repair="Leave pruning out, or name other layers",
            )


def _grown(before: Policy, result: PassResult, config: Any) -> str:
    more = result.policy.parameters - before.parameters
    slack = sum(layer.chunk * layer.out_size for layer in result.policy.layers if isinstance(layer, HashedLinear))
    return f"{more} more" if more > (slack if getattr(config, "share", 0) == 1 else 0) else ""


HASH = Pass(
    "hash",
    Hash,
    _hash,
    requires=(
        linear_layers,
        float_weights,
        Requirement("there is a layer to hash", _some_to_hash),
        Requirement("its weights are not pruned", _dense),
        environment,
    ),
    ensures=(Promise("there are no more parameters than before", _grown),),
)
TIE = Pass(
    "tie",
    Tie,
    _tie,
    requires=(
        linear_layers,
        float_weights,
        Requirement("there are layers of one shape", _some_to_tie),
        Requirement("their weights are not pruned", _dense),
        environment,
    ),
    ensures=(Promise("there are no more parameters than before", _grown),),
)
