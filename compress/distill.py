"""distill: a new, smaller network learns to act like the policy."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from ..errors import BadInput, require
from ..policy import Normalizer, Policy
from ..policy.cells import GRU, LSTM
from ..policy.conv import Conv2d
from ..policy.image import Image, image_seen_by
from ..policy.layers import Activation, ActivationName, Layers, Linear
from .heal import imitate
from .imitation import Imitation
from .observes import blindfold, ignored, note_of, promised, unseen
from .passes import STRICT, Context, Pass, PassResult, Promise, Requirement
from .requirements import environment
from .teachers import fitting, others_of

Width = Annotated[int, Field(gt=0, le=65_536)]
Side = Annotated[int, Field(gt=0, le=64)]


@dataclass(frozen=True, config=STRICT)
class Distill(Imitation):
    """On-policy distillation (DAgger, Ross et al. 2011) into a network of another shape, from random weights."""

    hidden: tuple[Width, ...] = (16, 16)
    """Widths of the hidden layers; empty: one linear layer."""
    activation: ActivationName | None = None
    """After every hidden layer; None: as in the policy, or tanh."""
    conv: Annotated[tuple[tuple[Width, Side, Side], ...], Field(max_length=16)] = ()
    """[channels, kernel, stride] of convolutions in front of them, for a policy that sees images; empty: the hidden layers read
    the pixels."""
    cell: Literal["none", "gru", "lstm"] = "none"
    """A recurrent cell in front, which a policy with memory needs."""
    cell_size: Width = 32
    """Width of the recurrent cell, if any."""
    steps: Annotated[int, Field(gt=0)] = 40_000
    """Environment steps in all."""
    iterations: Annotated[int, Field(gt=0, le=1000)] = 8
    """Rounds of acting and learning that the steps are spread over."""
    epochs: Annotated[int, Field(gt=0, le=10_000)] = 60
    """Passes over the collected steps per round."""
    batch_size: Annotated[int, Field(gt=0)] = 1024
    """Steps per gradient step: for small networks, 1,024 cost little more than 256."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 3e-3
    """Of Adam, at the start of each round."""
    teacher_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Probability that the teacher acts in the first round; it halves every round."""
    restart_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the environment's copies that start a new episode at each round: what is learned of beginnings."""
    normalize: bool = True
    """Give the student a normalizer of mean and variance, from the recorded rollout, where the policy has none (not in front of
    convolutions, which take all pixels alike): measured, a
    student of 1,830 weights of a SAC HalfCheetah policy came to 90 % of the return with it and to 81 % without."""
    teachers: Annotated[tuple[str, ...], Field(max_length=16)] = ()
    """Folders of further policies that teach besides the recipe's own, relative to where the command runs (in a job: to the job
    file). A heal that follows in the same recipe learns from them, too."""
    blend: Literal["mean", "episode"] = "mean"
    """mean: learn the mean of all teachers' actions, or of their log-probabilities. episode: every copy of the environment has
    one of the teachers and is that teacher's own environment, for teachers that were trained for different conditions."""
    observes: tuple[Annotated[int, Field(strict=True, ge=0)] | str, ...] = ()
    """Indices or names of the observation entries (or slices of them) that the student may see; empty: all. The others keep their
    place in the observation and get no weight, so the teachers may see what the device cannot."""
    kind: Literal["distill"] = "distill"


