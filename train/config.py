"""What to train: frozen settings, one class per algorithm, checked where they are made; imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from ..errors import BadInput
from .one_shot.family import Family
from .sparse.settings import Sparsity
from .training_config import STRICT, Act, Fraction, Kernel, Positive, Rate, TrainingConfig, Warm, Width


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PPOConfig(TrainingConfig):
    """Proximal policy optimization (Schulman et al. 2017, arXiv 1707.06347), for vectors or choices as actions."""

    least_eval_interval: ClassVar[int] = 25_000
    algorithm: Literal["ppo"] = "ppo"
    """Selects this class."""
    n_envs: Annotated[int, Field(gt=0, le=4096)] = 16
    """Copies of the environment that step together."""
    rollout_steps: Annotated[int, Field(gt=0, le=1_000_000)] = 128
    """Steps of each copy between two updates."""
    minibatch_size: Positive = 256
    """Transitions per gradient step; large ones are what makes a CPU fast."""
    epochs: Annotated[int, Field(gt=0, le=1000)] = 10
    """Passes over each rollout."""
    learning_rate: Rate = 1e-3
    """Adam's step size at the start."""
    schedule: Literal["linear", "constant"] = "linear"
    """linear: the learning rate falls to zero over ``steps``."""
    gamma: Fraction = 0.99
    """Discount."""
    gae_lambda: Fraction = 0.95
    """Bias against variance of the advantages (generalized advantage estimation, arXiv 1506.02438)."""
    clip: Annotated[float, Field(gt=0, le=10)] = 0.2
    """How far the probability ratio may move per update."""
    entropy: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the entropy bonus."""
    value_weight: Annotated[float, Field(gt=0)] = 0.5
    """Weight of the value loss."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 0.5
    """Gradients are scaled down to this norm."""
    target_kl: Annotated[float, Field(gt=0)] | None = None
    """An update stops once the approximate KL divergence passes this; None: never."""
    log_std: float = -0.5
    """Initial logarithm of the Gaussian's standard deviation, in units of half the action range."""
    final_std: Annotated[float, Field(gt=0, le=10)] | None = None
    """The standard deviation ends at or below this: a bound falls there from exp(log_std), in step with ``steps``. What flies has
    no noise, and where noise itself moves the system (rotors that rise faster than they fall) it must not be learned with to the
    end. None: no bound."""
    normalize_reward: bool = True
    """Rewards are divided by the running standard deviation of the discounted return."""
    env_processes: Annotated[int, Field(ge=0, le=1024)] = 0
    """Processes that step the copies of a Gymnasium environment, for the same results; 0: as many as there are cores to use."""
    asymmetric_critic: bool = False
    """The critic sees the environment's true state, without noise and delay, which the device never can."""
    conv: Annotated[tuple[tuple[Width, Kernel, Kernel], ...], Field(max_length=16)] = ()
    """[channels, kernel, stride] of every convolution before the hidden layers of actor and critic, for observations that are
    images: Boxes of [height, width, channels], [channels, height, width] or [height, width]. With ``history`` above 1, over the
    frames of the history instead, in time. Images are normalized by their bounds."""
    one_shot: Family | None = None
    """Train a hypernetwork that gives the weights of every architecture of a family (docs/one-shot.md), each environment flown by
    another one. ``hidden`` is then the one that the evaluations on the way, and the policy in the end, are of. None: it alone."""
    warm_start: Warm | None = None
    """A policy bundle (path) of the same layers, actions and normalizer that the actor begins as. The critic begins alone."""
    recurrent: Literal["none", "gru", "lstm", "cfc"] = "none"
    """A memory before the hidden layers of the actor, and of the critic unless it is asymmetric."""
    recurrent_size: Annotated[int, Field(gt=0, le=4096)] = 32
    """Width of the memory."""
    recurrent_rank: Annotated[int, Field(gt=0, le=4096)] | None = None
    """Rank of the actor's recurrent matrices, kept by training their two factors; None: full."""
    recurrent_sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the entries of the actor's recurrent matrices that are zero throughout, at random places."""

    @model_validator(mode="after")
    def _check(self) -> PPOConfig:
        if self.recurrent == "none" and (self.recurrent_rank is not None or self.recurrent_sparsity):
            raise ValueError("recurrent_rank and recurrent_sparsity need recurrent = gru, lstm or cfc")
        if self.warm_start is not None and (self.recurrent != "none" or self.conv or self.one_shot is not None):
            raise ValueError("warm_start knows actors of linear layers alone: no recurrent, conv and one_shot")
        if self.one_shot is not None:
            if self.recurrent != "none" or self.conv or self.layer_norm or self.sparsity is not None or self.asymmetric_critic:
                raise ValueError(
                    "one_shot knows actors of linear layers alone: no recurrent, conv, layer_norm, sparsity, asymmetric_critic"
                )
            if self.minibatch_size < self.n_envs:
                raise ValueError(
                    f"minibatch_size {self.minibatch_size} leaves no decision for each of {self.n_envs} architectures"
                )
        if self.conv and (self.recurrent != "none" or self.asymmetric_critic or self.critic == "simba"):
            raise ValueError('conv needs recurrent = "none", critic = "mlp" and a critic that sees what the actor does')
        if self.recurrent != "none" and self.critic == "simba" and not self.asymmetric_critic:
            raise ValueError("a simba critic has no memory: with recurrent it needs asymmetric_critic = true")
        if self.recurrent_rank is not None and self.recurrent_sparsity:
            raise ValueError("recurrent_rank or recurrent_sparsity, not both: a product of sparse factors is not sparse")
        if self.recurrent_rank is not None and self.recurrent_rank > self.recurrent_size:
            raise ValueError(f"recurrent_rank {self.recurrent_rank} is above recurrent_size {self.recurrent_size}")
        if self.sparsity is not None and self.sparsity.of != "critic" and (self.recurrent_rank or self.recurrent_sparsity):
            raise ValueError("sparsity of the actor needs full recurrent matrices: no recurrent_rank, no recurrent_sparsity")
        if self.minibatch_size > self.n_envs * self.rollout_steps:
            raise ValueError(
                f"minibatch_size {self.minibatch_size} is larger than a rollout of n_envs * rollout_steps = "
                f"{self.n_envs * self.rollout_steps} transitions"
            )
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class _OffPolicy(TrainingConfig):
    """What SAC and TD3 share."""

    activation: Act = "relu"
    """After every hidden layer of the actor."""
    critic_hidden: tuple[Width, ...] = (128, 128)
    """Widths of each of the two critics' hidden layers; for simba, one entry per residual block, all equal."""
    n_envs: Annotated[int, Field(gt=0, le=4096)] = 1
    """Copies of the environment that step together."""
    updates_per_step: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Gradient steps per environment step."""
    batch_size: Positive = 256
    """Transitions per gradient step."""
    buffer_size: Positive = 1_000_000
    """Transitions kept for replay; never more than ``steps``."""
    learning_starts: Annotated[int, Field(ge=1)] = 1_000
    """Environment steps with uniformly random actions before the first update."""
    learning_rate: Rate = 1e-3
    """Adam's step size for the actor, the critics and SAC's temperature."""
    gamma: Fraction = 0.99
    """Discount."""
    tau: Rate = 0.005
    """Share of the critics that flows into their targets per gradient step."""
    threads: Annotated[int, Field(ge=0, le=2)] = 0
    """CPU threads of a gradient step, which change no result; 0: two where networks are wide and there are two cores."""
    normalize_observation: bool = False
    """Running mean and variance of the observation, folded into the policy's contract."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SACConfig(_OffPolicy):
    """Soft actor-critic with automatic temperature (Haarnoja et al. 2018, arXiv 1812.05905), for vectors as actions."""

    algorithm: Literal["sac"] = "sac"
    """Selects this class."""
    initial_temperature: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Weight of the entropy at the start; Adam then moves its logarithm by about ``learning_rate`` per update, so a tenth is
    reached from 1 after 2,300 updates at 1e-3 and after 7,700 at 3e-4."""
    target_entropy: float | None = None
    """Entropy that the temperature is tuned to; None: minus the number of action entries."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TD3Config(_OffPolicy):
    """Twin delayed deep deterministic policy gradient (Fujimoto et al. 2018, arXiv 1802.09477), for vectors as actions.

    The defaults of the three settings of its own are that paper's; all noises are in units of half the action range.
    """

    algorithm: Literal["td3"] = "td3"
    """Selects this class."""
    policy_delay: Annotated[int, Field(ge=1, le=1000)] = 2
    """The actor and all targets move once in so many updates of the critics."""
    exploration_noise: Annotated[float, Field(ge=0, le=10)] = 0.1
    """Standard deviation of the Gaussian noise on actions while collecting."""
    target_noise: Annotated[float, Field(ge=0, le=10)] = 0.2
    """Standard deviation of the Gaussian noise on the actions that the target critics judge."""
    target_noise_clip: Annotated[float, Field(ge=0, le=10)] = 0.5
    """That noise is cut here."""


