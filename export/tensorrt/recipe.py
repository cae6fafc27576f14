"""recipe.json of a kit: everything that the device must know of the policy, its golden rollout and how to judge them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ...policy.bundle import Policy
from ...policy.contract import Action
from ...policy.reference import Reference
from ...runtime.session import action_size, action_type
from ...runtime.tolerance import coarse_products, tolerance_for
from ...targets.profile import Target
from ...targets.tensorrt import TensorRT

SCHEMA_VERSION = 1


def recipe_of(policy: Policy, target: Target, settings: TensorRT, precision: str, digests: dict[str, str]) -> dict[str, Any]:
    """``digests``: sha256 of the files that the kit relies on, by name. All numbers are plain, for any JSON reader."""
    contract = policy.contract
    return {
        "schema_version": SCHEMA_VERSION,
        "name": f"{policy.name}@{target.name}",
        "precision": precision,
        "compute_capability": settings.compute_capability,
        "flavours": list(settings.flavours),
        "options": builder_options(settings),
        "cuda_graph": settings.cuda_graph,
        "mapped": settings.transfers == "mapped",
        "observation": contract.observation.size,
        "action": [action_size(contract), np.dtype(action_type(contract)).name],
        "discrete": contract.action.kind == "discrete",
        "states": [[state.name, state.size] for state in contract.state],
        "rules": _rules(policy, coarse_products(precision, target)),
        "sha256": digests,
    }


def builder_options(settings: TensorRT) -> dict[str, Any]:
    """What compile_engine is told, but for the compute capability."""
    return {
        "workspace_bytes": settings.workspace_bytes,
        "optimization_level": settings.optimization_level,
        "tf32": settings.tf32,
    }


def _rules(policy: Policy, half: str) -> list[dict[str, Any]]:
    """The rules of ``pilotfish verify``; ``close_calls`` are the steps where two choices of a discrete policy tie."""
    golden = policy.golden
    assert golden is not None, "export refuses a policy without a golden rollout"
    rules = []
    for drift, name in ((False, "each step"), (True, "whole episodes"))[: 2 if policy.contract.state else 1]:
        rule = tolerance_for(policy, golden, drift=drift, half=half)
        rules.append(
            {
                "name": name,
                "own_state": drift,
                "typical": rule.typical.tolist(),
                "worst": rule.worst.tolist(),
                "share": rule.share,
                "close_calls": _close_calls(policy, rule.tie) if rule.tie else [],
                "rule": rule.rule,
            }
        )
    return rules


def _close_calls(policy: Policy, tie: float) -> list[int]:
    """Steps whose two largest logits, in float64, lie within ``tie`` of each other."""
    golden = policy.golden
    assert golden is not None
    action = Action(kind="continuous", size=policy.contract.action.size)
    logits_of = Reference(policy.replace(contract=dataclasses.replace(policy.contract, action=action), golden=None), np.float64)
    steps = []
    for t in range(len(golden)):
        logits_of.state = golden.state[t]
        logits = np.sort(logits_of.act(golden.obs[t]))
        if logits[-1] - logits[-2] <= tie * max(1.0, float(np.abs(logits).max())):
            steps.append(t)
    return steps
