"""How an observation lies when it is an image, and whether its numbers have bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from .bundle import Policy
from .conv import Conv2d

if TYPE_CHECKING:
    import gymnasium


@dataclass(frozen=True)
class Image:
    """An observation as a convolution sees it. The policy takes it flattened, row-major, as the environment gives it."""

    height: int
    """Rows; 1 for a history of vectors."""
    width: int
    """Columns; for a history, the steps in time."""
    channels: int
    """Numbers of a pixel; for a history, of a vector."""
    reads: Literal["hwc", "chw"] = "hwc"
    """Which axis comes last: the channels, as in Gymnasium, or (chw) the columns."""
    low: float | None = None
    """Smallest value of every number; None: not bounded, or not alike for all."""
    high: float | None = None
    """Largest value of every number, with ``low``."""

    @property
    def size(self) -> int:
        """Numbers in all."""
        return self.height * self.width * self.channels


def image_seen_by(policy: Policy) -> Image | None:
    """The image that a policy's first convolution reads, or that its contract speaks of; None for a policy that sees a vector."""
    first = next((layer for layer in policy.layers if isinstance(layer, Conv2d)), None)
    if first is not None and first.in_size == policy.contract.observation.size:
        return Image(first.height, first.width, first.in_channels, first.reads)
    return _image(policy.contract.observation.shape)


def _image(shape: tuple[int, ...], low: float | None = None, high: float | None = None) -> Image | None:
    """Of three axes the channels are the last or the first, whichever is shorter, and the last of equals."""
    if len(shape) == 2:
        return Image(shape[0], shape[1], 1, "hwc", low, high)
    if len(shape) != 3:
        return None
    if shape[0] < shape[2]:
        return Image(shape[1], shape[2], shape[0], "chw", low, high)
    return Image(shape[0], shape[1], shape[2], "hwc", low, high)


def shape_of(env: gymnasium.Env) -> tuple[int, ...]:
    """The shape of an observation before it was flattened to the vector that ``env`` gives; () where it always was one."""
    size = int(np.prod(env.observation_space.shape or ()))
    while env is not env.unwrapped:
        shape = env.observation_space.shape or ()
        if len(shape) > 1:
            break
        env = env.env  # type: ignore[attr-defined]
    shape = tuple(int(side) for side in env.observation_space.shape or ())
    return shape if len(shape) > 1 and int(np.prod(shape)) == size else ()


def image_of(env: gymnasium.Env) -> Image | None:
    """The image that ``env`` shows, flattened or not; None where it shows a vector.

    Of three axes the channels are the last or the first, whichever is shorter, and the last of equals; two axes are an image
    of one channel.
    """
    if not (shape := shape_of(env)):
        return None
    space = env.observation_space
    low, high = np.asarray(space.low, np.float64), np.asarray(space.high, np.float64)  # type: ignore[attr-defined]
    alike = bool(low.size) and bool((low == low.flat[0]).all() and (high == high.flat[0]).all())
    if alike and np.isfinite([low.flat[0], high.flat[0]]).all():
        return _image(shape, float(low.flat[0]), float(high.flat[0]))
    return _image(shape)