TrainConfig = Annotated[PPOConfig | SACConfig | TD3Config, Field(discriminator="algorithm")]
_TRAIN: TypeAdapter[PPOConfig | SACConfig | TD3Config] = TypeAdapter(TrainConfig)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DistillConfig:
    """On-policy distillation (DAgger, Ross et al. 2011, arXiv 1011.0686): the student acts, the teacher labels."""

    steps: Positive = 30_000
    """Environment steps in all, over all iterations."""
    iterations: Annotated[int, Field(gt=0, le=1000)] = 6
    """Rounds of collecting and fitting; the data of all rounds is kept."""
    n_envs: Annotated[int, Field(gt=0, le=4096)] = 32
    """Copies of the environment that step together."""
    restart_share: Fraction = 0.25
    """Share of the copies that start a new episode at each round; the others go on with theirs."""
    teacher_share: Fraction = 1.0
    """Probability that the teacher acts in the first round; it halves every round and the last round has none."""
    noise: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Standard deviation of what is added to the actions in every other copy, as a share of half their range: the student
    then learns to come back from where it would seldom be."""
    epochs: Annotated[int, Field(gt=0, le=10_000)] = 40
    """Passes over all data per round; the last round makes three times as many."""
    batch_size: Positive = 512
    """Decisions per gradient step."""
    learning_rate: Rate = 3e-3
    """Adam's step size at the start; it falls to a hundredth along a cosine, in every round."""
    window: Annotated[int, Field(gt=0, le=100_000)] = 64
    """Decisions per training window of a recurrent student (truncated back-propagation through time)."""
    eval_episodes: Annotated[int, Field(gt=0, le=1000)] = 5
    """Episodes per evaluation of a student, on seeds that no collection uses."""
    patience: Annotated[int, Field(ge=1)] = 3
    """After this many rounds without a better student comes the last one."""
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0
    """Everything random follows from it."""


