"""Training with several actions per decision, with delays and with stacked frames: settings, contracts, exact resumption."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pilotfish.errors import BadInput
from pilotfish.policy.bundle import Policy
from pilotfish.policy.latency import Latency
from pilotfish.train.config import train_config

torch = pytest.importorskip("torch")
pytest.importorskip("gymnasium")

SMALL = {
    "ppo": {"n_envs": 4, "rollout_steps": 32, "minibatch_size": 64, "epochs": 2},
    "sac": {"batch_size": 16, "learning_starts": 32},
    "td3": {"batch_size": 16, "learning_starts": 32},
}


def _config(algorithm: str, **settings):
    common = {"env": "Pendulum-v1", "algorithm": algorithm, "steps": 256, "hidden": [8], "critic_hidden": [8], "eval_episodes": 1}
    return train_config(common | SMALL[algorithm] | settings)


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
def test_every_algorithm_learns_sequences_of_actions(algorithm: str, tmp_path) -> None:
    from pilotfish.train.run import train

    policy = train(_config(algorithm, actions_per_decision=4), tmp_path, progress=False)
    contract = policy.contract
    assert (contract.action.size, contract.timing.actions_per_decision, contract.timing.control_hz) == (4, 4, 20)
    assert (contract.action.low or contract.action.scale) in ((-2.0,) * 4, (2.0,) * 4) and policy.golden.action.shape[1] == 4
    # 200 steps of Pendulum are 50 decisions: the golden rollout was recorded as the contract says.
    assert np.flatnonzero(policy.golden.start).tolist() == list(range(0, 200, 50))
    assert Policy.load(policy.save(tmp_path / "p.policy")).contract == contract


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_a_delayed_training_goes_on_after_an_interrupt_as_if_there_had_been_none(algorithm: str, tmp_path) -> None:
    from pilotfish.train.environments import VectorEnv
    from pilotfish.train.run import train

    settings = {
        "env": "InvertedPendulum-v5",
        "observation_delay": [0, 2],
        "latency": 30_000,  # three quarters of a step: whole and part ticks are drawn
        "history": 3,
        "checkpoint_every_s": 1e-9,
    }
    pytest.importorskip("mujoco")
    whole = train(_config(algorithm, **settings), tmp_path / "whole", progress=False)

    class Stop(Exception):
        pass

    step, count = VectorEnv.step, 0

    def dying(self, actions):
        nonlocal count
        count += 1
        if count == (40 if algorithm == "ppo" else 150):
            raise Stop
        return step(self, actions)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VectorEnv, "step", dying)
        with pytest.raises(Stop):
            train(_config(algorithm, **settings), tmp_path / "parts", progress=False)
    resumed = train(_config(algorithm, **settings), tmp_path / "parts", progress=False)
    assert not resumed.contract.provenance.notes
    assert {name: tensor.tobytes() for name, tensor in resumed.weights.items()} == {
        name: tensor.tobytes() for name, tensor in whole.weights.items()
    }
    assert resumed.digest == whole.digest


def test_the_contract_keeps_what_was_late(tmp_path) -> None:
    from pilotfish.train.run import train

    config = _config("ppo", observation_delay=1, latency=2000.0, history=2)
    contract = train(config, tmp_path, progress=False).contract
    assert (contract.observation.history, contract.observation.size) == (2, 2 * (3 + 1))
    assert contract.timing.observation_delay == (1, 1) and contract.timing.latency == Latency.fixed(2000)


def test_a_student_learns_sequences_in_the_scene_of_its_teacher(tmp_path) -> None:
    from pilotfish.train.config import distill_config
    from pilotfish.train.distill import distill
    from pilotfish.train.run import train

    teacher = train(_config("sac", actions_per_decision=4, history=2, observation_delay=1), tmp_path, progress=False)
    small = {"steps": 200, "iterations": 1, "n_envs": 2, "epochs": 1, "eval_episodes": 1}
    student = distill(teacher, teacher.replace(name="student"), distill_config(small), progress=False)
    assert student.contract.timing == teacher.contract.timing and student.contract.observation.size == 2 * (3 + 4)
    # Its golden rollout was recorded in that scene: 50 decisions an episode, whose two first frames are alike.
    starts = np.flatnonzero(student.golden.start)
    assert starts.tolist() == list(range(0, 200, 50))
    first = student.golden.obs[starts].reshape(-1, 2, 7)
    assert np.array_equal(first[:, 0], first[:, 1]) and not first[:, :, 3:].any()
    second = student.golden.obs[starts + 1].reshape(-1, 2, 7)
    assert np.array_equal(second[:, 1, 3:], student.golden.action[starts])


def test_latency_is_read_from_what_a_bench_stored(tmp_path) -> None:
    stored = tmp_path / "p@host-cpu.c" / "results" / "bench.json"
    stored.parent.mkdir(parents=True)
    paced, tight = ({"edges_us": [low, low * 2, low * 4], "counts": [30, 10]} for low in (100.0, 10.0))
    stored.write_text(json.dumps({"figures": {}, "histograms": {"tight": tight, "paced": paced}}))
    for path in (stored, stored.parent.parent):
        latency = _config("ppo", latency=str(path)).latency
        assert latency.edges_us == (100, 200, 400) and latency.mean_us == (30 * 150 + 10 * 300) / 40
    draws = np.array([latency.draw_us(random) for random in [np.random.default_rng(0)] for _ in range(4000)])
    assert draws.min() >= 100 and draws.max() <= 400
    assert abs((draws < 200).mean() - 0.75) < 0.035 and abs(draws.mean() - latency.mean_us) < 6  # five standard errors
    band = {"latency_us": {"value": 30, "low": 20, "high": 40}}
    stored.write_text(json.dumps({"figures": band, "histograms": {}}))
    assert _config("ppo", latency=str(stored)).latency.edges_us == (20, 40)
    assert _config("ppo", latency=str(stored)).digest != _config("ppo", latency=30).digest


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"histograms": {"paced": {"edges_us": [1, 2], "counts": ["x"]}}}',
        '{"figures": {"latency_us": {"low": null}}}',
    ],
)
def test_any_other_file_is_no_latency(text: str, tmp_path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(BadInput, match="bench"):
        _config("ppo", latency=str(path))


def test_a_delay_that_cannot_be_is_refused() -> None:
    for wrong in ([2, 1], -1, 5000, [1, 2, 3]):
        with pytest.raises(BadInput, match="observation_delay"):
            _config("ppo", observation_delay=wrong)
