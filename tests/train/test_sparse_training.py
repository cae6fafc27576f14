"""Sparse trainings: exact at every change, resumed bit by bit, dense where nothing is asked, and said in the policy."""

import dataclasses
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco", reason="mujoco is not installed")

from pilotfish.policy import Policy
from pilotfish.train import PPOConfig, SACConfig, TD3Config, train
from pilotfish.train.algorithms import ALGORITHMS
from pilotfish.train.environments import VectorEnv
from pilotfish.train.evaluation import ClosedLoop
from pilotfish.train.ppo import PPO
from pilotfish.train.sac import SAC
from pilotfish.train.sparse.distribution import kept_by_layer, kept_in_all
from pilotfish.train.sparse.settings import Sparsity
from pilotfish.train.td3 import TD3

ON = {
    "env": "CartPole-v1",
    "steps": 512,
    "n_envs": 4,
    "rollout_steps": 8,
    "minibatch_size": 16,
    "epochs": 3,
    "eval_episodes": 1,
    "env_processes": 1,
}
OFF = {"env": "InvertedPendulum-v5", "steps": 160, "learning_starts": 64, "batch_size": 32, "hidden": (8, 8), "eval_episodes": 1}
CONFIGS = {
    "ppo": PPOConfig(hidden=(8, 8), **ON),
    "recurrent": PPOConfig(hidden=(8,), recurrent="gru", recurrent_size=6, **(ON | {"epochs": 2})),
    "sac": SACConfig(critic_hidden=(16, 16), **OFF),
    "td3": TD3Config(critic_hidden=(16, 16), policy_delay=3, **OFF),
    "simba": TD3Config(critic="simba", critic_hidden=(8, 8), layer_norm=True, **(OFF | {"steps": 128})),
}  # fmt: skip
METHODS = {
    "prune": Sparsity(final=0.8, every=7, of="both"),
    "harmonic": Sparsity(final=0.8, every=7, of="both", schedule="harmonic", scope="uniform"),
    "rigl": Sparsity(method="rigl", final=0.8, every=7, of="both"),
    "set": Sparsity(method="set", final=0.7, every=7, of="both", drop=0.3),
}


def trained(config, folder: Path) -> Policy:
    return train(config, folder, device="cpu", progress=False)


def sparse(which: str, method: str, **changes):
    return dataclasses.replace(CONFIGS[which], sparsity=dataclasses.replace(METHODS[method], **changes))


def run(config):
    """A learner after every iteration, until its steps are spent."""
    with torch.no_grad():
        envs = VectorEnv(config.env, config.n_envs, config.seed)
        try:
            learner = ALGORITHMS[config.algorithm](config, envs, torch.device("cpu"))
            yield learner, {}
            while learner.steps < config.steps:
                yield learner, learner.iterate()[1]
        finally:
            envs.close()


def held(learner) -> dict[str, list[torch.Tensor]]:
    """What must be zero outside the mask of each network: values, moments and slow copies."""
    if isinstance(learner, PPO):
        adam = learner.optimizer
        return {n: [net.flat.value, *adam.moments(net.flat)] for n, net in (("actor", learner.actor), ("critic", learner.critic))}
    actor, critics = learner.optimizers["actor"], learner.critics.adam
    copies = [learner.target_actor.flat.value] if isinstance(learner, TD3) else []
    return {
        "actor": [actor.flat.value, actor.first, actor.second, *copies],
        "critic": [critics.flat.value, critics.first, critics.second, learner.critics.slow.value],
    }


@pytest.mark.parametrize(
    ("which", "method"), [(w, m) for w in CONFIGS for m in METHODS if (w, m) not in (("simba", "set"), ("recurrent", "set"))]
)
def test_counts_are_exact_and_nothing_outside_the_mask_is_other_than_zero(which: str, method: str) -> None:
    config = sparse(which, method)
    if method == "harmonic":  # whose falls between the rises want more changes of the mask than fit into the others' steps
        config = dataclasses.replace(config, steps=2 * config.steps)
    earlier: dict[str, tuple[torch.Tensor, int]] = {}
    moved = 0
    for learner, told in run(config):
        training = learner.sparse
        for name, network in training.networks.items():
            places = network.places
            for mine, alive in zip(places, network.alive, strict=True):
                shapes = [place.shape for place in mine]
                assert [int(network.mask[place.positions].sum()) for place in mine] == alive
                if network.orders == [None] * len(places):
                    kept = kept_in_all([a * b for a, b in shapes], training.reached)
                    assert alive == kept_by_layer(shapes, kept, config.sparsity.scope)
            everywhere = torch.cat([place.positions for mine in places for place in mine])
            others = torch.ones_like(network.mask).index_fill(0, everywhere, 0.0)
            assert network.mask[others > 0].all()  # biases
            for tensor in held(learner)[name]:
                assert not tensor[network.mask == 0].any()
            if told:
                before, said = earlier[name]
                grew = int(((network.mask > 0) & (before == 0)).sum())
                moved += grew
                assert grew <= told[f"sparsity/{name}_grown"] - said, "weights grew and nobody said so"
                assert told[f"sparsity/{name}"] == pytest.approx(1 - float(network.mask[everywhere].mean()), abs=1e-6)
            earlier[name] = network.mask.clone(), sum(network.grown)
    assert training.complete and training.reached == config.sparsity.final
    assert all(sum(network.grown) == 0 for network in training.networks.values()) == (method == "prune")
    assert (moved > 0) == (method != "prune")


