"""The promise of the whole: a policy that nobody here trained, on every target, held against torch and against its return."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pilotfish.targets import load_target

TARGETS = (("host-cpu", "onnxruntime"), ("host-cpu", "c"), ("crazyflie", "c"))


def needs(*packages: str) -> None:
    for package in packages:
        pytest.importorskip(package, reason=f"{package} is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spine")


@pytest.mark.parametrize("target,backend", TARGETS)
def test_an_adopted_cheetah_agrees_with_torch_everywhere(shared_policy, folder: Path, target: str, backend: str) -> None:
    """1e-5 on the golden rollout, which the float32 torch reference recorded in the environment."""
    needs("torch", "onnx", "onnxruntime", "gymnasium", "mujoco", "unicorn", "ziglang")
    from pilotfish.export.build import export_policy
    from pilotfish.policy.adopt import adopt
    from pilotfish.runtime.verify import verify

    zipped = shared_policy("sb3/ppo_HalfCheetah-v3.zip")
    normalizer = shared_policy("sb3/ppo_HalfCheetah-v3.vecnormalize.pkl")
    policy = adopt(zipped, normalizer=normalizer, env="HalfCheetah-v5", golden_steps=300)
    assert policy.golden is not None and policy.golden.source == "environment"
    result = verify(export_policy(policy, load_target(target), backend, folder))
    assert result["passed"] and result["figures"]["max_abs_error"]["value"] <= 1e-5


@pytest.mark.parametrize("target,backend", TARGETS)
def test_the_return_of_an_artifact_lies_within_the_paired_interval(
    shared_policy, folder: Path, target: str, backend: str
) -> None:
    needs("torch", "onnx", "onnxruntime", "gymnasium", "mujoco", "unicorn", "ziglang")
    from pilotfish.export.build import export_policy
    from pilotfish.policy.adopt import adopt
    from pilotfish.runtime.evaluate import evaluate

    zipped = shared_policy("sb3/trpo_Hopper-v3.zip")
    policy = adopt(zipped, normalizer=shared_policy("sb3/trpo_Hopper-v3.vecnormalize.pkl"), env="Hopper-v5", golden_steps=50)
    result = evaluate(export_policy(policy, load_target(target), backend, folder), episodes=5, gate=0.99)
    difference = result["figures"]["difference"]
    # The differences are chaos, not bias: a small share of the return, whatever their sign.
    assert result["passed"] and abs(difference["value"]) <= 0.005 * result["figures"]["reference_return"]["value"]
    assert result["figures"]["return"]["value"] > 3500


@pytest.mark.parametrize("target,backend", TARGETS)
def test_a_recurrent_policy_does_not_drift_over_an_episode(shared_policy, folder: Path, target: str, backend: str) -> None:
    """h1_motion.pt keeps its LSTM state in module buffers; in the contract it is explicit, and it is carried on its own."""
    needs("torch", "onnx", "onnxruntime", "unicorn", "ziglang")
    from pilotfish.export.build import export_policy
    from pilotfish.policy.adopt import adopt
    from pilotfish.runtime.verify import verify

    policy = adopt(shared_policy("torchscript/h1_motion.pt"), config=shared_policy("torchscript/h1.yaml"), golden_steps=200)
    assert [state.size for state in policy.contract.state] == [64, 64] and policy.contract.timing.control_hz == 50.0
    result = verify(export_policy(policy, load_target(target), backend, folder))
    scale = float(np.abs(policy.golden.action).max())
    assert result["passed"] and result["figures"]["max_abs_error"]["value"] <= 1e-5 * max(1.0, scale)
