"""quantize: weights of 16, 8, 4, 3 or 2 bits, integers on grids per row, activations on grids calibrated on recorded rollouts."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator
from pydantic.dataclasses import dataclass

from ..errors import BadInput
from ..policy import Policy
from ..policy.cells import GRU, LSTM
from ..policy.conv import Conv2d
from ..policy.grid import Quantize as QuantizeLayer
from ..policy.layers import History, Layer, Layers, Linear, Weights, largest_integer, matrix_bits
from ..targets.profile import near
from .activations import layer_inputs
from .calibration import (
    Calibration,
    activation_grid,
    activation_range,
    int16_grid,
    least_action_error,
    per_channel,
    whole,
)
from .equalize import least_moved
from .matrices import dense, matrices, on_any_grid
from .passes import STRICT, Context, Pass, PassResult, Promise, Requirement
from .replay import Replay
from .requirements import float_weights, recorded
from .sensitivity import choose_bits
from .weight_grids import Granularity, half, quantized_rows, relative_error


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


def _run(policy: Policy, config: Quantize, context: Context) -> PassResult:
    changed: dict[str, Any] = {}
    given = _with_channels(policy, config, context)
    if config.equalize:
        golden = recorded(policy, config.kind, context)
        proxy = {name: min(bits, 4) if config.weight_bits == "mixed" else bits for name, bits in bits_of(given, config).items()}
        given, changed["equalized"] = least_moved(
            given, golden, lambda tried: _rounded(tried, proxy, config, context)[:2], Replay(policy, golden)
        )
    bits, scan = _bits(given, config, context)
    layers, weights, names, places = _rounded(given, bits, config, context)
    if config.calibration == "action" and places:
        replay = Replay(policy, recorded(policy, config.kind, context))
        layers, errors = least_action_error(layers, weights, places, replay)
        changed["action_error"] = [round(error, 6) for error in errors]
    changed = {
        "activations": {name: _in_numbers(layers[place]) for place, name in names.items()},
        "states": {e.name: _in_numbers(e.state_grid) for e in layers if isinstance(e, GRU | LSTM) and e.state_grid is not None},
        "weight_error": {name: relative_error(given.weights[name], dense(weights, name)) for name in matrices(policy.layers)},
        "steps_off": {name: _steps_off(given.weights[name], weights, name, each) for name, each in _on_grids(layers)},
    } | changed
    zeros = {name: int((policy.weights[name] == 0).sum()) for name in matrices(policy.layers)}
    if any(zeros.values()):
        changed["zeros"] = zeros  # what pruning took out: on a coarse grid it looks like rounding
    if set(bits.values()) != {8}:
        changed["weight_bits"] = bits
    suffix = "mixed" if config.weight_bits == "mixed" else _suffix(bits)
    return PassResult(policy.replace(layers=layers, weights=weights, golden=None), changed | scan, suffix)


def _rounded(
    policy: Policy, bits: dict[str, int], config: Quantize, context: Context
) -> tuple[Layers, Weights, dict[int, str], dict[int, tuple[float, float]]]:
    """(layers, weights, place of a grid -> the linear layer behind it, place of an int8 grid -> its range)"""
    grids, ranges, states = _grids(policy, bits, config, context)
    weights: Weights = dict(policy.weights)
    layers: list[Layer] = []
    names: dict[int, str] = {}
    places: dict[int, tuple[float, float]] = {}
    for index, layer in enumerate(policy.layers):
        if on_any_grid(layer) and bits[layer.name] != 32:
            if index in grids:
                names[len(layers)] = layer.name
                if index in ranges:
                    places[len(layers)] = ranges[index]
                layers.append(grids[index])
            layer = dataclasses.replace(layer, weight_bits=bits[layer.name])  # type: ignore[arg-type]
            if isinstance(layer, GRU | LSTM) and index in states:
                layer = dataclasses.replace(layer, state_grid=states[index])
            for name in matrices((layer,)):
                if layer.weight_bits == 16:
                    weights[name] = half(weights[name], f"{name} of {policy.name}")
                    continue
                weights[name], weights[f"{name}_scale"] = quantized_rows(weights[name], bits[layer.name], config.granularity)
        layers.append(layer)
    return tuple(layers), weights, names, places


def _bits(policy: Policy, config: Quantize, context: Context) -> tuple[dict[str, int], dict[str, Any]]:
    """(layer -> bits of its weights, what the scan for mixed bits found)"""
    if config.weight_bits != "mixed":
        return bits_of(policy, config), {}
    known = bits_of(policy, config)
    bits, scan = choose_bits(
        policy,
        recorded(policy, config.kind, context),
        budget_bytes=config.budget_bytes,
        tolerance=config.tolerance,
        granularity=config.granularity,
        keep_float=config.keep_float,
    )
    return known | bits, scan


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


def _suffix(bits: dict[str, int]) -> str:
    """int8, w4 …, fp16 or mixed: what the pass adds to the policy's name."""
    found = set(bits.values()) - {32}
    if len(found) > 1:
        return "mixed"
    return {8: "int8", 16: "fp16"}.get(most := max(found, default=8), f"w{most}")


