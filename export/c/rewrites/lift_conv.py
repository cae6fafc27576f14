"""Rewrite: a Conv with constant weights becomes a dense layer that is computed at every place of its kernel.

The weight lies as a patch of the image does, [out, kernel row, kernel column, channel], so the kernels of dense layers, for
floats, integers and zeros alike, are those of convolutions, too (as in CMSIS-NN, arXiv 1801.06601, section 3.2).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ....policy.conv import Conv2d
from ..constants import HalfMatrix, Int8Rows
from ..graph import Graph, Kind, Node
from ..kernels import DenseLayer
from ..machine import Machine


def lift_conv(graph: Graph, machine: Machine) -> Graph:
    """Ensures: every Conv has the attributes ``layer``, a DenseLayer for one patch, and ``window``, which says where these are;
    its second output is room for a patch. A depthwise one is a DepthwiseConv. Raises Unsupported for other forms.
    """
    sizes, kinds = dict(graph.sizes), dict(graph.kinds)
    nodes = []
    for node in graph.nodes:
        if node.op == "Conv":
            node = _lifted(node, graph, keep_half=not machine.vectors)
            if node.op == "Conv" and not is_stretch(node.attributes["window"]):
                node = dataclasses.replace(node, outputs=(*node.outputs, f"{node.outputs[0]}/patch"))
                sizes[node.outputs[1]] = node.attributes["layer"].columns
        nodes.append(node)
    return dataclasses.replace(graph, nodes=nodes, sizes=sizes, kinds=kinds)


def is_stretch(window: Conv2d) -> bool:
    """Does every patch lie in one stretch of the image, so that it need not be copied together?"""
    return window.reads == "hwc" and window.kernel[0] == 1 and window.padding == (0, 0)


def with_patch(node: Node, sizes: dict[str, int], kinds: dict[str, Kind], kind: Kind) -> Node:
    """A Conv whose patches are copied together as entries of ``kind``; ``sizes`` and ``kinds`` change in place.

    Kernels on integers read whole words: a patch inside an image could begin in the middle of one.
    """
    if len(node.outputs) == 1:
        node = dataclasses.replace(node, outputs=(*node.outputs, f"{node.outputs[0]}/patch"))
    sizes[node.outputs[1]], kinds[node.outputs[1]] = node.attributes["layer"].columns, kind
    return node


def _lifted(node: Node, graph: Graph, *, keep_half: bool) -> Node:
    window = _window(node, graph)
    weight, scale = _kernels(node, graph, keep_half=keep_half and not window.depthwise)
    matrix = np.ascontiguousarray(weight.transpose(0, 2, 3, 1).reshape(len(weight), -1))
    bias = np.zeros(len(matrix), np.float32)
    if window.bias:
        if node.inputs[2] not in graph.constants:
            raise node.refuse("a constant bias", f"{node.inputs[2]!r}, which is computed")
        bias = graph.vector(node, node.inputs[2])
    if window.depthwise and scale is not None:
        matrix, scale = (matrix * scale[:, None]).astype(np.float32), None
    layer = DenseLayer(node.inputs[1], matrix, scale, bias)
    op = "DepthwiseConv" if window.depthwise else "Conv"
    return Node(op, node.name, node.inputs[:1], node.outputs, {"layer": layer, "window": window})


def _window(node: Node, graph: Graph) -> Conv2d:
    """Where the patches are: the layer as the policy has it, under another name."""
    attributes, weight = node.attributes, graph.constants.get(node.inputs[1])
    if weight is None:
        raise node.refuse("constant weights", f"{node.inputs[1]!r}, which is computed")
    shape = (weight if isinstance(weight, np.ndarray) else weight.values).shape
    pads, groups = list(attributes.get("pads", [0] * 4)), int(attributes.get("group", 1))
    channels, height, width = attributes["image"]
    if len(shape) != 4 or any(d != 1 for d in attributes.get("dilations", [1])):
        raise node.refuse("a kernel [out, in, rows, columns] without dilation", f"{list(shape)}")
    if pads[:2] != pads[2:] or attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", "NOTSET"):
        raise node.refuse("explicit padding, the same on both sides", f"{pads}, {attributes.get('auto_pad')}")
    if groups not in (1, channels) or (groups > 1 and shape[0] != channels):
        raise node.refuse("one group, or a depthwise convolution", f"{groups} groups of {channels} channels")
    return Conv2d(
        name="window",
        in_channels=channels,
        out_channels=shape[0],
        height=height,
        width=width,
        kernel=(shape[2], shape[3]),
        stride=tuple(attributes.get("strides", [1, 1])),
        padding=(pads[0], pads[1]),
        depthwise=groups > 1,
        bias=len(node.inputs) > 2 and bool(node.inputs[2]),
        reads=attributes["reads"],
    )


def _kernels(node: Node, graph: Graph, *, keep_half: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """The weight [out, in, rows, columns], with its scale per output channel if it can stay int8."""
    constant = graph.constants[node.inputs[1]]
    if isinstance(constant, Int8Rows) and constant.axis == 0:
        return constant.values, constant.scale
    if isinstance(constant, HalfMatrix) and keep_half:
        return constant.values, None
    dense = constant if isinstance(constant, np.ndarray) else constant.dense()
    if dense.dtype != np.float32:
        raise node.refuse("float32 weights", f"{dense.dtype}")
    return dense, None
