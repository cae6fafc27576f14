"""Policies that see images, made small: kernels in factors beside fewer channels and a smaller network, as Markdown.

    python benchmarks/compression/images.py [--env MinAtar/SpaceInvaders-v1] [--steps 200000] [--episodes 50] [--json FILE]
        [--table FILE] [--policy P.policy | --keep-in FOLDER] [--only NAME…]

Needs the package minatar (Young and Tian 2019, arXiv 1903.03176: games of 10 x 10 pixels). A policy of one
convolution and one hidden layer is trained with PPO, then made smaller in every way of VARIANTS. "Return" is that of the
artifact of the C back-end on this computer, mean over the episodes of seeds 20,000, 20,001, …, with a 95 % interval
(bootstrap), the same episodes for all. Latency is measured here (median of the tight loop); flash and cycles are of the
firmware for a virtual NUCLEO-L4R5ZI (Cortex-M4F, 120 MHz): cycles are estimated from the executed instructions.
--json keeps a line per variant, and variants that it holds are not run again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from pilotfish.compress import compress, parse_recipe
from pilotfish.compress.effects import cost
from pilotfish.export.build import export_policy
from pilotfish.policy import Policy
from pilotfish.policy.macs import macs
from pilotfish.runtime.bench import bench
from pilotfish.runtime.evaluate import evaluate
from pilotfish.targets import load_target
from pilotfish.train import train
from pilotfish.train.config import train_config

FIRST_SEED = 20_000
BOARD = "nucleo-l4r5zi"
SETTINGS = {
    "conv": [[16, 3, 1]], "hidden": [64], "critic_hidden": [64], "activation": "relu", "n_envs": 32, "rollout_steps": 64,
    "minibatch_size": 256, "epochs": 4, "learning_rate": 1.5e-3, "entropy": 0.01, "eval_episodes": 20,
}  # fmt: skip
HEAL = {"pass": "heal", "steps": 4_000, "iterations": 2, "epochs": 10, "episodes": 5}
OUTPUTS = {"criterion": "outputs"}


def _kernels(name: str, keep: float, **more: Any) -> dict[str, Any]:
    return {"pass": name, "keep": keep} | OUTPUTS | more


VARIANTS: dict[str, list[dict[str, Any]]] = {
    "original": [],
    **{f"Tucker, {keep:.0%}": [_kernels("tucker", keep)] for keep in (0.4, 0.2, 0.1, 0.05)},
    "Tucker, 10%, by weights": [_kernels("tucker", 0.1, criterion="weights")],
    **{f"Tucker, {keep:.0%}, healed": [_kernels("tucker", keep), HEAL] for keep in (0.2, 0.1, 0.05)},
    **{f"CP, {keep:.0%}": [_kernels("cp", keep)] for keep in (0.2, 0.05)},
    **{f"CP, {keep:.0%}, healed": [_kernels("cp", keep), HEAL] for keep in (0.2, 0.05)},
    "fewer channels and units, 10%, healed": [{"pass": "shrink", "weights": 6_700, "schedule": "one-shot"}, HEAL],
    "smaller network, 10%, distilled": [
        {"pass": "distill", "conv": [[8, 3, 2]], "hidden": [42], "steps": 24_000, "iterations": 8, "epochs": 10}
    ],
    "int8": [{"pass": "quantize"}],
    "Tucker, 10%, int8": [_kernels("tucker", 0.1), {"pass": "quantize"}],
    "fewer channels and units, 10%": [{"pass": "shrink", "weights": 6_700, "schedule": "one-shot"}],
    "int8, healed": [{"pass": "quantize"}, HEAL],
    "Tucker, 10%, int8, healed": [_kernels("tucker", 0.1), {"pass": "quantize"}, HEAL],
}
"""Name -> recipe; shares are of the weights of every decomposed layer."""
COLUMNS = ("variant", "weights", "MACs", "return", "kept", "latency us", "cycles", "flash", "RAM", "CPU s")


def main() -> None:
    """Train if need be, run the variants that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="MinAtar/SpaceInvaders-v1")
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--policy", type=Path, default=None, help="one that was trained before")
    parser.add_argument("--keep-in", type=Path, default=None, help="folder for the trained and the smaller policies")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--json", default="")
    parser.add_argument("--table", default="")
    options = parser.parse_args()
    if options.env.startswith("MinAtar/"):
        from minatar.gym import register_envs

        register_envs()
    done = _kept(options.json)
    with tempfile.TemporaryDirectory() as folder:
        keep = options.keep_in or Path(folder)
        original = _original(options, keep)
        for name, recipe in VARIANTS.items():
            if (options.only and name not in options.only) or name in done:
                continue
            done[name] = _run(name, recipe, original, options, keep)
            print(_line(done[name]), flush=True)
            if options.json:
                with Path(options.json).open("a") as file:
                    file.write(json.dumps(done[name]) + "\n")
    table = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    table += [_line(done[name]) for name in VARIANTS if name in done]
    print("\n".join(table))
    if options.table:
        Path(options.table).write_text("\n".join(table) + "\n")


def _kept(file: str) -> dict[str, dict[str, Any]]:
    if not file or not Path(file).exists():
        return {}
    return {row["variant"]: row for row in map(json.loads, Path(file).read_text().splitlines())}


def _original(options: argparse.Namespace, keep: Path) -> Policy:
    path = options.policy or keep / "original.policy"
    if not path.exists():
        config = train_config(SETTINGS | {"env": options.env, "steps": options.steps, "seed": options.seed})
        train(config, keep / "run", device="cpu").save(path)
    return Policy.load(path)


def _run(name: str, recipe: list[dict[str, Any]], original: Policy, options: argparse.Namespace, keep: Path) -> dict[str, Any]:
    began = time.process_time()
    small = compress(original, parse_recipe(recipe), seed=options.seed, device="cpu") if recipe else original
    spent = time.process_time() - began
    small = small.replace(name=f"{original.name}-{list(VARIANTS).index(name)}")
    if options.keep_in:
        small.save(keep / f"{small.name}.policy")
    with tempfile.TemporaryDirectory() as folder:
        artifact = export_policy(small, load_target("host-cpu"), "c", folder)
        flown = evaluate(artifact, episodes=options.episodes, seed=FIRST_SEED, reference=original, cache=keep)
        timed = bench(artifact, paced_seconds=0.0)["figures"]
    return {
        "variant": name, "weights": small.parameters, "macs": macs(small.layers), "return": flown["figures"]["return"],
        "retained": flown["figures"]["retained"], "returns": flown["returns"], "latency": timed["tight_p50_us"],
        "board": cost(small, load_target(BOARD)), "cpu_s": spent, "recipe": recipe,
        "passes": [{"name": entry.name, "changed": entry.changed} for entry in small.contract.provenance.passes],
    }  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    figure, kept, board = row["return"], row["retained"], row["board"]
    share = "—"
    if kept["value"] is not None:
        share = f"{100 * kept['value']:.0f} % ({100 * kept['low']:.0f}–{100 * kept['high']:.0f})"
    cells = (
        row["variant"], f"{row['weights']:,}", f"{row['macs']:,}",
        f"{figure['value']:.1f} ({figure['low']:.1f}–{figure['high']:.1f})", share, f"{row['latency']['value']:.2f}",
        *(_number(board.get(key)) for key in ("cycles", "flash_bytes", "ram_bytes")), f"{row['cpu_s']:,.0f}",
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _number(figure: Any) -> str:
    value = figure.get("value") if isinstance(figure, dict) else figure
    return "—" if value is None else f"{value:,.0f}"


if __name__ == "__main__":
    main()
