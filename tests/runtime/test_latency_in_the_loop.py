"""Latency in the loop: measured delays are flown, dropped decisions are not obeyed, and the slowest rate is told."""

from __future__ import annotations

import numpy as np
import pytest

from pilotfish.errors import BadInput, PilotfishError
from pilotfish.policy.environment import make_env
from pilotfish.policy.latency import Latency
from pilotfish.policy.scene import Scene
from pilotfish.runtime import flight
from pilotfish.runtime.evaluate import evaluate
from pilotfish.runtime.frequency import STEPS
from pilotfish.runtime.slowest import slowest
from pilotfish.targets.reach import parse_link

gymnasium = pytest.importorskip("gymnasium")


def pendulum(policy_of, build):
    policy = policy_of("mlp", inputs=3, outputs=1, env="Pendulum-v1", seed=2)
    return build(policy.replace(weights=policy.weights | {"last.bias": np.zeros(1, np.float32)}))


def bench_of(us: float) -> dict:
    return {"histograms": {"paced": {"edges_us": [us, us + 1], "counts": [7]}}, "figures": {}}


def test_what_the_bench_measured_is_flown(build, policy_of) -> None:
    artifact = pendulum(policy_of, build)
    with pytest.raises(BadInput, match="pilotfish bench"):
        evaluate(artifact, episodes=1, latency="measured")
    artifact.store_result("bench", bench_of(80_000.0))
    punctual, measured = evaluate(artifact, episodes=2, seed=3), evaluate(artifact, episodes=2, seed=3, latency="measured")
    by_hand = evaluate(artifact, episodes=2, seed=3, latency=Latency((80_000.0, 80_001.0), (7,)))
    assert measured["returns"] == by_hand["returns"] != punctual["returns"]
    assert "80,000 us late" in measured["scene"]
    # What is wanted is the return without the device's latency: the reference flies as it was trained.
    assert measured["reference_returns"] == punctual["reference_returns"]
    assert by_hand["reference_returns"] != punctual["reference_returns"]


def test_what_lies_here_is_replayed_without_a_connection(build, policy_of) -> None:
    """A linked artifact that runs on this machine, too: its device has said all that is needed when it was benched."""
    here = pendulum(policy_of, build)
    here.store_result("bench", bench_of(80_000.0))
    linked = here.reached_by(parse_link("agent://127.0.0.1:9"))  # nobody listens at the discard port
    data = evaluate(linked, episodes=1, seed=3, latency="measured")
    assert data["returns"] == evaluate(here, episodes=1, seed=3, latency="measured")["returns"]
    assert "delays as the bench on the device stored them" in data["figures"]["return"]["note"]
    for settings in ({"latency": "measured", "here": False}, {}):  # flown there: that needs the device
        with pytest.raises(PilotfishError):
            evaluate(linked, episodes=1, **settings)


def test_what_does_not_run_here_is_asked_of_its_device(build, policy_of, monkeypatch: pytest.MonkeyPatch) -> None:
    built = pendulum(policy_of, build)
    built.store_result("bench", bench_of(80_000.0))
    said: list[str] = []
    linked = built.reached_by(parse_link("agent://127.0.0.1:9"), said.append)

    def cannot(artifact, *, trust):
        raise BadInput(artifact.path, expected="code for this machine", found="for another")

    monkeypatch.setattr(flight, "open_session", lambda artifact, *, trust: cannot(artifact, trust=trust))
    with pytest.raises(BadInput, match="for another"):
        evaluate(linked, episodes=1, latency="measured")
    assert len(said) == 1 and said[0].startswith("decisions are asked from its device") and "for another" in said[0]


def test_a_bench_of_another_build_does_not_count(build, policy_of) -> None:
    artifact = pendulum(policy_of, build)
    artifact.store_result("bench", bench_of(80_000.0) | {"artifact": "another"})
    with pytest.raises(BadInput, match="this very artifact"):
        evaluate(artifact, episodes=1, latency="measured")


