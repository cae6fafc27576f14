"""The ONNX graph: one file, static shapes, the same numbers as the reference, the same bytes for the same policy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pilotfish.export.build import export_policy
from pilotfish.export.onnx import OPSET, to_onnx
from pilotfish.policy import Action, Contract, Golden, Normalizer, Observation, Policy
from pilotfish.policy.cells import GRU, LSTM
from pilotfish.policy.grid import Quantize
from pilotfish.policy.layers import Activation, Affine, Clip, LayerNorm, Linear, largest_integer, matrix_bits, tensor_shapes
from pilotfish.policy.reference import Reference
from pilotfish.targets import load_target

LAYERS = (
    Affine("scale", 5),
    LayerNorm("norm", 5),
    GRU("memory", 5, 7),
    LSTM("cell", 7, 6, weight_bits=3),
    Quantize(0.02, 3),
    Linear("a", 6, 8, weight_bits=8),
    Activation("silu"),
    Linear("b", 8, 8, bias=False),
    Activation("leaky_relu", 0.1),
    Clip(-3.0, 3.0),
    Linear("c", 8, 3),
)


def policy(kind: str = "continuous") -> Policy:
    rng = np.random.default_rng(1)
    weights = {}
    for layer in LAYERS:
        for name, (shape, dtype) in tensor_shapes(layer).items():
            if dtype == np.int8:
                most = largest_integer(matrix_bits(layer)[name])
                weights[name] = rng.integers(-most, most + 1, shape).astype(np.int8)
            elif name.endswith("_scale"):
                weights[name] = rng.uniform(0.001, 0.01, shape).astype(np.float32)
            else:
                weights[name] = rng.normal(0, 0.5, shape).astype(np.float32)
    normalizer = Normalizer((0.1,) * 5, (0.5,) * 5, clip=2.0)
    action = Action("discrete", 3)
    if kind == "continuous":
        action = Action(
            "continuous", 3, squash="tanh", scale=(2.0, 1.0, 0.5), offset=(0.1, 0.0, 0.0), low=(-1.0,) * 3, high=(1.0,) * 3
        )
    return Policy("p", Contract(Observation(5, normalizer=normalizer), action), LAYERS, weights)


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_the_graph_is_the_policy(kind: str) -> None:
    ort = pytest.importorskip("onnxruntime")
    made = policy(kind)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(to_onnx(made).SerializeToString(), options)
    reference = Reference(made)
    state = {f"state_in_{s.name}": np.zeros((1, s.size), np.float32) for s in made.contract.state}
    for obs in np.random.default_rng(2).normal(size=(100, 5)).astype(np.float32):
        action, *following = session.run(None, {"obs": obs[None], **state})
        np.testing.assert_allclose(action[0], reference.act(obs), atol=2e-3 if kind == "continuous" else 0)
        # The state is compared before it is fed back, and both go on from the same one.
        flat = np.concatenate([f[0] for f in following])
        np.testing.assert_allclose(flat, reference.state, atol=1e-5)
        reference.state = flat
        state = dict(zip(state, following, strict=True))


def test_the_file_stands_alone_and_is_reproducible() -> None:
    made = policy()
    model = to_onnx(made)
    assert model.SerializeToString(deterministic=True) == to_onnx(made).SerializeToString(deterministic=True)
    assert model.opset_import[0].version == OPSET
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    for value in (*model.graph.input, *model.graph.output):
        assert all(d.dim_value > 0 and not d.dim_param for d in value.type.tensor_type.shape.dim)
    assert {v.name for v in model.graph.input} == {"obs", "state_in_memory_h", "state_in_cell_h", "state_in_cell_c"}
    biases = [t for t in model.graph.initializer if "bias" in t.name]
    assert biases and all(t.data_type == 1 for t in biases), "biases stay float32"


def test_an_int8_artifact_warns_those_who_load_it_themselves(tmp_path: Path) -> None:
    made = policy()
    obs = np.zeros((3, 5), np.float32)
    reference = Reference(made)
    state, action = zip(*[(reference.state, reference.act(o)) for o in obs], strict=True)
    golden = Golden(obs, np.stack(action).astype(np.float32), np.stack(state), np.arange(3) == 0, "random observations")
    artifact = export_policy(made.replace(golden=golden), load_target("host-cpu"), "onnxruntime", tmp_path)
    text = (artifact.path / "README.txt").read_text()
    assert "session.disable_quant_qdq" in text and "state_in_memory_h [1, 7]" in text
