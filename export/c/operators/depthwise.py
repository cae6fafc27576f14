"""Depthwise convolution: every channel by itself, the channels of a pixel side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....policy.conv import Conv2d
from ..graph import Graph, Node
from ..kernels import DenseLayer
from .conv import _inside, loops
from .operator import Printed, Scope, pointers


@dataclass
class DepthwiseConv(Printed):
    """y[pixel][k] = bias[k] + sum over the taps of weight[tap][k] * x[tap's pixel][k]; attributes as of Conv."""

    layer: DenseLayer = None  # type: ignore[assignment]
    window: Conv2d = None  # type: ignore[assignment]

    @classmethod
    def read(cls, node: Node, graph: Graph) -> DepthwiseConv:
        return cls(node, node.inputs, graph.sizes[node.outputs[0]], node.attributes["layer"], node.attributes["window"])

    def print(self, scope: Scope) -> list[str]:
        window, layer = self.window, self.layer
        (rows, columns), channels = window.kernel, window.in_channels
        note = f"{rows} x {columns} taps of {channels} channels"
        weight = scope.table(layer.name, np.ascontiguousarray(layer.weight.T).reshape(-1), note)
        bias = scope.table(f"{layer.name}_bias", layer.bias, f"{channels} values")
        top, left = (f"{axis} * {step} - {pad}" for axis, step, pad in zip("rc", window.stride, window.padding, strict=True))
        step, first = (1, f"(i * {window.width} + j) * {channels}")
        if window.reads == "chw":
            step, first = window.height * window.width, f"i * {window.width} + j"
        add = [f"const float *const from = x + {first};"]
        add += [f"for (int k = 0; k < {channels}; ++k) to[k] += w[k] * from[{'k' if step == 1 else f'k * {step}'}];"]
        if inside := _inside(window):
            add = [f"if ({inside}) {{", *(f"  {line}" for line in add), "}"]
        body = [
            f"float *const to = y + (r * {window.out_width} + c) * {channels};",
            f"const float *w = {weight};",
            f"for (int k = 0; k < {channels}; ++k) to[k] = {bias}[k];",
            f"for (int i = {top}; i < {top} + {rows}; ++i)",
            f"  for (int j = {left}; j < {left} + {columns}; ++j, w += {channels}) {{",
            *(f"    {line}" for line in add),
            "  }",
        ]
        return [*pointers(scope, self.output, x=self.reads[0]), *loops(window, body)]
