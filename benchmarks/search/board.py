"""Search for a board beside its random arm, over several seeds: points, cheapest that keeps the return, proven hypervolume.

    python benchmarks/search/board.py POLICY -t crazyflie --budget 15m --seeds 3 --min-return 0.97 -o runs/search [--jobs 2]

Both arms of one search spend the same seconds. What counts here are the proven figures: episodes that chose nothing. A finished
search is not done again; one that was interrupted goes on. One row per seed, then median with range over the seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any


def main() -> None:
    """Run what is missing, then print the table."""
    options = _options()
    rows = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        folder = Path(options.output) / f"seed-{seed}"
        if not (folder / "result.json").exists():
            _search(options, folder, seed)
        rows.append((seed, json.loads((folder / "result.json").read_text())))
    text = table(rows)
    print(text)
    if options.table:
        Path(options.table).write_text(text + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", help="the teacher's bundle")
    parser.add_argument("-t", "--target", default="crazyflie")
    parser.add_argument("--budget", default="15m")
    parser.add_argument("--min-return", type=float, default=0.97)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--table", default="", help="write the table there as well, as Markdown")
    return parser.parse_args()


def _search(options: argparse.Namespace, folder: Path, seed: int) -> None:
    from pilotfish.compress.search import Effort, budget_of, search
    from pilotfish.policy import Policy
    from pilotfish.targets import load_target

    search(
        Policy.load(options.policy), load_target(options.target), folder, budget=budget_of(options.budget),
        min_return=options.min_return, sampler=options.sampler, jobs=options.jobs, seed=seed,
        effort=Effort(steps=options.steps, episodes=options.episodes), prove_episodes=options.episodes, told=print, say=print,
    )  # fmt: skip


def table(rows: list[tuple[int, dict[str, Any]]]) -> str:
    """Markdown: per seed and arm the proven points, the cheapest that keeps the return, the hypervolume."""
    lines = [
        "| seed | arm | candidates | proven points | not dominated | cheapest that keeps the return | its cycles | hypervolume |",
        "|---|---|---|---|---|---|---|---|",
    ]
    volumes: dict[str, list[float]] = {}
    for seed, found in rows:
        for arm, data in found["arms"].items():
            proofs = [proof for proof in found["proofs"] if proof["arm"] == arm and proof["verified"]]
            volume = _volume(found, proofs)
            volumes.setdefault(arm, []).append(volume)
            keeping = [proof for proof in proofs if proof["kept"] >= found["min_return"]]
            best = min(keeping, key=lambda proof: _value(proof, "latency_us"), default=None)
            shape = "none" if best is None else f"{best['outcome']['genome']['hidden']}, {best['outcome']['nonzero']:,} weights"
            cycles = "" if best is None else f"{_value(best, 'cycles'):,.0f}"
            made = sum(data[state] for state in ("done", "stopped", "infeasible", "failed"))
            free = sum(found["proofs"][index]["arm"] == arm for index in found["pareto"])
            lines.append(f"| {seed} | {arm} | {made} | {len(proofs)} | {free} | {shape} | {cycles} | {volume:.4f} |")
    for arm, values in volumes.items():
        middle, low, high = statistics.median(values), min(values), max(values)
        lines.append(f"| all | {arm} | | | | | | {middle:.4f} ({low:.4f} to {high:.4f}) |")
    return "\n".join(lines)


def _volume(found: dict[str, Any], proofs: list[dict[str, Any]]) -> float:
    from pilotfish.compress.search.front import hypervolume

    points = [(proof["kept"], _value(proof, "latency_us")) for proof in proofs]
    return hypervolume(points, found["floor"], found["ceiling"])


def _value(proof: dict[str, Any], name: str) -> float:
    return float(proof["figures"].get(name, {"value": float("nan")})["value"])


if __name__ == "__main__":
    main()
