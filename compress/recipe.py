"""A recipe: an ordered list of passes, written in TOML, checked before anything runs.

[[compress]]
pass = "prune"
sparsity = 0.7

[[compress]]
pass = "heal"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ..errors import BadInput, require
from ..policy import Policy
from ..policy.contract import PassRecord
from ..targets import Target
from ..targets.profile import near, read_toml, validated
from .effects import Watch
from .order import check_order
from .passes import Context, apply, settings_of
from .table import PASSES, PassConfig

GOLDEN_STEPS = 1000
"""Decisions of the golden rollout that is recorded at the end of a recipe."""
GOLDEN_SEED = 0
"""Seed of that rollout: the same as at adoption, so that both start in the same states."""


def parse_recipe(steps: Sequence[Mapping[str, Any]], where: object = "recipe") -> tuple[PassConfig, ...]:
    """Tables with a key ``pass`` -> checked configs. Raises BadInput that names the step, the key and the near one."""
    if not isinstance(steps, Sequence) or isinstance(steps, str) or not steps:
        raise BadInput(where, expected="at least one [[compress]] table", found="none" if not steps else type(steps).__name__)
    return tuple(_parse(step, f"{where}, pass {number}") for number, step in enumerate(steps, 1))


def _parse(step: Any, where: str) -> PassConfig:
    if not isinstance(step, Mapping):
        raise BadInput(where, expected="a table", found=type(step).__name__)
    settings = dict(step)
    name = settings.pop("pass", None)
    if name is None:
        raise BadInput(where, expected="the key 'pass'", found="none", repair=f"Known passes: {', '.join(PASSES)}")
    if not isinstance(name, str) or name not in PASSES:
        raise BadInput(where, expected="a known pass", found=repr(name), repair=near(str(name), list(PASSES)))
    if "kind" in settings:
        raise BadInput(where, expected="only known keys", found="'kind'", repair="Did you mean 'pass'?")
    return validated(TypeAdapter(PASSES[name].config), settings, f"{where} ({name})")


def load_recipe(path: str | Path) -> tuple[PassConfig, ...]:
    """Read a recipe file. Raises BadInput for a missing file, broken TOML or a setting that no pass knows."""
    data = read_toml(Path(path), "a recipe")
    for key in data:
        if key != "compress":
            raise BadInput(path, expected="only [[compress]] tables", found=repr(key), repair=near(key, ["compress"]))
    return parse_recipe(data.get("compress", []), path)


def dump_recipe(recipe: Sequence[PassConfig]) -> list[dict[str, Any]]:
    """The recipe as plain tables, every setting spelled out: what a job hashes and a report shows."""
    return [{"pass": config.kind} | settings_of(config) for config in recipe]


def compress(
    policy: Policy,
    recipe: Sequence[PassConfig],
    *,
    device: str = "auto",
    env: str | None = None,
    seed: int = 0,
    progress: bool = False,
    on_pass: Callable[[int, PassRecord], None] | None = None,
    targets: Sequence[Target] = (),
    episodes: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Policy:
    """Run ``recipe`` on ``policy``; the result carries the record of every pass and a new golden rollout.

    ``env`` defaults to the environment in the policy's provenance. ``progress`` shows bars while it heals;
    ``on_pass`` is called with (number of the pass from 1, its record) after each. With ``targets`` or ``episodes``, what
    :mod:`pilotfish.compress.effects` measures before and after each pass goes into its record as ``measured``, and ``say`` is
    told in a line. Nothing is written, and ``policy``
    stays as it is whatever happens. Raises BadInput where a pass cannot be applied, before any pass has cost time
    if it can be known then, and BrokenPass where a pass does not do what it promises.
    """
    require("torch", "train")
    from ..policy.record import record_golden

    if not recipe:
        raise BadInput(f"recipe for {policy.name}", expected="at least one pass", found="none")
    env = env or policy.contract.provenance.env
    check_order(recipe, f"recipe for {policy.name}")
    context = Context(policy, env, seed, device, progress)
    for config in recipe:
        for requirement in PASSES[config.kind].requires:
            if requirement.early:
                requirement.check(policy, config, context)
    smaller = policy
    watch = Watch(env, targets, episodes, seed, say)
    watch.look(policy)
    for number, config in enumerate(recipe, 1):
        smaller = watch.record(apply(smaller, PASSES[config.kind], config, context))
        if on_pass is not None:
            on_pass(number, smaller.contract.provenance.passes[-1])
    return smaller.replace(golden=record_golden(smaller, env, steps=GOLDEN_STEPS, seed=GOLDEN_SEED))
