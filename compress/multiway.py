"""Layers whose weight is a tensor of more than two axes, and the chains of thin layers that stand in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BadInput
from ..policy import Golden, Policy
from ..policy.conv import Conv2d
from ..policy.grid import Quantize
from ..policy.layers import Activation, Affine, Clip, Layer, LayerNorm, Layers, Linear, TiedLinear, Weights, tensor_shapes
from ..policy.macs import macs
from ..targets.profile import near
from .passes import Context, PassResult, Requirement
from .reconstruct import ridged
from .replay import Replay

MOST_SIDE = 1024
"""A kernel is no longer than this, so neither is the image that a linear layer reads as one."""


@dataclass(frozen=True)
class View:
    """A convolution, or a linear layer that reads an image: a convolution whose kernel covers all of it."""

    layer: Conv2d | Linear
    """As the policy has it."""
    window: Conv2d
    """As a convolution; the layer itself, if it is one."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(out, rows, columns, in) of the kernel."""
        return (self.window.out_channels, *self.window.kernel, self.window.in_channels)

    def kernel(self, weights: Weights) -> np.ndarray:
        """float64 [out, rows, columns, in]."""
        return weights[f"{self.layer.name}.weight"].astype(np.float64).reshape(self.shape)


def views(layers: Layers) -> dict[str, View]:
    """Name -> every layer whose kernel covers several pixels. Not depthwise ones, nor a weight that another layer uses, too."""
    shared = {layer.like for layer in layers if isinstance(layer, TiedLinear)}
    found: dict[str, View] = {}
    image: tuple[int, int, int] | None = None
    for layer in layers:
        if isinstance(layer, Conv2d):
            if not layer.depthwise and layer.area > 1:
                found[layer.name] = View(layer, layer)
            image = layer.out_height, layer.out_width, layer.out_channels
        elif isinstance(layer, Linear):
            if image is not None and image[0] * image[1] > 1 and max(image[:2]) <= MOST_SIDE and layer.name not in shared:
                height, width, channels = image
                window = Conv2d(layer.name, channels, layer.out_size, height, width, (height, width), bias=layer.bias)
                found[layer.name] = View(layer, window)
            image = None
        elif not isinstance(layer, Activation | Clip | Quantize | LayerNorm | Affine):
            image = None
    return found


def chosen_views(where: str, layers: Layers, names: Sequence[str]) -> dict[str, View]:
    """Those of the named layers, or all. Raises BadInput for a name that is none, and where there is nothing to decompose."""
    every = views(layers)
    if not every:
        expected = "a convolution with a kernel of several pixels, or a linear layer that reads an image"
        raise BadInput(where, expected=expected, found="none", repair="For matrices there is the pass 'factorize'")
    for name in names:
        if name not in every:
            found, repair = repr(name), near(name, list(every))
            raise BadInput(where, expected=f"names of such layers: {', '.join(every)}", found=found, repair=repair)
    return {name: view for name, view in every.items() if not names or name in names}


Chain = list[tuple[Layer, Weights]]
"""Layers in a row, each with its own tensors."""


def pointwise(name: str, view: View, weight: np.ndarray, bias: np.ndarray | None = None, *, first: bool) -> tuple[Layer, Weights]:
    """Channels mixed at every pixel of the input (``first``) or of the output; a linear layer where there is one pixel."""
    window, tensors = view.window, {f"{name}.weight": np.ascontiguousarray(weight, np.float32)}
    if bias is not None:
        tensors[f"{name}.bias"] = bias.astype(np.float32)
    if not first and window.pixels == 1:
        return Linear(name, weight.shape[1], weight.shape[0], bias=bias is not None), tensors
    height, width = (window.height, window.width) if first else (window.out_height, window.out_width)
    reads = window.reads if first else "hwc"
    out, channels = weight.shape
    return Conv2d(name, channels, out, height, width, (1, 1), bias=bias is not None, reads=reads), tensors


