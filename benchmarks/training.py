"""Training speed and return of PPO, SAC and TD3 beside Stable-Baselines3, in turn on this machine.

    python benchmarks/training.py --sb3-python VENV/bin/python [--algorithms ppo,sac,td3] [--rounds 5] [--steps 320]
    python benchmarks/training.py --sb3-python VENV/bin/python --algorithms sac --returns 100000 --seeds 3

SAC, TD3: both get the same networks, batch, learning rate, discount, one environment, one update per step, and the threads
of --threads. PPO: both get the same networks (--hidden) and each its own defaults, Stable-Baselines3 with 8 environments,
once as it comes and once within its VecNormalize ("sb3-normalized", the stronger for returns). Speed: each lives in a
process of its own and trains --steps steps per round (PPO: --ppo-steps), one after the other, so that a machine that slows
down slows both; figures are medians over the rounds, by wall clock and by the process's own CPU time. --returns: whole
trainings instead, then ten deterministic episodes of the last policy on seeds that no training used; --json appends one
line per training to a file. Without --sb3-python, Stable-Baselines3 is left out and said to be.
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
from pathlib import Path
from typing import Any

EVALUATION_SEEDS = range(10_000, 10_010)


def main() -> None:
    """Run it and print a table."""
    options = _options()
    settings = {
        "env": options.env, "hidden": [int(width) for width in options.hidden.split(",")], "batch": options.batch,
        "rate": options.rate, "gamma": 0.99, "tau": 0.005, "starts": 100, "threads": options.threads,
        "processes": options.processes,
    }  # fmt: skip
    if options.worker:
        _work(options.worker, json.loads(options.settings))
        return
    pythons = {"pilotfish": sys.executable, "sb3": options.sb3_python, "sb3-normalized": options.sb3_python}
    if not options.sb3_python:
        print("Stable-Baselines3 left out: no --sb3-python (a Python that has stable-baselines3)")
    for algorithm in options.algorithms.split(","):
        measure = _returns if options.returns else _speed
        wanted = (
            options.contestants.split(",") if options.contestants else list(pythons) if algorithm == "ppo" else list(pythons)[:2]
        )
        measure(options, {name: (pythons[name], settings | {"algorithm": algorithm}) for name in wanted if pythons[name]})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sb3-python", default="", help="a Python that has stable-baselines3")
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--algorithms", default="ppo,sac,td3")
    parser.add_argument("--hidden", default="256,256", help="hidden widths of the actor and of each critic")
    parser.add_argument("--contestants", default="", help="of pilotfish, sb3, sb3-normalized; default: all")
    parser.add_argument("--threads", type=int, default=1, help="1 or 2: of SAC and TD3, for every contestant")
    parser.add_argument("--processes", type=int, default=1, help="that step Pilotfish's environments for PPO; 0: its own choice")
    parser.add_argument("--ppo-steps", type=int, default=32_768, help="as --steps, for PPO")
    parser.add_argument("--json", default="", help="append a line per training to this file")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rate", type=float, default=3e-4, help="learning rate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=320, help="environment steps per round (a multiple of 16)")
    parser.add_argument("--returns", type=int, default=0, metavar="STEPS", help="whole trainings of so many steps")
    parser.add_argument("--seeds", type=int, default=3, help="trainings per contestant with --returns")
    parser.add_argument("--first-seed", type=int, default=0, help="of the trainings with --returns")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    parser.add_argument("--settings", default="{}", help=argparse.SUPPRESS)
    return parser.parse_args()


class _Worker:
    """A training in a process of its own: train some steps, or evaluate, when asked."""

    def __init__(self, name: str, python: str, settings: dict[str, Any]) -> None:
        command = [python, __file__, "--worker", name, "--settings", json.dumps(settings)]
        threads = str(settings["threads"])
        environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
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
    algorithm = next(iter(contestants.values()))[1]["algorithm"]
    steps = options.ppo_steps if algorithm == "ppo" else options.steps
    for worker in workers.values():
        worker.ask(train=304)  # past the random actions, and once through every code path
    for _ in range(options.rounds):
        for name, worker in workers.items():
            answer = worker.ask(train=steps)
            wall[name].append(answer["steps"] / answer["wall_s"])
            cpu[name].append(answer["steps"] / answer["cpu_s"])
    for worker in workers.values():
        worker.close()
    for name in workers:
        print(
            f"{algorithm} {options.env} {options.hidden} batch {options.batch} {name}: "
            f"{statistics.median(wall[name]):,.0f} steps/s ({min(wall[name]):,.0f} to {max(wall[name]):,.0f}), "
            f"{statistics.median(cpu[name]):,.0f} per CPU second; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs"
        )
    for rival in set(workers) - {"pilotfish"} if "pilotfish" in workers else ():
        ratios = [ours / theirs for ours, theirs in zip(wall["pilotfish"], wall[rival], strict=True)]
        by_cpu = [ours / theirs for ours, theirs in zip(cpu["pilotfish"], cpu[rival], strict=True)]
        print(
            f"{algorithm} pilotfish / {rival}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) by wall, "
            f"{statistics.median(by_cpu):.2f} by CPU time, over {options.rounds} rounds"
        )


def _returns(options: argparse.Namespace, contestants: dict[str, tuple[str, dict[str, Any]]]) -> None:
    for seed in range(options.first_seed, options.first_seed + options.seeds):
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
            if options.json:
                with Path(options.json).open("a") as file:
                    file.write(json.dumps({"contestant": name, "seed": seed, "return": mean} | trained | settings) + "\n")


def _work(name: str, settings: dict[str, Any]) -> None:
    import torch

    torch.set_num_threads(1 if name == "pilotfish" else settings["threads"])  # Pilotfish's second thread is its own setting
    start = {"pilotfish": _pilotfish, "sb3": _sb3, "sb3-normalized": _sb3_normalized}[name]
    advance, act = start(settings)
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

    from pilotfish.train.algorithms import ALGORITHMS
    from pilotfish.train.config import train_config
    from pilotfish.train.worlds.vector import vector_env

    hidden = tuple(settings["hidden"])
    wanted = {
        "algorithm": settings["algorithm"], "env": settings["env"], "seed": settings["seed"], "hidden": hidden,
        "critic_hidden": hidden, "gamma": settings["gamma"], "steps": settings.get("total", 1_000_000),
    }  # fmt: skip
    if settings["algorithm"] != "ppo":
        wanted |= {
            "activation": "relu", "batch_size": settings["batch"], "learning_rate": settings["rate"], "tau": settings["tau"],
            "learning_starts": settings["starts"], "n_envs": 1, "updates_per_step": 1.0, "threads": settings["threads"],
        }  # fmt: skip
    config = train_config(wanted)
    envs = vector_env(config.env, config.n_envs, config.seed, settings["processes"] if config.algorithm == "ppo" else 1)
    learner = ALGORITHMS[config.algorithm](config, envs, torch.device("cpu"))

    def advance(steps: int) -> int:
        began = learner.steps
        while learner.steps < began + steps:
            learner.iterate()
        return learner.steps - began

    def act(obs: Any) -> Any:
        from pilotfish.policy.contract import Observation
        from pilotfish.policy.network import Network
        from pilotfish.policy.torch_policy import Normalize, transform_action

        layers, weights, normalizer, action = learner.policy_parts()
        with torch.no_grad():
            seen = torch.from_numpy(np.asarray(obs, np.float32))[None]
            seen = Normalize(Observation(size=seen.shape[1], normalizer=normalizer))(seen)
            return transform_action(action, Network(layers, weights)(seen)[0])[0].numpy()

    return advance, act


def _sb3_normalized(settings: dict[str, Any]) -> tuple[Callable[[int], int], Callable[[Any], Any]]:
    return _sb3(settings, normalized=True)


def _sb3(settings: dict[str, Any], normalized: bool = False) -> tuple[Callable[[int], int], Callable[[Any], Any]]:
    import gymnasium
    import numpy as np
    import stable_baselines3

    if settings["algorithm"] == "ppo":
        return _sb3_ppo(settings, normalized)
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


def _sb3_ppo(settings: dict[str, Any], normalized: bool) -> tuple[Callable[[int], int], Callable[[Any], Any]]:
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    envs = make_vec_env(settings["env"], n_envs=8, seed=settings["seed"])
    moments = VecNormalize(envs, gamma=settings["gamma"]) if normalized else None
    model = PPO(
        "MlpPolicy", moments or envs, gamma=settings["gamma"], seed=settings["seed"], device="cpu",
        policy_kwargs={"net_arch": settings["hidden"]},
    )  # fmt: skip

    def advance(steps: int) -> int:
        began = model.num_timesteps
        model.learn(steps, reset_num_timesteps=False)
        return int(model.num_timesteps) - began

    def act(obs: Any) -> Any:
        return model.predict(moments.normalize_obs(obs) if moments else obs, deterministic=True)[0]

    return advance, act


if __name__ == "__main__":
    main()
