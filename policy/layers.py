"""Layers: the plain, serialisable description of a network, in the order in which data flows.

A network is a tuple of layers. Weights live beside it in a dict of numpy arrays named
``LAYER.tensor``; every shape below is row-major, outputs first, as in torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from ..errors import BadInput
from .cells import CFC_HEADS, GRU, LSTM, CfC, cell_matrices
from .contract import StateTensor
from .conv import Conv2d
from .fields import STRICT, Bits, Name, Size
from .grid import Quantize

ActivationName = Literal[
    "tanh", "relu", "elu", "silu", "sigmoid", "softsign", "leaky_relu", "gelu", "selu", "softplus", "mish", "hardswish"
]


@dataclass(frozen=True, config=STRICT)
class Linear:
    """y = x W^T + b. Tensors: weight [out, in], bias [out] if ``bias``."""

    name: Name
    """Prefix of its tensors."""
    in_size: Size
    """Inputs."""
    out_size: Size
    """Outputs."""
    bias: bool = True
    """False: no bias tensor."""
    weight_bits: Bits = 32
    """2, 3, 4, 8: weight is int8 in [-1, 1], [-3, 3], [-7, 7], [-127, 127], beside weight_scale float32 [out]: W = weight *
    scale per row. 16: weight is float16."""
    kind: Literal["linear"] = "linear"


@dataclass(frozen=True, config=STRICT)
class HashedLinear:
    """y = x W^T + b, where W [out, in] shows a small store over and over: :mod:`pilotfish.policy.hashed` says which entry, and
    with which sign. Tensors: store [size], bias [out] if ``bias``.
    """

    name: Name
    """Prefix of its tensors."""
    in_size: Size
    """Inputs."""
    out_size: Size
    """Outputs."""
    size: Size
    """Numbers in the store: a multiple of ``chunk``."""
    chunk: Annotated[int, Field(ge=1, le=1024)] = 8
    """Neighbouring weights of a row that lie side by side in the store, too."""
    seed: Annotated[int, Field(ge=0, le=0xFFFFFFFF)] = 0
    """Which of all maps."""
    bias: bool = True
    """False: no bias tensor."""
    kind: Literal["hashed_linear"] = "hashed_linear"

    def __post_init__(self) -> None:
        if self.size % self.chunk:
            found = f"{self.size} of chunks of {self.chunk}"
            raise BadInput(f"hashed layer {self.name}", expected="a store of whole chunks", found=found)


@dataclass(frozen=True, config=STRICT)
class TiedLinear:
    """y = x W^T + b with the weight of another linear layer of the same shape. Tensors: LIKE.weight [out, in], bias [out] if
    ``bias``.
    """

    name: Name
    """Prefix of its own tensors."""
    like: Name
    """The layer whose weight it is, too: a float32 one."""
    in_size: Size
    """Inputs."""
    out_size: Size
    """Outputs."""
    bias: bool = True
    """False: no bias tensor."""
    kind: Literal["tied_linear"] = "tied_linear"


@dataclass(frozen=True, config=STRICT)
class Activation:
    """Elementwise function; no tensors."""

    function: ActivationName
    """silu(x) = x * sigmoid(x); softsign(x) = x / (1 + |x|); softplus(x) = log(1 + exp(x)); mish(x) = x * tanh(softplus(x));
    hardswish(x) = x * min(max(x / 6 + 1 / 2, 0), 1); gelu is its tanh form, x * sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))."""
    alpha: float = 1.0
    """elu: alpha * (exp(x) - 1) below zero; leaky_relu: slope below zero; unused elsewhere."""
    kind: Literal["activation"] = "activation"


@dataclass(frozen=True, config=STRICT)
class LayerNorm:
    """(x - mean) / sqrt(var + epsilon) * weight + bias over the vector. Tensors: weight [size], bias [size]."""

    name: Name
    """Prefix of its tensors."""
    size: Size
    """Length of the vector."""
    epsilon: float = 1e-5
    """Inside the square root, as in torch."""
    kind: Literal["layer_norm"] = "layer_norm"


@dataclass(frozen=True, config=STRICT)
class Affine:
    """y = scale * x + offset, elementwise. Tensors: scale [size], offset [size]."""

    name: Name
    """Prefix of its tensors."""
    size: Size
    """Length of the vector."""
    kind: Literal["affine"] = "affine"


@dataclass(frozen=True, config=STRICT)
class Clip:
    """y = min(max(x, low), high), elementwise; no tensors."""

    low: float
    """Lower bound."""
    high: float
    """Upper bound."""
    kind: Literal["clip"] = "clip"


@dataclass(frozen=True, config=STRICT)
class History:
    """Stacks the last ``length`` vectors, oldest first and the new one last; no tensors.

    State: NAME_past, the same ``length`` vectors as the output, so that a step shifts them in place and copies nothing
    else. Zero at the start of an episode, as in walk-these-ways (HistoryWrapper) and most legged_gym descendants; Isaac
    Lab repeats the first observation instead, which this layer does not. It stacks what it is given: normalized
    observations, if it comes first.
    """

    name: Name
    """Prefix of its state."""
    size: Size
    """Length of one vector."""
    length: Annotated[int, Field(ge=2, le=1000)]
    """How many vectors the output holds."""
    kind: Literal["history"] = "history"


Layer = Annotated[
    Linear | HashedLinear | TiedLinear | Conv2d | Activation | LayerNorm | Affine | Clip | Quantize | GRU | LSTM | CfC | History,
    Field(discriminator="kind"),
]
Layers = tuple[Layer, ...]
Weights = dict[str, np.ndarray]
LAYERS: TypeAdapter[Layers] = TypeAdapter(Layers)


def largest_integer(bits: int) -> int:
    """The grid of weights of so many bits is -n … n: 1, 3, 7 or 127."""
    return (1 << bits - 1) - 1


def matrix_bits(layer: Layer) -> dict[str, int]:
    """Full names of the layer's weight matrices that may lie on a grid -> bits of a weight."""
    if isinstance(layer, Linear) or (isinstance(layer, Conv2d) and not layer.depthwise):
        return {f"{layer.name}.weight": layer.weight_bits}
    if isinstance(layer, GRU | LSTM):
        return dict.fromkeys(cell_matrices(layer), layer.weight_bits)
    return {}