def _first(policy: Policy) -> int | None:
    """Index of the layer that reads the observation: the first with weights."""
    return next((i for i, layer in enumerate(policy.layers) if on_any_grid(layer)), None)


def _with_channels(policy: Policy, config: Quantize, context: Context) -> Policy:
    """The policy whose inputs run from -1 to 1 each, where they are to have a grid per channel."""
    first = _first(policy)
    if first is None or config.quantize_input != "int8-channel" or config.activations == "float":
        return policy
    layer = policy.layers[first]
    if not isinstance(layer, Linear) or bits_of(policy, config)[layer.name] > 8:
        return policy
    values = layer_inputs(policy, recorded(policy, config.kind, context), {first})[first]
    return per_channel(policy, first, values, config.calibration, config.percentile)


def _grids(
    policy: Policy, bits: dict[str, int], config: Quantize, context: Context
) -> tuple[dict[int, QuantizeLayer], dict[int, tuple[float, float]], dict[int, QuantizeLayer]]:
    """Index of a layer -> the grid of its input; the range of that, if it has 8 bits; the grid of a cell's hidden state."""
    first = _first(policy)
    wide = {index: _bits_of_input(layer, index == first, config) for index, layer in enumerate(policy.layers)}
    wanted = {
        index
        for index, layer in enumerate(policy.layers)
        if on_any_grid(layer)
        and wide[index] != "float"
        and bits[layer.name] <= 8
        and not (index and isinstance(policy.layers[index - 1], QuantizeLayer))
    }
    cells = {
        i for i, e in enumerate(policy.layers) if isinstance(e, GRU | LSTM) and config.cells != "float" and bits[e.name] <= 8
    }
    if not wanted and not cells:
        return {}, {}, {}
    inputs = layer_inputs(policy, recorded(policy, config.kind, context), wanted | {index + 1 for index in cells})
    normalizer = policy.contract.observation.normalizer
    grids: dict[int, QuantizeLayer] = {}
    ranges: dict[int, tuple[float, float]] = {}
    for index in sorted(wanted):
        before, values = policy.layers[index - 1] if index else None, inputs[index]
        if wide[index] == "int8-channel":
            grids[index], ranges[index] = QuantizeLayer(float(np.float32(1 / 127)), 0), (-1.0, 1.0)
        elif wide[index] == "int16":
            normalized = index == first and (before is None or isinstance(before, History))
            grids[index] = int16_grid(before, values, normalizer.clip if normalizer and normalized else None)
        else:
            ranges[index] = whole(before, *activation_range(values, config.calibration, config.percentile))
            grids[index] = QuantizeLayer(*activation_grid(*ranges[index]))
    states = {index: _state_grid(inputs[index + 1], config) for index in cells}
    return grids, ranges, states


