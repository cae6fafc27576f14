"""One-shot search beside the same architectures trained alone: cost, rank correlation, what small ones reach.

    python benchmarks/search/one_shot.py -o runs/one-shot [--tasks HalfCheetah-v5,Reacher-v5] [--steps 200000] [--check 16]

Per task: one training of the family, its survey and its proven front; ``--check`` architectures, evenly over the range of sizes,
trained alone with as many steps each. A finished task is not done again; one that was interrupted goes on. CPU seconds are of
this process and its children, measured around the training of the family and around one ordinary PPO run with its settings.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

TASKS = "HalfCheetah-v5,Reacher-v5"


def main() -> None:
    """Run what is missing, then print the table."""
    options = _options()
    rows = []
    for task in options.tasks.split(","):
        folder = Path(options.output) / task
        if not (folder / "row.json").exists():
            _search(task, folder, options)
        rows.append(json.loads((folder / "row.json").read_text()))
    print(table(rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--check", type=int, default=16)
    parser.add_argument("--check-seeds", type=int, default=1, help="trainings alone behind each of them")
    parser.add_argument("--members", type=int, default=128)
    parser.add_argument("--episodes", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-t", "--target", default="crazyflie")
    parser.add_argument("-o", "--output", required=True)
    return parser.parse_args()


def _search(task: str, folder: Path, options: argparse.Namespace) -> None:
    from pilotfish.compress.search.one_shot.family_search import TRAINING, search_family
    from pilotfish.compress.search.one_shot.settings import family_config
    from pilotfish.targets import load_target
    from pilotfish.train.run import train

    config = family_config(task, options.steps, options.seed, None, {"env_processes": 1})
    plain = dataclasses.replace(config, one_shot=None)
    before = _cpu_seconds()
    train(config, folder / TRAINING, progress=False)
    family = _cpu_seconds() - before
    before = _cpu_seconds()
    train(plain, folder / "plain", progress=False)
    alone = _cpu_seconds() - before
    print(f"{task}: family {family:,.0f} CPU s, one PPO run {alone:,.0f} CPU s", flush=True)
    found = search_family(
        config, load_target(options.target), folder, members=options.members, check=options.check,
        check_seeds=options.check_seeds, episodes=options.episodes, told=print, say=print,
    )  # fmt: skip
    row = {"task": task, "steps": options.steps, "seed": options.seed, "cpu_s": [family, alone], "found": found.data()}
    (folder / "row.json").write_text(json.dumps(row))


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| task | steps | architectures flown | CPU s, one PPO run | CPU s, the family | Spearman (95 %), of | among seeds | "
        "small ones: share of the gain alone | leader's return |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        found, (family, alone) = row["found"], row["cpu_s"]
        check = found["agreement"] or {"spearman": None, "small_share": None, "trained": []}
        order = "—" if check["spearman"] is None else f"{check['spearman']:.2f} ({check['low']:.2f}–{check['high']:.2f})"
        among = f"{check['among_seeds']:.2f}, {check['seeds']}" if check.get("among_seeds") else "—"
        small = "—" if check["small_share"] is None else f"{check['small_share']:.0%}"
        lines.append(
            f"| {row['task']} | {row['steps']:,} | {len(found['surveyed'])} of {found['size']} | {alone:,.0f} | "
            f"{family:,.0f} ({family / max(alone, 1e-9):.1f} x) | {order}, {len(check['trained'])} | {among} | {small} | "
            f"{found['leader']['return']:,.4g} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
