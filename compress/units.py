"""Hidden units: which rows write each, which columns read it, and the same network without some of them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..policy.cells import CFC_HEADS, GRU, LSTM, CfC
from ..policy.conv import Conv2d
from ..policy.grid import Quantize
from ..policy.layers import (
    Activation,
    Affine,
    Clip,
    History,
    Layer,
    LayerNorm,
    Layers,
    Linear,
    TiedLinear,
    Weights,
    tensor_shapes,
)


@dataclass(frozen=True)
class Reader:
    """A matrix some of whose columns read the units of a group."""

    weight: str
    """Name of the matrix, [rows, columns]."""
    bias: str
    """Name of the bias that is added to what it gives; a linear layer may lack it."""
    begin: int
    """First of the columns."""
    blocks: int
    """How often the units stand side by side from there: 1, the length of a history in between, or the pixels of an image whose
    channels they are."""
    own: bool
    """True: the units' own recurrent matrix, which reads their state before the step."""


@dataclass(frozen=True)
class Group:
    """The hidden units of one layer, heard by the next layer with weights (and by themselves, in a cell)."""

    name: str
    """The layer whose outputs they are."""
    size: int
    """How many there are."""
    rows: tuple[tuple[str, int], ...]
    """(tensor, blocks): tensors whose first axis is so many times the units: gates, norms, biases."""
    readers: tuple[Reader, ...]
    """Who hears them."""
    layers: tuple[int, ...]
    """Indices of the layers whose sizes they set: producer first, consumer last."""
    heard_at: int
    """Index of the layer whose output is the units as they are heard: behind the elementwise functions, before a history."""
    exact: bool
    """False: a layer norm stands in between, where every unit changes all others."""