def _bits_of_input(layer: Layer, first: bool, config: Quantize) -> str:
    """int8, int8-channel, int16 or float: what the layer is to read."""
    kind = config.cells if isinstance(layer, GRU | LSTM) else config.activations
    if not first or kind == "float":
        return kind
    channels = config.quantize_input == "int8-channel" and not isinstance(layer, Linear)
    return "int16" if channels else config.quantize_input


def _state_grid(values: np.ndarray, config: Quantize) -> QuantizeLayer:
    """For hidden states, float32 [T, H], that a cell gave: it reads them in the next step."""
    if config.cells == "int16":
        return QuantizeLayer(float(np.float32(1 / 32767)), 0, 16)
    return QuantizeLayer(*activation_grid(*activation_range(values, config.calibration, config.percentile)))


def _in_numbers(layer: Layer) -> dict[str, float]:
    assert isinstance(layer, QuantizeLayer)
    return {"scale": layer.scale, "zero_point": layer.zero_point, "bits": layer.bits}


def _calibrated(policy: Policy, config: Quantize, context: Context) -> None:
    bits = bits_of(policy, config)
    kinds = {Linear: config.activations, Conv2d: config.activations, GRU: config.cells, LSTM: config.cells}
    rounded = any(kinds[type(layer)] != "float" and bits[layer.name] <= 8 for layer in policy.layers if on_any_grid(layer))
    if rounded or config.weight_bits == "mixed" or config.equalize:
        recorded(policy, config.kind, context)


def _has_weights(policy: Policy, _: Quantize, __: Context) -> None:
    if not matrices(policy.layers):
        raise BadInput(f"pass 'quantize' on {policy.name}", expected="at least one layer with weights", found="none")


def _on_grids(layers: Layers) -> list[tuple[str, int]]:
    """(name, bits) of every matrix of integers."""
    return [(name, bits) for layer in layers for name, bits in matrix_bits(layer).items() if bits <= 8]


def _steps_off(given: np.ndarray, weights: Weights, name: str, bits: int) -> float:
    """How far a rounded weight lies from its float32 value, or the end of the grid that it lies beyond; the largest, in steps."""
    scale = weights[f"{name}_scale"][:, None]
    nearest = np.clip(given, -largest_integer(bits) * scale, largest_integer(bits) * scale)
    return round(float((np.abs(dense(weights, name) - nearest) / scale).max(initial=0.0)), 4)


def _off_grid(_: Policy, result: PassResult, __: Quantize) -> str:
    for name, off in result.changed["steps_off"].items():
        if off > 0.5001:
            return f"{off} steps in {name}"
    return ""


def _wrong_bits(before: Policy, result: PassResult, config: Quantize) -> str:
    wanted = result.changed.get("weight_bits", {}) if config.weight_bits == "mixed" else bits_of(before, config)
    for layer in result.policy.layers:
        if on_any_grid(layer) and layer.weight_bits != wanted.get(layer.name, 8):
            return f"{layer.weight_bits} bits in {layer.name}, not {wanted.get(layer.name, 8)}"
    return ""


def _over_budget(_: Policy, result: PassResult, config: Quantize) -> str:
    size = result.policy.weight_bytes
    return f"{size:,} bytes" if config.budget_bytes is not None and size > config.budget_bytes else ""


QUANTIZE = Pass(
    "quantize",
    Quantize,
    _run,
    requires=(
        Requirement("there is a layer with weights", _has_weights),
        float_weights,
        Requirement(
            "there is a rollout recorded in the environment, unless activations stay float and bits are given",
            _calibrated,
            early=True,
        ),
    ),
    ensures=(
        Promise("every weight lies within half a step of its float32 value, or at the end of its grid", _off_grid),
        Promise("every layer has the bits that it was to have", _wrong_bits),
        Promise("the weights are within the budget, if there is one", _over_budget),
    ),
)
