"""quantize: weights of 16, 8, 4, 3 or 2 bits, integers on grids per row, activations on grids calibrated on recorded rollouts."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ..errors import BadInput
from ..policy import Policy
from ..policy.cells import GRU, LSTM
from ..policy.conv import Conv2d
from ..policy.grid import Quantize as QuantizeLayer
from ..policy.layers import Layer, Layers, Linear, Weights, largest_integer, matrix_bits
from .calibration import least_action_error
from .equalize import least_moved
from .input_grids import input_grids, with_channels
from .matrices import dense, matrices, on_any_grid
from .passes import Context, Pass, PassResult, Promise, Requirement
from .quantize_settings import Quantize, bits_of
from .replay import Replay
from .requirements import float_weights, recorded
from .sensitivity import choose_bits
from .weight_grids import half, quantized_rows, relative_error


def _run(policy: Policy, config: Quantize, context: Context) -> PassResult:
    changed: dict[str, Any] = {}
    given = with_channels(policy, config, context)
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
    grids, ranges, states = input_grids(policy, bits, config, context)
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


def _suffix(bits: dict[str, int]) -> str:
    """int8, w4 …, fp16 or mixed: what the pass adds to the policy's name."""
    found = set(bits.values()) - {32}
    if len(found) > 1:
        return "mixed"
    return {8: "int8", 16: "fp16"}.get(most := max(found, default=8), f"w{most}")


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