def with_chains(policy: Policy, chains: Mapping[str, Chain]) -> Policy:
    """The policy with every named layer replaced by its chain."""
    layers: list[Layer] = []
    weights: Weights = dict(policy.weights)
    for layer in policy.layers:
        chain = chains.get(getattr(layer, "name", ""))
        if chain is None:
            layers.append(layer)
            continue
        for name in tensor_shapes(layer):
            weights.pop(name, None)
        layers += [part for part, _ in chain]
        for _, tensors in chain:
            weights |= tensors
    return policy.replace(layers=tuple(layers), weights=weights, golden=None)


def free_names(policy: Policy, name: str, suffixes: Sequence[str]) -> list[str]:
    """NAME_SUFFIX for each, changed where the policy has such a layer already."""
    taken = {layer.name for layer in policy.layers if hasattr(layer, "name")}
    found = []
    for suffix in suffixes:
        new = f"{name[:58]}_{suffix}"
        while new in taken:
            new += "_"
        taken.add(new)
        found.append(new)
    return found


def regression(inputs: np.ndarray, target: np.ndarray, now: np.ndarray) -> np.ndarray:
    """W [rows, columns] near ``now`` with W x closest to ``target`` [N, rows] over ``inputs`` x [N, columns], float64."""
    moment = ridged(inputs.T @ inputs / len(inputs))
    error = target - inputs @ now.T
    return np.asarray(now + np.linalg.solve(moment, inputs.T @ error / len(inputs)).T)


def numbers(tensors: Sequence[Weights]) -> int:
    """How many numbers they hold."""
    return sum(tensor.size for group in tensors for tensor in group.values())


def in_numbers(view: View, chain: Chain, error: float, **ranks: int) -> dict[str, Any]:
    """What a record says of one layer."""
    window = view.window
    before = window.out_channels * (window.columns + window.bias)
    return ranks | {
        "weights": [before, numbers([tensors for _, tensors in chain])],
        "macs": [macs([view.layer]), macs([layer for layer, _ in chain])],
        "relative_error": round(error, 6),
    }


def relative_error(kernel: np.ndarray, approximation: np.ndarray, inputs: np.ndarray | None) -> float:
    """Norm of the error over the norm of the whole: of the kernel, or of its outputs over recorded patches [N, columns]."""
    whole, off = (part.reshape(len(kernel), -1) for part in (kernel, kernel - approximation.reshape(kernel.shape)))
    if inputs is not None:
        whole, off = inputs @ whole.T, inputs @ off.T
    return float(np.linalg.norm(off) / max(float(np.linalg.norm(whole)), 1e-300))


def not_smaller(before: Policy, result: PassResult, _: Any) -> str:
    """For a promise: is anything that was decomposed no smaller than before?"""
    grown = result.policy.parameters - before.parameters
    return f"{grown} more parameters" if grown > 0 or (result.changed["layers"] and grown == 0) else ""


def _has_views(policy: Policy, config: Any, _: Context) -> None:
    chosen_views(f"pass {config.kind!r} on {policy.name}", policy.layers, config.layers)


an_image: Requirement[Any] = Requirement("there is a kernel of several pixels, or a linear layer that reads an image", _has_views)
KEEPS = (0.9, 0.75, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03)
"""Shares of the chosen layers' weights that a search within a tolerance tries."""


def within(
    policy: Policy, golden: Golden, tolerance: float, make: Callable[[float], dict[str, Chain]]
) -> tuple[dict[str, Chain], float]:
    """(the chains of the smallest share of weights whose change of the action is within ``tolerance``, that change).

    ``make``: share of the weights that may stay -> chains. None where already the largest share is too small.
    """
    replay, found, error = Replay(policy, golden), dict[str, Chain](), 0.0
    for keep in KEEPS:
        chains = make(keep)
        if not chains:
            continue
        smaller = with_chains(policy, chains)
        now = replay.error(smaller.layers, smaller.weights)
        if now > tolerance:
            break
        found, error = chains, now
    return found, error
