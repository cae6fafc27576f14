"""quantize: weights of 8, 4, 3 or 2 bits on grids per row, activations on grids calibrated on recorded rollouts."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from ..errors import BadInput
from ..policy import Policy
from ..policy.layers import GRU, LSTM, Activation, Layer, Linear, Weights, largest_integer
from ..policy.layers import Quantize as QuantizeLayer
from ..targets.profile import near
from .activations import layer_inputs
from .matrices import dense, matrices
from .passes import STRICT, Context, Pass, PassResult, Promise, Requirement
from .requirements import float_weights, recorded
from .weight_grids import Granularity, quantized_rows, relative_error

LEVELS = 255
"""Steps of an int8 grid from -128 to 127."""
BOUNDED = {"tanh": (-1.0, 1.0), "softsign": (-1.0, 1.0), "sigmoid": (0.0, 1.0)}
"""Limits of the functions that have some."""
NEARLY_ALL = 0.8
"""A recorded range that covers this share of a bounded function's is taken as the whole: layers with the same function then
share one grid, and on small processors one table, for at most a quarter more step."""
HEADROOM = 8.0
"""An int16 input reaches this many times farther than what was recorded, or as far as the normalizer clips: its 65,536 steps
are fine enough for both."""


def _input_grid(value: Any) -> Any:
    """true and false, as in older recipes."""
    return {True: "int8", False: "float"}[value] if isinstance(value, bool) else value


@dataclass(frozen=True, config=STRICT)
class Quantize:
    """Post-training quantization. Symmetric per output row for weights, affine per tensor for activations (Jacob et al. 2018).

    A ``heal`` behind it is quantization-aware training: on-policy distillation straight through the grids. Weights of 4 bits and
    fewer want it.

    The observation gets a grid of 16 bits: what a policy needs most is the precision of its input (arXiv 2511.07046), and
    integers are what a processor without fast floats needs. Cells of GRU and LSTM get int8 weights and keep float32 activations.
    """

    weight_bits: Literal[2, 3, 4, 8] | dict[str, Literal[2, 3, 4, 8, 32]] = 8
    """Bits of a weight. Fewer than 8 save flash on microcontrollers, where the C back-end stores them packed; everywhere else
    they take a byte each. A table of layer names gives each layer its own; layers that it does not name get 8."""
    granularity: Granularity = "row"
    """One step of the weights per output row, or one for a whole matrix, as some accelerators want it: no byte less here."""
    activations: Literal["int8", "float"] = "int8"
    """float: weights only, which needs no calibration and no environment."""
    calibration: Literal["minmax", "percentile"] = "minmax"
    """How the range of an activation is read from the recorded rollout."""
    percentile: float = Field(default=99.99, gt=50, le=100)
    """For "percentile": this share of the values on either side lies inside the range."""
    quantize_input: Annotated[Literal["int16", "int8", "float"], BeforeValidator(_input_grid)] = "int16"
    """The grid of the normalized observation. int8 is, before any healing, a costly thing: measured over five
    episodes of an adopted PPO HalfCheetah policy, the return of 5,891 became 4,841 with it and 5,882 without a grid."""
    keep_float: tuple[str, ...] = ()
    """Names of layers that stay float32."""
    kind: Literal["quantize"] = "quantize"


def activation_grid(low: float, high: float) -> tuple[float, int]:
    """(scale, zero point) of the int8 grid that spans [low, high] and holds 0 exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / LEVELS))
    if scale < np.finfo(np.float32).tiny:  # a subnormal step has no precision left to hold the range's ends
        scale = 1 / 128
    return scale, int(np.clip(round(-128 - low / scale), -128, 127))


def activation_range(values: np.ndarray, config: Quantize) -> tuple[float, float]:
    """The range that calibration keeps of recorded activations, float32 [T, width]."""
    if config.calibration == "minmax":
        return float(values.min()), float(values.max())
    low, high = np.percentile(values, [100 - config.percentile, config.percentile])
    return float(low), float(high)


def _run(policy: Policy, config: Quantize, context: Context) -> PassResult:
    bits = bits_of(policy, config)
    grids = _grids(policy, config, context)
    weights: Weights = dict(policy.weights)
    layers: list[Layer] = []
    for index, layer in enumerate(policy.layers):
        if isinstance(layer, Linear | GRU | LSTM) and bits[layer.name] != 32:
            if index in grids:
                layers.append(grids[index])
            layer = dataclasses.replace(layer, weight_bits=bits[layer.name])
            for name in matrices((layer,)):
                weights[name], weights[f"{name}_scale"] = quantized_rows(weights[name], bits[layer.name], config.granularity)
        layers.append(layer)
    changed = {
        "activations": {
            policy.layers[i].name: {"scale": grid.scale, "zero_point": grid.zero_point, "bits": grid.bits}  # type: ignore[union-attr]
            for i, grid in grids.items()
        },
        "weight_error": {name: relative_error(policy.weights[name], dense(weights, name)) for name in matrices(policy.layers)},
    }
    zeros = {name: int((policy.weights[name] == 0).sum()) for name in matrices(policy.layers)}
    if any(zeros.values()):
        changed["zeros"] = zeros  # what pruning took out: on a coarse grid it looks like rounding
    if set(bits.values()) != {8}:
        changed["weight_bits"] = bits
    return PassResult(policy.replace(layers=tuple(layers), weights=weights, golden=None), changed, _suffix(bits))


