"""Training sparse from scratch: pruned while training and RigL, beside the dense network and small dense ones of as many weights.

    python benchmarks/compression/from_scratch.py --json runs.jsonl [--algorithms ppo,sac] [--tasks HalfCheetah-v5] [--seeds 3]
    python benchmarks/compression/from_scratch.py --json runs.jsonl --table table.md --seeds 0     the table of what there is

Every contestant gets the same settings, steps and critic; only the actor differs. The last policy is judged, never the best of
several, on episodes with seeds that no training used, the same for all. One line of JSON per training is appended to --json, and
what the file has is not trained again; a training that was interrupted goes on where it was. Two processes can share the work:
--share 1/2 and --share 2/2 (each trains with one thread).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TASKS = {"ppo": ("HalfCheetah-v5", "Reacher-v5"), "sac": ("HalfCheetah-v5", "InvertedDoublePendulum-v5"), "td3": ("Reacher-v5",)}
STEPS = {"ppo": 200_000, "sac": 12_000, "td3": 12_000}
SPARSITIES = (90, 95, 99)
CONTESTANTS = ("dense", *(f"{kind}-{share}" for share in SPARSITIES for kind in ("prune", "rigl", "small")))
CHANGES = 200
"""Changes of the masks over a training, about."""
JUDGING = 0xF5C7
"""The stream of seeds of the episodes that judge; trainings have others."""


@dataclass(frozen=True)
class Work:
    """One training to do."""

    algorithm: str
    task: str
    seed: int
    contestant: str


def main() -> None:
    """Train what is missing, then print the table."""
    options = _options()
    results = Path(options.json)
    done = read(results)
    setup = {name: getattr(options, name) for name in ("hidden", "critic_hidden", "rate", "schedule", "scope", "of")}
    mine, of = (int(part) for part in options.share.split("/"))
    for number, work in enumerate(_work(options)):
        settings = settings_of(work, options)
        key = {"algorithm": work.algorithm, "task": work.task, "seed": work.seed, "contestant": work.contestant}
        key |= {"digest": _digest(settings), "episodes": options.episodes, "setup": setup}
        if number % of != mine - 1 or any(all(line.get(name) == value for name, value in key.items()) for line in done):
            continue
        print(f"{work.algorithm} {work.task} {work.contestant} seed {work.seed}", flush=True)
        outcome = _random(work, options) if work.contestant == "random" else _train(settings, options, results)
        line = key | {"steps": settings["steps"]} | outcome
        with results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        done.append(line)
    from from_scratch_table import table

    text = table([line for line in read(results) if line["algorithm"] in options.algorithms.split(",")])
    print(text)
    if options.table:
        Path(options.table).write_text(text + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", required=True, help="results, a line per training; read first, appended to")
    parser.add_argument("--table", default="", help="write the table there as well, as Markdown")
    parser.add_argument("--algorithms", default="ppo,sac", help="of ppo, sac, td3")
    parser.add_argument("--tasks", default="", help="Gymnasium ids; default: two of each algorithm's own")
    parser.add_argument("--seeds", type=int, default=3, help="trainings per contestant; 0: none, only the table")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, help=f"environment steps of each training; default: {STEPS}")
    parser.add_argument("--hidden", default="256,256", help="hidden widths of the actor that is pruned")
    parser.add_argument(
        "--critic-hidden", default="", help="hidden widths of every contestant's critic; default: the algorithm's"
    )
    parser.add_argument("--rate", type=float, default=0.0, help="learning rate; default: the algorithm's")
    parser.add_argument("--schedule", default="cubic", help="of the pruning: cubic, linear or harmonic")
    parser.add_argument("--scope", default="erdos-renyi", help="erdos-renyi, uniform or global")
    parser.add_argument("--of", default="actor", help="what is sparse: actor, critic or both")
    parser.add_argument("--only", default=",".join(CONTESTANTS), help="contestants, comma-separated")
    parser.add_argument("--episodes", type=int, default=20, help="deterministic episodes that judge each policy")
    parser.add_argument("--share", default="1/1", help="I/N: of N processes at the same work, this is the I-th")
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - set(CONTESTANTS):
        parser.error(f"--only knows {', '.join(CONTESTANTS)}; not {', '.join(sorted(unknown))}")
    return options


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of results; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines() if line] if path.exists() else []


def _work(options: argparse.Namespace) -> list[Work]:
    """All trainings: seed by seed, so that an interrupted benchmark has whole rows."""
    work = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for algorithm in options.algorithms.split(","):
            for task in options.tasks.split(",") if options.tasks else TASKS[algorithm]:
                first = [Work(algorithm, task, 0, "random")] if seed == options.first_seed else []
                work += first + [Work(algorithm, task, seed, name) for name in options.only.split(",")]
    return work


def settings_of(work: Work, options: argparse.Namespace) -> dict[str, Any]:
    """What a job file would say under [train]."""
    hidden = _widths(options.hidden)
    settings: dict[str, Any] = {
        "algorithm": work.algorithm, "env": work.task, "seed": work.seed, "steps": options.steps or STEPS[work.algorithm],
        "hidden": hidden, "eval_episodes": 1,
    }  # fmt: skip
    settings |= {"eval_every": settings["steps"]}
    settings |= {"env_processes": 1} if work.algorithm == "ppo" else {"threads": 1}
    settings |= {"critic_hidden": _widths(options.critic_hidden)} if options.critic_hidden else {}
    settings |= {"learning_rate": options.rate} if options.rate else {}
    kind, _, share = work.contestant.partition("-")
    if kind == "small":
        settings["hidden"] = small(*_sizes(work.task), hidden, int(share) / 100)
    elif kind in ("prune", "rigl"):
        every = max(1, _updates(settings) // CHANGES)
        own = {"schedule": options.schedule} if kind == "prune" else {}
        settings["sparsity"] = {"method": kind, "final": int(share) / 100, "every": every, "scope": options.scope, **own}
        settings["sparsity"] |= {"of": options.of}
    return settings


def _widths(text: str) -> tuple[int, ...]:
    return tuple(int(width) for width in text.split(","))


def _updates(settings: dict[str, Any]) -> int:
    """Gradient steps of a whole training."""
    from pilotfish.train import PPOConfig, train_config

    config = train_config(settings)
    if isinstance(config, PPOConfig):
        rollout = config.n_envs * config.rollout_steps
        return math.ceil(config.steps / rollout) * config.epochs * math.ceil(rollout / config.minibatch_size)
    return int((config.steps - config.learning_starts) * config.updates_per_step)


def _sizes(task: str) -> tuple[int, int]:
    """Observation and action size of a task with vectors for both."""
    import gymnasium

    env = gymnasium.make(task)
    sizes = math.prod(env.observation_space.shape or ()), math.prod(env.action_space.shape or ())
    env.close()
    return sizes


def small(observation: int, actions: int, hidden: tuple[int, ...], sparsity: float) -> tuple[int, ...]:
    """Equal widths of as many hidden layers that come nearest to the numbers, biases included, that the sparse network has."""
    from pilotfish.train.sparse.distribution import kept_in_all

    def matrices(widths: tuple[int, ...]) -> list[int]:
        sizes = (observation, *widths, actions)
        return [a * b for a, b in itertools.pairwise(sizes)]

    aim = kept_in_all(matrices(hidden), sparsity) + sum(hidden) + actions

    def off(width: int) -> int:
        widths = (width,) * len(hidden)
        return abs(sum(matrices(widths)) + sum(widths) + actions - aim)

    return (min(range(1, max(hidden) + 1), key=off),) * len(hidden)


def _digest(settings: dict[str, Any]) -> str:
    from pilotfish.train import train_config

    return train_config(settings).digest


def _train(settings: dict[str, Any], options: argparse.Namespace, results: Path) -> dict[str, Any]:
    import pilotfish
    from pilotfish.runtime.reference_returns import reference_returns
    from pilotfish.targets.host import device_name
    from pilotfish.train import train, train_config

    config = train_config(settings)
    folder = results.with_suffix(".runs") / config.digest[:12]
    wall, cpu = time.perf_counter(), time.process_time()
    policy = train(config, folder, device="cpu", progress=False)
    spent = {"wall_s": round(time.perf_counter() - wall, 1), "cpu_s": round(time.process_time() - cpu, 1)}
    returns = reference_returns(policy, settings["env"], _seeds(options.episodes))[0]
    shutil.rmtree(folder)
    return {
        "return": float(np.mean(returns)), "returns": [round(value, 3) for value in returns], "parameters": policy.parameters,
        "nonzero": policy.nonzero_parameters, "shape": list(config.hidden), "sparsity": settings.get("sparsity"), **spent,
        "machine": device_name(), "version": pilotfish.__version__,
    }  # fmt: skip


def _random(work: Work, options: argparse.Namespace) -> dict[str, Any]:
    """Uniformly random actions in the same episodes: what no training at all is worth."""
    import gymnasium

    env, returns = gymnasium.make(work.task), []
    for seed in _seeds(options.episodes):
        env.reset(seed=seed)
        env.action_space.seed(seed)
        total, ended = 0.0, False
        while not ended:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            total, ended = total + float(reward), terminated or truncated
        returns.append(total)
    env.close()
    return {"return": float(np.mean(returns)), "returns": [round(value, 3) for value in returns], "parameters": 0, "nonzero": 0}


def _seeds(count: int) -> list[int]:
    from pilotfish.train.evaluation import held_out_seeds

    return held_out_seeds(0, count, JUDGING)


if __name__ == "__main__":
    main()
