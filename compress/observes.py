"""What a policy sees of its observation: entries that it may not see have no weight, so nothing that stands there is heard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import BadInput, Unsupported
from ..policy import Policy
from ..policy.cells import CFC_HEADS, GRU, LSTM, CfC
from ..policy.contract import Observation
from ..policy.conv import Conv2d
from ..policy.grid import Quantize
from ..policy.layers import Activation, Affine, Clip, History, Layer, Layers, Linear, TiedLinear
from .matrices import Masks

SHOWN = 12
"""Entries that a note names; the record of the pass lists them all."""


def unseen(observation: Observation, observes: Sequence[str | int], where: str) -> tuple[int, ...]:
    """Indices of the entries that are none of ``observes`` (indices, names of entries, names of slices), ascending.

    Raises BadInput for an entry that does not exist, saying which ones do.
    """
    seen: set[int] = set()
    for item in observes:
        if isinstance(item, int) and 0 <= item < observation.size:
            seen.add(item)
        elif isinstance(item, str) and item in observation.names:
            seen.add(observation.names.index(item))
        elif isinstance(item, str) and item in observation.slices:
            seen |= set(range(*observation.slices[item]))
        else:
            known = ", ".join([*observation.slices, *observation.names][:40])
            raise BadInput(
                where,
                expected=f"observes: indices from 0 to {observation.size - 1}" + (f", or of: {known}" if known else ""),
                found=repr(item)[:80],
                repair="" if known else "The policy's contract has no names for the entries: give indices",
            )
    return tuple(entry for entry in range(observation.size) if entry not in seen)


def blindfold(layers: Layers, entries: Sequence[int]) -> Masks:
    """Masks that leave no weight to observation ``entries``, for a network whose first layer reads the observation itself.

    Raises Unsupported for a convolution, each of whose weights reads many entries.
    """
    masks: Masks = {}
    if entries and isinstance(layers[0], Conv2d):
        raise Unsupported("a student that may not see some entries", expected="linear layers or cells", found="a convolution")
    for name, (rows, columns) in _readers(layers[0]).items() if entries else ():
        masks[name] = np.ones((rows, columns), bool)
        masks[name][:, list(entries)] = False
    return masks


def ignored(policy: Policy) -> frozenset[int]:
    """The observation entries that provably do nothing: elementwise layers lead them to columns that are all zero."""
    frames = 1
    for layer in policy.layers:
        if isinstance(layer, Activation | Affine | Clip | Quantize):
            continue
        if isinstance(layer, History):
            frames *= layer.length
            continue
        heard = np.zeros(policy.contract.observation.size * frames, bool)
        readers = _readers(layer)
        for name in readers:
            heard |= policy.weights[name][:, : heard.size].any(axis=0)
        if not readers:
            break  # a layer that mixes entries, or whose weights are a shared store
        return frozenset(np.flatnonzero(~heard.reshape(frames, -1).any(axis=0)).tolist())
    return frozenset()


def promised(policy: Policy) -> frozenset[int]:
    """The entries that earlier passes have made it ignore, by their records."""
    found: set[int] = set()
    for record in policy.contract.provenance.passes:
        entries = record.changed.get("ignores", ())
        found |= (
            {entry for entry in entries if isinstance(entry, int) and entry >= 0} if isinstance(entries, list | tuple) else set()
        )
    return frozenset(found)


def note_of(observation: Observation, entries: Sequence[int]) -> str:
    """What a user of the policy must know."""
    named = [f"{entry} ({observation.names[entry]})" if observation.names else f"{entry}" for entry in entries[:SHOWN]]
    more = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    return f"ignores observation entries {', '.join(named)}{more}: it learned without them, any finite number may stand there"


def _readers(layer: Layer) -> dict[str, tuple[int, int]]:
    """Names of the matrices through which a layer reads its input -> (rows, inputs)."""
    if isinstance(layer, Linear):
        return {f"{layer.name}.weight": (layer.out_size, layer.in_size)}
    if isinstance(layer, TiedLinear):
        return {f"{layer.like}.weight": (layer.out_size, layer.in_size)}
    if isinstance(layer, GRU | LSTM):
        gates = layer.hidden_size * (3 if isinstance(layer, GRU) else 4)
        if layer.rank_ih is None:
            return {f"{layer.name}.weight_ih": (gates, layer.in_size)}
        return {f"{layer.name}.weight_ih_v": (layer.rank_ih, layer.in_size)}
    if isinstance(layer, CfC):
        columns = layer.in_size + layer.hidden_size
        if layer.backbone:
            return {f"{layer.name}.backbone0_weight": (layer.backbone[0], columns)}
        return {f"{layer.name}.{head}_weight": (layer.hidden_size, columns) for head in CFC_HEADS}
    return {}
