"""Agents that others trained, made small: the return of the artifact beside the original's, paired, for stated goals.

    python benchmarks/compression/agents.py --policies FOLDER [--only NAME…] [--episodes 100] [--json FILE] [--table FILE]

FOLDER holds agents of the RL Baselines3 Zoo: ppo_HalfCheetah-v3.zip, sac_HalfCheetah-v3.zip, trpo_Hopper-v3.zip and their
*.vecnormalize.pkl. Each goal is a recipe (benchmarks/compression/recipes/NAME.toml) and a share of the return. The policy is
adopted into the current version of its environment, compressed (environment steps and CPU seconds are counted), exported
through the C back-end for the computer at hand, and the artifact flies the episodes of seeds 20,000, 20,001, …, which no pass
has seen; so does the float32 original. "Of the middle half" compares interquartile means: where the original falls in a few
of 100 episodes, the ratio of means is uncertain by as many per cent.
--json keeps a line per goal, and goals that it holds are not run again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pilotfish.compress import compress, dump_recipe, load_recipe
from pilotfish.export.build import export_policy
from pilotfish.policy.adopt import adopt
from pilotfish.runtime.bench import bench
from pilotfish.runtime.evaluate import evaluate
from pilotfish.runtime.interquartile import interquartile_mean
from pilotfish.targets import load_target

FIRST_SEED = 20_000
RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Goal:
    """What must be shown."""

    name: str
    """Of the recipe as well."""
    agent: str
    env: str
    share: float
    """Of the original's mean return."""
    what: str


GOALS = (
    Goal("ppo-tiny", "ppo_HalfCheetah-v3", "HalfCheetah-v5", 0.99, "at most 700 weights"),
    Goal("ppo-sparse", "ppo_HalfCheetah-v3", "HalfCheetah-v5", 0.99, "95 % of [256, 256] zero"),
    Goal("ppo-int8", "ppo_HalfCheetah-v3", "HalfCheetah-v5", 0.99, "int8"),
    Goal("ppo-w4", "ppo_HalfCheetah-v3", "HalfCheetah-v5", 0.97, "weights of 4 bits"),
    Goal("sac-int8", "sac_HalfCheetah-v3", "HalfCheetah-v5", 0.98, "int8"),
    Goal("sac-sparse", "sac_HalfCheetah-v3", "HalfCheetah-v5", 0.95, "90 % of [256, 256] zero"),
    Goal("sac-small", "sac_HalfCheetah-v3", "HalfCheetah-v5", 0.95, "[32, 32], 1,830 weights"),
    Goal("trpo-tiny-int8", "trpo_Hopper-v3", "Hopper-v5", 0.99, "515 weights, int8"),
    Goal("ppo-combined", "ppo_HalfCheetah-v3", "HalfCheetah-v5", 0.97, "distilled, pruned, int8: at most 1.5 KB of weights"),
)
COLUMNS = (
    "goal",
    "what",
    "return kept",
    "of the middle half",
    "wanted",
    "weights",
    "not zero",
    "weight bytes",
    "artifact flies",
    "steps",
    "CPU s",
)


def main() -> None:
    """Run the goals that are missing and print the table."""
    options = _options()
    done = _kept(options.json)
    for goal in GOALS:
        if (options.only and goal.name not in options.only) or goal.name in done:
            continue
        row = _run(goal, options)
        done[goal.name] = row
        print(_line(goal, row), flush=True)
        if options.json:
            with Path(options.json).open("a") as file:
                file.write(json.dumps(row) + "\n")
    table = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    table += [_line(goal, done[goal.name]) for goal in GOALS if goal.name in done]
    print("\n".join(table))
    if options.table:
        Path(options.table).write_text("\n".join(table) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the recipe")
    parser.add_argument("--target", default="host-cpu")
    parser.add_argument("--keep-in", type=Path, default=None, help="folder for the compressed policies")
    parser.add_argument("--json", default="")
    parser.add_argument("--table", default="")
    return parser.parse_args()


def _kept(file: str) -> dict[str, dict[str, Any]]:
    if not file or not Path(file).exists():
        return {}
    return {row["goal"]: row for row in map(json.loads, Path(file).read_text().splitlines())}


def _run(goal: Goal, options: argparse.Namespace) -> dict[str, Any]:
    normalizer = options.policies / f"{goal.agent}.vecnormalize.pkl"
    original = adopt(options.policies / f"{goal.agent}.zip", normalizer=normalizer if normalizer.exists() else None, env=goal.env)
    recipe = load_recipe(RECIPES / f"{goal.name}.toml")
    wall, cpu = time.perf_counter(), time.process_time()
    small = compress(original, recipe, seed=options.seed, device="cpu")
    spent = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    if options.keep_in:
        small.save(options.keep_in / f"{goal.name}.policy")
    with tempfile.TemporaryDirectory() as folder:
        artifact = export_policy(small, load_target(options.target), "c", folder)
        sizes = artifact.manifest.sizes
        flown = evaluate(
            artifact, episodes=options.episodes, seed=FIRST_SEED, reference=original, cache=options.keep_in, gate=goal.share
        )
        timed = bench(artifact, paced_seconds=0.0)["figures"]
    return {
        "goal": goal.name, "share": goal.share, "episodes": options.episodes, "seed": options.seed, "passed": flown["passed"],
        "retained": flown["figures"]["retained"], "return": flown["figures"]["return"],
        "middle": _middle(flown["returns"]) / _middle(flown["reference_returns"]),
        "returns": flown["returns"], "reference_returns": flown["reference_returns"],
        "reference": flown["figures"]["reference_return"], "parameters": small.parameters,
        "nonzero": small.nonzero_parameters, "weight_bytes": small.weight_bytes, "sizes": sizes,
        "latency": timed.get("tight_p50_us") or timed.get("latency_us"), "steps": _steps(dump_recipe(recipe)),
        "recipe": dump_recipe(recipe),
    } | spent  # fmt: skip


def _middle(returns: list[float]) -> float:
    """Interquartile mean: without the few episodes in which a policy falls, the original as well."""
    return float(interquartile_mean(np.array(returns)))


def _steps(recipe: list[dict[str, Any]]) -> int:
    """Environment steps that the passes may take, their choosing episodes aside."""
    total = 0
    for settings in recipe:
        if "rounds" in settings and settings.get("schedule", "gradual") != "one-shot":
            total += settings["rounds"] * settings["heal"]["steps"]
        total += (settings.get("steps") or 0) + (settings.get("rollout") or 0)
    return total


def _line(goal: Goal, row: dict[str, Any]) -> str:
    kept = row["retained"]
    cells = (
        goal.name, goal.what, f"{100 * kept['value']:.1f} % ({100 * kept['low']:.1f}–{100 * kept['high']:.1f})",
        f"{100 * row['middle']:.1f} %",
        f"{100 * goal.share:.0f} % {'met' if row['passed'] else '**short**'}", f"{row['parameters']:,}", f"{row['nonzero']:,}",
        f"{row['weight_bytes']:,}", f"{row['latency']['value']:.2f} us", f"{row['steps']:,}", f"{row['cpu_s']:,.0f}",
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