def bits_of(policy: Policy, config: Quantize) -> dict[str, int]:
    """Layer -> bits of its weights, 32 where they stay float32; BadInput for a name that is none."""
    known = [layer.name for layer in policy.layers if isinstance(layer, Linear | GRU | LSTM)]
    table = config.weight_bits if isinstance(config.weight_bits, dict) else dict.fromkeys(known, config.weight_bits)
    for name in (*config.keep_float, *table):
        if name not in known:
            where = f"pass 'quantize' on {policy.name}"
            raise BadInput(where, expected="names of layers with weights", found=repr(name), repair=near(name, known))
    return {name: 32 if name in config.keep_float else table.get(name, 8) for name in known}


def _suffix(bits: dict[str, int]) -> str:
    """int8, w4 …, or mixed: what the pass adds to the policy's name."""
    found = set(bits.values()) - {32}
    if len(found) > 1:
        return "mixed"
    return {8: "int8"}.get(most := max(found, default=8), f"w{most}")


def _grids(policy: Policy, config: Quantize, context: Context) -> dict[int, QuantizeLayer]:
    """Index of each linear layer whose input is to be rounded -> its grid."""
    if config.activations == "float":
        return {}
    first = next((i for i, layer in enumerate(policy.layers) if isinstance(layer, Linear | GRU | LSTM)), None)
    wanted = {
        index
        for index, layer in enumerate(policy.layers)
        if isinstance(layer, Linear)
        and bits_of(policy, config)[layer.name] != 32
        and (config.quantize_input != "float" or index != first)
        and not (index and isinstance(policy.layers[index - 1], QuantizeLayer))
    }
    if not wanted:
        return {}
    inputs = layer_inputs(policy, recorded(policy, config.kind, context), wanted)
    return {
        index: _wide_grid(policy, values)
        if index == first and config.quantize_input == "int16"
        else _grid(policy.layers[index - 1] if index else None, values, config)
        for index, values in inputs.items()
    }


def _grid(before: Layer | None, values: np.ndarray, config: Quantize) -> QuantizeLayer:
    """8 bits, behind the layer ``before``."""
    return QuantizeLayer(*activation_grid(*_whole(before, *activation_range(values, config))))


def _whole(before: Layer | None, low: float, high: float) -> tuple[float, float]:
    """The range of the bounded function before a grid, where the recorded one covers nearly all of it."""
    if isinstance(before, Activation) and before.function in BOUNDED:
        least, most = BOUNDED[before.function]
        if high - low >= NEARLY_ALL * (most - least):
            return least, most
    return low, high


def _wide_grid(policy: Policy, values: np.ndarray) -> QuantizeLayer:
    """Symmetric, 16 bits: as far as the normalizer clips, or well past what was recorded."""
    limit = HEADROOM * float(np.abs(values).max()) or 1.0
    normalizer = policy.contract.observation.normalizer
    if normalizer is not None and normalizer.clip is not None:
        limit = min(limit, normalizer.clip)
    return QuantizeLayer(float(np.float32(limit / 32767)), 0, 16)


def _calibrated(policy: Policy, config: Quantize, context: Context) -> None:
    if config.activations == "int8" and any(isinstance(layer, Linear) for layer in policy.layers):
        recorded(policy, config.kind, context)


def _has_weights(policy: Policy, _: Quantize, __: Context) -> None:
    if not matrices(policy.layers):
        raise BadInput(f"pass 'quantize' on {policy.name}", expected="at least one layer with weights", found="none")


def _off_grid(before: Policy, result: PassResult, config: Quantize) -> str:
    bits = bits_of(before, config)
    for name in matrices(before.layers):
        each = bits[name.partition(".")[0]]
        if each == 32:
            continue
        scale = result.policy.weights[f"{name}_scale"][:, None]
        nearest = np.clip(before.weights[name], -largest_integer(each) * scale, largest_integer(each) * scale)
        if (np.abs(dense(result.policy.weights, name) - nearest) > 0.5001 * scale).any():
            return f"{name} farther from its float32 value than half a step"
    return ""


def _still_float(before: Policy, result: PassResult, config: Quantize) -> str:
    wanted = bits_of(before, config)
    for layer in result.policy.layers:
        if isinstance(layer, Linear | GRU | LSTM) and layer.weight_bits != wanted[layer.name]:
            return f"{layer.weight_bits} bits in {layer.name}, not {wanted[layer.name]}"
    return ""


QUANTIZE = Pass(
    "quantize",
    Quantize,
    _run,
    requires=(
        Requirement("there is a layer with weights", _has_weights),
        float_weights,
        Requirement("there is a rollout recorded in the environment, unless activations stay float", _calibrated, early=True),
    ),
    ensures=(
        Promise("every weight lies within half a step of its float32 value, or at the end of its grid", _off_grid),
        Promise("every layer has the bits that it was to have", _still_float),
    ),
)
