"""Law: an artifact passes exactly if it follows its golden rollout, step by step and over whole episodes."""

import dataclasses
import json

import numpy as np
import pytest

from pilotfish.errors import BadInput
from pilotfish.policy.reference import Reference
from pilotfish.runtime import verify as verify_module
from pilotfish.runtime.tolerance import STEPS, last_step, tolerance_for
from pilotfish.runtime.verify import MAX_POINTS, verify


class Bent(Reference):
    """The reference, with ``bend(t, action)`` applied to what it returns."""

    def __init__(self, policy, bend) -> None:
        self.calls, self.bend = 0, bend
        super().__init__(policy)

    def act(self, obs):
        action = self.bend(self.calls, super().act(obs))
        self.calls += 1
        return action


@pytest.fixture
def bent(build, monkeypatch: pytest.MonkeyPatch):
    """``bent(policy, bend)`` -> an artifact whose session misbehaves."""

    def make(policy, bend):
        artifact = build(policy)
        monkeypatch.setattr(verify_module, "open_session", lambda *_, **__: Bent(policy, bend))
        return artifact

    return make


@pytest.mark.parametrize("backend", ["onnxruntime", "c"])
@pytest.mark.parametrize("kind", ["mlp", "gru", "lstm", "int8"])
def test_real_artifacts_pass(build, policy_of, backend: str, kind: str) -> None:
    artifact = build(policy_of(kind), backend)
    seen = []
    data = verify(artifact, progress=lambda done, total: seen.append((done, total)))
    assert data["passed"] and data["failures"] == [] and data["steps"] == 120
    assert data["golden_source"] == "random observations" and len(data["error_by_step"]) == 120
    assert data["figures"]["max_abs_error"]["value"] < (1e-5 if kind != "int8" else data["tolerance"])
    assert data["figures"]["max_abs_error"]["source"] == "measured" and data["device"]["machine"]
    assert artifact.result("verify") == {"artifact": artifact.digest} | json.loads(json.dumps(data))
    assert seen[-1][0] == seen[-1][1] and all(a <= b for a, b in seen)


def test_discrete_artifacts_report_agreement(build, policy_of) -> None:
    data = verify(build(policy_of(discrete=True)))
    assert data["passed"] and data["figures"]["agreement"]["value"] == 1.0 and set(data["error_by_step"]) == {0.0}


def test_nan_fails_and_is_stored_as_json(bent, policy_of) -> None:
    artifact = bent(policy_of(), lambda t, a: a * np.nan if t == 7 else a)
    data = verify(artifact)
    assert not data["passed"] and "step 7" in data["failures"][0] and "NaN" in data["failures"][0]
    assert data["figures"]["max_abs_error"]["value"] is None and data["error_by_step"][7] is None
    assert artifact.result("verify")["passed"] is False


def test_one_wrong_entry_fails_and_is_named(bent, policy_of) -> None:
    wrong = np.array([0, 0, 5e-4], np.float32)
    data = verify(bent(policy_of(), lambda t, a: a + wrong if t == 31 else a))
    assert not data["passed"] and "entry 2 at step 31" in data["failures"][0]
    assert abs(data["figures"]["max_abs_error"]["value"] - 5e-4) < 1e-6


def test_tolerance_can_be_named(bent, policy_of) -> None:
    bend = lambda t, a: a + np.float32(5e-4)  # noqa: E731
    assert verify(bent(policy_of(), bend), tolerance=1e-3)["passed"]
    assert not verify(bent(policy_of(), bend), tolerance=1e-4)["passed"]
    with pytest.raises(BadInput, match="tolerance"):
        verify(bent(policy_of(), bend), tolerance=-1)


