"""Small policies in plain numpy with a golden rollout by the plain reference, and artifacts made of them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pilotfish.policy import Action, Contract, Golden, Normalizer, Observation, Policy, Provenance, Timing
from pilotfish.policy.cells import GRU, LSTM
from pilotfish.policy.grid import Quantize
from pilotfish.policy.layers import Activation, Layers, Linear, tensor_shapes
from pilotfish.policy.reference import Reference
from pilotfish.runtime.artifact import Artifact
from pilotfish.targets import Target, load_target


def random_weights(layers: Layers, generator: np.random.Generator) -> dict[str, np.ndarray]:
    weights = {}
    for layer in layers:
        for name, (shape, dtype) in tensor_shapes(layer).items():
            if dtype == np.int8:
                weights[name] = generator.integers(-127, 128, shape).astype(np.int8)
            elif name.endswith("_scale"):
                weights[name] = np.full(shape, 1 / (127 * np.sqrt(shape[0])), np.float32)
            else:
                weights[name] = (generator.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)
    return weights


def record_random(policy: Policy, generator: np.random.Generator, steps: int = 120, episode: int = 50) -> Golden:
    """Random observations through the plain reference, in episodes."""
    reference, rows = Reference(policy), {"obs": [], "action": [], "state": []}
    obs = (2 * generator.standard_normal((steps, policy.contract.observation.size))).astype(np.float32)
    start = np.arange(steps) % episode == 0
    for t in range(steps):
        if start[t]:
            reference.reset()
        rows["state"].append(np.asarray(reference.state, np.float32))
        rows["action"].append(reference.act(obs[t]))
    return Golden(obs, np.stack(rows["action"]), np.stack(rows["state"]), start, "random observations")


def network(kind: str, inputs: int, outputs: int, hidden: int = 12) -> Layers:
    bodies: dict[str, Layers] = {
        "mlp": (Linear("first", inputs, hidden), Activation("tanh")),
        "gru": (GRU("cell", inputs, hidden),),
        "lstm": (LSTM("cell", inputs, hidden),),
        "int8": (
            Quantize(8 / 127, 0),
            Linear("first", inputs, hidden, weight_bits=8),
            Activation("tanh"),
            Quantize(1 / 127, 0),
        ),
    }
    return (*bodies[kind], Linear("last", hidden, outputs, weight_bits=8 if kind == "int8" else 32))


def make_policy(
    kind: str = "mlp",
    *,
    discrete: bool = False,
    inputs: int = 5,
    outputs: int = 3,
    seed: int = 0,
    env: str | None = None,
    control_hz: float | None = None,
    normalizer: bool = True,
) -> Policy:
    generator = np.random.default_rng(seed)
    layers = network(kind, inputs, outputs)
    normal = Normalizer(tuple(generator.normal(size=inputs)), tuple(generator.uniform(0.5, 2, inputs)), clip=5.0)
    action = (
        Action("discrete", outputs) if discrete else Action("continuous", outputs, low=(-1.0,) * outputs, high=(1.0,) * outputs)
    )
    contract = Contract(
        Observation(inputs, normalizer=normal if normalizer else None),
        action,
        timing=Timing(control_hz=control_hz),
        provenance=Provenance(env=env),
    )
    policy = Policy(
        f"{kind}-{'discrete' if discrete else 'continuous'}-{seed}", contract, layers, random_weights(layers, generator)
    )
    return policy.replace(golden=record_random(policy, generator))


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Artifact]:
    """``build(policy, backend, target)`` -> artifact, or a skip that names the missing tool."""

    def make(policy: Policy, backend: str = "onnxruntime", target: str | Target = "host-cpu") -> Artifact:
        from pilotfish.errors import MissingTool
        from pilotfish.export.build import export_policy

        pytest.importorskip("onnx")
        if backend == "onnxruntime":
            pytest.importorskip("onnxruntime")
        profile = load_target(target) if isinstance(target, str) else target
        if profile.link.kind == "virtual":
            pytest.importorskip("unicorn")
        try:
            return export_policy(policy, profile, backend, tmp_path / "dist")
        except MissingTool as error:
            pytest.skip(str(error))

    return make


@pytest.fixture(scope="session")
def _artifacts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[str, ...], Artifact]]:
    """A folder, and what :func:`keep` has built there."""
    return tmp_path_factory.mktemp("artifacts"), {}


@pytest.fixture
def keep(_artifacts: tuple[Path, dict[tuple[str, ...], Artifact]], tmp_path: Path) -> Callable[..., Artifact]:
    """``keep(policy, backend, target)`` -> a copy of the artifact, of the test's own; equal ones are built once per process."""
    folder, made = _artifacts

    def make(policy: Policy, backend: str, target: Target) -> Artifact:
        from pilotfish.export.build import export_policy

        assert policy.golden is not None
        golden = hashlib.sha256(policy.golden.to_bytes()).hexdigest()
        key = (policy.digest, policy.name, golden, backend, repr(target), os.environ["PILOTFISH_HOME"])
        if key not in made:
            made[key] = export_policy(policy, target, backend, folder / str(len(made)))
        return Artifact.load(shutil.copytree(made[key].path, tmp_path / "dist" / made[key].path.name))

    return make


@pytest.fixture
def policy_of() -> Callable[..., Policy]:
    return make_policy


@pytest.fixture
def record() -> Callable[..., Golden]:
    return record_random
