"""How well a policy flies the quadrotor: the share of randomised episodes that it holds within 0.1 m; the simulation's speed.

    python benchmarks/quadrotor.py runs/crazyflie-hover/policies/crazyflie-hover.policy [episodes] [hover|lissajous]

One batched world steps all episodes; seeds are not those of training or of a job's evaluation.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from pilotfish.policy.bundle import Policy
from pilotfish.policy.network import TorchPolicy
from pilotfish.train.worlds.quadrotor import Quadrotor
from pilotfish.train.worlds.quadrotor_task import QuadrotorTask

NEAR_M = 0.1


@torch.no_grad()
def fly(policy: Policy, episodes: int, kind: str) -> None:
    """Print the shares, and distances in the last second of the episodes that did not crash."""
    task = QuadrotorTask(kind=kind)  # type: ignore[arg-type]
    world, network = Quadrotor(episodes, task), TorchPolicy(policy).eval()
    world.seed(987_654_321)
    obs, state = world.reset(), network.network.initial_state(episodes)
    flying = torch.ones(episodes, dtype=torch.bool)
    distances = []
    steps = round(task.episode_s * task.control_hz) - 1  # the last step would already begin the next episode
    for _ in range(steps):
        action, state = network(obs, state)
        step = world.step(action)
        obs, flying = step.obs, flying & ~step.terminated
        distances.append(world.position_error_m())
    second = torch.stack(distances[-round(task.control_hz) :])
    shares = {
        "did not crash": flying,
        f"and within {NEAR_M} m at the end": flying & (second[-1] < NEAR_M),
        f"and within {NEAR_M} m on average over the last second": flying & (second.mean(0) < NEAR_M),
        f"and within {NEAR_M} m throughout the last second": flying & (second.amax(0) < NEAR_M),
    }
    print(f"{policy.name}: {policy.parameters:,} weights, {episodes} episodes of {task.episode_s:g} s, {kind}")
    for name, good in shares.items():
        print(f"  {name:<50} {float(good.float().mean()):7.1%}")
    print(f"  median distance in the last second, where it flies {float(second[:, flying].median()) * 100:6.1f} cm")


def speed() -> None:
    """Print steps per second of the simulation alone, on one thread."""
    for count in (1, 64, 512, 4096):
        world, actions = Quadrotor(count), torch.zeros(count, 4)
        world.seed(0)
        rounds, began = 0, time.perf_counter()
        while time.perf_counter() - began < 2.0:
            world.step(actions)
            rounds += 1
        print(f"  {count:5d} rows: {rounds * count / (time.perf_counter() - began):11,.0f} steps/s")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        many = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
        fly(Policy.load(Path(sys.argv[1])), many, sys.argv[3] if len(sys.argv) > 3 else "hover")
    print("simulation alone:")
    speed()
