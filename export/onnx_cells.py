"""Recurrent cells and histories in ONNX, written out in operators that every back-end understands."""

from __future__ import annotations

import numpy as np

from ..policy.cells import CFC_HEADS, GRU, LSTM, CfC
from ..policy.layers import History
from .onnx_graph import Graph


def gru(graph: Graph, name: str, layer: GRU, x: str) -> str:
    """A gated recurrent unit (as in PyTorch: the reset gate is applied after the state's product)."""
    h = f"state_in_{layer.name}_h"
    from_input = graph.split(_gate(graph, layer, x, "ih", layer.rank_ih, f"{name}_input"), 3, f"{name}_input_gate")
    from_state = graph.split(_gate(graph, layer, h, "hh", layer.rank_hh, f"{name}_state"), 3, f"{name}_state_gate")
    add, mul = lambda a, b, out: graph.node("Add", [a, b], out), lambda a, b, out: graph.node("Mul", [a, b], out)
    reset = graph.node("Sigmoid", [add(from_input[0], from_state[0], f"{name}_r_sum")], f"{name}_r")
    update = graph.node("Sigmoid", [add(from_input[1], from_state[1], f"{name}_z_sum")], f"{name}_z")
    gated = mul(reset, from_state[2], f"{name}_n_gated")
    new = graph.node("Tanh", [add(from_input[2], gated, f"{name}_n_sum")], f"{name}_n")
    # (1 - z) * n + z * h, written as n + z * (h - n): one multiplication less, same value.
    change = graph.node("Sub", [h, new], f"{name}_change")
    out = add(new, mul(update, change, f"{name}_step"), name)
    _state_out(graph, f"{layer.name}_h", out)
    return out


def lstm(graph: Graph, name: str, layer: LSTM, x: str) -> str:
    """A long short-term memory without peepholes; gates in PyTorch's order i, f, g, o."""
    h, c = f"state_in_{layer.name}_h", f"state_in_{layer.name}_c"
    from_input = _gate(graph, layer, x, "ih", layer.rank_ih, f"{name}_input")
    from_state = _gate(graph, layer, h, "hh", layer.rank_hh, f"{name}_state")
    gates = graph.split(graph.node("Add", [from_input, from_state], f"{name}_sum"), 4, f"{name}_gate")
    i, f, o = (graph.node("Sigmoid", [gates[k]], f"{name}_{letter}") for k, letter in ((0, "i"), (1, "f"), (3, "o")))
    g = graph.node("Tanh", [gates[2]], f"{name}_g")
    kept, added = graph.node("Mul", [f, c], f"{name}_kept"), graph.node("Mul", [i, g], f"{name}_added")
    cell = graph.node("Add", [kept, added], f"{name}_cell")
    out = graph.node("Mul", [o, graph.node("Tanh", [cell], f"{name}_cell_tanh")], name)
    _state_out(graph, f"{layer.name}_h", out)
    _state_out(graph, f"{layer.name}_c", cell)
    return out


def history(graph: Graph, name: str, layer: History, x: str) -> str:
    """The latest inputs, oldest first; the state holds them."""
    bounds = [
        graph.constant(f"{name}_{word}", np.array([value], np.int64))
        for word, value in (("from", layer.size), ("to", layer.size * layer.length), ("axis", 1))
    ]
    kept = graph.node("Slice", [f"state_in_{layer.name}_past", *bounds], f"{name}_kept")
    stacked = graph.node("Concat", [kept, x], name, axis=1)
    _state_out(graph, f"{layer.name}_past", stacked)
    return stacked


def cfc(graph: Graph, name: str, layer: CfC, x: str) -> str:
    """The two time heads are linear in z and t is fixed, so they are one: (t A + B) z + (t a + b). One Gemm for all heads."""
    weights, z = graph.policy.weights, graph.node("Concat", [x, f"state_in_{layer.name}_h"], f"{name}_input", axis=1)
    for k in range(len(layer.backbone)):
        part = f"{layer.name}.backbone{k}"
        inputs = [z, graph.constant(f"{part}_weight", weights[f"{part}_weight"])]
        line = graph.node("Gemm", [*inputs, graph.constant(f"{part}_bias", weights[f"{part}_bias"])], f"{name}_line{k}", transB=1)
        inner = graph.node("Mul", [line, graph.number("lecun.inner", 0.666)], f"{name}_inner{k}")
        z = graph.node(
            "Mul", [graph.node("Tanh", [inner], f"{name}_tanh{k}"), graph.number("lecun.outer", 1.7159)], f"{name}_z{k}"
        )
    stacked: list[str] = []
    for tensor in ("weight", "bias"):
        ff1, ff2, rate, offset = (weights[f"{layer.name}.{head}_{tensor}"].astype(np.float64) for head in CFC_HEADS)
        rows = np.concatenate([ff1, ff2, layer.time_step * rate + offset]).astype(np.float32)
        stacked.append(graph.constant(f"{layer.name}.heads_{tensor}", rows))
    heads = graph.split(graph.node("Gemm", [z, *stacked], f"{name}_heads", transB=1), 3, f"{name}_head")
    first, second = (graph.node("Tanh", [heads[k]], f"{name}_ff{k + 1}") for k in (0, 1))
    gate = graph.node("Sigmoid", [heads[2]], f"{name}_gate")
    change = graph.node("Mul", [gate, graph.node("Sub", [second, first], f"{name}_change")], f"{name}_step")
    out = graph.node("Add", [first, change], name)
    _state_out(graph, f"{layer.name}_h", out)
    return out


def _gate(graph: Graph, layer: GRU | LSTM, x: str, part: str, rank: int | None, output: str) -> str:
    """All gates of a cell from its input (part "ih") or its state ("hh"); through the factors, where there are such."""
    if part == "hh" and layer.state_grid is not None:
        x = graph.on_steps(f"{output}_grid", layer.state_grid, x)
    if rank is None:
        return graph.gemm(layer, x, f"weight_{part}", f"bias_{part}", output)
    inner = graph.gemm(layer, x, f"weight_{part}_v", None, f"{output}_inner")
    return graph.gemm(layer, inner, f"weight_{part}_u", f"bias_{part}", output)


def _state_out(graph: Graph, state: str, value: str) -> None:
    graph.node("Identity", [value], f"state_out_{state}")
