"""Convolutions in front of a network that learns, and what they need to know of the environment's images."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import BadInput
from ..policy.conv import Conv2d
from ..policy.image import Image, image_of
from ..policy.layers import Layer, Layers
from .environments import VectorEnv
from .normalizer import ObservationNormalizer

Filters = Sequence[tuple[int, int, int]]
"""(channels, kernel, stride) of every convolution, in order."""


def seen_image(envs: VectorEnv, history: int, where: str) -> Image:
    """The image that the environments show; a ``history`` of vectors is one of height 1, with time along its columns.

    Raises BadInput where there is neither, and for a history of images.
    """
    image, size = image_of(envs.envs[0]), envs.observation_size
    inner = len(envs.envs[0].unwrapped.observation_space.shape or ()) > 1
    if image is not None and image.size == size and history == 1:
        return image
    if history > 1 and not inner and size % history == 0:
        return Image(1, history, size // history)
    raise BadInput(
        where,
        expected="an image as observation (a Box of two or three axes), or history above 1 of a vector",
        found=f"a history of {history} images" if inner else f"vectors of {size} numbers",
        repair="Leave history at 1" if inner else "Leave conv out",
    )


def conv_layers(image: Image, filters: Filters, between: Layer, where: str) -> tuple[Layers, int]:
    """(convolutions, each with ``between`` behind it, what the last gives); kernels of one row where the image has one row.

    Raises BadInput, naming the convolution, where its kernel is larger than what is left of the image.
    """
    layers: list[Layer] = []
    height, width, channels, reads = image.height, image.width, image.channels, image.reads
    for index, (out, kernel, stride) in enumerate(filters):
        rows = 1 if image.height == 1 else kernel
        if rows > height or kernel > width:
            found = f"a kernel of {kernel} on {height} x {width} pixels"
            raise BadInput(where, expected=f"conv {index} within its image", found=found, repair="Smaller kernels or strides")
        down = 1 if image.height == 1 else stride
        layer = Conv2d(f"conv{index}", channels, out, height, width, (rows, kernel), (down, stride), reads=reads)
        layers += [layer, between]
        height, width, channels, reads = layer.out_height, layer.out_width, out, "hwc"
    return tuple(layers), height * width * channels


class Bounded(ObservationNormalizer):
    """(obs - low) / (high - low) for an image whose bounds are known: nothing is learned, and every pixel counts alike."""

    def __init__(self, image: Image) -> None:
        super().__init__(image.size, True)
        assert image.low is not None and image.high is not None
        self.moments.mean[:] = image.low
        self.moments.variance[:] = (image.high - image.low) ** 2
        self._fold()

    def learn(self, obs: object) -> None:
        """Nothing."""

    update = learn


def normalizer_for(image: Image, wanted: bool, where: str) -> ObservationNormalizer:
    """By the image's bounds, if ``wanted`` and they are not 0 and 1 already; of a history of vectors, by running statistics.

    Raises BadInput for an image without bounds: statistics per pixel would undo that all pixels have the same kernels.
    """
    if not wanted or (image.low, image.high) == (0.0, 1.0):
        return ObservationNormalizer(image.size, False)
    if image.height == 1 and image.low is None:
        return ObservationNormalizer(image.size, True)
    if image.low is None:
        raise BadInput(
            where,
            expected="an image with one smallest and one largest value, to normalize by",
            found="a Box without such bounds",
            repair="Set normalize_observation = false, or let the environment scale its images",
        )
    return Bounded(image)
