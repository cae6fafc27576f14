"""Environments of the user's own: module:Class is imported where the user named it, and nowhere else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from pilotfish.cli import main
from pilotfish.errors import BadInput
from pilotfish.policy import Action, Contract, Observation, Policy, Provenance, Timing, trust_env
from pilotfish.policy.environment import control_hz, make_env
from pilotfish.policy.layers import Linear
from pilotfish.policy.own_environment import VARIABLE, make_own, source_of_own
from pilotfish.policy.scene import Scene

pytest.importorskip("gymnasium")

MODULE = '''
"""A cart that is rewarded for standing at zero."""
from pathlib import Path

import gymnasium
import numpy as np

Path("imported").touch()


class Cart(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    dt = 0.05

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.age = self.np_random.uniform(-1, 1, 2), 0
        return self.state.astype(np.float32), {}

    def step(self, action):
        self.state[1] += self.dt * float(action[0])
        self.state[0] += self.dt * self.state[1]
        self.age += 1
        return self.state.astype(np.float32), -float(self.state @ self.state), False, self.age == 40, {}


def make():
    return Cart()


def nothing():
    return None


answer = 42
gymnasium.register("OwnCart-v0", Cart, max_episode_steps=7)
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Name of a module in the current folder that nobody trusts yet, and that leaves a file when it is imported."""
    name = f"cart_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    yield name
    sys.modules.pop(name, None)
    import gymnasium

    gymnasium.registry.pop("OwnCart-v0", None)


def _policy(env: str) -> Policy:
    weights = {"a.weight": np.array([[-1.0, -1.0]], np.float32), "a.bias": np.zeros(1, np.float32)}
    action = Action("continuous", 1, low=(-1.0,), high=(1.0,))
    contract = Contract(Observation(2), action, timing=Timing(20.0), provenance=Provenance(env=env))
    return Policy("steady", contract, (Linear("a", 2, 1),), weights)


def test_a_name_that_nobody_trusts_imports_nothing_and_the_refusal_says_what_to_do(module: str) -> None:
    for make in (make_env, lambda name: make_env(Scene(name, history=2)), make_own):
        with pytest.raises(BadInput, match=f"--trust-env {module}:Cart"):
            make(f"{module}:Cart")
    assert source_of_own(f"{module}:Cart") == {}
    assert not Path("imported").exists()


@pytest.mark.parametrize("what", ["Cart", "make", "OwnCart-v0"])
def test_class_factory_and_registered_id_of_a_trusted_module(module: str, what: str) -> None:
    trust_env(f"{module}:{what}")
    env = make_env(f"{module}:{what}", disable_env_checker=True)
    assert type(env.unwrapped).__name__ == "Cart" and control_hz(env) == 20
    assert os.environ[VARIABLE] == f"{module}:{what}"  # what worker processes inherit
    with pytest.raises(BadInput, match="trust"):
        make_env(f"{module}:Other")


@pytest.mark.parametrize(
    ("what", "expected"), [("Missing", "neither"), ("answer", "a int"), ("nothing", "a NoneType"), ("Path", "a PosixPath")]
)
def test_what_is_no_environment_is_refused(module: str, what: str, expected: str) -> None:
    trust_env(f"{module}:{what}")
    with pytest.raises(BadInput, match=expected):
        make_env(f"{module}:{what}")


@pytest.mark.parametrize("name", ["a b:C", ":C", "m:", "m:C,evil:D", "m:C:D", "../m:C"])
def test_a_name_of_another_shape_cannot_be_trusted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(BadInput, match="module:Class"):
        trust_env(name)
    assert VARIABLE not in os.environ


def test_a_module_that_is_not_there_is_said(module: str) -> None:
    trust_env("no_such_module_here:Env")
    with pytest.raises(BadInput, match="can be imported"):
        make_env("no_such_module_here:Env")


def test_train_and_evaluate_from_the_command_line(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    name = f"{module}:Cart"
    small = ["--set", "hidden=[4]", "--set", "critic_hidden=[4]", "--set", "learning_starts=50", "--set", "batch_size=8"]
    assert main(["train", name, "--algorithm", "sac", "--steps", "120", *small, "-o", "own.policy"]) == 0
    provenance = Policy.load("own.policy").contract.provenance
    assert provenance.env == name and provenance.tools[module].startswith("sha256 ")
    assert main(["export", "own.policy", "-t", "host-cpu", "--backend", "onnxruntime"]) == 0
    artifact = next(Path("dist").iterdir())
    os.environ.pop(VARIABLE)
    assert main(["evaluate", str(artifact), "--episodes", "2"]) == 2
    assert f"--env {name}" in capsys.readouterr().err
    assert main(["evaluate", str(artifact), "--episodes", "2", "--env", name]) == 0


def test_a_job_and_its_policy_import_only_what_the_command_line_allows(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    from pilotfish.policy.record import record_golden

    name, policy = f"{module}:Cart", _policy(f"{module}:Cart")
    policy.replace(golden=record_golden(policy, None, 20)).save("steady.policy")
    job = 'name = "own"\n{source}\n[[export]]\ntarget = "host-cpu"\nbackend = "onnxruntime"\n'
    job += "[bench]\ncalls = 100\npaced_seconds = 0.01\n"
    sources = {
        "policy": 'policy = "steady.policy"\n[evaluate]\nepisodes = 1',
        "train": f'[evaluate]\nepisodes = 1\n[train]\nenv = "{name}"\nalgorithm = "sac"\nsteps = 60\nhidden = [4]',
    }
    for kind, source in sources.items():
        Path(f"{kind}.toml").write_text(job.format(source=source))
        command = ["run", f"{kind}.toml", "-o", f"out-{kind}"]
        monkeypatch.delenv(VARIABLE, raising=False)
        assert main(command) == 2
        assert f"--trust-env {name}" in capsys.readouterr().err
        assert not Path("imported").exists() and module not in sys.modules
        assert main([*command, "--trust-env", name]) == 0, capsys.readouterr().err
        Path("imported").unlink()
        del sys.modules[module]
        import gymnasium

        gymnasium.registry.pop("OwnCart-v0")
