"""guard.h and guard.c: the C mirror of :mod:`pilotfish.policy.guard`, generated from an artifact's guard.json."""

from __future__ import annotations

import textwrap
from string import Template

import numpy as np

from ...policy.bundle import Policy
from ...policy.guard import MOST, GuardTable
from ...policy.guard_table import said
from .functions import template
from .header import harmless, header_of
from .operators import number

TIMING, HARNESS = "guard_timing.c", "guard_harness.c"


def guard_files(policy: Policy, table: GuardTable) -> dict[str, str]:
    """File name -> text of the guard for ``policy``; belongs beside its policy.h."""
    tables = {"guard_low": table.low, "guard_high": table.high, "guard_neutral": table.neutral}
    ranged = min(table.obs_high) < MOST or max(table.obs_low) > -MOST
    if ranged:
        tables |= {"guard_obs_low": table.obs_low, "guard_obs_high": table.obs_high}
    if table.rate:
        tables["guard_rate"] = table.rate
    if table.fallback == "linear":
        tables |= {"guard_gain": tuple(each for row in table.gain for each in row), "guard_bias": table.bias}
    over = "" if table.hold_steps is None else f" || guard->held >= {table.hold_steps}u"
    rules = [line for rule in said(table) for line in textwrap.wrap(harmless(rule), 110, initial_indent="   - ")]
    values = {
        "provenance": header_of(policy).provenance,
        "size": len(table.low),
        "deadline_us": table.deadline_us or 0,
        "table_bytes": sum(4 * len(values) for values in tables.values()),
        "rules": "\n".join(rules),
        "tables": "\n".join(_table(name, values) for name, values in tables.items()),
        "range_check": (
            "    else if (obs[i] < guard_obs_low[i] || obs[i] > guard_obs_high[i]) flags |= POLICY_GUARD_OBS_OUT_OF_RANGE;"
            if ranged
            else "    /* no range was named */"
        ),
        "stale_check": (
            "(void)age_us;" if table.stale_us is None else f"if (age_us > {table.stale_us}u) flags |= POLICY_GUARD_OBS_STALE;"
        ),
        "linear": _linear(ranged) if table.fallback == "linear" else "  (void)obs;",
        "neutral_when": "1" if table.fallback == "neutral" or table.hold_steps == 0 else f"!guard->started{over}",
        "rate_limit": _RATE if table.rate else "      /* no rate limit was named */",
        "forgiven": "POLICY_GUARD_OBS_OUT_OF_RANGE" if ranged and table.out_of_range == "clip" else "0",
        "clip": _CLIP if ranged and table.out_of_range == "clip" else "  /* nothing to clip */",
    }
    return {name: Template(template(f"{name}.in")).substitute(values) for name in ("guard.h", "guard.c")}


_RATE = """\
      if (guard->started) {
        const float limited = within(value, guard->last[i] - guard_rate[i], guard->last[i] + guard_rate[i]);
        if (limited != value) flags |= POLICY_GUARD_RATE_LIMITED;
        value = limited;
      }"""
_CLIP = """\
  if (flags) {
    static float clipped[POLICY_OBS_SIZE];
    for (int i = 0; i < POLICY_OBS_SIZE; ++i) clipped[i] = within(obs[i], guard_obs_low[i], guard_obs_high[i]);
    shown = clipped;
  }"""


def _linear(ranged: bool) -> str:
    value = "within(obs[j], guard_obs_low[j], guard_obs_high[j])" if ranged else "obs[j]"
    most = repr(MOST)
    return f"""\
  if (obs != NULL && all_finite(obs, POLICY_OBS_SIZE)) {{
    for (int i = 0; i < POLICY_GUARD_SIZE; ++i) {{
      double total = (double)guard_bias[i]; /* holds each product exactly, fused or not */
      for (int j = 0; j < POLICY_OBS_SIZE; ++j) total += (double)guard_gain[i * POLICY_OBS_SIZE + j] * (double){value};
      wanted[i] = (float)(total > {most} ? {most} : total < -{most} ? -{most} : total);
    }}
    return;
  }}"""


def _table(name: str, values: tuple[float, ...]) -> str:
    words = [number(np.float32(value)) for value in values]
    rows = [", ".join(words[at : at + 8]) for at in range(0, len(words), 8)]
    return f"static const float {name}[{len(words)}] = {{\n  " + ",\n  ".join(rows) + "};\n"
