"""Layers with a memory that learns: the cells of recurrent networks, and what their tensors are called."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer
from pydantic.dataclasses import dataclass

from .fields import STRICT, Bits, Name, Size
from .grid import Quantize

CFC_HEADS = ("ff1", "ff2", "time_a", "time_b")
"""Linear layers of a CfC that read the backbone's output."""


def _as_before(table: dict[str, Any]) -> dict[str, Any]:
    """Bundles of cells without factors and grids keep the digests that they had before there were such."""
    return {key: value for key, value in table.items() if key not in ("rank_ih", "rank_hh", "state_grid") or value is not None}


@dataclass(frozen=True, config=STRICT)
class GRU:
    """torch.nn.GRUCell. Tensors: weight_ih [3H, in], weight_hh [3H, H], bias_ih [3H], bias_hh [3H]; gates r, z, n.

    r = sigmoid(.), z = sigmoid(.), n = tanh(W_in x + b_in + r * (W_hn h + b_hn)), h' = (1 - z) * n + z * h. State: NAME_h.
    """

    name: Name
    """Prefix of its tensors and of its state."""
    in_size: Size
    """Inputs."""
    hidden_size: Size
    """H; also the number of outputs."""
    weight_bits: Bits = 32
    """2, 3, 4, 8: both weights are int8, as a linear layer's, with weight_ih_scale [3H] and weight_hh_scale [3H]; 16:
    float16."""
    rank_ih: Size | None = None
    """r: in place of weight_ih there are weight_ih_u [3H, r] and weight_ih_v [r, in], whose product it is."""
    rank_hh: Size | None = None
    """r: in place of weight_hh there are weight_hh_u [3H, r] and weight_hh_v [r, H]."""
    state_grid: Quantize | None = None
    """h is rounded to this grid where weight_hh multiplies it, and nowhere else; None: it is not."""
    kind: Literal["gru"] = "gru"

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _as_before(dump(self))


@dataclass(frozen=True, config=STRICT)
class LSTM:
    """torch.nn.LSTMCell. Tensors: weight_ih [4H, in], weight_hh [4H, H], bias_ih [4H], bias_hh [4H]; gates i, f, g, o.

    c' = sigmoid(f) * c + sigmoid(i) * tanh(g), h' = sigmoid(o) * tanh(c'). State: NAME_h, NAME_c.
    """

    name: Name
    """Prefix of its tensors and of its state."""
    in_size: Size
    """Inputs."""
    hidden_size: Size
    """H; also the number of outputs."""
    weight_bits: Bits = 32
    """2, 3, 4, 8: both weights are int8, as a linear layer's, with weight_ih_scale [4H] and weight_hh_scale [4H]; 16:
    float16."""
    rank_ih: Size | None = None
    """r: in place of weight_ih there are weight_ih_u [4H, r] and weight_ih_v [r, in], whose product it is."""
    rank_hh: Size | None = None
    """r: in place of weight_hh there are weight_hh_u [4H, r] and weight_hh_v [r, H]."""
    state_grid: Quantize | None = None
    """h is rounded to this grid where weight_hh multiplies it, and nowhere else; None: it is not."""
    kind: Literal["lstm"] = "lstm"

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _as_before(dump(self))


@dataclass(frozen=True, config=STRICT)
class CfC:
    """Closed-form continuous-time cell (Hasani et al., Nature Machine Intelligence 2022), default mode, fixed time step t.

    z = backbone([x, h]); h' = tanh(ff1 z) * (1 - s) + tanh(ff2 z) * s, s = sigmoid((time_a z) * t + time_b z), as in the
    authors' code (ncps, torch/cfc_cell.py; the paper writes the gate with -f, a sign that training absorbs). The
    backbone is Linear and lecun_tanh, 1.7159 * tanh(0.666 v), for each of its layers. State: NAME_h, which is the output.
    Tensors: backboneK_weight [size, in], backboneK_bias for K = 0, 1, …; ff1_, ff2_, time_a_, time_b_ weight [H, w] and bias [H].
    """

    name: Name
    """Prefix of its tensors and of its state."""
    in_size: Size
    """Inputs."""
    hidden_size: Size
    """H; also the number of outputs."""
    backbone: Annotated[tuple[Size, ...], Field(max_length=8)] = ()
    """Widths of the backbone's layers; (): the heads read [x, h] itself."""
    time_step: Annotated[float, Field(gt=0)] = 1.0
    """t, time between two decisions in the unit of training (ncps: 1 where no times are given)."""
    kind: Literal["cfc"] = "cfc"


def cell_matrices(layer: GRU | LSTM) -> dict[str, tuple[int, int]]:
    """Full names of a cell's weight matrices -> (rows, columns)."""
    gates = layer.hidden_size * (3 if isinstance(layer, GRU) else 4)
    shapes: dict[str, tuple[int, int]] = {}
    for part, columns, rank in (("ih", layer.in_size, layer.rank_ih), ("hh", layer.hidden_size, layer.rank_hh)):
        full = f"{layer.name}.weight_{part}"
        shapes |= {full: (gates, columns)} if rank is None else {f"{full}_u": (gates, rank), f"{full}_v": (rank, columns)}
    return shapes
