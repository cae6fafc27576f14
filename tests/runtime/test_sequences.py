"""Artifacts of policies that return several actions per decision: what they say, how fast they must be, what they earn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from pilotfish.policy.bundle import Policy
from pilotfish.policy.contract import Timing
from pilotfish.policy.environment import make_env
from pilotfish.policy.reference import Reference
from pilotfish.runtime.bench import bench
from pilotfish.runtime.evaluate import evaluate
from pilotfish.runtime.verify import verify

gymnasium = pytest.importorskip("gymnasium")


@pytest.fixture
def sequences(policy_of: Callable[..., Policy]) -> Policy:
    """Four actions per decision, in Pendulum, with a golden rollout of its own."""
    policy = policy_of("mlp", inputs=3, outputs=4, env="Pendulum-v1")
    timing = Timing(control_hz=20.0, actions_per_decision=4)
    return policy.replace(contract=dataclasses.replace(policy.contract, timing=timing))


@pytest.mark.parametrize("backend", ["onnxruntime", "c"])
def test_its_return_is_that_of_its_actions_taken_one_after_another(backend: str, sequences: Policy, build) -> None:
    artifact = build(sequences, backend)
    assert verify(artifact)["passed"]
    data = evaluate(artifact, episodes=2, seed=3)
    env, session = make_env("Pendulum-v1"), Reference(sequences)
    for seed, found, length in zip((3, 4), data["returns"], data["lengths"], strict=True):
        obs, total, over = env.reset(seed=seed)[0], 0.0, False
        session.reset()
        while not over:
            for value in session.act(obs):
                obs, reward, _, over, _ = env.step(np.array([value], np.float32))
                total += reward
        assert found == pytest.approx(total, rel=1e-4) and length == 50


def test_the_c_header_says_how_many_actions_and_the_deadline_is_theirs(sequences: Policy, build) -> None:
    artifact = build(sequences, "c")
    header = (artifact.path / "policy.h").read_text()
    assert "#define POLICY_ACTIONS_PER_DECISION 4" in header and "#define POLICY_ACTION_COUNT 4" in header
    assert "4 actions of 1, to be taken one after another" in header
    assert "Decisions per second in training: 5" in header and "Actions per second: 20" in header
    data = bench(artifact, calls=100, paced_seconds=0.1, control_hz=200)
    assert (data["control_hz"], data["deadline_us"]) == (200, 4 * 1e6 / 200)
    assert data["figures"]["paced_misses"]["samples"] == 5  # 0.1 s at 50 decisions per second
    assert bench(artifact, calls=100, paced_seconds=0)["deadline_us"] == 200_000


def test_a_board_has_the_time_of_all_actions(sequences: Policy, build) -> None:
    data = bench(build(sequences, "c", "nucleo-g0b1re"))
    assert data["deadline_us"] == 200_000 and data["deadline_met"]


def test_it_may_be_judged_against_a_policy_that_decides_every_step(sequences: Policy, policy_of, build) -> None:
    every = policy_of("mlp", inputs=3, outputs=1, env="Pendulum-v1")
    data = evaluate(build(sequences), episodes=2, reference=every)
    assert data["reference_returns"] == evaluate(build(every), episodes=2)["reference_returns"]


def test_the_report_says_how_many_actions_and_how_late(sequences: Policy, build, tmp_path) -> None:
    for package in ("jinja2", "plotly"):
        pytest.importorskip(package)
    from pilotfish.policy.latency import Latency
    from pilotfish.runtime.report import write_report

    timing = dataclasses.replace(sequences.contract.timing, observation_delay=(0, 2), latency=Latency.fixed(900))
    late = sequences.replace(contract=dataclasses.replace(sequences.contract, timing=timing))
    write_report([build(late)], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "4 actions per decision, one after another" in page and "20 Hz, a decision every 4 steps" in page
    assert "observations, by 0 to 2 steps; actions: 900 us, as asked for" in page
