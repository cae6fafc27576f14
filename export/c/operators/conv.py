"""Convolutions: the patch under the kernel is copied together at every place, and a dense kernel makes a pixel of it."""

from __future__ import annotations

from dataclasses import dataclass

from ....policy.conv import Conv2d
from ..graph import Graph, Node
from ..header import harmless
from ..kernels import INTEGER_KERNELS, KERNELS, DenseLayer, choose
from ..kernels.integer_layer import IntegerLayer
from ..memory import BYTES, Step
from ..rewrites.lift_conv import is_stretch
from .integer import broken_lines
from .operator import Printed, Scope, number

VECTOR_BYTES = 64
"""Vector kernels write whole vectors of this length, beyond the last output where that is in the middle of one."""


@dataclass
class Conv(Printed):
    """y[pixel] = f(W patch + b); attributes ``layer``, a DenseLayer or IntegerLayer, and ``window``, a Conv2d."""

    layer: DenseLayer | IntegerLayer = None  # type: ignore[assignment]
    window: Conv2d = None  # type: ignore[assignment]

    @classmethod
    def read(cls, node: Node, graph: Graph) -> Conv:
        return cls(node, node.inputs, graph.sizes[node.outputs[0]], node.attributes["layer"], node.attributes["window"])

    def step(self) -> Step:
        return Step(self.reads, self.node.outputs, {})

    def print(self, scope: Scope) -> list[str]:
        window, kind = self.window, scope.graph.kind
        if isinstance(self.layer, IntegerLayer):
            kernel, choice = choose(self.layer, scope.machine, INTEGER_KERNELS)
            lines = kernel.print(self.layer, scope)
            # Zero, which the padding holds, is the integer that stands for it.
            zero = str(self.layer.grid_in.zero - self.layer.inputs.origin)
        else:
            dense, choice = choose(self.layer, scope.machine, KERNELS)
            lines, zero = dense.print(self.layer, scope), number(0.0)
        scope.choices.append(choice)
        into, out = kind(self.reads[0]), kind(self.output)
        place = f"(r * {window.out_width} + c) * {window.out_channels}"
        body = self._patch(scope, into, zero)
        spare = -window.out_channels % (VECTOR_BYTES // BYTES[out])
        if scope.machine.vectors and spare:
            body += [f"{out} y[{window.out_channels + spare}] POLICY_ALIGNED;", *_block(lines)]
            body += [f"{out} *const to = image_out + {place};"]
            body += [f"for (int k = 0; k < {window.out_channels}; ++k) to[k] = y[k];"]
        else:
            body += [f"{out} *const y = image_out + {place};", *lines]
        found = [
            f"/* At each of {window.pixels} places: {harmless(str(choice))} */",
            f"const {into} *const image = {scope.at(self.reads[0])};",
            f"{out} *const image_out = {scope.at(self.output)};",
            *loops(window, body),
        ]
        return [*found, *broken_lines(self, scope, "image_out")] if len(self.reads) > 1 else found

    def _patch(self, scope: Scope, kind: str, zero: str) -> list[str]:
        """C statements that declare x, the patch at row ``r`` and column ``c`` of the output."""
        window = self.window
        (rows, columns), channels = window.kernel, window.in_channels
        if len(self.node.outputs) == 1:
            at = f"(r * {window.stride[0]} * {window.width} + c * {window.stride[1]}) * {channels}"
            return [f"const {kind} *const x = image + {at};"]
        assert not is_stretch(window) or isinstance(self.layer, IntegerLayer)
        lines = [f"{kind} *const x = {scope.at(self.node.outputs[1])};", f"{kind} *p = x;"]
        top, left = (f"{axis} * {step} - {pad}" for axis, step, pad in zip("rc", window.stride, window.padding, strict=True))
        inside = _inside(window)
        if window.reads == "hwc" and not inside:
            copy = [f"const {kind} *const from = image + (i * {window.width} + {left}) * {channels};"]
            copy += [f"for (int k = 0; k < {columns * channels}; ++k) p[k] = from[k];", f"p += {columns * channels};"]
        else:
            step, first = (1, f"(i * {window.width} + j) * {channels}")
            if window.reads == "chw":
                step, first = window.height * window.width, f"i * {window.width} + j"
            copy = [f"const {kind} *const from = image + {first};"]
            copy += [f"for (int k = 0; k < {channels}; ++k) p[k] = from[{'k' if step == 1 else f'k * {step}'}];"]
            if inside:
                copy = [f"if ({inside}) {{", *(f"  {line}" for line in copy), "} else {"]
                copy += [f"  for (int k = 0; k < {channels}; ++k) p[k] = {zero};", "}"]
            copy = [f"for (int j = {left}; j < {left} + {columns}; ++j) {{", *(f"  {line}" for line in copy)]
            copy += [f"  p += {channels};", "}"]
        return [*lines, f"for (int i = {top}; i < {top} + {rows}; ++i) {{", *(f"  {line}" for line in copy), "}"]


def loops(window: Conv2d, body: list[str]) -> list[str]:
    """C: ``body`` for every row ``r`` and column ``c`` of the output."""
    return [
        f"for (int r = 0; r < {window.out_height}; ++r)",
        f"  for (int c = 0; c < {window.out_width}; ++c) {{",
        *(f"    {line}" for line in body),
        "  }",
    ]


def _inside(window: Conv2d) -> str:
    """C: is row ``i``, column ``j`` within the image? Empty where it always is."""
    parts = []
    for axis, side, padding in zip("ij", (window.height, window.width), window.padding, strict=True):
        if padding:
            parts.append(f"{axis} >= 0 && {axis} < {side}")
    return " && ".join(parts)


def _block(lines: list[str]) -> list[str]:
    return ["{", *(f"  {line}" for line in lines), "}"]
