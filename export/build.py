"""Policy + target -> artifact, through the back-end that the target prefers or the user names."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path

from ..errors import BadInput
from ..policy.bundle import Policy
from ..policy.guard import GuardTable
from ..policy.guard_table import GUARD_FILE, dumped
from ..runtime import trust
from ..runtime.artifact import Artifact, writing_artifact
from ..runtime.measure.rate import control_rate
from ..targets.profile import Target, near
from .fit import DoesNotFit, check_board
from .onnx import to_onnx
from .precision import at_precision

BACKENDS = {
    "onnxruntime": ".onnxruntime",
    "c": ".c",
    "tensorrt": ".tensorrt",
    "tvm": ".tvm",
}
"""Back-end -> the module whose ``build(policy, model, target, folder)`` makes it. A new back-end is a line here."""


def export_policy(
    policy: Policy,
    target: Target,
    backend: str | None = None,
    output: str | os.PathLike[str] = "dist",
    *,
    precision: str | None = None,
    control_hz: float | None = None,
    guard: GuardTable | None = None,
    say: Callable[[str], None] | None = None,
) -> Artifact:
    """Build OUTPUT/NAME@TARGET.BACKEND, sealed and remembered as built here.

    For a virtual board a few golden observations are executed, and ``say`` is told what was found. The rate to keep is
    ``control_hz``, else the policy's, else the target's, as in a bench.

    ``guard``: the shell that goes with it (:mod:`pilotfish.policy.guard`): its table for every back-end, its code for C.

    ``precision``: the policy's own, or fp16 or bf16 where the back-end is tensorrt.
    Raises BadInput if the target does not list ``backend`` or the policy's precision, or if the policy has
    no golden rollout to be held against; GateFailed if it does not fit the board or misses the control period, with
    what would help, and an earlier artifact stays as it was; MissingTool if a compiler or package is absent.
    """
    chosen = backend or target.backends[0]
    if chosen not in target.backends:
        raise BadInput(
            f"back-end {chosen!r}",
            expected=f"one that {target.name} lists: {', '.join(target.backends)}",
            found=repr(chosen),
            repair=near(chosen, list(target.backends)),
        )
    target = at_precision(policy, target, chosen, precision)
    if policy.golden is None:
        raise BadInput(
            policy.name,
            expected="a golden rollout in the bundle",
            found="none",
            repair="Make the policy again with pilotfish train, adopt or compress",
        )
    rate = control_rate(policy.contract, target, control_hz)
    build = importlib.import_module(BACKENDS[chosen], __package__).build
    path = Path(output) / f"{policy.name}@{target.name}.{chosen}"
    model = to_onnx(policy)
    with writing_artifact(path, policy) as (folder, fields):
        if guard is not None:
            (folder / GUARD_FILE).write_text(dumped(guard), encoding="utf-8")
        try:
            fields.update(build(policy, model, target, folder))
        except DoesNotFit as error:
            raise error.for_policy(policy) from None
        if target.link.kind == "virtual":
            found = check_board(folder / fields["entry"], policy, target, rate)
            if say is not None:
                say(found)
    artifact = Artifact.load(path)
    trust.remember(artifact)
    return artifact
