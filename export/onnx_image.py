"""Convolutions in ONNX: between flat vectors, and the images that Conv wants, as few transpositions as possible.

ONNX has images as [1, channels, height, width]; a policy's vectors hold the channels of a pixel side by side. So a run of
convolutions and elementwise layers begins with a Reshape and a Transpose, and ends with the two back: nothing in between.
"""

from __future__ import annotations

import numpy as np

from ..policy.conv import Conv2d
from ..policy.grid import Quantize
from ..policy.layers import Activation, Clip, Layer
from .onnx_graph import Graph


class Images:
    """Which value of a graph is an image at the moment, and how it came to be one."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.shape: tuple[int, int, int] | None = None
        """(channels, height, width) where the latest value is [1, channels, height, width]; None: it is a vector [1, n]."""

    def ready(self, layer: Layer, x: str) -> str:
        """``x`` as ``layer`` can take it: an image stays one for what is elementwise or reads its pixels."""
        if isinstance(layer, Activation | Clip | Quantize):
            return x
        return x if isinstance(layer, Conv2d) and layer.reads == "hwc" else self.flat(x)

    def flat(self, x: str) -> str:
        """``x`` as a vector [1, n] in the order of the policy's own vectors."""
        if self.shape is None:
            return x
        size, self.shape = int(np.prod(self.shape)), None
        pixels = self.graph.node("Transpose", [x], f"{x}_last", perm=[0, 2, 3, 1])
        return self._reshape(pixels, f"{x}_flat", (1, size))

    def conv(self, name: str, layer: Conv2d, x: str) -> str:
        """The layer as a Conv node; afterwards the latest value is an image."""
        if self.shape is None:
            channels, size = layer.in_channels, (layer.height, layer.width)
            if layer.reads == "hwc":
                x = self._reshape(x, f"{name}_pixels", (1, *size, channels))
                x = self.graph.node("Transpose", [x], f"{name}_image", perm=[0, 3, 1, 2])
            else:
                x = self._reshape(x, f"{name}_image", (1, channels, *size))
        inputs = [x, self._kernels(layer)]
        if layer.bias:
            inputs.append(self.graph.constant(f"{layer.name}.bias", self.graph.policy.weights[f"{layer.name}.bias"]))
        self.shape = (layer.out_channels, layer.out_height, layer.out_width)
        return self.graph.node(
            "Conv", inputs, name, kernel_shape=list(layer.kernel), strides=list(layer.stride),
            pads=[*layer.padding, *layer.padding], group=layer.in_channels if layer.depthwise else 1,
        )  # fmt: skip

    def _kernels(self, layer: Conv2d) -> str:
        """float32 [out, in, rows, columns]; integers come with their dequantizer, float16 with a Cast."""
        full = f"{layer.name}.weight"
        weight = self.graph.policy.weights[full]
        value = weight.reshape(layer.out_channels, *layer.kernel, -1).transpose(0, 3, 1, 2)
        return self.graph.off_grid(full, value, layer.weight_bits)

    def _reshape(self, x: str, output: str, shape: tuple[int, ...]) -> str:
        return self.graph.node("Reshape", [x, self.graph.constant(f"{output}_shape", np.array(shape, np.int64))], output)
