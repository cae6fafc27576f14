"""How well a policy flies the quadrotor: the share of randomised episodes that it holds within 0.1 m; the simulation's speed.

    python benchmarks/quadrotor.py fly runs/crazyflie-hover/policies/crazyflie-hover.policy [--kind lissajous] [--hz 100]
    python benchmarks/quadrotor.py ceiling
    python benchmarks/quadrotor.py speed

One batched world steps all episodes; seeds are not those of training or of a job's evaluation. ``ceiling`` flies the same
episodes by hand-written control that knows the true state, rotor speeds included: what it saves can be saved.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from pilotfish.policy.bundle import Policy
from pilotfish.policy.torch_policy import TorchPolicy
from pilotfish.train.worlds.crazyflie import CRAZYFLIE, GRAVITY_M_S2
from pilotfish.train.worlds.quadrotor import Quadrotor
from pilotfish.train.worlds.quadrotor_task import QuadrotorTask

NEAR_M = 0.1
SEED = 987_654_321


@torch.no_grad()
def fly(act: Callable[[Quadrotor, Tensor], Tensor], world: Quadrotor, name: str) -> None:
    """Print the shares, by tilt at the start too, and distances in the last second of the episodes that did not crash."""
    task = world.task
    world.seed(SEED)
    obs = world.reset()
    tilt = torch.rad2deg(2 * torch.acos(world.rows["quaternion"][0].clamp(-1, 1)))
    flying = torch.ones(world.num_envs, dtype=torch.bool)
    distances = []
    steps = round(task.episode_s * task.control_hz) - 1  # the last step would already begin the next episode
    for _ in range(steps):
        step = world.step(act(world, obs))
        obs, flying = step.obs, flying & ~step.terminated
        distances.append(world.position_error_m())
    second = torch.stack(distances[-round(task.control_hz) :])
    near = flying & (second[-1] < NEAR_M)
    shares = {
        "did not crash": flying,
        f"and within {NEAR_M} m at the end": near,
        f"and within {NEAR_M} m on average over the last second": flying & (second.mean(0) < NEAR_M),
        f"and within {NEAR_M} m throughout the last second": flying & (second.amax(0) < NEAR_M),
    }
    print(f"{name}: {world.num_envs} episodes of {task.episode_s:g} s at {task.control_hz:g} Hz, {task.kind}")
    for title, good in shares.items():
        print(f"  {title:<50} {float(good.float().mean()):7.1%}")
    for low, high in ((0, 30), (30, 60), (60, 75), (75, 91)):
        group = (tilt >= low) & (tilt < high)
        share = float(near[group].float().mean())
        print(f"    began turned {low:2d} to {min(high, 90)} degrees: {int(group.sum()):4d}, near {share:7.1%}")
    held = second[:, flying]
    for title, value in (("median", held.median()), ("root mean square", held.square().mean().sqrt())):
        print(f"  {title + ' distance in the last second, where it flies':<62} {float(value) * 100:5.1f} cm")


def by_policy(policy: Policy, episodes: int) -> Callable[[Quadrotor, Tensor], Tensor]:
    """Acts as the policy does, with its memory if it has one."""
    network = TorchPolicy(policy).eval()
    memory = [network.network.initial_state(episodes)]

    def act(_: Quadrotor, obs: Tensor) -> Tensor:
        action, memory[0] = network(obs, memory[0])
        return action

    return act


def by_hand(world: Quadrotor, _: Tensor) -> Tensor:
    """Thrust along the wanted acceleration, torque against the angle to it, set-points far beyond the wanted rotor speeds."""
    rows, flight, frame = world.rows, world.flight, CRAZYFLIE
    matrix = flight.rotation(rows["quaternion"]).view(3, 3, -1)
    pull = -6.0 * rows["position"] - 4.0 * rows["velocity"]
    sideways = pull[:2].norm(dim=0, keepdim=True)
    pull[:2] *= 6.0 / sideways.clamp(min=6.0)
    pull[2] = (pull[2] + GRAVITY_M_S2).clamp(min=0.35 * GRAVITY_M_S2)
    up = matrix[:, 2]
    wanted = pull / pull.norm(dim=0, keepdim=True)
    axis = torch.linalg.cross(up, wanted, dim=0)
    sine = axis.norm(dim=0, keepdim=True)
    axis = axis / sine.clamp(min=1e-6) * torch.atan2(sine, (up * wanted).sum(0, keepdim=True))
    turn = torch.einsum("wbn,wn->bn", matrix, axis)
    turn[2] = torch.where(up[2] > 0.9, -0.1 * torch.atan2(matrix[1, 0], matrix[0, 0]), turn[2])
    damping = torch.tensor([[25.0], [25.0], [12.5]])
    torque = (150.0 * turn - damping * rows["rate"]) * torch.tensor(frame.inertia_kg_m2)[:, None]
    # Attitude first: the rotors' common share takes what room the differences leave.
    most, share = frame.thrust_n(frame.max_rpm), torch.linalg.inv(flight.mix[..., 0])
    thrust = torch.einsum("kr,kn->rn", share[1:], torque)
    thrust *= (most / (thrust.amax(0) - thrust.amin(0)).clamp(min=1e-9)).clamp(max=1.0)
    common = (pull * up).sum(0).clamp(min=0.0) * (frame.mass_kg / 4)
    thrust = thrust + torch.minimum(torch.maximum(common, -thrust.amin(0)), most - thrust.amax(0))
    k1, k2 = frame.thrust_linear_n_per_rpm, frame.thrust_quadratic_n_per_rpm2
    rpm = (-k1 + (k1 * k1 + 4 * k2 * thrust.clamp(min=0.0)).sqrt()) / (2 * k2)
    ahead = rows["rpm"] + (rpm - rows["rpm"]) * max(2.0, 0.02 * world.control_hz)
    return (2 * ahead / frame.max_rpm - 1).T


def speed() -> None:
    """Print steps per second of the simulation alone, on one thread: the best of some rounds, since others may be at work."""
    print("simulation alone:")
    for hz in (100.0, 500.0):
        for count in (1, 64, 512, 4096):
            world, actions = Quadrotor(count, QuadrotorTask(control_hz=hz)), torch.zeros(count, 4)
            best, began = 1e9, time.perf_counter()
            while time.perf_counter() - began < 2.0:
                start = time.perf_counter()
                for _ in range(8):  # as many as share one drawing of beginnings
                    world.step(actions)
                best = min(best, (time.perf_counter() - start) / 8)
            print(f"  {hz:3.0f} Hz, {count:5d} rows: {count / best:11,.0f} steps/s")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("fly", "ceiling", "speed"))
    parser.add_argument("policies", nargs="*", type=Path)
    parser.add_argument("--kind", default="hover", choices=("hover", "lissajous"))
    parser.add_argument("--hz", type=float, default=QuadrotorTask().control_hz)
    parser.add_argument("--episodes", type=int, default=1000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    task = QuadrotorTask(kind=given.kind, control_hz=given.hz)
    if given.what == "speed":
        speed()
    elif given.what == "ceiling":
        # Without pushes and with the nominal airframe: it has no integral part, and is asked about starts, not about offsets.
        still = dataclasses.replace(task, push_weights=0, push_torque_nm=0, vary_mass=0, vary_thrust=0)
        fly(by_hand, Quadrotor(given.episodes, still), "by hand, true state")
    for path in given.policies:
        policy = Policy.load(path)
        fly(by_policy(policy, given.episodes), Quadrotor(given.episodes, task), f"{path.stem}, {policy.parameters:,} weights")


if __name__ == "__main__":
    main()
