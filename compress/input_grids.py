"""The grids of what layers read, calibrated on a recorded rollout: the observation, activations, hidden states of cells."""

from __future__ import annotations

import numpy as np

from ..policy import Policy
from ..policy.cells import GRU, LSTM
from ..policy.grid import Quantize as QuantizeLayer
from ..policy.layers import History, Layer, Linear
from .activations import layer_inputs
from .calibration import activation_grid, activation_range, int16_grid, per_channel, whole
from .matrices import on_any_grid
from .passes import Context
from .quantize_settings import Quantize, bits_of
from .requirements import recorded


def first_layer(policy: Policy) -> int | None:
    """Index of the layer that reads the observation: the first with weights."""
    return next((i for i, layer in enumerate(policy.layers) if on_any_grid(layer)), None)


def with_channels(policy: Policy, config: Quantize, context: Context) -> Policy:
    """The policy whose inputs run from -1 to 1 each, where they are to have a grid per channel."""
    first = first_layer(policy)
    if first is None or config.quantize_input != "int8-channel" or config.activations == "float":
        return policy
    layer = policy.layers[first]
    if not isinstance(layer, Linear) or bits_of(policy, config)[layer.name] > 8:
        return policy
    values = layer_inputs(policy, recorded(policy, config.kind, context), {first})[first]
    return per_channel(policy, first, values, config.calibration, config.percentile)


def input_grids(
    policy: Policy, bits: dict[str, int], config: Quantize, context: Context
) -> tuple[dict[int, QuantizeLayer], dict[int, tuple[float, float]], dict[int, QuantizeLayer]]:
    """Index of a layer -> the grid of its input; the range of that, if it has 8 bits; the grid of a cell's hidden state."""
    first = first_layer(policy)
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
