"""Sketches: what a candidate will be like on the device, before it has learned anything."""

from __future__ import annotations

from typing import Any

from ...policy import Policy
from ...policy.layers import Linear
from ..distill import Distill, student_of
from ..passes import Context, apply
from ..recipe import parse_recipe
from ..table import PASSES
from .genome import Genome
from .space import ends_of
from .task import Task

LESSONS = ("distill", "heal")
"""Passes that teach: a sketch goes without them."""


def sketch(genome: Genome, task: Task) -> Policy:
    """The candidate before any lesson: random weights in the layers, zeros, factors and grids that it would have.

    What it costs on a device hangs on these alone, but for where exactly zeros lie and which units they leave unused.
    """
    context = Context(task.teacher, task.env, task.seed, task.device)
    shape = Distill(**genome.student() | {"hidden": genome.hidden})
    policy = student_of(task.teacher, shape, task.seed)
    policy = policy.replace(name=f"{task.teacher.name}-{genome.name}"[:80])
    steps = [table for table in genome.finish(task.effort, linear(policy), ends_of(task.teacher)) if table["pass"] not in LESSONS]
    for table in steps:
        if table["pass"] == "prune":
            table.pop("heal")
            table |= {"schedule": "one-shot", "rounds": 1}
    return through(policy, steps, context)


def through(policy: Policy, steps: list[dict[str, Any]], context: Context) -> Policy:
    """``policy`` after the passes of a recipe, as parsed TOML tables."""
    for config in parse_recipe(steps, "candidate") if steps else ():
        policy = apply(policy, PASSES[config.kind], config, context)
    return policy


def linear(policy: Policy) -> tuple[str, ...]:
    """Names of its linear layers, in order."""
    return tuple(layer.name for layer in policy.layers if isinstance(layer, Linear))
