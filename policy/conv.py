"""Convolution over an image that travels as a flat vector: the layer, its geometry, and the plain numpy way of computing it.

An image [height, width, channels] lies in a vector row by row, pixel by pixel, all channels of a pixel side by side: the
order in which Gymnasium's images are flattened, and the one in which a row of a patch is one stretch of memory. What a layer
gives lies in the same order, so that nothing is ever rearranged between two of them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from ..errors import BadInput
from .fields import MAX_SIZE, STRICT, Bits, Name, Size

Side = Annotated[int, Field(ge=1, le=1024)]
Pad = Annotated[int, Field(ge=0, le=1023)]
MAX_PATCHES = 1 << 23
"""Most entries that all patches of a layer have together (84 x 84 x 64 under a kernel of 3 x 3 has half as many): the plain way
of computing it holds them all at once."""


@dataclass(frozen=True, config=STRICT)
class Conv2d:
    """y[pixel] = patch(pixel) W^T + b at every place of the kernel. Tensors: weight [out_channels, kernel area * in_channels],
    bias [out_channels] if ``bias``.

    A row of the weight is a kernel in the order of a patch: kernel row, kernel column, channel. That is
    ``torch.nn.Conv2d.weight.permute(0, 2, 3, 1).reshape(out, -1)``; like torch, it does not flip the kernel. ``depthwise``:
    channel c of the output sees channel c of the input alone, and weight is [channels, kernel area].
    A kernel of height 1 over ``height`` 1 convolves in one dimension, such as over a history of vectors.
    """

    name: Name
    """Prefix of its tensors."""
    in_channels: Size
    """Channels of a pixel of the input."""
    out_channels: Size
    """Channels of a pixel of the output; equal to ``in_channels`` if ``depthwise``."""
    height: Size
    """Rows of the input."""
    width: Size
    """Columns of the input."""
    kernel: tuple[Side, Side]
    """(rows, columns) that a patch covers."""
    stride: tuple[Side, Side] = (1, 1)
    """(rows, columns) from one patch to the next."""
    padding: tuple[Pad, Pad] = (0, 0)
    """(rows, columns) of zeros around the image, on either side; less than the kernel."""
    depthwise: bool = False
    """True: every channel has a kernel of its own, and channels do not mix."""
    bias: bool = True
    """False: no bias tensor."""
    weight_bits: Bits = 32
    """As of a linear layer, with a scale per output channel; 32 if ``depthwise``."""
    reads: Literal["hwc", "chw"] = "hwc"
    """chw: the *input* lies channel by channel, [channels, height, width], as some environments give it; the output never."""
    kind: Literal["conv2d"] = "conv2d"

    def __post_init__(self) -> None:
        where = f"convolution {self.name}"
        for axis, side, kernel, padding in zip(
            ("rows", "columns"), (self.height, self.width), self.kernel, self.padding, strict=True
        ):
            if padding >= kernel:
                raise BadInput(where, expected=f"less padding than the {kernel} {axis} of the kernel", found=f"{padding}")
            if kernel > side + 2 * padding:
                found = f"a kernel of {kernel}"
                raise BadInput(where, expected=f"a kernel within {side} {axis} and 2 x {padding} of padding", found=found)
        if self.depthwise and self.in_channels != self.out_channels:
            found = f"{self.in_channels} and {self.out_channels}"
            raise BadInput(where, expected="as many channels out as in, as it is depthwise", found=found)
        if self.depthwise and self.weight_bits != 32:
            raise BadInput(where, expected="float32 weights, as it is depthwise", found=f"{self.weight_bits} bits")
        if max(self.in_size, self.out_size) > MAX_SIZE:
            found = f"{self.in_size:,} and {self.out_size:,}"
            raise BadInput(where, expected=f"at most {MAX_SIZE:,} numbers in and out", found=found)
        if self.pixels * self.area * self.in_channels > MAX_PATCHES:
            found = f"{self.pixels * self.area * self.in_channels:,}"
            raise BadInput(where, expected=f"at most {MAX_PATCHES:,} numbers in all patches together", found=found)

    @property
    def out_height(self) -> int:
        """Rows of the output."""
        return (self.height + 2 * self.padding[0] - self.kernel[0]) // self.stride[0] + 1

    @property
    def out_width(self) -> int:
        """Columns of the output."""
        return (self.width + 2 * self.padding[1] - self.kernel[1]) // self.stride[1] + 1

    @property
    def pixels(self) -> int:
        """Pixels of the output, which are places of the kernel."""
        return self.out_height * self.out_width

    @property
    def area(self) -> int:
        """Pixels that a patch covers."""
        return self.kernel[0] * self.kernel[1]

    @property
    def columns(self) -> int:
        """Weights of an output channel."""
        return self.area * (1 if self.depthwise else self.in_channels)

    @property
    def in_size(self) -> int:
        """Numbers in."""
        return self.height * self.width * self.in_channels

    @property
    def out_size(self) -> int:
        """Numbers out."""
        return self.pixels * self.out_channels

    @property
    def macs(self) -> int:
        """Multiplications and additions of one call, those with padding among them."""
        return self.out_size * self.columns


@lru_cache(maxsize=16)
def positions(layer: Conv2d) -> np.ndarray:
    """int32 [pixels, area, in_channels]: which entry of the input stands there in every patch; ``in_size`` for padding."""
    (rows, columns), (down, right), (top, left) = layer.kernel, layer.stride, layer.padding
    y = (down * np.arange(layer.out_height)[:, None] + np.arange(rows) - top)[:, None, :, None, None]
    x = (right * np.arange(layer.out_width)[:, None] + np.arange(columns) - left)[None, :, None, :, None]
    channel = np.arange(layer.in_channels)
    if layer.reads == "hwc":
        place = (y * layer.width + x) * layer.in_channels + channel
    else:
        place = (channel * layer.height + y) * layer.width + x
    inside = (y >= 0) & (y < layer.height) & (x >= 0) & (x < layer.width)
    found = np.where(inside, place, layer.in_size).astype(np.int32).reshape(layer.pixels, layer.area, layer.in_channels)
    found.flags.writeable = False
    return found


def patches(layer: Conv2d, x: np.ndarray) -> np.ndarray:
    """x [in_size] -> what the kernel covers at every place, [pixels, area, in_channels], zero in the padding."""
    return np.append(x, x.dtype.type(0))[positions(layer)]