def student_of(policy: Policy, config: Distill, seed: int) -> Policy:
    """An untrained policy of the asked shape, with the contract of ``policy``."""
    torch = require("torch", "train")
    from ..policy.network import Network
    from ..train.actor import function, initialize, network_layers
    from ..train.vision import conv_layers

    used = [layer.function for layer in policy.layers if isinstance(layer, Activation)]
    activation: str = config.activation or [*used, "tanh"][0]
    eyes: tuple[Layers, int] = ((), policy.contract.observation.size)
    if config.conv:
        eyes = conv_layers(_image(policy), config.conv, function(activation), f"pass 'distill' on {policy.name}")
    layers = network_layers(
        eyes[1],
        config.hidden,
        activation,
        False,
        policy.contract.action.size,
        None if config.cell == "none" else (config.cell, config.cell_size),
        eyes[0],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = initialize(Network(layers), torch.Generator().manual_seed(seed), out_gain=0.1)
    contract = policy.contract
    golden = policy.golden
    if (
        config.normalize
        and not config.conv
        and contract.observation.normalizer is None
        and golden is not None
        and golden.source == "environment"
    ):
        observation = dataclasses.replace(contract.observation, normalizer=normalizer_of(golden.obs))
        contract = dataclasses.replace(contract, observation=observation)
    return policy.replace(layers=layers, weights=network.to_weights(), contract=contract, golden=None)


def _image(policy: Policy) -> Image:
    image = image_seen_by(policy)
    if image is None:
        where = f"pass 'distill' on {policy.name}"
        raise BadInput(
            where, expected="a policy that sees images, for conv", found="one that sees a vector", repair="Leave conv out"
        )
    return image


def normalizer_of(obs: np.ndarray) -> Normalizer:
    """Mean and variance of recorded observations [T, n]; an entry that never moved keeps its unit."""
    wide = obs.astype(np.float64)
    variance = wide.var(axis=0)
    return Normalizer(tuple(wide.mean(axis=0)), tuple(np.where(variance > 1e-12, variance, 1.0)), clip=10.0)


def _hidden_from(policy: Policy, config: Distill) -> tuple[int, ...]:
    """Observation entries without a weight: those that the settings leave out, and those that an earlier pass took away."""
    observation = policy.contract.observation
    entries = unseen(observation, config.observes, f"pass 'distill' on {policy.name}") if config.observes else ()
    return tuple(sorted({*entries, *(entry for entry in promised(policy) if entry < observation.size)}))


def _run(policy: Policy, config: Distill, context: Context) -> PassResult:
    entries = _hidden_from(policy, config)
    # A policy in the middle of a recipe has no rollout of its own: the teacher's shows the same observations.
    untaught = student_of(policy.replace(golden=context.teacher.golden), config, context.seed)
    others = others_of(config, untaught, context)
    student = imitate(untaught, context, config, blindfold(untaught.layers, entries), context.seed, others)
    changed: dict[str, Any] = {"compression": round(policy.parameters / student.parameters, 3)}
    if others.teachers:
        changed["teachers"] = {path: teacher.digest for path, teacher in zip(config.teachers, others.teachers, strict=True)}
    if entries:
        changed["ignores"] = list(entries)
        provenance, note = student.contract.provenance, note_of(policy.contract.observation, entries)
        if note not in provenance.notes:
            provenance = dataclasses.replace(provenance, notes=(*provenance.notes, note))
            student = student.replace(contract=dataclasses.replace(student.contract, provenance=provenance))
    name = "x".join(map(str, config.hidden)) or "linear"
    return PassResult(student, changed, f"c{'x'.join(str(out) for out, _, _ in config.conv)}-{name}" if config.conv else name)


def _known_entries(_: Policy, config: Distill, context: Context) -> None:
    _hidden_from(context.teacher, config)


def _sees(policy: Policy, config: Distill, _: Context) -> None:
    if config.conv:
        _image(policy)
        if config.observes:
            where = f"pass 'distill' on {policy.name}"
            raise BadInput(where, expected="observes or conv, not both", found="both", repair="A kernel reads all of an image")


def _memory(policy: Policy, config: Distill, _: Context) -> None:
    if policy.contract.state and config.cell == "none":
        raise BadInput(
            f"pass 'distill' on {policy.name}",
            expected="a student with memory, as the policy has one",
            found='cell = "none"',
            repair='Set cell = "gru" or "lstm"',
        )


def _peeks(before: Policy, result: PassResult, config: Distill) -> str:
    heard = set(_hidden_from(before, config)) - ignored(result.policy)
    return f"weights on {sorted(heard)[:8]}" if heard else ""


def _wrong_shape(_: Policy, result: PassResult, config: Distill) -> str:
    widths = tuple(layer.out_size for layer in result.policy.layers if isinstance(layer, Linear))[:-1]
    cells = [layer.kind for layer in result.policy.layers if isinstance(layer, GRU | LSTM)]
    kernels = [layer for layer in result.policy.layers if isinstance(layer, Conv2d)]
    eyes = tuple((layer.out_channels, layer.kernel[1], layer.stride[1]) for layer in kernels)
    if widths != config.hidden or cells != [config.cell] * (config.cell != "none") or eyes != config.conv:
        return f"widths {list(widths)}, cells {cells} and convolutions {eyes}"
    return ""


DISTILL = Pass(
    "distill",
    Distill,
    _run,
    requires=(
        environment,
        Requirement("the student has memory if the policy has", _memory),
        Requirement("the policy sees images if the student is to have convolutions", _sees),
        Requirement("the observation has the entries that the student may see", _known_entries, early=True),
        fitting,
    ),
    ensures=(
        Promise("the student has the shape asked for", _wrong_shape),
        Promise("observation entries that it may not see have no weight", _peeks),
    ),
)
