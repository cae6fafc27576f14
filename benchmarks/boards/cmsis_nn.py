"""CMSIS-NN (github.com/ARM-software/CMSIS-NN): Arm's int8 kernels, arm_fully_connected_s8 with a tanh by table.

Quantized as TensorFlow Lite does it, the form that the library computes: one scale a tensor, symmetric weights, affine
activations, int8 between all operators, float only at the two ends.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from pilotfish.compress.calibration import activation_grid

from .foreign import Foreign, find_sources
from .networks import Mlp

SOURCES = (
    "Source/FullyConnectedFunctions/arm_fully_connected_s8.c",
    "Source/NNSupportFunctions/arm_nn_vec_mat_mult_t_s8.c",
)
PRELUDE = """#include "arm_nnfunctions.h"
static int8_t rounded(float v, int32_t zero) {
  int32_t q = (int32_t)(v + (v >= 0.0f ? 0.5f : -0.5f)) + zero;
  return (int8_t)(q < -128 ? -128 : q > 127 ? 127 : q);
}
static int8_t values[2][%(room)d];
"""
LAYER = """  {
    const cmsis_nn_context none = {NULL, 0};
    const cmsis_nn_fc_params fc = {%(input_offset)d, 0, %(output_offset)d, {-128, 127}};
    const cmsis_nn_per_tensor_quant_params scale = {%(multiplier)d, %(shift)d};
    const cmsis_nn_dims in = {1, 1, 1, %(ins)d}, filter = {%(ins)d, 1, 1, %(outs)d}, sums = {1, 1, 1, %(outs)d};
    arm_fully_connected_s8(&none, &fc, &scale, &in, values[%(source)d], &filter, w%(index)d, &sums, b%(index)d, &sums,
                           values[%(target)d]);
  }
"""


def program(mlp: Mlp, root: Path, seen: np.ndarray) -> Foreign:
    """The network in int8, its grids spanning what the observations ``seen`` float32 [N, in] cause; ``root``: source tree."""
    before = mlp.values(seen)
    inputs = [seen, *(mlp.activate(v) for v in before[:-1])]
    grids = [activation_grid(float(v.min()), float(v.max())) for v in inputs]
    results = [activation_grid(float(v.min()), float(v.max())) for v in before]
    tables, steps = [], []
    for index, (weight, bias) in enumerate(zip(mlp.weights, mlp.biases, strict=True)):
        unit = float(np.abs(weight).max()) / 127
        (in_scale, in_zero), (out_scale, out_zero) = grids[index], results[index]
        tables.append(_table("int8_t", f"w{index}", np.clip(np.round(weight / unit), -127, 127)))
        tables.append(_table("int32_t", f"b{index}", np.round(bias / (unit * in_scale))))
        multiplier, shift = _fixed_point(unit * in_scale / out_scale)
        facts = {"multiplier": multiplier, "shift": shift, "input_offset": -in_zero, "output_offset": out_zero}
        facts |= {"ins": weight.shape[1], "outs": len(weight), "index": index, "source": index % 2, "target": (index + 1) % 2}
        steps.append(LAYER % facts)
        if index + 1 < len(mlp.weights):
            (next_scale, next_zero), at = grids[index + 1], (index + 1) % 2
            bent = mlp.activate((np.arange(-128, 128) - out_zero) * out_scale)
            tables.append(_table("int8_t", f"t{index}", np.clip(np.round(bent / next_scale) + next_zero, -128, 127)))
            steps.append(f"  for (int i = 0; i < {len(weight)}; ++i) values[{at}][i] = t{index}[values[{at}][i] + 128];\n")
    ins, outs, last = mlp.sizes[0], mlp.sizes[-1], len(mlp.weights) % 2
    begin = f"  for (int i = 0; i < {ins}; ++i) values[0][i] = rounded(obs[i] * {1 / grids[0][0]!r}f, {grids[0][1]});\n"
    scale, zero = results[-1]
    end = f"  for (int i = 0; i < {outs}; ++i) action[i] = (float)(values[{last}][i] - ({zero})) * {scale!r}f;\n"
    head = "void foreign_step(const float *obs, float *state, float *action) {\n  (void)state;\n"
    text = PRELUDE % {"room": max(mlp.sizes)} + "\n".join(tables) + "\n" + head + begin + "".join(steps) + end + "}\n"
    sources: dict[str, str | Path] = {"cmsis.c": text, **find_sources(root, SOURCES)}
    return Foreign(sources, ins, outs, include=(root / "Include",), c_standard="gnu11")


def _fixed_point(factor: float) -> tuple[int, int]:
    """(multiplier, shift) with factor = multiplier / 2^31 * 2^shift."""
    mantissa, shift = math.frexp(factor)
    multiplier = round(mantissa * 2**31)
    return (multiplier, shift) if multiplier < 2**31 else (multiplier // 2, shift + 1)


def _table(kind: str, name: str, values: np.ndarray) -> str:
    words = ", ".join(str(int(v)) for v in values.reshape(-1))
    return f"static const {kind} {name}[{values.size}] = {{{words}}};"