@pytest.mark.parametrize("which", ["ppo", "sac", "td3"])
def test_pruning_to_nothing_is_the_dense_training_bit_by_bit(which: str, tmp_path: Path) -> None:
    dense = trained(CONFIGS[which], tmp_path / "dense")
    same = trained(sparse(which, "prune", final=0.0), tmp_path / "same")
    for name in dense.weights:
        np.testing.assert_array_equal(dense.weights[name], same.weights[name])


@pytest.mark.parametrize(
    ("which", "method"), [("ppo", "prune"), ("ppo", "rigl"), ("sac", "prune"), ("td3", "set"), ("td3", "rigl")]
)
def test_a_resumed_sparse_run_equals_a_straight_one_bit_by_bit(
    which: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = sparse(which, method)
    straight = trained(config, tmp_path / "straight")
    kind = {"sac": SAC, "td3": TD3}.get(which, PPO)
    whole = kind.iterate

    def interrupted(self):
        result = whole(self)
        if self.steps == config.steps // 2:
            os.kill(os.getpid(), signal.SIGINT)  # what Ctrl-C sends
        return result

    monkeypatch.setattr(kind, "iterate", interrupted)
    with pytest.raises(KeyboardInterrupt, match=f"stopped after {config.steps // 2} steps"):
        trained(config, tmp_path / "resumed")
    monkeypatch.setattr(kind, "iterate", whole)
    resumed = trained(config, tmp_path / "resumed")
    assert straight.digest == resumed.digest
    assert resumed.contract.provenance.notes == ()


@pytest.mark.parametrize("which", ["ppo", "sac"])
def test_the_policy_has_exact_zeros_and_says_what_made_them(which: str, tmp_path: Path) -> None:
    config = sparse(which, "prune")
    policy = trained(config, tmp_path)
    matrices = {name: tensor for name, tensor in policy.weights.items() if tensor.ndim == 2}
    size = sum(tensor.size for tensor in matrices.values())
    nonzero = sum(np.count_nonzero(tensor) for tensor in matrices.values())
    assert nonzero == size - round(0.8 * size)
    assert not any(np.signbit(tensor[tensor == 0]).any() for tensor in matrices.values())
    (record,) = policy.contract.provenance.passes
    assert record.name == "sparsity"
    assert record.settings == {"method": "prune", "final": 0.8, "every": 7, "scope": "erdos-renyi", "of": "both"}
    assert record.changed["nonzero"] == [policy.parameters, policy.nonzero_parameters]
    assert record.changed["weight_bytes"] == [policy.weight_bytes] * 2
    assert record.changed["density_by_matrix"] == {
        name: round(np.count_nonzero(tensor) / tensor.size, 6) for name, tensor in matrices.items()
    }
    assert Policy.load(policy.save(tmp_path / "x.policy") or tmp_path / "x.policy").digest == policy.digest


def test_a_better_policy_from_before_the_last_pruning_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def falling(self, policy, seeds=None):
        asked.append(policy.contract.provenance.steps)
        return np.array([1000.0 - len(asked)])

    monkeypatch.setattr(ClosedLoop, "returns", falling)
    config = dataclasses.replace(sparse("sac", "prune", of="actor"), eval_every=48, steps=512, stop_at_return=500.0)
    policy = trained(config, tmp_path)
    assert min(asked) == 48
    kept = policy.contract.provenance.steps
    assert 0.8 * config.steps <= kept == asked[-1]  # the first that is sparse ends the run: it is good enough


def test_two_threads_change_no_mask() -> None:
    config = SACConfig(
        env="Reacher-v5", steps=128, learning_starts=100, critic_hidden=(192, 192), hidden=(16,),
        sparsity=Sparsity(method="set", every=3, of="both", final=0.5),
    )  # fmt: skip
    ends = []
    for threads in (1, 2):
        *_, (learner, _) = run(dataclasses.replace(config, threads=threads))
        assert len(learner.critics.stack.pieces(256)) == 2  # each critic is stepped by whoever is free
        ends.append(torch.cat([learner.critics.adam.flat.value, learner.actor.flat.value]))
    assert torch.equal(*ends)


def test_watchers_are_told_the_sparsity(tmp_path: Path) -> None:
    class Watch:
        def __init__(self) -> None:
            self.seen: list[float] = []

        def add(self, scalars, step) -> None:
            if "sparsity/actor" in scalars:
                self.seen.append(scalars["sparsity/actor"])

        def close(self) -> None:
            pass

    watch = Watch()
    train(sparse("ppo", "prune", of="actor"), tmp_path, device="cpu", progress=False, watchers=[watch])
    assert watch.seen[0] == 0.0 and watch.seen == sorted(watch.seen)
    assert watch.seen[-1] == pytest.approx(0.8, abs=0.01)
