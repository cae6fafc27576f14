"""How images lie in memory: ONNX has [1, channels, height, width], the C back-end keeps the channels of a pixel together.

Every value is a flat vector. One of several dimensions lies either as its shape says, row-major, or pixel by pixel:
[1, channels, height, width] in the order of [height, width, channels]. So the Transpose in front of a run of convolutions
and the one behind it cost nothing, and what would really have to move is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from .constants import Constant, as_array
from .graph import Node

Layout = Literal["rows", "pixels"]
SAME_ORDER = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
ELEMENTWISE = frozenset(
    {"Add", "Sub", "Mul", "Div", "Min", "Max", "Tanh", "Sigmoid", "Exp", "Relu", "LeakyRelu", "Elu", "Softsign", "Abs", "Neg"}
    | {"Selu", "Celu", "Softplus", "HardSigmoid", "HardSwish", "Reciprocal", "Clip", "Round"}
    | {"QuantizeLinear", "DequantizeLinear"}
)
"""Operators that may be given images, if all that is computed lies alike and all that is constant is one number."""
INTO_PIXELS, INTO_ROWS = [0, 3, 1, 2], [0, 2, 3, 1]


def with_layouts(
    nodes: Sequence[Node], shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, Constant]
) -> tuple[list[Node], set[str]]:
    """(the nodes, in which every Conv knows its input's shape and how it lies; all values of several dimensions).

    Conv gets the attributes ``image``, (channels, height, width), and ``reads``, "hwc" or "chw". Raises Unsupported for an
    operator that would have to move an image's numbers.
    """
    layouts: dict[str, Layout] = {}
    found: list[Node] = []
    for node in nodes:
        images = [name for name in node.inputs if name in layouts]
        given = [shapes.get(name, ()) for name in node.outputs]
        if node.op == "Conv":
            shape = shapes.get(node.inputs[0], ())
            if len(shape) != 4 or len(given[0]) != 4:
                raise node.refuse("an image [1, channels, height, width]", f"shape {list(shape)}")
            reads = "hwc" if layouts.get(node.inputs[0], "rows") == "pixels" else "chw"
            node = dataclasses.replace(node, attributes=node.attributes | {"image": shape[1:], "reads": reads})
            layouts[node.outputs[0]] = "pixels"
        elif node.op == "Transpose" and len(given[0]) == 4:
            layouts[node.outputs[0]] = _transposed(node, layouts, shapes)
        elif images or any(sum(d > 1 for d in shape) > 1 for shape in given):
            layout = _carried(node, images, layouts, shapes, constants)
            layouts |= {name: layout for name in node.outputs if len(shapes.get(name, ())) > 2}
        found.append(node)
    return found, set(layouts)


def _transposed(node: Node, layouts: Mapping[str, Layout], shapes: Mapping[str, tuple[int, ...]]) -> Layout:
    perm, before = list(node.attributes.get("perm", [])), layouts.get(node.inputs[0], "rows")
    if (perm, before) == (INTO_PIXELS, "rows"):
        return "pixels"
    if (perm, before) == (INTO_ROWS, "pixels"):
        return "rows"
    raise node.refuse("a change between [1, h, w, c] and [1, c, h, w]", f"perm {perm} of {list(shapes[node.inputs[0]])}")


def _carried(
    node: Node,
    images: Sequence[str],
    layouts: Mapping[str, Layout],
    shapes: Mapping[str, tuple[int, ...]],
    constants: Mapping[str, Any],
) -> Layout:
    """How the outputs lie where an input or output has several dimensions."""
    if node.op in SAME_ORDER:
        shape = shapes.get(node.inputs[0], ())
        one_order = len(shape) == 4 and (shape[1] == 1 or shape[2] * shape[3] == 1)
        if layouts.get(node.inputs[0], "rows") == "rows" or one_order:
            return "rows"
        raise node.refuse("a Transpose to [1, height, width, channels] before it", f"{node.op} of {list(shape)}")
    computed = [name for name in node.inputs if name and name not in constants]
    numbers = [constants[name] for name in node.inputs if name in constants]
    alike = len({layouts.get(name) for name in computed}) == 1 and len({shapes.get(name) for name in computed}) == 1
    if node.op in ELEMENTWISE and images and alike and all(np.size(as_array(number)) == 1 for number in numbers):
        return layouts[images[0]]
    found = [list(shapes.get(name, ())) for name in (*images, *node.outputs)]
    raise node.refuse("vectors (batch 1), or images that it treats number by number", f"shapes {found}")