def tensor_shapes(layer: Layer) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Full tensor name -> (shape, dtype) that ``layer`` needs in the weights."""
    f32, f16, i8 = np.dtype(np.float32), np.dtype(np.float16), np.dtype(np.int8)
    shapes: dict[str, tuple[tuple[int, ...], np.dtype]] = {}

    def matrix(full: str, rows: int, columns: int, bits: int) -> None:
        shapes[full] = ((rows, columns), f32 if bits == 32 else f16 if bits == 16 else i8)
        if bits <= 8:
            shapes[f"{full}_scale"] = ((rows,), f32)

    if isinstance(layer, Linear):
        matrix(f"{layer.name}.weight", layer.out_size, layer.in_size, layer.weight_bits)
        if layer.bias:
            shapes[f"{layer.name}.bias"] = ((layer.out_size,), f32)
    elif isinstance(layer, Conv2d):
        matrix(f"{layer.name}.weight", layer.out_channels, layer.columns, layer.weight_bits)
        if layer.bias:
            shapes[f"{layer.name}.bias"] = ((layer.out_channels,), f32)
    elif isinstance(layer, HashedLinear | TiedLinear):
        if isinstance(layer, HashedLinear):
            shapes[f"{layer.name}.store"] = ((layer.size,), f32)
        else:
            matrix(f"{layer.like}.weight", layer.out_size, layer.in_size, 32)
        if layer.bias:
            shapes[f"{layer.name}.bias"] = ((layer.out_size,), f32)
    elif isinstance(layer, LayerNorm):
        shapes |= {f"{layer.name}.{tensor}": ((layer.size,), f32) for tensor in ("weight", "bias")}
    elif isinstance(layer, Affine):
        shapes |= {f"{layer.name}.{tensor}": ((layer.size,), f32) for tensor in ("scale", "offset")}
    elif isinstance(layer, GRU | LSTM):
        rows = layer.hidden_size * (3 if isinstance(layer, GRU) else 4)
        for full, shape in cell_matrices(layer).items():
            matrix(full, *shape, layer.weight_bits)
        shapes |= {f"{layer.name}.{tensor}": ((rows,), f32) for tensor in ("bias_ih", "bias_hh")}
    elif isinstance(layer, CfC):
        width = layer.in_size + layer.hidden_size
        parts = [(f"backbone{k}", size) for k, size in enumerate(layer.backbone)]
        for part, rows in (*parts, *((head, layer.hidden_size) for head in CFC_HEADS)):
            matrix(f"{layer.name}.{part}_weight", rows, width, 32)
            shapes[f"{layer.name}.{part}_bias"] = ((rows,), f32)
            width = rows if part.startswith("backbone") else width
    return shapes


def state_of(layers: Layers) -> tuple[StateTensor, ...]:
    """The recurrent tensors that a network carries, in layer order."""
    state: list[StateTensor] = []
    for layer in layers:
        if isinstance(layer, History):
            state.append(StateTensor(f"{layer.name}_past", layer.length * layer.size))
        if isinstance(layer, GRU | LSTM | CfC):
            state.append(StateTensor(f"{layer.name}_h", layer.hidden_size))
        if isinstance(layer, LSTM):
            state.append(StateTensor(f"{layer.name}_c", layer.hidden_size))
    return tuple(state)


def widths(layer: Layer) -> tuple[int | None, int | None]:
    """(inputs, outputs) of a layer; None where it takes any width."""
    if isinstance(layer, Linear | HashedLinear | TiedLinear | Conv2d):
        return layer.in_size, layer.out_size
    if isinstance(layer, LayerNorm | Affine):
        return layer.size, layer.size
    if isinstance(layer, GRU | LSTM | CfC):
        return layer.in_size, layer.hidden_size
    if isinstance(layer, History):
        return layer.size, layer.size * layer.length
    return None, None
