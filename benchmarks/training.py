"""Training speed and return of SAC and TD3 beside Stable-Baselines3, in turn on this machine.

    python benchmarks/training.py --sb3-python VENV/bin/python [--algorithms sac,td3] [--rounds 5] [--steps 300]
    python benchmarks/training.py --sb3-python VENV/bin/python --returns 100000 --seeds 3

Both get the same networks, batch, learning rate, discount, one environment, one update per step and one thread. Speed:
each lives in a process of its own and trains --steps steps per round, one after the other, so that a machine that slows
down slows both; figures are medians over the rounds, by wall clock and by the process's own CPU time. --returns: whole
trainings instead, then ten deterministic episodes of the last policy on seeds that no training used. Without
--sb3-python, Stable-Baselines3 is left out and said to be.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

EVALUATION_SEEDS = range(10_000, 10_010)


def main() -> None:
    """Run it and print a table."""
    options = _options()
    settings = {
        "env": options.env, "hidden": [int(width) for width in options.hidden.split(",")], "batch": options.batch,
        "rate": options.rate, "gamma": 0.99, "tau": 0.005, "starts": 100,
    }  # fmt: skip
    if options.worker:
        _work(options.worker, json.loads(options.settings))
        return
    pythons = {"pilotfish": sys.executable, "sb3": options.sb3_python}
    if not options.sb3_python:
        print("Stable-Baselines3 left out: no --sb3-python (a Python that has stable-baselines3)")
        del pythons["sb3"]
    for algorithm in options.algorithms.split(","):
        measure = _returns if options.returns else _speed
        measure(options, {name: (python, settings | {"algorithm": algorithm}) for name, python in pythons.items()})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sb3-python", default="", help="a Python that has stable-baselines3")
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--algorithms", default="sac,td3")
    parser.add_argument("--hidden", default="256,256", help="hidden widths of the actor and of each critic")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rate", type=float, default=3e-4, help="learning rate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300, help="environment steps per round (a multiple of 16)")
    parser.add_argument("--returns", type=int, default=0, metavar="STEPS", help="whole trainings of so many steps")
    parser.add_argument("--seeds", type=int, default=3, help="trainings per contestant with --returns")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    parser.add_argument("--settings", default="{}", help=argparse.SUPPRESS)
    return parser.parse_args()


class _Worker:
    """A training in a process of its own: train some steps, or evaluate, when asked."""

    def __init__(self, name: str, python: str, settings: dict[str, Any]) -> None:
        command = [python, __file__, "--worker", name, "--settings", json.dumps(settings)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def ask(self, **question: int) -> dict[str, float]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("answer "):
                answer: dict[str, float] = json.loads(line.removeprefix("answer "))
                return answer
        raise SystemExit(f"a worker ended: {' '.join(self.process.args[:1])}")  # type: ignore[index]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def _speed(options: argparse.Namespace, contestants: dict[str, tuple[str, dict[str, Any]]]) -> None:
    workers = {name: _Worker(name, python, settings | {"seed": 0}) for name, (python, settings) in contestants.items()}
    wall: dict[str, list[float]] = {name: [] for name in workers}
    cpu: dict[str, list[float]] = {name: [] for name in workers}
    for worker in workers.values():
        worker.ask(train=304)  # past the random actions, and once through every code path
    for _ in range(options.rounds):
        for name, worker in workers.items():
            answer = worker.ask(train=options.steps)
            wall[name].append(answer["steps"] / answer["wall_s"])
            cpu[name].append(answer["steps"] / answer["cpu_s"])
    for worker in workers.values():
        worker.close()
    algorithm = next(iter(contestants.values()))[1]["algorithm"]
    for name in workers:
        print(
            f"{algorithm} {options.env} {options.hidden} batch {options.batch} {name}: "
            f"{statistics.median(wall[name]):,.0f} steps/s ({min(wall[name]):,.0f} to {max(wall[name]):,.0f}), "
            f"{statistics.median(cpu[name]):,.0f} per CPU second; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs"
        )
    if len(workers) == 2:
        ratios = [ours / theirs for ours, theirs in zip(wall["pilotfish"], wall["sb3"], strict=True)]
        by_cpu = [ours / theirs for ours, theirs in zip(cpu["pilotfish"], cpu["sb3"], strict=True)]
        print(
            f"{algorithm} ratio: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) by wall, "
            f"{statistics.median(by_cpu):.2f} by CPU time, over {options.rounds} rounds"
        )


def _returns(options: argparse.Namespace, contestants: dict[str, tuple[str, dict[str, Any]]]) -> None:
    for seed in range(options.seeds):
        for name, (python, settings) in contestants.items():
            worker = _Worker(name, python, settings | {"seed": seed, "total": options.returns})
            trained = worker.ask(train=options.returns)
            mean = worker.ask(evaluate=1)["return"]
            worker.close()
            print(
                f"{settings['algorithm']} {options.env} {name} seed {seed}: return {mean:,.1f} after "
                f"{trained['steps']:,.0f} steps in {trained['wall_s']:,.0f} s ({trained['cpu_s']:,.0f} CPU s)",
                flush=True,
            )


def _work(name: str, settings: dict[str, Any]) -> None:
    import torch

    torch.set_num_threads(1)
    advance, act = (_pilotfish if name == "pilotfish" else _sb3)(settings)
    for line in sys.stdin:
        question = json.loads(line)
        if "train" in question:
            wall, cpu = time.perf_counter(), time.process_time()
            steps = advance(question["train"])
            answer = {"steps": steps, "wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        else:
            answer = {"return": _mean_return(settings["env"], act)}
        print("answer " + json.dumps(answer), flush=True)


def _mean_return(env_id: str, act: Callable[[Any], Any]) -> float:
    import gymnasium

    env, total = gymnasium.make(env_id), 0.0
    for seed in EVALUATION_SEEDS:
        obs, ended = env.reset(seed=seed)[0], False
        while not ended:
            obs, reward, terminated, truncated, _ = env.step(act(obs))
            total, ended = total + float(reward), terminated or truncated
    return total / len(EVALUATION_SEEDS)


def _pilotfish(settings: dict[str, Any]) -> tuple[Callable[[int], int], Callable[[Any], Any]]:
    import numpy as np
    import torch

    from pilotfish.train.config import train_config
    from pilotfish.train.environments import VectorEnv
    from pilotfish.train.run import ALGORITHMS

    hidden = tuple(settings["hidden"])
    config = train_config(
        {
            "algorithm": settings["algorithm"], "env": settings["env"], "seed": settings["seed"], "hidden": hidden,
            "activation": "relu", "critic_hidden": hidden, "batch_size": settings["batch"],
            "learning_rate": settings["rate"], "gamma": settings["gamma"], "tau": settings["tau"],
            "learning_starts": settings["starts"], "steps": settings.get("total", 1_000_000), "n_envs": 1,
            "updates_per_step": 1.0,
        }
    )  # fmt: skip
    learner = ALGORITHMS[config.algorithm](config, VectorEnv(config.env, 1, config.seed), torch.device("cpu"))

    def advance(steps: int) -> int:
        began = learner.steps
        while learner.steps < began + steps:
            learner.iterate()
        return learner.steps - began

    def act(obs: Any) -> Any:
        from pilotfish.policy.network import Network

        layers, weights, _, action = learner.policy_parts()
        with torch.no_grad():
            y = torch.tanh(Network(layers, weights)(torch.from_numpy(np.asarray(obs, np.float32))[None])[0])[0].numpy()
        return y * np.asarray(action.scale or 1.0) + np.asarray(action.offset or 0.0)

    return advance, act


def _sb3(settings: dict[str, Any]) -> tuple[Callable[[int], int], Callable[[Any], Any]]:
    import gymnasium
    import numpy as np
    import stable_baselines3

    space = gymnasium.make(settings["env"]).action_space
    noise = stable_baselines3.common.noise.NormalActionNoise(np.zeros(space.shape), 0.1 * np.ones(space.shape))
    extra = {"action_noise": noise} if settings["algorithm"] == "td3" else {}  # SB3 adds none by itself; ours is 0.1
    model = getattr(stable_baselines3, settings["algorithm"].upper())(
        "MlpPolicy", settings["env"], learning_rate=settings["rate"], batch_size=settings["batch"], gamma=settings["gamma"],
        tau=settings["tau"], learning_starts=settings["starts"], seed=settings["seed"], device="cpu",
        policy_kwargs={"net_arch": settings["hidden"]}, **extra,
    )  # fmt: skip

    def advance(steps: int) -> int:
        began = model.num_timesteps
        model.learn(steps, reset_num_timesteps=False)
        return int(model.num_timesteps) - began

    return advance, lambda obs: model.predict(obs, deterministic=True)[0]


if __name__ == "__main__":
    main()