def _written(layer: Layer) -> tuple[tuple[str, int], ...]:
    """(tensor, blocks) that a producer's units own."""
    if isinstance(layer, Linear | Conv2d):
        return ((f"{layer.name}.weight", 1), *(((f"{layer.name}.bias", 1),) if layer.bias else ()))
    if isinstance(layer, GRU | LSTM):
        gates = 3 if isinstance(layer, GRU) else 4
        return tuple((f"{layer.name}.{tensor}", gates) for tensor in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    assert isinstance(layer, CfC)
    return tuple((f"{layer.name}.{head}_{tensor}", 1) for head in CFC_HEADS for tensor in ("weight", "bias"))


def _reads(layer: Layer, blocks: int, own: bool) -> tuple[Reader, ...]:
    """The matrices of ``layer`` that read its input, or (``own``) its own state."""
    if isinstance(layer, Linear | Conv2d):
        blocks = layer.area if isinstance(layer, Conv2d) else blocks
        return (Reader(f"{layer.name}.weight", f"{layer.name}.bias", 0, blocks, False),)
    if isinstance(layer, GRU | LSTM):
        part = "hh" if own else "ih"
        return (Reader(f"{layer.name}.weight_{part}", f"{layer.name}.bias_{part}", 0, blocks, own),)
    assert isinstance(layer, CfC)
    parts = ("backbone0",) if layer.backbone else CFC_HEADS
    begin = layer.in_size if own else 0
    return tuple(Reader(f"{layer.name}.{part}_weight", f"{layer.name}.{part}_bias", begin, blocks, own) for part in parts)


def hidden_groups(layers: Layers) -> list[Group]:
    """The groups of hidden units in layer order: those of linear layers, convolutions (their channels) and cells that another
    such layer hears.

    In between may stand anything elementwise, norms, a history and depthwise convolutions; a layer of any other kind ends the
    chain, and so does one whose weight another layer uses, too, or a cell in factors.
    """
    shared = {layer.like for layer in layers if isinstance(layer, TiedLinear)}
    groups: list[Group] = []
    producer: int | None = None
    between: list[int] = []
    for index, layer in enumerate(layers):
        in_factors = isinstance(layer, GRU | LSTM) and (layer.rank_ih or layer.rank_hh)
        if isinstance(layer, Conv2d) and producer is not None and not _sees_pixels(layers, producer, between, layer):
            producer, between = None, []
        if isinstance(layer, Conv2d) and layer.depthwise:
            between.append(index)
        elif isinstance(layer, Linear | Conv2d | GRU | LSTM | CfC) and layer.name not in shared and not in_factors:
            if producer is not None:
                groups.append(_group(layers, producer, between, index))
            producer, between = index, []
        elif isinstance(layer, LayerNorm | Affine | History):
            between.append(index)
        elif not isinstance(layer, Activation | Clip | Quantize):
            producer, between = None, []
    return groups


def _sees_pixels(layers: Layers, producer: int, between: list[int], layer: Conv2d) -> bool:
    """Are the units that ``layer`` hears the channels of its input?"""
    histories = any(isinstance(layers[index], History) for index in between)
    return isinstance(layers[producer], Conv2d) and layer.reads == "hwc" and not histories


def _group(layers: Layers, producer: int, between: list[int], consumer: int) -> Group:
    layer = layers[producer]
    rows, blocks = list(_written(layer)), layer.pixels if isinstance(layer, Conv2d) else 1
    for index in between:
        middle = layers[index]
        if isinstance(middle, History):
            blocks *= middle.length
        elif isinstance(middle, LayerNorm):
            rows += [(f"{middle.name}.weight", blocks), (f"{middle.name}.bias", blocks)]
        elif isinstance(middle, Affine):
            rows += [(f"{middle.name}.scale", blocks), (f"{middle.name}.offset", blocks)]
        elif isinstance(middle, Conv2d):
            blocks = middle.pixels
            rows += [(f"{middle.name}.{tensor}", 1) for tensor in ("weight", "bias")[: 1 + middle.bias]]
    readers: tuple[Reader, ...] = () if isinstance(layer, Linear | Conv2d) else _reads(layer, 1, own=True)
    size: int = getattr(layer, _width_field(layer))
    exact = not any(isinstance(layers[index], LayerNorm) for index in between)
    histories = [index for index in between if isinstance(layers[index], History)]
    heard_at = min([*histories, consumer]) - 1 if isinstance(layer, Linear | Conv2d) else producer
    readers = (*readers, *_reads(layers[consumer], blocks, own=False))
    name: str = layer.name  # type: ignore[union-attr]
    return Group(name, size, tuple(rows), readers, (producer, *between, consumer), heard_at, exact)


def resized(layers: Layers, group: Group, size: int) -> Layers:
    """The layers with ``size`` units in place of the group's."""
    new: list[Layer] = list(layers)
    producer, *between, consumer = group.layers
    first, last = layers[producer], new[consumer]
    blocks = first.pixels if isinstance(first, Conv2d) else 1
    new[producer] = _with(first, **{_width_field(first): size})
    for index in between:
        middle = layers[index]
        if isinstance(middle, Conv2d):
            new[index], blocks = _with(middle, in_channels=size, out_channels=size), middle.pixels
            continue
        new[index] = _with(middle, size=size * blocks)
        blocks *= middle.length if isinstance(middle, History) else 1
    new[consumer] = _with(last, in_channels=size) if isinstance(last, Conv2d) else _with(last, in_size=size * blocks)
    return tuple(new)


def _width_field(layer: Layer) -> str:
    """What a producer calls the number of its units."""
    return "out_size" if isinstance(layer, Linear) else "out_channels" if isinstance(layer, Conv2d) else "hidden_size"


def _with(layer: Layer, **sizes: Any) -> Layer:
    return dataclasses.replace(layer, **sizes)


def parameters(layers: Layers) -> int:
    """Numbers that a network of these layers has, grids' scales excluded."""
    return sum(
        math.prod(shape) for layer in layers for name, (shape, _) in tensor_shapes(layer).items() if not name.endswith("_scale")
    )


def at_widths(layers: Layers, widths: Mapping[str, int]) -> Layers:
    """The layers with other numbers of hidden units: name of the group -> units."""
    for group in hidden_groups(layers):
        layers = resized(layers, group, widths.get(group.name, group.size))
    return layers


def columns(group: Group, reader: Reader, units: np.ndarray) -> np.ndarray:
    """Columns of ``reader`` that hear these units."""
    return np.concatenate([reader.begin + block * group.size + units for block in range(reader.blocks)])


def without(
    layers: Layers, weights: Weights, group: Group, kept: np.ndarray, heard: Mapping[str, np.ndarray] | None = None
) -> tuple[Layers, Weights]:
    """The network with only the ``kept`` units (indices, ascending) of the group.

    ``heard`` (matrix -> its inputs [T, columns]): what the removed units gave on average is folded into the bias of whoever
    heard them, in float64; a linear layer without a bias gets one where there is something to fold.
    """
    removed = np.setdiff1d(np.arange(group.size), kept)
    weights, new = dict(weights), list(layers)
    if not len(removed):
        return layers, weights
    for reader in group.readers:
        gone = columns(group, reader, removed)
        if heard is not None:
            mean = heard[reader.weight][:, gone].mean(axis=0, dtype=np.float64)
            shift = weights[reader.weight][:, gone].astype(np.float64) @ mean
            if reader.bias not in weights and shift.any():
                weights[reader.bias] = np.zeros(len(shift), np.float32)
                new[group.layers[-1]] = _with(new[group.layers[-1]], bias=True)
            if reader.bias in weights:
                weights[reader.bias] = (weights[reader.bias] + shift).astype(np.float32)
    for reader in group.readers:
        weights[reader.weight] = np.delete(weights[reader.weight], columns(group, reader, removed), axis=1)
    for tensor, blocks in group.rows:
        gone = np.concatenate([block * group.size + removed for block in range(blocks)])
        weights[tensor] = np.delete(weights[tensor], gone, axis=0)
    weights = {name: np.ascontiguousarray(tensor) for name, tensor in weights.items()}
    return resized(tuple(new), group, len(kept)), weights


def norms(group: Group, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    """Euclidean norms of what each unit reads and of what others read of it: (incoming [size], outgoing [size])."""
    inward, outward = np.zeros(group.size), np.zeros(group.size)
    for tensor, blocks in group.rows:
        if weights[tensor].ndim == 2:
            inward += (weights[tensor].reshape(blocks, group.size, -1).astype(np.float64) ** 2).sum(axis=(0, 2))
    units = np.arange(group.size)
    for reader, block in itertools.chain.from_iterable(((r, b) for b in range(r.blocks)) for r in group.readers):
        heard = weights[reader.weight][:, reader.begin + block * group.size + units]
        outward += (heard.astype(np.float64) ** 2).sum(axis=0)
    return np.sqrt(inward), np.sqrt(outward)
