"""What quantize is told: bits of weights, grids of activations, how they are calibrated."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic.dataclasses import dataclass

from ..errors import BadInput
from ..policy import Policy
from ..targets.profile import near
from .calibration import Calibration
from .matrices import on_any_grid
from .passes import STRICT
from .weight_grids import Granularity


def _input_grid(value: Any) -> Any:
    """true and false, as in older recipes."""
    return {True: "int8", False: "float"}[value] if isinstance(value, bool) else value


@dataclass(frozen=True, config=STRICT)
class Quantize:
    """Post-training quantization. Symmetric per output row for weights, affine per tensor for activations (Jacob et al. 2018).

    A ``heal`` behind it is quantization-aware training: on-policy distillation straight through the grids. Weights of 4 bits and
    fewer want it.

    The observation gets a grid of 16 bits: what a policy needs most is the precision of its input (arXiv 2511.07046), and
    integers are what a processor without fast floats needs. Cells of GRU and LSTM get integer weights; ``cells`` says what
    these multiply. Convolutions are rounded per output channel; depthwise ones, which have few weights, stay float32.
    """

    weight_bits: Literal[2, 3, 4, 8, 16, "mixed"] | dict[str, Literal[2, 3, 4, 8, 16, 32]] = 8
    """Bits of a weight. 16 is float16: half the flash of float32 on microcontrollers, and the same arithmetic. Fewer than 8
    save flash on microcontrollers, where the C back-end stores them packed; everywhere else they take a byte each. A table of
    layer names gives each layer its own; layers that it does not name get 8. "mixed": chosen per layer by what its rounding
    does to the recorded actions, within ``budget_bytes`` or ``tolerance``."""
    budget_bytes: int | None = Field(default=None, gt=0)
    """For "mixed": most bytes of weights, scales and biases included, as ``Policy.weight_bytes`` counts them."""
    tolerance: float | None = Field(default=None, gt=0)
    """For "mixed": largest root mean square change of the recorded actions by the rounding of weights, in half ranges of the
    action where it is bounded, else in its spread."""
    granularity: Granularity = "row"
    """One step of the weights per output row, or one for a whole matrix, as some accelerators want it: no byte less here."""
    activations: Literal["int8", "int16", "float"] = "int8"
    """What linear layers read. int16: nearly as precise as float and still integer products; a function such as tanh between
    two such grids is computed in floats. float: weights only, which needs no calibration and no environment."""
    cells: Literal["int8", "int16", "float"] = "float"
    """What the matrices of GRU and LSTM multiply: their input and their hidden state, whose range is read from the episodes of
    the recording; gates, and the state that is carried on, stay float32. On processors without fast floats this is where a
    recurrent policy spends its time. int16 costs next to no precision: a hidden state never leaves [-1, 1]."""
    calibration: Calibration = "minmax"
    """How the range of an int8 activation is read from the recorded rollout: all of it, a percentile, the range of least
    squared error, or, by coordinate descent over all grids, the ranges that change the recorded *actions* least."""
    percentile: float = Field(default=99.99, gt=50, le=100)
    """For "percentile": this share of the values on either side lies inside the range."""
    quantize_input: Annotated[Literal["int16", "int8", "int8-channel", "float"], BeforeValidator(_input_grid)] = "int16"
    """The grid of the normalized observation. int8 is, before any healing, a costly thing: measured over five
    episodes of an adopted PPO HalfCheetah policy, the return of 5,891 became 4,841 with it and 5,882 without a grid.
    int8-channel: every entry has its own range, taken back in the weights of the first linear layer."""
    equalize: bool = False
    """Divide the inputs of layers by a power of their recorded ranges where that changes no function: at the observation, by an
    affine layer, and behind a ReLU, for nothing. Each place gets the power with which rounding moves the recorded actions least.
    Worth most where entries of the observation have very different ranges and no normalizer evens them out."""
    keep_float: tuple[str, ...] = ()
    """Names of layers that stay float32."""
    kind: Literal["quantize"] = "quantize"

    @model_validator(mode="after")
    def _check(self) -> Quantize:
        limits = [limit for limit in (self.budget_bytes, self.tolerance) if limit is not None]
        if self.weight_bits == "mixed" and len(limits) != 1:
            raise ValueError('weight_bits = "mixed" needs either budget_bytes or tolerance')
        if self.weight_bits != "mixed" and limits:
            raise ValueError('budget_bytes and tolerance go with weight_bits = "mixed"')
        return self


def bits_of(policy: Policy, config: Quantize) -> dict[str, int]:
    """Layer -> bits of its weights, 32 where they stay float32; for "mixed", 8 in place of what is not chosen yet.

    Raises BadInput for a name that is no layer's.
    """
    known = [layer.name for layer in policy.layers if on_any_grid(layer)]
    given = config.weight_bits
    table: dict[str, int] = {**given} if isinstance(given, dict) else dict.fromkeys(known, 8 if given == "mixed" else given)
    for name in (*config.keep_float, *table):
        if name not in known:
            where = f"pass 'quantize' on {policy.name}"
            raise BadInput(where, expected="names of layers with weights", found=repr(name), repair=near(name, known))
    return {name: 32 if name in config.keep_float else table.get(name, 8) for name in known}
