"""Convolution in torch, on flat vectors as :mod:`pilotfish.policy.conv` orders them."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from .conv import Conv2d


def convolve(layer: Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x [..., in_size] -> y [..., out_size]; ``weight`` as in the bundle, off its grid."""
    kernel = kernels(layer, weight)
    if layer.reads == "hwc":
        image = x.reshape(-1, layer.height, layer.width, layer.in_channels).permute(0, 3, 1, 2)
    else:
        image = x.reshape(-1, layer.in_channels, layer.height, layer.width)
    groups = layer.in_channels if layer.depthwise else 1
    y = F.conv2d(image, kernel, bias, layer.stride, layer.padding, groups=groups)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], layer.out_size)


def kernels(layer: Conv2d, weight: Tensor) -> Tensor:
    """The weight as torch's convolution has it: [out, in (1 if depthwise), rows, columns]."""
    return weight.view(layer.out_channels, *layer.kernel, -1).permute(0, 3, 1, 2)
