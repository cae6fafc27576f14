"""Policy + target -> artifact, through the back-end that the target prefers or the user names."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from ..errors import BadInput
from ..policy.bundle import Policy
from ..runtime import trust
from ..runtime.artifact import Artifact, writing_artifact
from ..targets.profile import Target, near
from .onnx import to_onnx

BACKENDS = {
    "onnxruntime": ".onnxruntime",
    "c": ".c",
}
"""Back-end -> the module whose ``build(policy, model, target, folder)`` makes it. A new back-end is a line here."""


def export_policy(
    policy: Policy,
    target: Target,
    backend: str | None = None,
    output: str | os.PathLike[str] = "dist",
    *,
    precision: str | None = None,
) -> Artifact:
    """Build OUTPUT/NAME@TARGET.BACKEND, sealed and remembered as built here.

    Raises BadInput if the target does not list ``backend`` or the policy's precision, or if the policy has
    no golden rollout to be held against; MissingTool if a compiler or package is absent.
    """
    chosen = backend or target.backends[0]
    if chosen not in target.backends:
        raise BadInput(
            f"back-end {chosen!r}",
            expected=f"one that {target.name} lists: {', '.join(target.backends)}",
            found=repr(chosen),
            repair=near(chosen, list(target.backends)),
        )
    if precision is not None and precision != policy.precision:
        raise BadInput(
            policy.name,
            expected=f"a policy of precision {precision}",
            found=policy.precision,
            repair="Make one with pilotfish compress and the quantize pass" if precision == "int8" else "",
        )
    if policy.precision not in target.precisions:
        raise BadInput(
            policy.name, expected=f"a precision of {target.name}: {', '.join(target.precisions)}", found=policy.precision
        )
    if policy.golden is None:
        raise BadInput(
            policy.name,
            expected="a golden rollout in the bundle",
            found="none",
            repair="Make the policy again with pilotfish train, adopt or compress",
        )
    build = importlib.import_module(BACKENDS[chosen], __package__).build
    path = Path(output) / f"{policy.name}@{target.name}.{chosen}"
    model = to_onnx(policy)
    with writing_artifact(path, policy) as (folder, fields):
        fields.update(build(policy, model, target, folder))
    artifact = Artifact.load(path)
    trust.remember(artifact)
    return artifact
