"""Parity: the artifact replays the golden rollout on its target and is compared with the float32 reference."""

from __future__ import annotations

import dataclasses
import time
from contextlib import closing
from typing import Any

import numpy as np

from ..errors import BadInput
from ..figure import Figure
from ..policy.bundle import Policy
from ..policy.contract import Action
from ..policy.golden import Golden
from ..policy.reference import Reference
from .artifact import Artifact
from .open import open_session
from .place import Progress, is_behind_terminal, is_remote, is_virtual, source_of
from .results import device_of, result
from .session import Session, action_size, state_size
from .tolerance import Tolerance, coarse_products, tolerance_for

MAX_POINTS = 200
"""Length of error_by_step."""
VIRTUAL_SECONDS = 20.0
"""What one replay on a virtual board may take; the first episode is finished all the same if there is state to drift,"""
EPISODE_SECONDS = 200.0
"""and if that takes no longer: a board without an FPU behind a pseudo-terminal decides twice a second."""
TRIAL_SECONDS = 2.0
LEAST_STEPS = 25
"""Fewer say little: they are replayed if EPISODE_SECONDS are enough for them."""


def verify(
    artifact: Artifact,
    *,
    trust: bool = False,
    tolerance: float | None = None,
    max_steps: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Replay the golden rollout twice: every step from its recorded state, and (recurrent) whole episodes on its own state.

    The rules per precision stand in :mod:`pilotfish.runtime.tolerance`; ``tolerance`` (action units) replaces them.
    ``max_steps`` limits the replay; slow virtual boards limit themselves (``steps`` says how many were compared).
    A NaN or infinity in any action fails. Stores and returns the result; ``passed`` is the verdict, ``failures`` says why.
    """
    golden = checked_golden(artifact)
    if max_steps is not None and max_steps < 1:
        raise BadInput("max_steps", expected="at least 1", found=f"{max_steps}")
    if is_remote(artifact):
        from .remote import run_there

        asked = {"tolerance": tolerance, "max_steps": max_steps}
        there = run_there(artifact, "verify", asked, trust=trust, progress=progress)
        if there is not None:
            return there
    recurrent = state_size(artifact.manifest.contract) > 0
    fast = artifact.manifest.backend == "c" and artifact.manifest.target.compile.accuracy == "fast"
    half = coarse_products(artifact.manifest.precision, artifact.manifest.target)
    rules = [
        tolerance_for(artifact.policy, golden, drift=drift, override=tolerance, fast=fast, half=half)
        for drift in ((False, True) if recurrent else (False,))
    ]
    with closing(open_session(artifact, trust=trust)) as session:
        steps = min(len(golden), max_steps or len(golden))
        if (is_virtual(artifact) or is_behind_terminal(artifact)) and max_steps is None:
            steps = _affordable(session, golden, recurrent)
        total = steps * len(rules)
        one_step = _replay(session, golden, steps, own_state=False, progress=progress, offset=0, total=total)
        own = one_step
        if recurrent:
            own = _replay(session, golden, steps, own_state=True, progress=progress, offset=steps, total=total)
    failures = _judge("one step", one_step, golden, rules[0], artifact.policy)
    if recurrent:
        failures += _judge("on its own state", own, golden, rules[1], artifact.policy)
    data = result(
        artifact,
        _figures(artifact, golden, one_step, own),
        passed=not failures,
        failures=failures,
        tolerance=float(rules[-1].worst.max()),
        rule="; ".join(f"{name}: {rule.rule}" for name, rule in zip(("each step", "whole episodes"), rules, strict=False)),
        steps=steps,
        golden_steps=len(golden),
        golden_source=golden.source,
        error_by_step=_downsample(own, golden),
    )
    artifact.store_result("verify", data)
    return data


def checked_golden(artifact: Artifact) -> Golden:
    """The artifact's golden rollout, if its shapes are the contract's and its numbers finite."""
    golden, contract = artifact.golden, artifact.manifest.contract
    wanted = {
        "obs": (contract.observation.size, "f"),
        "action": (action_size(contract), "i" if contract.action.kind == "discrete" else "f"),
        "state": (state_size(contract), "f"),
    }
    for name, (width, kind) in wanted.items():
        array = getattr(golden, name)
        if array.ndim != 2 or array.shape[1] != width or array.dtype.kind != kind:
            raise BadInput(
                f"golden rollout of {artifact.path}",
                expected=f"{name} of shape [T, {width}] and kind {kind!r}, as the contract says",
                found=f"{array.dtype}{list(array.shape)}",
            )
        if not np.isfinite(array).all():
            raise BadInput(f"golden rollout of {artifact.path}", expected=f"finite numbers in {name}", found="NaN or infinity")
    if golden.start.ndim != 1 or golden.start.dtype.kind != "b":
        raise BadInput(f"golden rollout of {artifact.path}", expected="start bool [T]", found=f"{golden.start.dtype}")
    return golden


def _replay(
    session: Session, golden: Golden, steps: int, *, own_state: bool, progress: Progress | None, offset: int, total: int
) -> np.ndarray:
    """Actions float64 [steps, values] of the session on the recorded observations."""
    actions = np.empty((steps, golden.action.shape[1]))
    stateful, every = golden.state.shape[1] > 0, max(1, steps // 100)
    for t in range(steps):
        if golden.start[t]:
            session.reset()
        if stateful and (not own_state or (t == 0 and not golden.start[0])):
            session.state = golden.state[t]
        actions[t] = session.act(golden.obs[t])
        if progress and ((t + 1) % every == 0 or t + 1 == steps):
            progress(offset + t + 1, total)
    return actions


def _affordable(session: Session, golden: Golden, recurrent: bool) -> int:
    """Steps that a virtual board replays in VIRTUAL_SECONDS; of a recurrent policy's first episode, in EPISODE_SECONDS."""
    session.reset()
    begin, trial, took_s = time.perf_counter(), 0, 0.0
    while trial < min(5, len(golden)) and took_s < TRIAL_SECONDS:
        session.act(golden.obs[trial])
        trial, took_s = trial + 1, time.perf_counter() - begin
    rate = trial / max(took_s, 1e-9)
    session.reset()
    steps = max(trial, int(rate * VIRTUAL_SECONDS), min(LEAST_STEPS, int(rate * EPISODE_SECONDS)))
    if recurrent:
        later = np.flatnonzero(golden.start[1:])
        episode = int(later[0]) + 1 if later.size else len(golden)
        steps = max(steps, min(episode, int(rate * EPISODE_SECONDS)))
    return min(len(golden), steps)


def _judge(name: str, actions: np.ndarray, golden: Golden, rule: Tolerance, policy: Policy) -> list[str]:
    """Reasons to fail, in words; empty: passed."""
    finite = np.isfinite(actions).all(axis=1)
    if not finite.all():
        return [f"{name}: NaN or infinity in the action at step {int(np.argmin(finite))} ({int((~finite).sum())} steps)"]
    wanted = golden.action[: len(actions)]
    if policy.contract.action.kind == "discrete":
        return _judge_choices(name, actions[:, 0].astype(np.int64), golden, rule, policy)
    error = np.abs(actions - wanted)
    failures = []
    step, entry = np.unravel_index(int(np.argmax(error - rule.worst)), error.shape)
    if error[step, entry] > rule.worst[entry]:
        names = policy.contract.action.names
        label = names[entry] if names else f"entry {entry}"
        failures.append(f"{name}: {label} at step {step} is off by {error[step, entry]:.3g}, allowed {rule.worst[entry]:.3g}")
    share = float((error <= rule.typical).mean())
    if rule.share < 1 and share < rule.share:
        failures.append(f"{name}: {share:.2%} of the entries lie within {rule.typical.max():.3g}, wanted {rule.share:.0%}")
    return failures


def _judge_choices(name: str, chosen: np.ndarray, golden: Golden, rule: Tolerance, policy: Policy) -> list[str]:
    wanted = golden.action[: len(chosen), 0]
    different = np.flatnonzero(chosen != wanted)
    outside = np.flatnonzero((chosen < 0) | (chosen >= policy.contract.action.size))
    if outside.size:
        return [f"{name}: step {outside[0]} chose {chosen[outside[0]]}, which is no action"]
    agreement = 1 - different.size / len(chosen)
    if agreement < rule.share:
        return [f"{name}: {agreement:.2%} of the choices agree, wanted {rule.share:.0%}"]
    if not rule.tie:
        return []
    # Ties are told from mistakes by the logits, which the plain reference computes again in float64.
    logits_of = Reference(_with_logits(policy), np.float64)
    for t in different:
        logits_of.state = golden.state[t]
        logits = logits_of.act(golden.obs[t])
        gap = abs(float(logits[wanted[t]] - logits[chosen[t]]))
        allowed = rule.tie * max(1.0, float(np.abs(logits).max()))
        if gap > allowed:
            return [
                f"{name}: step {t} chose {chosen[t]}, not {wanted[t]}; their logits differ by {gap:.3g}, a tie is {allowed:.3g}"
            ]
    return []


def _with_logits(policy: Policy) -> Policy:
    """The same network, with its outputs as they are instead of the index of the largest."""
    action = Action(kind="continuous", size=policy.contract.action.size)
    return policy.replace(contract=dataclasses.replace(policy.contract, action=action), golden=None)


def _figures(artifact: Artifact, golden: Golden, one_step: np.ndarray, own: np.ndarray) -> dict[str, Figure]:
    source, device = source_of(artifact), device_of(artifact)
    discrete = artifact.manifest.contract.action.kind == "discrete"

    def figure(name: str, values: np.ndarray, unit: str) -> Figure:
        if not np.isfinite(values).all():
            return Figure(None, unit, source, samples=len(values), device=device, note="the artifact returned NaN or infinity")
        value = float(values.max() if "max" in name else values.mean())
        return Figure(value, unit, source, samples=len(values), device=device)

    if discrete:
        return {
            name: figure(name, np.where(np.isfinite(a[:, 0]), a[:, 0] == golden.action[: len(a), 0], np.nan), "fraction")
            for name, a in (("agreement", own), ("one_step_agreement", one_step))
        }
    unit = artifact.manifest.contract.action.units if len(artifact.manifest.contract.action.units) <= 12 else ""
    errors = {"": np.abs(own - golden.action[: len(own)]), "one_step_": np.abs(one_step - golden.action[: len(own)])}
    return {
        name: figure(name, errors[prefix], unit or "action")
        for prefix, name in (
            ("", "max_abs_error"),
            ("one_step_", "one_step_max_abs_error"),
            ("", "mean_abs_error"),
        )
    }


def _downsample(actions: np.ndarray, golden: Golden) -> list[float | None]:
    """Largest absolute error (discrete: 0 or 1) in each of at most MAX_POINTS equal stretches; None where not finite."""
    wanted = golden.action[: len(actions)]
    if golden.action.dtype.kind == "i":
        error = np.where(np.isfinite(actions), (actions != wanted).astype(np.float64), np.nan)
    else:
        error = np.abs(actions - wanted)
    worst = error.max(axis=1)
    points = [float(part.max()) for part in np.array_split(worst, min(MAX_POINTS, len(worst)))]
    return [point if np.isfinite(point) else None for point in points]
