"""Tables and one step function per policy, for hand.h."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .contestant import NotOffered
from .subject import Subject

ACCUMULATORS = 8
"""Vectors of sums kept in registers: two multipliers of four cycles' latency want eight."""


@dataclass
class HandSource:
    """Writes C for one kind of machine."""

    lanes: int
    """float32 values of a vector."""
    group: int
    """int8 inputs that one instruction multiplies and adds: 4 (VNNI), 2 (AVX2) or 1."""
    offset: int
    """Added to int8 activations before the product."""
    tables: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)

    def dense_program(self, subject: Subject) -> str:
        """All weights, zeros too."""
        inputs, _, _ = subject.sizes
        x, size = "obs", inputs
        pending: dict[str, Any] | None = None
        for layer in subject.layers:
            match layer["kind"]:
                case "linear":
                    name, outputs = layer["name"], layer["out_size"]
                    if pending is None:
                        self._dense(name, x, subject.matrix(f"{name}.weight"), subject.weights[f"{name}.bias"], f"{name}_y")
                        x = f"(const float *){name}_y"
                    else:
                        x = self._dense_integer(subject, layer, x, size, pending)
                    size, pending = outputs, None
                case "activation":
                    self._elementwise(x, size, layer["function"])
                case "quantize":
                    pending = layer
                case "gru":
                    x, size = self._gru(subject, layer, x), layer["hidden_size"]
                case other:
                    raise NotOffered(f"not written by hand: {other}")
        return self._program(x, size)

    def straight_line_program(self, subject: Subject) -> str:
        """One product per weight that is not zero, no loop, no table."""
        x, size = "obs", subject.sizes[0]
        for layer in subject.layers:
            if layer["kind"] == "activation":
                self._elementwise(x, size, layer["function"])
                continue
            name, size = layer["name"], layer["out_size"]
            weight, bias = subject.matrix(f"{name}.weight"), subject.weights[f"{name}.bias"]
            self.body.append(f"  vf {name}_v[{-(-size // self.lanes)}]; float *const {name}_y = (float *){name}_v;")
            for row in range(size):
                terms = [f"{_literal(weight[row, column])} * {x}[{column}]" for column in np.flatnonzero(weight[row])]
                self.body.append(f"  {name}_y[{row}] = {' + '.join([_literal(bias[row]), *terms])};")
            x = f"{name}_y"
        return self._program(f"(const float *){x}", size)

    def _program(self, x: str, size: int) -> str:
        signature = "void hand_step(const float *obs, float *state, float *action)"
        copy = f"  memcpy(action, {x}, {4 * size});"
        return "\n".join(['#include "hand.h"', *self.tables, signature, "{", "  (void)state;", *self.body, copy, "}", ""])

    def _blocks(self, outputs: int) -> Iterator[tuple[int, int, int]]:
        """(first vector, vectors, phases) of each block of outputs."""
        vectors = -(-outputs // self.lanes)
        for start in range(0, vectors, ACCUMULATORS):
            count = min(ACCUMULATORS, vectors - start)
            yield start, count, max(1, ACCUMULATORS // count)

    def _dense(self, name: str, x: str, weight: np.ndarray, bias: np.ndarray, y: str) -> None:
        outputs, inputs = weight.shape
        self.body.append(f"  vf {y}[{-(-outputs // self.lanes)}];")
        padded_weight, padded_bias = self._padded(weight), self._padded(bias)
        for start, count, phases in self._blocks(outputs):
            rows = slice(start * self.lanes, (start + count) * self.lanes)
            w = self._table(f"{name}_w{start}", "float", padded_weight[rows].T)
            b = self._table(f"{name}_b{start}", "float", padded_bias[rows])
            call = f"dense_block({x}, {inputs}, (const vf *){w}, (const vf *){b}, {y} + {start}, {count}, {phases})"
            self.body.append(f"  {call};")

    def _dense_integer(self, subject: Subject, layer: dict[str, Any], x: str, size: int, grid: dict[str, Any]) -> str:
        name, zero, is_wide = layer["name"], grid["zero_point"], grid.get("bits", 8) == 16
        if is_wide and zero:
            raise NotOffered("an int16 grid with a zero point is not written by hand")
        group, kind = (min(2, self.group), "wide") if is_wide else (self.group, "narrow")
        offset = 0 if is_wide else self.offset
        dtype = {1: "int32_t", 2: "int16_t", 4: "int8_t"}[group]
        # Up to whole vectors and whole rounds of the loop; what the padding holds meets weights of zero.
        padded_size = size + -size % max(self.lanes, group * ACCUMULATORS)
        if padded_size > size:
            self.body += [f"  vf {name}_x[{padded_size // self.lanes}] = {{0}};", f"  memcpy({name}_x, {x}, {4 * size});"]
            x = f"{name}_x"
        weight, scales = subject.weights[f"{name}.weight"], subject.weights[f"{name}.weight_scale"]
        outputs, step = weight.shape[0], np.float32(grid["scale"])
        # Where there is an offset the sums run over q + offset, elsewhere over q - zero: the first sum makes up for it.
        first = -(zero + offset if offset else 0) * weight.astype(np.int32).sum(axis=1)
        arguments = f"{_literal(1 / step)}, {name}_q" if is_wide else f"{_literal(1 / step)}, {zero}, {name}_q"
        self.body += [
            f"  ALIGNED {kind} {name}_q[{padded_size}];",
            f"  quantize_{kind}((const vf *)({x}), {padded_size}, {arguments});",
            f"  vf {name}_y[{-(-outputs // self.lanes)}];",
        ]
        tables = {"s": (first, "int32_t"), "f": (scales * step, "float"), "b": (subject.weights[f"{name}.bias"], "float")}
        padded = np.pad(self._padded(weight), ((0, 0), (0, padded_size - size)))
        for start, count, phases in self._blocks(outputs):
            rows = slice(start * self.lanes, (start + count) * self.lanes)
            grouped = padded[rows].reshape(count * self.lanes, padded_size // group, group).transpose(1, 0, 2)
            w = self._table(f"{name}_w{start}", dtype, grouped)
            s, f, b = (self._table(f"{name}_{k}{start}", type_, self._padded(v)[rows]) for k, (v, type_) in tables.items())
            where = f"{name}_q, {padded_size // group}, (const vi *){w}, (const vi *){s}, (const vf *){f}, (const vf *){b}"
            self.body.append(f"  dense_integer({where}, {name}_y + {start}, {count}, {phases}, {int(is_wide)});")
        return f"(const float *){name}_y"

    def _gru(self, subject: Subject, layer: dict[str, Any], x: str) -> str:
        name, n, size = layer["name"], layer["in_size"], layer["hidden_size"]
        if size % self.lanes:
            raise NotOffered(f"a GRU of {size} units is not written by hand")
        from_input, from_state = subject.matrix(f"{name}.weight_ih"), subject.matrix(f"{name}.weight_hh")
        input_bias, state_bias = subject.weights[f"{name}.bias_ih"], subject.weights[f"{name}.bias_hh"]
        self.body += [f"  ALIGNED float joined[{n + size}];", f"  memcpy(joined, {x}, {4 * n});"]
        self.body.append(f"  memcpy(joined + {n}, state, {4 * size});")
        gates = slice(0, 2 * size)
        both = np.concatenate([from_input[gates], from_state[gates]], axis=1)
        self._dense(f"{name}_gates", "joined", both, input_bias[gates] + state_bias[gates], "gates")
        self._dense(f"{name}_in", "joined", from_input[2 * size :], input_bias[2 * size :], "new_in")
        self._dense(f"{name}_st", f"joined + {n}", from_state[2 * size :], state_bias[2 * size :], "new_st")
        vectors = size // self.lanes
        self.body += [
            f"  vf h[{vectors}];",
            f"  memcpy(h, joined + {n}, sizeof h);",
            f"  for (int k = 0; k < {vectors}; ++k) {{",
            "    const vf fresh = tanh_v(new_in[k] + sigmoid_v(gates[k]) * new_st[k]);",
            f"    h[k] = fresh + sigmoid_v(gates[{vectors} + k]) * (h[k] - fresh);",
            "  }",
            "  memcpy(state, h, sizeof h);",
        ]
        return "(const float *)h"

    def _elementwise(self, x: str, size: int, function: str) -> None:
        call = {"tanh": "tanh_v", "relu": "relu"}[function]
        values = f"((vf *)({x}))"
        self.body.append(f"  for (int k = 0; k < {-(-size // self.lanes)}; ++k) {values}[k] = {call}({values}[k]);")

    def _padded(self, values: np.ndarray) -> np.ndarray:
        """With rows of zeros up to whole vectors."""
        return np.concatenate([values, np.zeros((-len(values) % self.lanes, *values.shape[1:]), values.dtype)])

    def _table(self, name: str, kind: str, values: np.ndarray) -> str:
        flat = np.ascontiguousarray(values).reshape(-1)
        text = ",".join(_literal(v) for v in flat) if kind == "float" else ",".join(str(int(v)) for v in flat)
        self.tables.append(f"static const {kind} {name}[{len(flat)}] ALIGNED = {{{text}}};")
        return name


def _literal(value: Any) -> str:
    text = f"{float(value):.9g}"
    return f"{text}f" if any(letter in text for letter in ".en") else f"{text}.0f"