def test_late_decisions_are_obeyed_or_dropped() -> None:
    """Pendulum: a step is 50 ms. Half of the decisions are there in no time, half of them take two steps."""
    latency = Latency((0.0, 0.0, 100_000.0, 100_000.0), (1, 0, 1))
    taken: dict[bool, list[float]] = {}
    for drop in (False, True):
        env = make_env(Scene("Pendulum-v1", latency=latency, drop_late=drop), disable_env_checker=True)
        torques = []
        base = env.unwrapped
        step = base.step

        def listen(action, step=step, torques=torques):
            torques.append(float(np.asarray(action).reshape(-1)[0]))
            return step(action)

        base.step = listen
        env.reset(seed=4)
        for k in range(40):
            env.step(np.array([k / 100], np.float32))
        taken[drop] = torques
        env.close()
    ages = {drop: [round(k - 100 * torque) for k, torque in enumerate(torques)] for drop, torques in taken.items()}
    assert set(ages[False]) == {0, 1, 2}  # late ones are obeyed, and none overtakes
    on_time = [k for k, age in enumerate(ages[True]) if age == 0]
    assert 10 <= len(on_time) <= 30
    held = [k - max(j for j in on_time if j <= k) for k in range(40)]
    assert ages[True] == held  # a dropped decision is never obeyed: the last one that came in time is held


def test_nothing_late_nothing_dropped(build, policy_of) -> None:
    artifact = pendulum(policy_of, build)
    usual = evaluate(artifact, episodes=2, latency=20_000)
    dropped = evaluate(artifact, episodes=2, latency=20_000, late="drop")
    assert usual["returns"] == dropped["returns"] and "dropped" in dropped["scene"]
    with pytest.raises(BadInput, match="obey or drop"):
        evaluate(artifact, episodes=1, late="forget")  # type: ignore[arg-type]


def table_of(kept: list[float]) -> tuple[np.ndarray, np.ndarray]:
    reference = np.array([100.0, 104.0, 96.0])
    return np.outer(reference, kept), reference


def test_the_slowest_rate_is_the_last_that_passes_the_gate() -> None:
    fine = [1.0, 0.99, 0.98, 0.96, 0.95] + [0.5] * (len(STEPS) - 5)
    found = slowest(*table_of(fine), gate=0.95, control_hz=50.0)
    assert (found.steps, found.hz, found.failing) == (8, 6.25, ())
    assert found.sentence == "keeps 95% of the return down to 6.25 Hz"
    assert found.figure("measured", "d").value == 6.25
    gap = [0.1, 1.0, 1.0] + [0.2] * (len(STEPS) - 3)
    found = slowest(*table_of(gap), gate=0.9, control_hz=None)
    assert found.steps == 4 and found.hz is None and found.failing == (1,)
    assert found.sentence.endswith("down to a decision every 4 steps, but not at a decision every 1 steps")
    assert found.figure("measured", "d").value is None
    never = slowest(*table_of([0.1] * len(STEPS)), gate=0.9, control_hz=50.0)
    assert never.steps is None and "at none of the rates from 50 Hz to 1.67 Hz" in never.sentence
    always = slowest(*table_of([1.0] * len(STEPS)), gate=0.9, control_hz=50.0)
    assert always.steps == 30 and "slowest rate that was flown" in always.sentence


def test_an_evaluation_tells_it(build, policy_of) -> None:
    data = evaluate(pendulum(policy_of, build), episodes=1, fas=True, gate=0.5)
    assert data["slowest"]["sentence"].startswith("keeps 50% of the return") and "slowest_hz" in data["figures"]
    assert "slowest" not in evaluate(pendulum(policy_of, build), episodes=1, gate=0.5)


def test_the_guard_flies_and_its_counters_are_stored(build, policy_of) -> None:
    from pilotfish.policy.guard_table import GUARD_FILE, dumped, guard_table

    artifact = pendulum(policy_of, build)
    plain = evaluate(artifact, episodes=1)
    table = guard_table(artifact.manifest.contract, {"action": {"low": -0.01, "high": 0.01}})
    (artifact.path / GUARD_FILE).write_text(dumped(table))
    data = evaluate(artifact, episodes=1)
    assert data["guard"]["steps"] == data["lengths"][0] == 200 and data["guard"]["clamped"] > 0
    assert data["returns"] != plain["returns"] and "guard" not in plain
