"""The policies of the host benchmark, and the folders in which every runtime finds them."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
from boards.networks import Function, Mlp, sparse
from peers.subject import ROWS, Subject

from pilotfish.compress.passes import Context, apply
from pilotfish.compress.quantize import QUANTIZE
from pilotfish.compress.quantize_settings import Quantize
from pilotfish.export.onnx import to_onnx
from pilotfish.policy.bundle import Policy
from pilotfish.policy.cells import GRU
from pilotfish.policy.contract import Action, Contract, Observation
from pilotfish.policy.golden import Golden
from pilotfish.policy.layers import LAYERS, Activation, ActivationName, Layer, Linear, tensor_shapes
from pilotfish.policy.reference import Reference

SPARSITY = 0.95
FLOAT_TOLERANCE = 1e-4
"""Of the largest action: far above float32 rounding, far below what one wrong weight costs."""
INT8_TOLERANCE = 0.15
"""Of the largest action: two right int8 runtimes place their grids differently (a wrong scale costs more than 1)."""
TITLES = {
    "A": "17-64-64-6 tanh",
    "B": "17-256-256-6 relu",
    "C": "376-256-256-17 relu",
    "D": "GRU 48→64→12",
    "E": "A, 95 % of the weights zero",
    "EB": "B, 95 % of the weights zero",
    "F": "A, int8 weights and activations",
}
"""Name -> what it is. Weights are drawn at random: they cost what trained ones cost."""
FLOAT_TWINS = {"F": "A"}


def policy(name: str) -> Policy:
    """One of ``TITLES``, with a golden rollout."""
    match name:
        case "A":
            return _drawn(name, _mlp("tanh", 17, 64, 64, 6))
        case "B":
            return _drawn(name, _mlp("relu", 17, 256, 256, 6))
        case "C":
            return _drawn(name, _mlp("relu", 376, 256, 256, 17))
        case "D":
            return _drawn(name, [GRU("cell", 48, 64), Linear("head", 64, 12)])
        case "E":
            return _pruned(name, policy("A"), "tanh")
        case "EB":
            return _pruned(name, policy("B"), "relu")
        case "F":
            return _quantized(name, policy("A"))
    raise ValueError(f"no policy {name!r}")


def write_subject(name: str, root: Path) -> Subject:
    """ROOT/NAME (and its float twin's): bundle, ONNX file, weights, observations and what float64 answers to them."""
    import onnx

    drawn = policy(name)
    if (twin := FLOAT_TWINS.get(name)) and not (root / twin).exists():
        write_subject(twin, root)
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    drawn.save(folder / "subject.policy")
    onnx.save(to_onnx(drawn), str(folder / "policy.onnx"))
    observations = _observations(drawn)
    reference = Reference(drawn, np.float64)
    expected = np.stack([reference.act(row) for row in observations])
    share = INT8_TOLERANCE if drawn.precision == "int8" else FLOAT_TOLERANCE
    subject = Subject(
        name=name,
        title=TITLES[name],
        folder=folder,
        layers=tuple(LAYERS.dump_python(drawn.layers, mode="json")),
        weights=dict(drawn.weights),
        state=tuple((tensor.name, tensor.size) for tensor in drawn.contract.state),
        observations=observations,
        expected=expected,
        tolerance=share * float(np.abs(expected).max()),
        float_twin=FLOAT_TWINS.get(name, ""),
    )
    subject.save()
    return subject


def _mlp(function: ActivationName, *sizes: int) -> list[Layer]:
    layers: list[Layer] = []
    for index, (a, b) in enumerate(itertools.pairwise(sizes)):
        layers += [Linear(f"fc{index}", a, b), Activation(function)]
    return layers[:-1]


def _drawn(name: str, layers: list[Layer]) -> Policy:
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}
    for layer in layers:
        for tensor, (shape, dtype) in tensor_shapes(layer).items():
            # Biases small, rows of unit gain: values stay where tanh bends, as in a trained policy.
            gain = 1 / np.sqrt(shape[-1]) if len(shape) == 2 else 0.1
            weights[tensor] = (rng.normal(size=shape) * gain).astype(dtype)
    ins = layers[0].in_size  # type: ignore[union-attr]
    outs = layers[-1].out_size  # type: ignore[union-attr]
    return _with_golden(Policy(name, Contract(Observation(ins), Action("continuous", outs)), tuple(layers), weights))


def _pruned(name: str, dense: Policy, function: Function) -> Policy:
    """By size, every unit alive: as on the virtual boards."""
    layers = [layer.name for layer in dense.layers if isinstance(layer, Linear)]
    weights = tuple(dense.weights[f"{layer}.weight"] for layer in layers)
    biases = tuple(dense.weights[f"{layer}.bias"] for layer in layers)
    kept = sparse(Mlp(name, function, weights, biases), SPARSITY).weights
    return _with_golden(
        dense.replace(name=name, weights=dense.weights | {f"{n}.weight": w for n, w in zip(layers, kept, strict=True)})
    )


def _quantized(name: str, policy: Policy) -> Policy:
    """By Pilotfish's own pass, calibrated on the observations that are timed: they stand for its environment here."""
    golden = policy.golden
    assert golden is not None, "every policy here has one"
    teacher = policy.replace(golden=dataclasses.replace(golden, source="environment"))
    return _with_golden(apply(teacher, QUANTIZE, Quantize(), Context(teacher)).replace(name=name))


def _observations(policy: Policy) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(ROWS, policy.contract.observation.size)).astype(np.float32)


def _with_golden(policy: Policy) -> Policy:
    reference, observations = Reference(policy), _observations(policy)
    states, actions = [], []
    for row in observations:
        states.append(reference.state.astype(np.float32))
        actions.append(reference.act(row).astype(np.float32))
    golden = Golden(observations, np.stack(actions), np.stack(states), np.arange(ROWS) == 0, "random observations")
    return policy.replace(golden=golden)
