"""Which layer minds coarse weights: the change of the action per layer and bit width, and bits chosen by it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import BadInput
from ..policy import Golden, Policy
from ..policy.cells import GRU, LSTM
from ..policy.conv import Conv2d
from ..policy.layers import Layer, Linear, Weights
from .matrices import matrices, on_any_grid
from .replay import Replay
from .weight_grids import Granularity, quantized_rows

WIDTHS = (8, 4, 3, 2)
"""Bits that a layer may get, most first."""
MEASURED = 8
"""Of the choices within a budget, so many of the largest are measured."""
Table = dict[str, dict[int, float]]
"""Layer -> bits -> action error with this layer alone on so many bits."""


def sensitivity(policy: Policy, golden: Golden, *, granularity: Granularity = "row", keep_float: Collection[str] = ()) -> Table:
    """Action error (:meth:`.replay.Replay.error`) over the recorded observations with one layer's weights on a grid.

    No environment is needed. ``keep_float``: layers that are left out. Activations stay float.
    """
    scan = _Scan(policy, golden, granularity, keep_float)
    return {name: {bits: scan.error({name: bits}) for bits in WIDTHS} for name in scan.names}


def choose_bits(
    policy: Policy,
    golden: Golden,
    *,
    budget_bytes: int | None = None,
    tolerance: float | None = None,
    granularity: Granularity = "row",
    keep_float: Collection[str] = (),
) -> tuple[dict[str, int], dict[str, Any]]:
    """(layer -> bits, the record: the scan's table, what was tried and what was kept) within one of two limits.

    ``budget_bytes``: of the choices whose ``weight_bytes`` are within it, the one that changes the actions least;
    ``tolerance``: of those that change them by no more, the smallest. Roundings are taken to be independent: the squares of the
    scan's errors add up to an estimate for every choice, the best of which are then measured together. Raises BadInput, with the
    least possible, where no choice will do.
    """
    scan = _Scan(policy, golden, granularity, keep_float)
    where = f"mixed bits of {policy.name}"
    table = {name: {bits: scan.error({name: bits}) for bits in WIDTHS} for name in scan.names}
    choices = _frontier(scan, table)
    if budget_bytes is not None:
        within = [choice for choice in choices if choice.weight_bytes <= budget_bytes]
        if not within:
            least = f"{choices[0].weight_bytes:,} bytes with 2 bits everywhere, scales and biases included"
            raise BadInput(where, expected=f"at most {budget_bytes:,} bytes of weights", found=least, repair="Distill first")
        same = [scan.choice(dict.fromkeys(scan.names, bits), table) for bits in WIDTHS]
        tried = [*within[-MEASURED:], *(choice for choice in same if choice.weight_bytes <= budget_bytes)]
        measured = [(scan.error(choice.bits), choice.weight_bytes, choice.bits) for choice in tried]
        error, size, bits = min(measured, key=lambda entry: entry[:2])
    else:
        assert tolerance is not None
        measured = []
        for choice in choices:  # from the smallest on
            if choice.estimate > 2 * tolerance and choice is not choices[-1]:
                continue
            error, size, bits = scan.error(choice.bits), choice.weight_bytes, choice.bits
            measured.append((error, size, bits))
            if error <= tolerance:
                break
        else:
            raise BadInput(
                where, expected=f"an action error of at most {tolerance:g}", found=f"{measured[-1][0]:.3g} with 8 bits everywhere"
            )
    rounded = {name: {str(width): round(value, 6) for width, value in row.items()} for name, row in table.items()}
    tried_record = [{"bits": list(b.values()), "weight_bytes": n, "action_error": round(e, 6)} for e, n, b in measured]
    kept = {"weights_action_error": round(error, 6), "within": budget_bytes if tolerance is None else tolerance}
    return bits, {"sensitivity": rounded, "tried": tried_record, **kept}


@dataclass(frozen=True)
class _Choice:
    """Bits for every layer."""

    weight_bytes: int
    """Of the whole policy."""
    estimate: float
    """Root of the sum of the squares of the layers' own errors."""
    bits: dict[str, int]
    """Layer -> bits."""


def _frontier(scan: _Scan, table: Table) -> list[_Choice]:
    """Every choice than which none is both smaller and better by the estimate, the smallest first; 8 bits everywhere is last."""
    eight = scan.choice(dict.fromkeys(scan.names, WIDTHS[0]), table)
    partial: list[tuple[int, float, tuple[int, ...]]] = [(eight.weight_bytes, 0.0, ())]
    for name in scan.names:
        saved = {bits: scan.bytes(eight.bits | {name: bits}) - eight.weight_bytes for bits in WIDTHS}
        longer = [(n + saved[b], e + table[name][b] ** 2, (*bits, b)) for n, e, bits in partial for b in WIDTHS]
        partial = []
        for entry in sorted(longer, key=lambda entry: entry[:2]):
            if not partial or entry[1] < partial[-1][1]:
                partial.append(entry)
    found = [_Choice(n, e**0.5, dict(zip(scan.names, bits, strict=True))) for n, e, bits in partial]
    return [*found, *([eight] if found[-1].bits != eight.bits else [])]


class _Scan:
    """Policies whose layers have any bits, from matrices that are rounded once."""

    def __init__(self, policy: Policy, golden: Golden, granularity: Granularity, keep_float: Collection[str]) -> None:
        self.policy, self.replay, self.granularity = policy, Replay(policy, golden), granularity
        self.names = [layer.name for layer in policy.layers if on_any_grid(layer) and layer.name not in keep_float]
        self._rounded: dict[tuple[str, int], Weights] = {}

    def error(self, bits: Mapping[str, int]) -> float:
        """Action error with these bits, float32 in all other layers."""
        return self.replay.error(*self._with(bits))

    def bytes(self, bits: Mapping[str, int]) -> int:
        """Weight bytes of the whole policy, scales and biases included."""
        layers, weights = self._with(bits)
        return self.policy.replace(layers=layers, weights=weights, golden=None).weight_bytes

    def choice(self, bits: dict[str, int], table: Table) -> _Choice:
        """``bits`` with what they weigh and their estimate."""
        return _Choice(self.bytes(bits), sum(table[name][width] ** 2 for name, width in bits.items()) ** 0.5, bits)

    def _with(self, bits: Mapping[str, int]) -> tuple[tuple[Layer, ...], Weights]:
        layers, weights = [], dict(self.policy.weights)
        for layer in self.policy.layers:
            if on_any_grid(layer) and layer.name in bits:
                weights |= self._matrices(layer, bits[layer.name])
                layer = dataclasses.replace(layer, weight_bits=bits[layer.name])  # type: ignore[arg-type]
            layers.append(layer)
        return tuple(layers), weights

    def _matrices(self, layer: Linear | Conv2d | GRU | LSTM, bits: int) -> Weights:
        if (layer.name, bits) not in self._rounded:
            made: Weights = {}
            for name in matrices((layer,)):
                made[name], made[f"{name}_scale"] = quantized_rows(self.policy.weights[name], bits, self.granularity)
            self._rounded[layer.name, bits] = made
        return self._rounded[layer.name, bits]