def test_a_state_that_is_not_kept_fails_only_on_its_own_state(bent, policy_of, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step from the recorded state may be perfect while the episode drifts: both are looked at."""
    policy = policy_of("gru")

    class Forgetful(Bent):
        def act(self, obs):
            action = super().act(obs)
            self.state = np.zeros(12)
            return action

    artifact = bent(policy, lambda t, a: a)
    monkeypatch.setattr(verify_module, "open_session", lambda *_, **__: Forgetful(policy, lambda t, a: a))
    data = verify(artifact)
    assert data["figures"]["one_step_max_abs_error"]["value"] < 1e-6
    assert not data["passed"] and all(reason.startswith("on its own state") for reason in data["failures"])


def test_max_steps_and_downsampling(build, policy_of, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = build(policy_of("lstm"))
    data = verify(artifact, max_steps=60)
    assert data["steps"] == 60 == len(data["error_by_step"]) and data["golden_steps"] == 120
    monkeypatch.setattr(verify_module, "MAX_POINTS", 7)
    assert len(verify(artifact)["error_by_step"]) == 7 <= MAX_POINTS
    with pytest.raises(BadInput, match="max_steps"):
        verify(artifact, max_steps=0)


def test_a_tie_is_excused_and_a_wrong_choice_is_not(bent, policy_of, record) -> None:
    policy = policy_of(discrete=True)
    weights = dict(policy.weights)
    for tensor in ("last.weight", "last.bias"):  # outputs 0 and 1 are the same number: always a tie
        weights[tensor] = weights[tensor].copy()
        weights[tensor][1] = weights[tensor][0]
    tied = policy.replace(weights=weights)
    tied = tied.replace(golden=record(tied, np.random.default_rng(0)))
    swap = {0: 1, 1: 1, 2: 2}
    data = verify(bent(tied, lambda t, a: np.array([swap[int(a[0])]])))
    assert data["passed"] and data["figures"]["agreement"]["value"] < 1
    data = verify(bent(tied, lambda t, a: np.array([2 - int(a[0])])))
    assert not data["passed"] and "logits differ" in data["failures"][0]
    data = verify(bent(tied, lambda t, a: np.array([3])))
    assert not data["passed"] and "no action" in data["failures"][0]


def test_int8_ties_pass_and_a_wrong_scale_does_not(bent, policy_of) -> None:
    policy = policy_of("int8")
    step = last_step(policy)
    rule = tolerance_for(policy, policy.golden, drift=False)
    assert np.all(rule.worst >= STEPS * step - 1e-12) and rule.share == 0.99
    one_tie = lambda t, a: a + np.float32(step) if t == 3 else a  # noqa: E731
    assert verify(bent(policy, one_tie))["passed"]
    assert not verify(bent(policy, lambda t, a: np.float32(1.02) * a))["passed"]
    far = lambda t, a: a + np.float32(20 * step) if t == 3 else a  # noqa: E731
    assert not verify(bent(policy, far))["passed"]


def test_tolerance_scales_with_the_action_of_that_entry(policy_of) -> None:
    policy = policy_of()
    scaled = dataclasses.replace(policy.golden, action=policy.golden.action * np.float32([1, 1000, 0.001]))
    rule = tolerance_for(policy, scaled, drift=False)
    top = np.abs(scaled.action[:, 1]).max()
    np.testing.assert_allclose(rule.worst, [1e-5, 1e-5 * top, 1e-5])


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("obs", lambda a: a[:, :4]),
        ("action", lambda a: a[:, :2]),
        ("action", lambda a: a * np.nan),
        ("state", lambda a: np.zeros((len(a), 3), np.float32)),
        ("obs", lambda a: a.astype(str)),
        ("start", lambda a: a.astype(np.float32)),
    ],
)
def test_a_golden_rollout_that_does_not_fit_is_refused(build, policy_of, field: str, change) -> None:
    artifact = build(policy_of())
    golden = artifact.golden
    object.__setattr__(golden, field, change(getattr(golden, field)))
    with pytest.raises(BadInput, match="golden rollout"):
        verify(artifact)
