"""What every trainer from an environment needs to know; imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from .. import sealed
from ..policy.contract import MAX_DELAY
from ..policy.latency import Latency
from ..policy.layers import ActivationName
from ..policy.scene import Scene, plain
from .sparse.settings import Sparsity
from .warm_start import WarmStart
from .warm_start import read as _policy

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
Width = Annotated[int, Field(gt=0, le=65_536)]
Positive = Annotated[int, Field(gt=0, le=1_000_000_000)]
Rate = Annotated[float, Field(gt=0, le=1)]
Kernel = Annotated[int, Field(ge=1, le=64)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _range(value: object) -> object:
    return (value, value) if isinstance(value, int) else value


def _latency(value: object) -> object:
    """A path and a number are what people write."""
    if isinstance(value, str):
        return Latency.read(value)
    return Latency.fixed(value) if isinstance(value, int | float) else value


Act = ActivationName | Literal["relu6", "hardtanh"]
"""relu6(x) = min(max(x, 0), 6) and hardtanh(x) = min(max(x, -1), 1): their known ranges cost an integer grid nothing."""
Delay = Annotated[tuple[int, int], BeforeValidator(_range)]
Late = Annotated[Latency, BeforeValidator(_latency)]
Warm = Annotated[WarmStart, BeforeValidator(_policy)]


_SHAPELESS = ("checkpoint_every_s", "env_processes", "stop_at_return", "tracker", "threads")
"""Settings that change where a run is saved or ends, never a number on its way: a checkpoint is continued across them."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingConfig:
    """What every trainer from an environment needs to know."""

    least_eval_interval: ClassVar[int] = 1_000
    """Environment steps between evaluations, at least, where nobody says how many."""
    env: str
    """Gymnasium id of the environment."""
    simulator: Literal["gymnasium", "warp"] = "gymnasium"
    """warp: the copies step as one on MuJoCo Warp, on the training's device (docs/warp.md); evaluation stays with Gymnasium."""
    steps: Positive = 1_000_000
    """Environment steps in all, over all copies of the environment."""
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0
    """Everything random follows from it: weights, environments, noise, minibatches."""
    hidden: tuple[Width, ...] = (32, 32)
    """Widths of the actor's hidden layers: the network that the device runs."""
    activation: Act = "tanh"
    """After every hidden layer of the actor."""
    layer_norm: bool = False
    """LayerNorm before every activation of the actor."""
    critic_hidden: tuple[Width, ...] = (64, 64)
    """Widths of the critic's hidden layers; the critic never leaves the training machine, so it may be wide. For simba, one entry
    per residual block, all equal."""
    critic: Literal["mlp", "simba"] = "mlp"
    """mlp: plain hidden layers. simba: residual blocks with LayerNorm on normalized observations (arXiv 2410.09754)."""
    normalize_observation: bool = True
    """Running mean and variance of the observation, folded into the policy's contract."""
    eval_every: Annotated[int, Field(ge=0)] = 0
    """Environment steps between deterministic evaluations; 0: a tenth of ``steps``, at least 25,000 (PPO) or 1,000 (SAC, TD3)."""
    stop_at_return: float | None = None
    """The training ends early at the first evaluation (every ``eval_every`` steps) with this mean return; None: never. The
    policy's notes then give its mean return on as many other episodes, since the evaluation that was waited for is biased."""
    tracker: Literal["none", "mlflow", "wandb"] = "none"
    """Told how the training goes, beside TensorBoard files: MLflow or Weights & Biases, by their own environment variables."""
    eval_episodes: Annotated[int, Field(ge=1, le=1000)] = 5
    """Episodes per evaluation, on seeds that training never uses; the best evaluation decides which policy is kept."""
    checkpoint_every_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds between checkpoints; a checkpoint does not change the run."""
    actions_per_decision: Annotated[int, Field(ge=1, le=1000)] = 1
    """k > 1: the actor returns k actions per observation, for boards that are too slow to decide every control step. ``steps``,
    ``gamma`` and all else that counts steps then count decisions; their reward is the sum over the k control steps."""
    history: Annotated[int, Field(ge=1, le=1000)] = 1
    """Frames that the actor sees, each an observation with the action before it; 1: the observation alone. With delays, one more
    than the decisions that are late keeps the task Markov."""
    observation_delay: Delay = (0, 0)
    """Control steps by which observations are late: a number, or [fewest, most] for one drawn at the start of each episode."""
    latency: Late | None = None
    """How late the actions of each decision are: microseconds, or the path of a bench result (results/bench.json, or the artifact
    that it lies in) whose distribution is drawn from. Read once, and kept in the policy's contract."""
    sparsity: Sparsity | None = None
    """Weights that are pruned while training, or sparse from the start (docs/sparse-training.md); None: dense."""

    @model_validator(mode="after")
    def _check_delay(self) -> Self:
        if not 0 <= self.observation_delay[0] <= self.observation_delay[1] <= MAX_DELAY:
            raise ValueError(f"observation_delay must be 0 <= fewest <= most <= {MAX_DELAY}")
        return self

    @property
    def scene(self) -> str | Scene:
        """The environment with what stands between its observations and the actor's actions."""
        return plain(Scene(self.env, self.actions_per_decision, self.history, self.observation_delay, self.latency))

    @model_validator(mode="after")
    def _check_critic(self) -> Self:
        if self.critic == "simba" and len(set(self.critic_hidden)) != 1:
            raise ValueError(f"critic = simba needs one equal width per block in critic_hidden, not {list(self.critic_hidden)}")
        return self

    @property
    def eval_interval(self) -> int:
        """Environment steps between evaluations, resolved."""
        return self.eval_every or max(self.steps // 10, self.least_eval_interval)

    @property
    def digest(self) -> str:
        """sha256 of every setting that shapes the run; a checkpoint continues only a run of the same digest."""
        settings: dict[str, Any] = TypeAdapter(type(self)).dump_python(self, mode="json")  # type: ignore[arg-type]
        for name in _SHAPELESS:
            settings.pop(name, None)
        if self.sparsity is None:  # checkpoints from before this setting keep their names
            del settings["sparsity"]
        for name in ("one_shot", "warm_start"):
            if settings.get(name, 0) is None:
                del settings[name]
        if not settings.get("conv"):
            settings.pop("conv", None)
        if settings.get("initial_temperature") == 1.0:
            del settings["initial_temperature"]
        return sealed.sha256_bytes(sealed.canonical_json(settings).encode())