def train_config(settings: Mapping[str, Any], where: object = "train") -> PPOConfig | SACConfig | TD3Config:
    """Settings from a job file or the command line -> config; a misspelt or ill-valued one is BadInput naming the near one."""
    table = {"algorithm": "ppo"} | dict(settings)
    known: dict[str, type[PPOConfig | SACConfig | TD3Config]] = {"ppo": PPOConfig, "sac": SACConfig, "td3": TD3Config}
    chosen = known.get(str(table["algorithm"]))
    if chosen is None:
        raise BadInput(where, expected="algorithm = " + " or ".join(map(repr, known)), found=repr(table["algorithm"]))
    try:
        return _TRAIN.validate_python(table)
    except ValidationError as error:
        table_of = Sparsity if "sparsity" in error.errors()[0]["loc"][:-1] else chosen
        raise _explain(where, error, [field.name for field in dataclasses.fields(table_of)]) from error


def distill_config(settings: Mapping[str, Any], where: object = "distill") -> DistillConfig:
    """The same for distillation."""
    try:
        return TypeAdapter(DistillConfig).validate_python(dict(settings))
    except ValidationError as error:
        raise _explain(where, error, [field.name for field in dataclasses.fields(DistillConfig)]) from error


def _explain(where: object, error: ValidationError, fields: list[str]) -> BadInput:
    import difflib

    first = error.errors()[0]
    name = str(first["loc"][-1]) if first["loc"] else ""
    path = ".".join(str(part) for part in first["loc"] if part not in ("ppo", "sac", "td3"))
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        near = difflib.get_close_matches(name, fields, n=1, cutoff=0.5)
        repair = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(sorted(fields))}"
        return BadInput(f"{where}", expected="a known setting", found=repr(name), repair=repair)
    if first["type"] in ("missing", "missing_argument"):
        return BadInput(f"{where}", expected=f"the setting {name!r}", found="none")
    message = first["msg"].removeprefix("Value error, ")
    return BadInput(f"{where}.{path}" if path else where, expected=message, found=repr(first["input"])[:80])
