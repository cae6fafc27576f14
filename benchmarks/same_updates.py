"""Whether TD3's gradient steps here are those of Stable-Baselines3: same first weights, same minibatches, then the weights apart.

    python benchmarks/same_updates.py --sb3-python VENV/bin/python [--env HalfCheetah-v5] [--updates 40] [--hidden 256,256]

Stable-Baselines3 collects, learns, and writes down minibatches and weights; Pilotfish learns from the same. The noise on target
actions, which each draws for itself, is switched off. Printed per network: how far it moved, and how far apart both ended.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

COLLECTED = 2_500
"""Random transitions before the first update."""


def main() -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sb3-python", required=True, help="a Python that has stable-baselines3")
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--hidden", default="256,256")
    parser.add_argument("--write", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    hidden = tuple(int(width) for width in options.hidden.split(","))
    if options.write:
        _theirs(options.env, hidden, options.updates, options.write)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "theirs.npz"
        subprocess.run([options.sb3_python, __file__, *sys.argv[1:], "--write", str(file)], check=True, stdout=subprocess.DEVNULL)
        with np.load(file) as data:
            _ours(options.env, hidden, dict(data))


def _theirs(env: str, hidden: tuple[int, ...], updates: int, path: str) -> None:
    from stable_baselines3 import TD3

    model = TD3(
        "MlpPolicy", env, learning_rate=3e-4, batch_size=256, learning_starts=COLLECTED + 1, seed=0, device="cpu",
        policy_kwargs={"net_arch": list(hidden)}, target_policy_noise=0.0,
    )  # fmt: skip
    model.learn(COLLECTED)
    buffer, random, batches = model.replay_buffer, np.random.default_rng(0), []

    def sample(size: int, **_: Any) -> Any:
        drawn = buffer._get_samples(random.integers(COLLECTED, size=size))
        parts = (drawn.observations, drawn.actions, drawn.next_observations, drawn.rewards, 1 - drawn.dones)
        batches.append(np.concatenate(parts, axis=1).astype(np.float32))
        return drawn

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

    buffer.sample = sample
    first = weights("first")
    model.train(updates, 256)
    np.savez(path, batches=np.stack(batches), **first, **weights("last"))


def _ours(env: str, hidden: tuple[int, ...], data: dict[str, np.ndarray]) -> None:
    import torch

    from pilotfish.train.algorithms import ALGORITHMS
    from pilotfish.train.config import train_config
    from pilotfish.train.worlds.vector import vector_env

    settings = {
        "algorithm": "td3",
        "env": env,
        "hidden": hidden,
        "critic_hidden": hidden,
        "learning_rate": 3e-4,
        "target_noise": 0.0,
    }
    learner: Any = ALGORITHMS["td3"](train_config(settings), vector_env(env, 1, 0), torch.device("cpu"))
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
    with torch.no_grad():
        for batch in data["batches"]:
            learner.update(torch.from_numpy(batch), log=False)
    for name, flat in networks.items():
        moved, apart = (last[name] - first[name]).norm().item(), (last[name] - flat.value).norm().item()
        print(f"{name}: moved {moved:.4g}, apart {apart:.2g} ({apart / moved:.1g} of it) after {len(data['batches'])} updates")


if __name__ == "__main__":
    main()
