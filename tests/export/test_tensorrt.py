"""Laws of the TensorRT back-end: the graph that is built means what the policy means, and the engine is what was asked for.

Building needs no GPU, only `pip install "pilotfish[tensorrt]"`; executing needs one, see tests/runtime/test_tensorrt_session.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pilotfish.errors import BadInput, MissingTool, Unsupported
from pilotfish.export.build import export_policy
from pilotfish.export.onnx import to_onnx
from pilotfish.policy import Golden, Policy
from pilotfish.policy.cells import GRU, LSTM
from pilotfish.policy.grid import Quantize
from pilotfish.policy.layers import Activation, History, LayerNorm, Linear
from pilotfish.policy.reference import Reference
from pilotfish.runtime import tensorrt_engine
from pilotfish.runtime.artifact import Artifact
from pilotfish.targets import load_target, shipped_targets

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

MLP = (Linear("a", 17, 64), Activation("tanh"), Linear("b", 64, 64), Activation("relu"), Linear("c", 64, 6))
INT8 = (
    Quantize(5 / 32767, 0, 16),
    Linear("a", 17, 64, weight_bits=8),
    Activation("tanh"),
    Quantize(1 / 127, 3),
    Linear("b", 64, 64, weight_bits=8),
    Activation("relu"),
    Quantize(6 / 255, -128),
    Linear("c", 64, 6, weight_bits=8),
)
RECURRENT = {"gru": (GRU("cell", 17, 32), Linear("out", 32, 6)), "lstm": (LSTM("cell", 17, 32), Linear("out", 32, 6))}


def with_golden(policy: Policy, steps: int = 60) -> Policy:
    reference, generator = Reference(policy), np.random.default_rng(1)
    obs = generator.standard_normal((steps, policy.contract.observation.size)).astype(np.float32)
    states, actions = [], []
    for row in obs:
        states.append(np.asarray(reference.state, np.float32))
        actions.append(reference.act(row))
    start = np.arange(steps) == 0
    return policy.replace(golden=Golden(obs, np.stack(actions), np.stack(states), start, "random observations"))


def run(model, obs: np.ndarray) -> np.ndarray:
    """Actions of an ONNX graph that carries its own state."""
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    states = {i.name: np.zeros(i.shape, np.float32) for i in session.get_inputs() if i.name != "obs"}
    names, actions = [o.name for o in session.get_outputs()], []
    for row in obs:
        out = dict(zip(names, session.run(None, {"obs": row[None], **states}), strict=True))
        actions.append(out["action"][0])
        states = {name: out[name.replace("_in_", "_out_")] for name in states}
    return np.stack(actions)


def zero_points(model) -> list[int]:
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    return [int(zero) for node in nodes for zero in values[node.input[2]].ravel()]


@pytest.mark.parametrize("seed", range(3))
def test_grids_without_zero_points_mean_the_same(make_policy, seed: int) -> None:
    from pilotfish.export.tensorrt.symmetric import to_symmetric

    policy = make_policy(INT8, 17, 6, seed)
    model = to_onnx(policy)
    moved = to_symmetric(model)
    assert set(zero_points(model)) == {0, 3, -128} and set(zero_points(moved)) == {0}
    obs = np.random.default_rng(seed).standard_normal((300, 17)).astype(np.float32)
    difference = np.abs(run(model, obs) - run(moved, obs))
    # Ties may round to the other neighbour; everything else agrees to float32's last digits.
    assert (difference < 1e-5).mean() > 0.99 and difference.max() < 0.1
    assert to_symmetric(moved).SerializeToString(deterministic=True) == moved.SerializeToString(deterministic=True)


def test_a_grid_before_something_else_than_a_matrix_is_put_back(make_policy) -> None:
    from pilotfish.export.tensorrt.symmetric import to_symmetric

    policy = make_policy((Quantize(0.05, -100), Activation("tanh"), Linear("a", 5, 3)), 5, 3, 0)
    model, obs = to_onnx(policy), np.random.default_rng(0).standard_normal((100, 5)).astype(np.float32)
    moved = to_symmetric(model)
    assert set(zero_points(moved)) == {0}
    np.testing.assert_allclose(run(moved, obs), run(model, obs), atol=1e-5)


@pytest.mark.parametrize("layers", [MLP, *RECURRENT.values()], ids=["mlp", "gru", "lstm"])
def test_float16_matrices_move_actions_by_little(make_policy, layers) -> None:
    from pilotfish.export.tensorrt.half import to_half

    model = to_onnx(make_policy(layers, 17, 6, 0))
    half = to_half(model, "fp16")
    assert len(half.SerializeToString()) < 0.65 * len(model.SerializeToString())
    assert {v.type.tensor_type.elem_type for v in [*half.graph.input, *half.graph.output]} == {onnx.TensorProto.FLOAT}
    obs = np.random.default_rng(0).standard_normal((200, 17)).astype(np.float32)
    difference = np.abs(run(half, obs) - run(model, obs))
    assert 0 < difference.max() < 1e-2


def test_bfloat16_is_rounded_to_nearest(make_policy) -> None:
    from pilotfish.export.tensorrt.half import to_half

    policy = make_policy(MLP, 17, 6, 0)
    stored = {t.name: t for t in to_half(to_onnx(policy), "bf16").graph.initializer}
    for name in ("a", "b", "c"):
        tensor, exact = stored[f"{name}.weight_bf16"], policy.weights[f"{name}.weight"]
        assert tensor.data_type == onnx.TensorProto.BFLOAT16
        bits = np.frombuffer(tensor.raw_data, np.uint16).reshape(exact.shape).astype(np.uint32) << 16
        error, binade = np.abs(bits.view(np.float32) - exact), np.exp2(np.floor(np.log2(np.abs(exact))))
        assert error.any() and (error <= binade * 2**-8).all()  # 7 bits behind the point: half a step is 2^-8


def test_weights_that_float16_cannot_hold_are_refused(make_policy) -> None:
    from pilotfish.export.tensorrt.half import to_half

    policy = make_policy(MLP, 17, 6, 0)
    policy.weights["b.weight"][0, 0] = 7e4
    with pytest.raises(BadInput, match=r"b\.weight_fp16.*65504"):
        to_half(to_onnx(policy), "fp16")
    with pytest.raises(BadInput, match="float32 constants"):
        to_half(to_onnx(make_policy(INT8, 17, 6, 0)), "fp16")


@pytest.fixture
def export(tmp_path: Path):
    """``export(policy, target, precision)`` with TensorRT-RTX, or a skip that names it."""
    if tensorrt_engine.load_flavour(["tensorrt_rtx"]) is None:
        pytest.skip("TensorRT-RTX is not installed (pilotfish[tensorrt])")

    def make(policy: Policy, target: str = "rtx-4090", precision: str | None = None) -> Artifact:
        return export_policy(policy, load_target(target), output=tmp_path / (precision or "own"), precision=precision)

    return make


def described(artifact: Artifact) -> dict:
    return json.loads((artifact.path / "engine.json").read_text())


def check_engine(artifact: Artifact) -> None:
    """Inputs and outputs by the contract, a plan for one GPU, no TF32, sizes as recorded."""
    contract, plan = artifact.manifest.contract, artifact.entry.read_bytes()
    discrete = contract.action.kind == "discrete"
    tensors = {"obs": (True, [1, contract.observation.size], "float32")}
    tensors["action"] = (False, [1, 1 if discrete else contract.action.size], "int64" if discrete else "float32")
    for state in contract.state:
        tensors[f"state_in_{state.name}"] = (True, [1, state.size], "float32")
        tensors[f"state_out_{state.name}"] = (False, [1, state.size], "float32")
    found = {name: (t["input"], t["shape"], t["dtype"]) for name, t in described(artifact)["tensors"].items()}
    assert found == tensors
    assert artifact.manifest.sizes["engine"] == len(plan)
    capability = artifact.manifest.tools["compute_capability"].replace(".", "")
    assert f"accelerators={{sm{capability} }}".encode() in plan
    assert b"tf32=0" in plan and b"tf32=1" not in plan
    layers = described(artifact)["layers"]
    assert layers and all(line.startswith("Name: ") for line in layers)
    assert str(len(layers)) == artifact.manifest.tools["layers"]
    assert artifact.manifest.native and artifact.manifest.tools["builder"].startswith("tensorrt_rtx ")
    assert "Engine generation completed" in (artifact.path / "build.log").read_text()


@pytest.mark.parametrize("layers", [MLP, *RECURRENT.values()], ids=["mlp", "gru", "lstm"])
def test_engines_at_every_float_precision(export, make_policy, layers) -> None:
    policy = with_golden(make_policy(layers, 17, 6, 0))
    kinds = {"fp32": "Datatype: Float", "fp16": "Datatype: Half", "bf16": "Datatype: BFloat16"}
    for precision, kind in kinds.items():
        artifact = export(policy, precision=precision)
        check_engine(artifact)
        assert artifact.manifest.precision == precision
        matrices = [line for line in described(artifact)["layers"] if ".weight" in line]
        assert matrices and all(kind in line for line in matrices)


def test_an_int8_policy_multiplies_integers(export, make_policy) -> None:
    policy = with_golden(make_policy(INT8, 17, 6, 0), steps=300)
    artifact = export(policy)
    check_engine(artifact)
    gemms = [line for line in described(artifact)["layers"] if "LayerType: gemm" in line]
    # The first matrix stands behind a grid of 16 bits, which TensorRT has no integers for.
    assert ["Datatype: Int8" in line for line in gemms] == [False, True, True]
    model = onnx.load(str(artifact.path / "policy.onnx"))
    difference = np.abs(run(model, policy.golden.obs) - policy.golden.action)
    assert (difference < 1e-3).mean() > 0.99


def test_other_layers_and_discrete_actions_build_too(export, make_policy) -> None:
    layers = (History("past", 17, 3), Linear("a", 51, 32), LayerNorm("n", 32), Activation("elu"), Linear("b", 32, 6))
    check_engine(export(with_golden(make_policy(layers, 17, 6, 0))))
    check_engine(export(with_golden(make_policy(MLP, 17, 6, 0, kind="discrete"))))


def test_the_same_policy_gives_the_same_engine(export, make_policy) -> None:
    policy = with_golden(make_policy(MLP, 17, 6, 0))
    first = export(policy).entry.read_bytes()
    assert export(policy).entry.read_bytes() == first


@pytest.mark.parametrize("target", ["rtx-3060", "rtx-5090"])
def test_engines_for_other_gpus(export, make_policy, target: str) -> None:
    check_engine(export(with_golden(make_policy(MLP, 17, 6, 0)), target))


@pytest.mark.parametrize("name", ["ppo_HalfCheetah-v3", "sac_HalfCheetah-v3", "trpo_Hopper-v3", "ppo_CartPole-v1"])
def test_policies_trained_by_others(export, shared_policy, name: str) -> None:
    from pilotfish.policy.adopt import adopt

    archive, config = shared_policy(f"sb3/{name}.zip"), shared_policy(f"sb3/{name}.config.yml")
    normalizer = archive.with_name(f"{name}.vecnormalize.pkl")
    policy = adopt(archive, config=config, normalizer=normalizer if normalizer.exists() else None)
    for precision in ("fp32", "fp16"):
        artifact = export(policy, precision=precision)
        check_engine(artifact)
        built = run(onnx.load(str(artifact.path / "policy.onnx")), policy.golden.obs[:200])
        wanted = policy.golden.action[:200]
        assert np.abs(built - wanted).max() <= (1e-5 if precision == "fp32" else 5e-2)


def test_a_gpu_that_cannot_be_built_for_gets_a_kit(export, make_policy) -> None:
    policy = with_golden(make_policy(MLP, 17, 6, 0))
    for target in ("jetson-orin-nano", "h100"):
        artifact = export(policy, target)
        assert artifact.manifest.entry == "policy.onnx" and not artifact.manifest.native
        assert "python3 kit.py" in artifact.manifest.tools["kit"]


def test_what_is_missing_is_named(make_policy, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tensorrt_engine, "load_flavour", lambda _: None)
    policy = with_golden(make_policy(MLP, 17, 6, 0))
    monkeypatch.setattr("pilotfish.targets.host.machine", lambda: "x86_64-linux")
    with pytest.raises(MissingTool, match=r'pip install "pilotfish\[tensorrt\]"'):
        export_policy(policy, load_target("rtx-4090"), output=tmp_path)
    with pytest.raises(BadInput, match="a \\[tensorrt\\] part"):
        export_policy(policy, replace(load_target("rtx-4090"), tensorrt=None), output=tmp_path)


def test_precisions_that_do_not_fit_are_refused(make_policy, tmp_path) -> None:
    floats, integers = with_golden(make_policy(MLP, 17, 6, 0)), with_golden(make_policy(INT8, 17, 6, 0))
    card = load_target("rtx-4090")
    with pytest.raises(Unsupported, match="fp8"):
        export_policy(floats, card, output=tmp_path, precision="fp8")
    with pytest.raises(BadInput, match="a policy of precision fp16, found int8"):
        export_policy(integers, card, output=tmp_path, precision="fp16")
    with pytest.raises(BadInput, match="quantize"):
        export_policy(floats, card, output=tmp_path, precision="int8")
    with pytest.raises(BadInput, match="a precision of rtx-4090: fp32, found fp16"):
        export_policy(floats, replace(card, precisions=("fp32",)), output=tmp_path, precision="fp16")
    with pytest.raises(BadInput, match="a policy of precision fp16, found fp32"):
        export_policy(floats, load_target("host-cpu"), output=tmp_path, precision="fp16")


def test_every_profile_with_a_gpu_has_what_the_back_end_needs() -> None:
    found = {name: t for name in shipped_targets() if (t := load_target(name)) and "tensorrt" in t.backends}
    capabilities = {name: target.tensorrt.compute_capability for name, target in found.items() if target.tensorrt}
    assert capabilities == {
        "jetson-orin-nano": "8.7",
        "jetson-orin-nx": "8.7",
        "jetson-agx-orin": "8.7",
        "jetson-thor": "11.0",
        "rtx-3060": "8.6",
        "rtx-4090": "8.9",
        "rtx-5090": "12.0",
        "dgx-spark": "12.1",
        "h100": "9.0",
        "h200": "9.0",
    }
