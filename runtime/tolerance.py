"""How far an artifact may stray from the golden rollout, per precision, and why.

| policy | every step from the recorded state | whole episodes on its own state |
|---|---|---|
| float32 or integer weights | every entry within 1e-5 s | feed-forward: the same; recurrent: every entry within 1e-4 s |
| rounded activations | 99 % of the entries in 1e-3 s, all in 8 steps | recurrent: 95 % within 1e-3 s, all within 16 steps |
| fast activation functions | 99 % of the entries within 1e-2 s, all within 5e-2 s | recurrent: 95 % and 1e-1 s |
| matrices in float16 | as fast activation functions | the same |
| matrices in bfloat16 | eight times as far (8e-2 s, 4e-1 s) | recurrent: 95 % and 8e-1 s |
| discrete, float32 | where it differs, the two logits lie within 1e-5 of each other | recurrent: 99 % of the choices agree |
| discrete, rounded activations, 16 bits or fast | 99 % of the choices agree | recurrent: 95 % agree |

s = max(1, largest golden |action| of that entry): an action in RPM is not held to micro-RPM, nor a small angle beside it
to RPM. 1e-5 is about 100 float32 roundings (2^-24 = 6e-8): what reordered sums and other tanh polynomials may cost, and
a hundredth of what any mistake in weights, normalizer or action transform costs. A recurrent policy feeds its rounding
errors back for a whole episode, hence the factor of ten. int8 weights are exact numbers (integer times scale), so they
are float32 policies here.

Activations rounded to int8 are another matter: two correct back-ends add the same products in another order, differ by
1e-6, and where a value lies that close to the middle of two grid points (one in some 10,000 values) they round it to
*neighboring* points. That is one quantization step, not an error. One step at the input of the last layer moves action j by
scale * max_k |W_jk| (times the slope of what follows), the "step" of the table; one further up moves many later values
by a little and some of them by a step, with random signs, which stays below a few steps. Such ties are rare and mostly
small, so 99 % of the entries must agree closely; a wrong scale, zero point or weight moves nearly all entries and fails
that part, and a single wrong channel fails the bound on the worst.

Fast activation functions (compile.accuracy = "fast") are each within about 1e-3 of the exact ones, by choice; a few
layers of them add up to several times that. A verdict on them is the return's, not this table's. Matrices in 16 bits are of
that kind: float16 keeps 11 bits of mantissa, bfloat16 8, so its errors are eight times as large. Policies that others trained
moved by up to 1.4e-2 s in float16 and 7e-2 s in bfloat16 (a SAC actor on random observations; 99 % of its entries stayed
within 4e-3 s and 4e-2 s).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import BadInput
from ..policy.bundle import Policy
from ..policy.golden import Golden
from ..policy.grid import Quantize
from ..policy.layers import Activation, Affine, Clip, Linear
from ..targets.profile import Target

FP32, DRIFT, TYPICAL = 1e-5, 1e-4, 1e-3
STEPS, DRIFT_STEPS = 8, 16
FAST, FAST_WORST, FAST_DRIFT_WORST = 1e-2, 5e-2, 1e-1
HALVES = {"fp16": 1.0, "bf16": 8.0}
"""16-bit precision of the matrices -> how far it may move an action, in multiples of the fast bounds."""
UNKNOWN_STEP = 0.05 / STEPS
"""Size of a step, in s, where the layers after the last rounding are not simple enough to follow."""


@dataclass(frozen=True, eq=False)
class Tolerance:
    """What one comparison is judged by. Continuous: ``typical`` and ``worst``; discrete: ``share`` and ``tie``."""

    typical: np.ndarray
    """float64 [m]: ``share`` of the entries must stay within this, in action units."""
    worst: np.ndarray
    """float64 [m]: every entry must stay within this."""
    share: float
    """Least share of entries (continuous) or choices (discrete)."""
    tie: float
    """Discrete: a choice that differs is excused where the float64 logits lie this close, times max(1, |logit|); 0: not asked."""
    rule: str
    """The rule in words."""


def coarse_products(precision: str, target: Target) -> str:
    """The ``half`` of :func:`tolerance_for` for an artifact of that precision: TF32 products keep as many bits as float16."""
    if precision in HALVES:
        return precision
    return "fp16" if precision == "fp32" and target.tensorrt is not None and target.tensorrt.tf32 else ""


def quantized(policy: Policy) -> bool:
    """True where activations are rounded to integers: then correct back-ends may differ by a step."""
    return any(isinstance(layer, Quantize) or getattr(layer, "state_grid", None) is not None for layer in policy.layers)


def tolerance_for(
    policy: Policy, golden: Golden, *, drift: bool, override: float | None = None, fast: bool = False, half: str = ""
) -> Tolerance:
    """The rule of the table above. ``drift``: recurrent and on its own state; ``fast``: activation functions of that variant.

    ``half``: "fp16" or "bf16" where the matrices were rounded to it; ``override``: every entry within this.
    """
    if policy.contract.action.kind == "discrete":
        nothing = np.zeros(1)
        if override is not None:
            raise BadInput("tolerance", expected="none for a discrete policy, whose choices agree or not", found=f"{override:g}")
        coarse = fast or bool(half) or quantized(policy)
        if drift or coarse:
            share = 0.95 if drift and coarse else 0.99
            return Tolerance(nothing, nothing, share, 0.0, f"{share:.0%} of the choices agree")
        return Tolerance(nothing, nothing, 0.0, FP32, f"choices agree, or the two logits lie within {FP32:g} of each other")
    size = policy.contract.action.size
    if override is not None:
        if not np.isfinite(override) or override < 0:
            raise BadInput("tolerance", expected="a number ≥ 0, in action units", found=f"{override}")
        every = np.full(size, float(override))
        return Tolerance(every, every, 1.0, 0.0, f"every entry within {override:g}")
    unit = np.maximum(1.0, np.abs(golden.action.astype(np.float64)).max(axis=0))
    if fast or half:
        factor = HALVES.get(half, 1.0)
        share, worst = (0.95, FAST_DRIFT_WORST * factor) if drift else (0.99, FAST_WORST * factor)
        typical, what = FAST * factor, f"matrices in {half}" if half else "fast activations"
        rule = f"{what}: {share:.0%} of the entries within {typical:g}, all within {worst:g}{_unit(unit)}"
        return Tolerance(typical * unit, worst * unit, share, 0.0, rule)
    if not quantized(policy):
        bound = DRIFT if drift else FP32
        return Tolerance(bound * unit, bound * unit, 1.0, 0.0, f"every entry within {bound:g}{_unit(unit)}")
    steps, share = (DRIFT_STEPS, 0.95) if drift else (STEPS, 0.99)
    step = last_step(policy)
    most = steps * (UNKNOWN_STEP * unit if step is None else step)
    rule = f"{share:.0%} of the entries within {TYPICAL:g}{_unit(unit)}, all within {steps} integer steps of the last layer"
    return Tolerance(TYPICAL * unit, np.maximum(most, TYPICAL * unit), share, 0.0, rule)


def _unit(unit: np.ndarray) -> str:
    return " times the entry's largest |action|" if (unit > 1).any() else ""


def last_step(policy: Policy) -> np.ndarray | None:
    """float64 [m]: how far one step of the last rounded activation moves each action; None where it cannot be followed."""
    position = max((i for i, layer in enumerate(policy.layers) if isinstance(layer, Quantize)), default=None)
    if position is None:
        return None
    move: np.ndarray | float = float(policy.layers[position].scale)  # type: ignore[union-attr]
    for layer in policy.layers[position + 1 :]:
        if isinstance(layer, Linear):
            weight = np.abs(policy.weights[f"{layer.name}.weight"].astype(np.float64))
            if layer.weight_bits <= 8:
                weight *= policy.weights[f"{layer.name}.weight_scale"].astype(np.float64)[:, None]
            # The first layer sees one input move; all later ones see every input move.
            move = weight.max(axis=1) * move if isinstance(move, float) else weight @ move
        elif isinstance(layer, Activation):
            # Steepest slope: selu 1.76, hardswish 1.5, gelu 1.13, silu 1.1, mish 1.09, elu and leaky_relu alpha, the others 1.
            move = move * {"selu": 1.76, "hardswish": 1.5, "gelu": 1.13}.get(layer.function, max(1.1, layer.alpha))
        elif isinstance(layer, Affine):
            move = move * np.abs(policy.weights[f"{layer.name}.scale"].astype(np.float64))
        elif not isinstance(layer, Clip):
            return None
    scale = policy.contract.action.scale
    return np.abs(np.asarray(scale or 1.0)) * np.broadcast_to(move, (policy.contract.action.size,))
