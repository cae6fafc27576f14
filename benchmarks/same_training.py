"""Whether TD3 trains here as in Stable-Baselines3: same first weights and draws, how far apart they end.

    python benchmarks/same_training.py --sb3-python VENV/bin/python [--env HalfCheetah-v5] [--steps 150] [--hidden 256,256]

Both are given the same environment, first random actions, exploration noise, rows of the replay buffer and noise on target
actions; an update follows every step, as there. Printed: how far apart the observations are on the way; then per network how far
it moved, and how far apart both ended. Nothing but rounding may part them; a chaotic environment makes much of it.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

STARTS, BATCH, NOISE = 100, 256, 0.1


class Draws:
    """All that chance decides, for both."""

    def __init__(self, steps: int, actions: int) -> None:
        random = np.random.default_rng(5)
        self.first = iter(random.uniform(-1, 1, (STARTS, actions)).astype(np.float32))
        self.noise = iter(random.normal(0, NOISE, (steps, actions)).astype(np.float32))
        self._rows, self.updates = random.random((steps, BATCH)), 0

    def rows(self, filled: int, generator: torch.Generator) -> np.ndarray:
        """int64 [BATCH]: of the next minibatch; the noise on its target actions begins anew, too."""
        generator.manual_seed(10_000 + self.updates)
        self.updates += 1
        return (self._rows[self.updates - 1] * filled).astype(np.int64)


def main() -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sb3-python", required=True, help="a Python that has stable-baselines3, and the same torch")
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--steps", type=int, default=150, help=f"of the environment, {STARTS} of them random")
    parser.add_argument("--hidden", default="256,256")
    parser.add_argument("--write", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    hidden = tuple(int(width) for width in options.hidden.split(","))
    torch.set_num_threads(1)
    if options.write:
        _theirs(options.env, hidden, options.steps, options.write)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "theirs.npz"
        subprocess.run([options.sb3_python, __file__, *sys.argv[1:], "--write", str(file)], check=True, stdout=subprocess.DEVNULL)
        with np.load(file) as data:
            _ours(options.env, hidden, options.steps, dict(data))


def _theirs(env: str, hidden: tuple[int, ...], steps: int, path: str) -> None:
    from stable_baselines3 import TD3
    from stable_baselines3.common.noise import ActionNoise

    model = TD3(
        "MlpPolicy", env, learning_rate=3e-4, batch_size=BATCH, learning_starts=STARTS, seed=0, device="cpu",
        policy_kwargs={"net_arch": list(hidden)},
    )  # fmt: skip
    buffer, space = model.replay_buffer, model.action_space
    draws, half, middle = Draws(steps, *space.shape), (space.high - space.low) / 2, (space.high + space.low) / 2

    class Noise(ActionNoise):
        def __call__(self) -> np.ndarray:  # theirs is added to the random actions, too
            return next(draws.noise) if model.num_timesteps >= STARTS else np.zeros(space.shape, np.float32)

        def reset(self) -> None:
            pass

    def sample(size: int, **_: Any) -> Any:
        assert size == BATCH
        return buffer._get_samples(draws.rows(buffer.size(), torch.default_generator))

    def weights(when: str) -> dict[str, np.ndarray]:
        networks = {
            "actor": model.actor,
            "target actor": model.actor_target,
            "critics": model.critic,
            "targets": model.critic_target,
        }
        return {
            f"{when}/{network}/{name}": tensor.numpy().copy()
            for network, module in networks.items()
            for name, tensor in module.state_dict().items()
        }

    # Their way from an action to [-1, 1] and back rounds, and a hundred steps of a cheetah make much of the last bit.
    model.policy.scale_action = lambda action: ((action - middle) / half).astype(np.float32)
    model.policy.unscale_action = lambda scaled: (scaled * half + middle).astype(np.float32)
    model.action_noise, space.sample, buffer.sample = Noise(), lambda: next(draws.first) * half + middle, sample
    before = weights("first")
    model.learn(steps)
    np.savez(path, **before, **weights("last"), obs=buffer.observations[:steps, 0].astype(np.float32))


def _ours(env: str, hidden: tuple[int, ...], steps: int, data: dict[str, np.ndarray]) -> None:
    from pilotfish.train import off_policy
    from pilotfish.train.algorithms import ALGORITHMS
    from pilotfish.train.config import train_config
    from pilotfish.train.worlds.vector import vector_env

    off_policy.STEPS_PER_ITERATION = 1
    settings = {
        "algorithm": "td3", "env": env, "hidden": hidden, "critic_hidden": hidden, "learning_rate": 3e-4, "batch_size": BATCH,
        "learning_starts": STARTS, "exploration_noise": 0.0, "threads": 1,
    }  # fmt: skip
    envs = vector_env(env, 1, 0)
    envs._obs[0], _ = envs.envs[0].reset(seed=0)  # theirs resets once, with its seed
    learner: Any = ALGORITHMS["td3"](train_config(settings), envs, torch.device("cpu"))
    draws, act = Draws(steps, learner.action.size), learner.act
    learner.random = SimpleNamespace(
        uniform=lambda *_: next(draws.first)[None], integers=lambda filled, **_: draws.rows(filled, learner.noise)
    )
    learner.act = lambda obs: act(obs).add_(torch.from_numpy(next(draws.noise))).clamp_(-1, 1)
    networks = {"actor": learner.actor.flat, "target actor": learner.target_actor.flat}
    networks |= {"critics": learner.critics.stack.flat, "targets": learner.critics.targets.flat}

    def load(when: str) -> dict[str, torch.Tensor]:
        for name, flat in networks.items():
            tensors = iter([data[key] for key in data if key.startswith(f"{when}/{name}/")])
            for network, layer in itertools.product(range(flat.count), range(len(flat.shapes))):
                weight, bias = next(tensors).T, next(tensors)
                if layer == 0 and flat.count == 2:  # ours read the action first
                    weight = np.roll(weight, learner.action.size, axis=0)
                flat.values[layer][network] = torch.from_numpy(np.vstack([weight, bias]))
        return {name: flat.value.clone() for name, flat in networks.items()}

    last = load("last")
    first = load("first")
    while learner.steps < steps:
        learner.iterate()
    ours = learner.replay.state()["rows"].numpy()
    apart = np.abs(ours[:, : data["obs"].shape[1]] - data["obs"]).max(1)
    print(f"after {steps - STARTS} updates, one after each of {steps - STARTS} steps that followed {STARTS} random ones")
    for at in sorted({0, STARTS // 2, *(STARTS + (steps - STARTS) * part // 4 for part in range(4)), steps - 1}):
        print(f"  observations up to number {at}: {apart[: at + 1].max():.1g} apart at most")
    for name, flat in networks.items():
        moved, apart = (last[name] - first[name]).norm().item(), (last[name] - flat.value).norm().item()
        print(f"  {name}: moved {moved:.4g}, {apart:.1g} apart ({apart / moved:.1g} of it)")


if __name__ == "__main__":
    main()
