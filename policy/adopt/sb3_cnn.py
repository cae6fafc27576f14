"""Stable-Baselines3's convolutional policies: the feature extractor NatureCNN in front of the layers that all families have.

Stable-Baselines3 turns images to [channels, height, width] (VecTransposeImage), divides uint8 ones by 255 (preprocess_obs), and
flattens what the last convolution gives channel by channel (torch_layers.NatureCNN). Here the first convolution reads
the image as the checkpoint's space has it, and the columns of the linear layer behind are put into our order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import BadInput, Unsupported
from ..contract import Normalizer
from ..conv import Conv2d
from ..layers import Activation, Layer, Linear, Weights
from .sb3_data import Sb3Data
from .unpickler import Global

STRIDES = (4, 2, 1)
"""Of NatureCNN's convolutions (Mnih et al. 2015); kernels and channels are read off the tensors."""


@dataclass(frozen=True)
class Eyes:
    """The feature extractor of a policy."""

    layers: tuple[Layer, ...]
    """From the image to the features, behind which comes a ReLU, too."""
    weights: Weights
    """Their tensors."""
    shape: tuple[int, int, int]
    """(channels, height, width) of the observation."""
    normalizer: Normalizer | None
    """x / 255, where Stable-Baselines3 divides."""

    @property
    def size(self) -> int:
        """Numbers of the observation."""
        return int(np.prod(self.shape))


def read_eyes(data: Sb3Data, prefix: str, tensors: Weights, arguments: dict[str, Any]) -> Eyes:
    """The NatureCNN under ``prefix``. Raises Unsupported for another extractor or an observation that is no image."""
    extractor = arguments.get("features_extractor_class")
    if isinstance(extractor, Global) and extractor.name != "NatureCNN":
        raise Unsupported(data.where, expected="the feature extractor NatureCNN", found=extractor.path)
    low, high = data.observation_bounds()
    if low.ndim != 3:
        raise Unsupported(data.where, expected=f"an image for {data.policy_class().name}", found=f"shape {low.shape}")
    shape = int(low.shape[0]), int(low.shape[1]), int(low.shape[2])
    layers: list[Layer] = []
    weights: Weights = {}
    channels, height, width = shape
    for index, stride in enumerate(STRIDES):
        kernels = _tensor(data.where, tensors, f"{prefix}.cnn.{2 * index}.weight", 4)
        if kernels.shape[1] != channels:
            expected = f"kernels for {channels} channels, as its observation {shape} has (channels first)"
            raise Unsupported(data.where, expected=expected, found=f"{kernels.shape[1]}")
        layer = Conv2d(
            f"conv{index}", channels, len(kernels), height, width, (kernels.shape[2], kernels.shape[3]), (stride, stride),
            reads="hwc" if index else "chw",
        )  # fmt: skip
        weights[f"conv{index}.weight"] = np.ascontiguousarray(kernels.transpose(0, 2, 3, 1).reshape(len(kernels), -1))
        weights[f"conv{index}.bias"] = _tensor(data.where, tensors, f"{prefix}.cnn.{2 * index}.bias", 1)
        layers += [layer, Activation("relu")]
        channels, height, width = layer.out_channels, layer.out_height, layer.out_width
    matrix = _tensor(data.where, tensors, f"{prefix}.linear.0.weight", 2)
    if matrix.shape[1] != channels * height * width:
        expected = f"{channels * height * width} features behind the convolutions"
        raise BadInput(data.where, expected=expected, found=f"a linear layer of {matrix.shape[1]} inputs")
    ours = matrix.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(len(matrix), -1)
    weights["features.weight"] = np.ascontiguousarray(ours)
    weights["features.bias"] = _tensor(data.where, tensors, f"{prefix}.linear.0.bias", 1)
    layers += [Linear("features", matrix.shape[1], len(matrix)), Activation("relu")]
    divided = low.dtype == np.uint8 and bool((low == 0).all() and (high == 255).all()) and arguments.get("normalize_images", True)
    size = int(np.prod(shape))
    normalizer = Normalizer((0.0,) * size, (255.0**2,) * size, epsilon=0.0) if divided else None
    return Eyes(tuple(layers), weights, shape, normalizer)


def _tensor(where: str, tensors: Weights, name: str, axes: int) -> np.ndarray:
    tensor = tensors.get(name)
    if tensor is None or tensor.ndim != axes:
        found = "none" if tensor is None else f"shape {tensor.shape}"
        raise Unsupported(where, expected=f"NatureCNN's tensor {name} with {axes} axes", found=found)
    return tensor
