"""prune: the smallest weights become zero, at once or gradually with healing in between."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ..errors import BadInput
from ..policy import Golden, Policy
from ..policy.layers import Weights
from ..train.sparse.schedule import FALLING, Schedule, ScheduleName
from .heal import imitate
from .imitation import Imitation
from .matrices import Masks, entries, nonzero_masks, prunable, zeros
from .passes import STRICT, Context, Pass, PassResult, Promise, Requirement
from .patterns import Scope, magnitude_masks, n_of_m_masks
from .reconstruct import refitted, ridged
from .requirements import environment, float_weights
from .rollout import a_rollout, rollout
from .signals import matrix_inputs

Block = Annotated[int, Field(ge=1, le=1024)]
FAINT = 1e-20
"""Weights that have left rank by their last magnitude times this: behind all that are there, ahead of those that never were."""


@dataclass(frozen=True, config=STRICT)
class Prune:
    """Magnitude pruning; biases and norms are never pruned.

    After every removal, least squares over the recorded rollout lets what is left take over. In several rounds the sparsity
    follows ``curve`` (cubic: Zhu and Gupta 2017, arXiv 1710.01878), and a gradual one is distilled from the recipe's original
    policy after each, so that no round breaks much.

    On SB3-zoo's HalfCheetah agents of [256, 256] (10 episodes, one seed, scope "erdos-renyi", rollout = 8,000, no gradient
    step): PPO, return 5,889: 90 % away at once 5,868, 95 % at once 5,804, where without least squares 80 % left nothing.
    SAC, about 9,380: surgeon, 80 % at once 6,996 and in 6 fitted rounds 8,480.
    """

    sparsity: float | None = Field(default=None, gt=0, lt=1)
    """Share of the weights (matrix entries) that are zero afterwards; follows from ``block`` where that is "N:M"."""
    scope: Scope = "layer"
    """global: one ranking over all matrices; layer: the same sparsity in each; erdos-renyi: narrow matrices stay denser."""
    block: tuple[Block, Block] | Annotated[str, Field(pattern=r"^[1-9][0-9]?:[1-9][0-9]?$")] | None = None
    """[rows, columns]: such blocks of a matrix [out, in] leave whole, by their root mean square. Pilotfish's float "block"
    kernels in C skip an input for a block of neighbouring outputs: [8, 1] suits 8 vector lanes (AVX2), [4, 1] or [8, 1] a
    Cortex-M. 17-256-256-6 without 90 % on an x86-64 host with AVX-512 (p50 of the tight loop): single weights 2.00 us, [4, 1]
    0.94, [8, 1] 0.51, [16, 1] 0.47, dense 3.63 us. 17-64-64-6 without 75 % on the virtual Cortex-M4F at 120 MHz (estimated from
    executed instructions): single weights 139 us and 25.1 KB of flash, [4, 1] 88 us and 15.5 KB, [8, 1] 66 us and 8.3 KB, dense
    316 us and 25.1 KB. No gain there at 90 % of 17-256-256-6, where straight-line code skips single weights as cheaply
    (767, 875 and 832 us, dense 3.8 ms), nor ever from [1, 4] (145 us at 75 %: each live weight still brings its index) or
    from "1:4" (152 us). "N:M" keeps N of every M neighbours in a row, as sparse tensor cores want it. int8 policies run in
    dense loops, which no pattern shortens."""
    criterion: Literal["magnitude", "surgeon"] = "magnitude"
    """Which weights matter least: the smallest, or ("surgeon") those whose loss the weights beside them make good on the recorded
    rollout: w^2 / (C^-1)_jj with the covariance C of what the matrix reads (Optimal Brain Surgeon, Hassibi and Stork 1993)."""
    reconstruct: bool | None = None
    """Fit what is left of every matrix, by least squares over the recorded rollout, to what the layers gave before. Left out: if
    there is a rollout from the environment. False: what is left keeps its values."""
    rollout: int = Field(default=0, ge=0, le=1_000_000)
    """Steps that the recipe's original policy records anew, in the environment, to score and fit by; 0: its golden rollout.
    Least squares over 1,000 steps knows little of a wide layer: some thousand more are seconds, and worth it."""
    schedule: Literal["one-shot", "fitted", "gradual"] = "gradual"
    """one-shot: all at once; fitted: in rounds, by least squares alone, in seconds; gradual: in rounds with healing, which
    needs an environment. The first two want a ``heal`` behind them if the return fell."""
    curve: ScheduleName = "cubic"
    """Fitted, gradual: how the sparsity grows over the rounds; with "harmonic" it falls at times, and weights that this pass took
    may grow again, those first that mattered most when they left (it has three waves: 9 rounds show them)."""
    rounds: int = Field(default=4, ge=1, le=100)
    """Fitted, gradual: how many times a little is pruned."""
    begin: float = Field(default=0.0, ge=0, lt=1)
    """Where in the rounds pruning starts (t0), as a fraction."""
    end: float = Field(default=1.0, gt=0, le=1)
    """Where the final sparsity is reached (t1); what is left only heals."""
    heal: Imitation = Field(default_factory=lambda: Imitation(steps=4_000, iterations=1))
    """Gradual: how each round is healed."""
    kind: Literal["prune"] = "prune"

    @model_validator(mode="after")
    def _check(self) -> Prune:
        if self.begin >= self.end:
            raise ValueError(f"begin {self.begin} is not before end {self.end}")
        if isinstance(self.block, str):
            n, m = self.n_of_m
            if n >= m:
                raise ValueError(f'block "{self.block}" keeps all: N must be smaller than M')
            if self.sparsity is not None and abs(self.sparsity - (1 - n / m)) > 1e-9:
                raise ValueError(f'block "{self.block}" is a sparsity of {1 - n / m:g}: leave sparsity out')
            if self.scope != "layer":
                raise ValueError(f'block "{self.block}" leaves no choice of scope')
        elif self.sparsity is None:
            raise ValueError("sparsity is missing")
        if self.schedule == "fitted" and self.reconstruct is False:
            raise ValueError('schedule "fitted" is least squares in rounds: reconstruct = false leaves nothing of it')
        return self

    @property
    def needs_rollout(self) -> bool:
        """Must anything be scored or fitted by recorded steps?"""
        return self.criterion != "magnitude" or bool(self.reconstruct) or self.rollout > 0 or self.schedule == "fitted"

    @property
    def n_of_m(self) -> tuple[int, int]:
        """(N, M) of a block "N:M"."""
        n, m = str(self.block).split(":")
        return int(n), int(m)

    @property
    def final(self) -> float:
        """The sparsity asked for."""
        if self.sparsity is not None:
            return self.sparsity
        n, m = self.n_of_m
        return 1 - n / m


def masks_at(config: Prune, weights: Weights, names: list[str], sparsity: float) -> Masks:
    """Masks at some sparsity on the way to the final one, by the pattern that ``config`` asks for."""
    if isinstance(config.block, str):
        m = config.n_of_m[1]
        return n_of_m_masks(weights, names, round((1 - sparsity) * m), m)
    return magnitude_masks(weights, names, sparsity, config.scope, config.block or (1, 1))


def masked(policy: Policy, masks: Masks) -> Policy:
    """The policy with every entry outside its mask set to zero."""
    pruned = {name: np.where(mask, policy.weights[name], np.float32(0)) for name, mask in masks.items()}
    return policy.replace(weights=policy.weights | pruned, golden=None)


def scores(policy: Policy, criterion: str, golden: Golden | None) -> Weights:
    """Matrix name -> float64 [out, in], larger for what matters more; zero where the weight is."""
    found = {name: np.abs(policy.weights[name]).astype(np.float64) for name in prunable(policy.layers)}
    if criterion == "surgeon" and golden is not None:
        for name, x in matrix_inputs(policy, golden).items():
            if name in found:
                centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
                found[name] /= np.sqrt(np.diag(np.linalg.inv(ridged(centred.T @ centred / len(x)))))
    return found


def _run(policy: Policy, config: Prune, context: Context) -> PassResult:
    golden = rollout(policy, config.kind, context, config.rollout) if config.needs_rollout else context.teacher.golden
    fit = golden if config.reconstruct is not False and golden is not None and golden.source == "environment" else None
    changed: dict[str, Any] = {}
    if config.schedule == "one-shot":
        pruned = masked(policy, masks_at(config, scores(policy, config.criterion, golden), prunable(policy.layers), config.final))
        policy = pruned if fit is None else refitted(pruned, policy, fit)
    else:
        policy, changed = _in_rounds(policy, config, context, golden, fit)
    changed["fitted_to_steps"] = 0 if fit is None else len(fit)
    masks = nonzero_masks(policy.layers, policy.weights)
    changed["sparsity"] = round(zeros(masks) / entries(masks), 6)
    changed["sparsity_by_matrix"] = {name: round(1 - float(mask.mean()), 6) for name, mask in masks.items()}
    return PassResult(policy, changed, f"p{round(100 * config.final)}")


def _in_rounds(
    policy: Policy, config: Prune, context: Context, golden: Golden | None, fit: Golden | None
) -> tuple[Policy, dict[str, Any]]:
    """(pruned policy, the sparsity of each round and, where the curve falls, how many weights grew again).

    ``golden`` is what weights are scored by, ``fit`` what is left of them is fitted to, if anything.
    """
    names, start = prunable(policy.layers), policy
    schedule = Schedule(config.final, config.curve, config.begin, config.end)
    regrows, regrown = config.curve in FALLING, []
    ever = nonzero_masks(policy.layers, policy.weights)  # zeros that were here before are not this pass's to fill
    last = scores(policy, config.criterion, golden)
    shares = [schedule.at(number / config.rounds) for number in range(1, config.rounds + 1)]
    for number, sparsity in enumerate(shares, 1):
        live, now = nonzero_masks(policy.layers, policy.weights), scores(policy, config.criterion, golden)
        last = {name: np.where(live[name], now[name], last[name]) for name in names}
        ranked = {name: last[name] * np.where(live[name], 1.0, FAINT if regrows else 0.0) for name in names}
        may = ever if regrows else live
        masks = {name: mask & may[name] for name, mask in masks_at(config, ranked, names, sparsity).items()}
        regrown.append(sum(int((masks[name] & ~live[name]).sum()) for name in names))
        # Healing moves what the layers give, so each of its rounds is fitted to the one before; fitting alone, to the start.
        before = policy if config.schedule == "gradual" else start
        policy = masked(policy, masks)
        if fit is not None:
            policy = refitted(policy, before, fit)
        if config.schedule == "gradual":
            policy = imitate(policy, context, config.heal, masks, context.seed + number)
    changed: dict[str, Any] = {"rounds": [round(share, 6) for share in shares]}
    return policy, changed | ({"regrown": regrown} if regrows else {})


def _has_matrices(policy: Policy, _: Prune, __: Context) -> None:
    if not prunable(policy.layers):
        raise BadInput(f"pass 'prune' on {policy.name}", expected="at least one layer with weights", found="none")


def _environment_if_gradual(policy: Policy, config: Prune, context: Context) -> None:
    if config.schedule == "gradual":
        environment.check(policy, config, context)


def _keeps_every_layer(policy: Policy, config: Prune, _: Context) -> None:
    if config.criterion != "magnitude":
        return  # its scores are known when it runs
    names = prunable(policy.layers)
    masks = masks_at(config, policy.weights, names, config.final)
    emptied = [name for name in names if not masks[name].any() and policy.weights[name].any()]
    if emptied:
        raise BadInput(
            f"pass 'prune' on {policy.name}",
            expected="some weights left in every matrix",
            found=f"none left in {emptied[0]} at sparsity {config.final} with scope {config.scope!r}",
            repair="Lower the sparsity"
            + (' or set scope = "layer"' if config.scope == "global" else "")
            + (", or make the blocks smaller" if config.block else ""),
        )


def _wrong_count(before: Policy, result: PassResult, config: Prune) -> str:
    names, weights = prunable(before.layers), result.policy.weights
    if isinstance(config.block, str):
        n, m = config.n_of_m
        for name in names:
            full = weights[name][:, : weights[name].shape[1] // m * m]
            if (most := int(np.count_nonzero(full.reshape(len(full), -1, m), axis=2).max(initial=0))) > n:
                return f"{most} of {m} neighbours in {name}"
        return ""
    rows, columns = config.block or (1, 1)
    for group in [[name] for name in names] if config.scope == "layer" else [names]:
        had = sum(int((before.weights[name] == 0).sum()) for name in group)
        size = sum(before.weights[name].size for name in group)
        asked, found = round(config.final * size), sum(int((weights[name] == 0).sum()) for name in group)
        slack = 1 if rows * columns == 1 else rows * columns * (1 if config.scope == "layer" else len(names))
        # Zeros that were there before may lie in blocks that stay, or in matrices that would have kept more.
        most = max(asked, had) if rows * columns == 1 and config.scope != "erdos-renyi" else asked + had
        if not asked - slack <= found <= most + slack:
            return f"{found} zeros of {size} in place of {asked} in {', '.join(group[:3])}"
    return ""


def _pruned_bias(before: Policy, result: PassResult, _: Prune) -> str:
    names = set(prunable(before.layers))
    for name, tensor in before.weights.items():
        if name not in names and (fewer := np.count_nonzero(result.policy.weights[name])) < np.count_nonzero(tensor):
            return f"{np.count_nonzero(tensor) - fewer} new zeros in {name}"
    return ""


def _filled(before: Policy, result: PassResult, _: Prune) -> str:
    for name, mask in nonzero_masks(before.layers, before.weights).items():
        if filled := int(np.count_nonzero(result.policy.weights[name][~mask])):
            return f"{filled} zeros of {name} filled"
    return ""


PRUNE = Pass(
    "prune",
    Prune,
    _run,
    requires=(
        Requirement("there is a layer with weights", _has_matrices),
        float_weights,
        Requirement("there is an environment, if gradual", _environment_if_gradual, early=True),
        a_rollout,
        Requirement("no matrix would be emptied", _keeps_every_layer),
    ),
    ensures=(
        Promise("the sparsity is the one asked for, within one weight or block", _wrong_count),
        Promise("weights that were zero stay zero", _filled),
        Promise("biases are never pruned", _pruned_bias),
    ),
)
