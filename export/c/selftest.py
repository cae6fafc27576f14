"""policy_selftest.c: recorded decisions that the device replays itself; and the CMakeLists.txt that builds it on a host."""

from __future__ import annotations

from string import Template

import numpy as np

from ...policy.bundle import Policy
from ...policy.golden import Golden
from ...runtime.tolerance import tolerance_for
from ...targets.profile import Target
from .functions import template
from .header import harmless, header_of
from .operators import number

MOST_BYTES = 8192
"""Constants that the selftest may take: it must fit beside the policy. At least two rows are kept whatever they cost."""
TIES = 0.01
"""Share of choices that may differ where nothing is rounded: two logits may lie within a rounding of each other."""


def selftest_files(policy: Policy, target: Target) -> dict[str, str]:
    """File name -> text of what checks a build: CMakeLists.txt, and policy_selftest.c if the policy has a golden rollout."""
    provenance = header_of(policy).provenance
    flags = ";".join(flag for flag in target.compile.flags if target.link.kind == "local")
    files = {"CMakeLists.txt": Template(template("CMakeLists.txt.in")).substitute(provenance=provenance, flags=flags)}
    if policy.golden is not None and len(policy.golden):
        files["policy_selftest.c"] = _program(policy, policy.golden, target.compile.accuracy == "fast", provenance)
    return files


def rows_of(golden: Golden) -> int:
    """How many of the first recorded decisions are kept."""
    row_bytes = 4 * (golden.obs.shape[1] + golden.action.shape[1]) + 1
    return min(len(golden), max(2, MOST_BYTES // row_bytes))


def _program(policy: Policy, golden: Golden, fast: bool, provenance: str) -> str:
    first = int(np.argmax(golden.start))  # a record that was cut may begin inside an episode, whose state nobody has here
    kept = slice(first, first + rows_of(golden))
    obs, action, start = golden.obs[kept].astype(np.float32), golden.action[kept], golden.start[kept]
    rows = len(obs)
    discrete = policy.contract.action.kind == "discrete"
    rule = tolerance_for(policy, golden, drift=bool(policy.contract.state), fast=fast)
    unit = np.maximum(1.0, np.abs(action.astype(np.float64)).max(axis=0)).astype(np.float32)
    if discrete:
        bound = 1.0 - rule.share if rule.share else TIES
        meaning = "the share of decisions that differ from the record."
        collect = "worst += deviation / (float)(POLICY_SELFTEST_ROWS + 1);"
        compare = "const float deviation = action[j] != selftest_action[row][j] ? 1.0f : 0.0f;"
        scale = ""
    else:
        bound = float((rule.worst / unit).max())
        collect = "if (deviation > worst) worst = deviation;"
        meaning = "|action - recorded| over max(1, largest recorded |action| of that entry)."
        compare = (
            "const float difference = action[j] - selftest_action[row][j];\n"
            "    const float deviation = (difference < 0.0f ? -difference : difference) * selftest_inverse[j];"
        )
        inverse = ", ".join(number(1.0 / u) for u in unit)
        scale = f"static const float selftest_inverse[POLICY_ACTION_COUNT] = {{{inverse}}};\n"
    return Template(template("policy_selftest.c.in")).substitute(
        provenance=provenance,
        rows=rows,
        recorded=len(golden),
        source=harmless(golden.source),
        bytes=rows * (4 * (obs.shape[1] + action.shape[1]) + 1) + 4 * len(unit) * (not discrete),
        meaning=meaning,
        bound=number(bound),
        obs=_rows([[number(v) for v in row] for row in obs]),
        action=_rows([[str(int(v)) if discrete else number(v) for v in row] for row in action]),
        start=", ".join(str(int(s)) for s in start),
        scale=scale,
        compare=compare,
        collect=collect,
    )


def _rows(rows: list[list[str]]) -> str:
    """Rows of C literals, eight to a line."""
    lines = []
    for row in rows:
        parts = [", ".join(row[i : i + 8]) for i in range(0, len(row), 8)]
        lines.append("  {" + ",\n   ".join(parts) + "}")
    return ",\n".join(lines)
