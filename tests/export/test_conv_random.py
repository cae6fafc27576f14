"""Law: a convolution of any shape is the same in float64 numpy, torch, ONNX Runtime and the C of every kind of processor.

As in test_c_random.py, the C of many random policies is one executable under the sanitizers, run with poisoned scratch memory.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from pilotfish.errors import Unsupported
from pilotfish.export.c import OPERATORS, READ_ONLY
from pilotfish.export.c.header import Header
from pilotfish.export.c.machine import AVX2, AVX512, CORTEX_M0, CORTEX_M4F, NEON, Machine
from pilotfish.export.c.reader import read
from pilotfish.export.c.source import generate
from pilotfish.export.onnx import to_onnx
from pilotfish.policy import Action, Contract, Observation, Policy
from pilotfish.policy.cells import GRU
from pilotfish.policy.conv import Conv2d
from pilotfish.policy.grid import Quantize
from pilotfish.policy.layers import Activation, Affine, Clip, LayerNorm, Linear, matrix_bits, tensor_shapes
from pilotfish.policy.reference import Reference

_spec = importlib.util.spec_from_file_location("sanitized", Path(__file__).with_name("sanitized.py"))
sanitized = importlib.util.module_from_spec(_spec)
sys.modules["sanitized"] = sanitized
_spec.loader.exec_module(sanitized)

MACHINES = {"avx2": AVX2, "avx512": AVX512, "neon": NEON, "m4f": CORTEX_M4F, "m0": CORTEX_M0, "scalar": Machine()}
POLICIES, TOGETHER = 10, 10
FUNCTIONS = ("relu", "tanh", "gelu", "leaky_relu", "silu", "hardswish")


def random_conv(rng: np.random.Generator, name: str, shape: tuple[int, int, int], **fields) -> Conv2d:
    """A convolution of an image (height, width, channels); depthwise now and then."""
    height, width, channels = shape
    kernel = int(rng.integers(1, min(4, height) + 1)), int(rng.integers(1, min(4, width) + 1))
    padding = int(rng.integers(0, kernel[0])), int(rng.integers(0, kernel[1]))
    padding = padding if rng.random() < 0.6 else (0, 0)
    depthwise = bool(rng.random() < 0.25) and "weight_bits" not in fields
    return Conv2d(
        name=name,
        in_channels=channels,
        out_channels=channels if depthwise else int(rng.choice([1, 2, 3, 5, 8, 16, 17, 33])),
        height=height,
        width=width,
        kernel=kernel,
        stride=(int(rng.integers(1, 3)), int(rng.integers(1, 4))),
        padding=padding,
        depthwise=depthwise,
        bias=bool(rng.random() < 0.8),
        **fields,
    )


def grid(rng: np.random.Generator) -> Quantize:
    """8 or 16 bits, with a zero point anywhere."""
    bits = int(rng.choice([8, 8, 16]))
    half = 1 << bits - 1
    return Quantize(float(np.float32(rng.uniform(0.5, 4.0) / half)), int(rng.choice([0, rng.integers(-half, half)])), bits)


def random_policy(seed: int) -> Policy:
    """Convolutions with anything in between, and a linear or recurrent end; whole numbers now and then."""
    rng = np.random.default_rng(seed)
    shape = int(rng.choice([1, rng.integers(2, 9)])), int(rng.integers(2, 10)), int(rng.choice([1, 2, 3, 4, 7]))
    size = int(np.prod(shape))
    layers: list = []
    for index in range(int(rng.integers(1, 4))):
        integer = rng.random() < 0.35
        if integer:
            layers.append(grid(rng))
        fields = {"weight_bits": int(rng.choice([8, 8, 4, 2]))} if integer else {}
        if not integer and rng.random() < 0.2:
            fields = {"weight_bits": 16}
        if index == 0 and rng.random() < 0.3:
            fields["reads"] = "chw"
        conv = random_conv(rng, f"c{index}", shape, **fields)
        layers.append(conv)
        shape = conv.out_height, conv.out_width, conv.out_channels
        kind = rng.choice(["function", "function", "none", "clip", "norm", "affine"])
        if kind == "function":
            layers.append(Activation(str(rng.choice(FUNCTIONS)), alpha=0.1))
        elif kind == "clip":
            layers.append(Clip(-1.0, 1.5))
        elif kind == "norm" and conv.out_size > 3:
            layers.append(LayerNorm(f"n{index}", conv.out_size))
        elif kind == "affine":
            layers.append(Affine(f"a{index}", conv.out_size))
    out = int(np.prod(shape))
    end = rng.choice(["linear", "integer", "gru", "none"])
    if end == "integer":
        layers += [grid(rng), Linear("end", out, 5, weight_bits=8)]
    elif end != "none":
        layers.append(Linear("end", out, 5) if end == "linear" else GRU("end", out, 5))
    out = out if end == "none" else 5
    return with_weights(f"conv-{seed}", layers, size, out, rng)


def with_weights(name: str, layers: list, size: int, out: int, rng: np.random.Generator) -> Policy:
    """The layers with weights of a sane size, a part of them zero now and then."""
    weights: dict[str, np.ndarray] = {}
    for layer in layers:
        shapes = tensor_shapes(layer)
        for full, (shape, dtype) in shapes.items():
            keep = rng.random(shape) < (1.0 if rng.random() < 0.6 else 0.15)
            if dtype == np.int8:
                most = (1 << matrix_bits(layer)[full] - 1) - 1
                rows = rng.integers(-most, most + 1, shape) * keep
                rows[:, 0] = most  # what a row's scale is made from
                weights[full] = rows.astype(np.int8)
            elif full.endswith("_scale"):
                most = (1 << matrix_bits(layer)[full.removesuffix("_scale")] - 1) - 1
                columns = shapes[full.removesuffix("_scale")][0][1]
                weights[full] = (rng.uniform(0.4, 1.5, shape) / (most * np.sqrt(columns))).astype(np.float32)
            elif len(shape) == 2:
                weights[full] = (rng.normal(size=shape) / np.sqrt(shape[1]) * keep).astype(dtype)
            else:
                one = 1.0 if full.endswith(".scale") or (layer.kind == "layer_norm" and full.endswith("weight")) else 0.0
                weights[full] = (one + 0.3 * rng.normal(size=shape)).astype(np.float32)
    return Policy(name, Contract(Observation(size), Action("continuous", out)), tuple(layers), weights)


def by_torch(policy: Policy, obs: np.ndarray) -> np.ndarray:
    torch = pytest.importorskip("torch")
    from pilotfish.policy.torch_policy import TorchPolicy

    model, state, rows = TorchPolicy(policy), tuple(torch.zeros(1, s.size) for s in policy.contract.state), []
    with torch.no_grad():
        for row in obs:
            action, state = model(torch.from_numpy(row[None]), state)
            rows.append(action[0].numpy())
    return np.array(rows)


def by_onnxruntime(policy: Policy, obs: np.ndarray) -> np.ndarray:
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(to_onnx(policy).SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {f"state_in_{s.name}": np.zeros((1, s.size), np.float32) for s in policy.contract.state}
    rows = []
    for row in obs:
        action, *states = session.run(None, feed | {"obs": row[None]})
        feed = {f"state_in_{s.name}": value for s, value in zip(policy.contract.state, states, strict=True)}
        rows.append(action[0].copy())
    return np.array(rows)


def by_float64(policy: Policy, obs: np.ndarray) -> np.ndarray:
    reference = Reference(policy, np.float64)
    return np.array([reference.act(row) for row in obs])


def difference(policy: Policy, ours: np.ndarray, theirs: np.ndarray) -> str:
    """ "" where actions agree as far as float32, or the steps of a grid, allow."""
    error = np.abs(ours.astype(np.float64) - theirs) / np.maximum(1.0, np.abs(theirs).max())
    steps = [layer.scale for layer in policy.layers if isinstance(layer, Quantize)]
    if not steps:
        return "" if error.max() <= 3e-5 else f"differs by {error.max():.2g}"
    # A value between two levels goes either way; of the outputs most see no such value, and none sees many.
    fine = error.max() <= 4 * max(steps) + 1e-4 and np.median(error) <= 1e-3
    return "" if fine else f"differs by {error.max():.2g}, {float((error <= 1e-4).mean()):.0%} close"


@pytest.mark.parametrize("batch", range(POLICIES // TOGETHER))
def test_random_convolutions(batch, tmp_path, system_compiler):
    policies, programs, machines = [], [], []
    for seed in range(batch * TOGETHER, (batch + 1) * TOGETHER):
        policy, machine = random_policy(seed), sorted(MACHINES)[seed % len(MACHINES)]
        graph = read(to_onnx(policy), {*OPERATORS, *READ_ONLY})
        source = generate(graph, MACHINES[machine], Header("", (), policy.contract.action.size))
        obs = np.random.default_rng(seed).normal(size=(4, policy.contract.observation.size)).astype(np.float32)
        policies.append(policy)
        machines.append(machine)
        programs.append(sanitized.Program(source.files, obs, source.state, source.count, source.discrete))
    results = sanitized.run(system_compiler, programs, tmp_path)
    wrong = []
    for policy, machine, program, (action, _) in zip(policies, machines, programs, results, strict=True):
        for runner in (by_float64, by_torch, by_onnxruntime):
            if found := difference(policy, action, runner(policy, program.obs)):
                wrong.append(f"{policy.name} on {machine} {runner.__name__}: {found}; {policy.layers}")
    assert not wrong, "\n".join(wrong)


def test_integers_are_exact_and_the_same_on_every_processor(tmp_path, system_compiler):
    """Between two grids a convolution is integer arithmetic: on inputs far from ties, bit for bit what float64 computes."""
    conv = Conv2d("a", 3, 10, 7, 6, (3, 2), (2, 1), (1, 1), weight_bits=8)
    second = Conv2d("b", 10, 4, conv.out_height, conv.out_width, (2, 3), weight_bits=8)
    # Scales are powers of two and the last grid is wide, so every number on the way is a float32 without rounding.
    layers = [Quantize(2.0**-6, -7), conv, Activation("relu"), Quantize(2.0**-1, 3), second, Quantize(2.0**-4, 0, 16)]
    policy = with_weights("exact", layers, conv.in_size, second.out_size, np.random.default_rng(3))
    scales = {name: np.full_like(value, 2.0**-7) for name, value in policy.weights.items() if name.endswith("_scale")}
    biases = {name: np.round(value * 64) / np.float32(64) for name, value in policy.weights.items() if name.endswith("bias")}
    policy = policy.replace(weights=policy.weights | scales | biases)
    obs = np.random.default_rng(4).normal(size=(6, conv.in_size)).astype(np.float32)
    wanted = by_float64(policy, obs)
    programs = []
    for machine in (AVX2, AVX512, NEON, CORTEX_M4F, CORTEX_M0):
        source = generate(read(to_onnx(policy), {*OPERATORS, *READ_ONLY}), machine, Header("", (), policy.contract.action.size))
        programs.append(sanitized.Program(source.files, obs, source.state, source.count, source.discrete))
        assert all("int8" in choice.kernel for choice in source.choices)
    for action, _ in sanitized.run(system_compiler, programs, tmp_path):
        off = np.abs(action - wanted)
        assert off.max() <= 2.0**-1  # one level of the grid in between, where a sum lies on the middle of two
        assert (off == 0).mean() > 0.99


def test_what_would_move_an_image_is_refused(system_compiler):
    """A Reshape of [1, channels, height, width] to a vector would have to reorder it."""
    onnx = pytest.importorskip("onnx")
    conv = Conv2d("a", 2, 3, 4, 4, (2, 2))
    policy = with_weights("plain", [conv], conv.in_size, conv.out_size, np.random.default_rng(0))
    model = to_onnx(policy)
    back = next(node for node in model.graph.node if node.op_type == "Reshape" and node.input[0] == "0_conv2d_last")
    back.input[0] = "0_conv2d"
    kept = [node for node in model.graph.node if node.output[0] != "0_conv2d_last"]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    onnx.checker.check_model(model)
    with pytest.raises(Unsupported, match="Transpose"):
        read(model, {*OPERATORS, *READ_ONLY})


def test_a_broken_pixel_is_no_healthy_action(tmp_path, system_compiler):
    """NaN in, NaN out, through floats and through integers."""
    conv = Conv2d("a", 2, 5, 5, 5, (3, 3), padding=(1, 1), weight_bits=8)
    layers = [Quantize(2.0**-6, 0), conv, Activation("relu"), Linear("end", conv.out_size, 3)]
    policy = with_weights("broken", layers, conv.in_size, 3, np.random.default_rng(1))
    plain = [dataclasses.replace(conv, weight_bits=32), Activation("tanh"), Linear("end", conv.out_size, 3)]
    obs = np.zeros((2, conv.in_size), np.float32)
    obs[1, 7] = np.nan
    programs = []
    for one in (policy, with_weights("floats", plain, conv.in_size, 3, np.random.default_rng(1))):
        for machine in (AVX2, CORTEX_M4F):
            source = generate(read(to_onnx(one), {*OPERATORS, *READ_ONLY}), machine, Header("", (), 3))
            programs.append(sanitized.Program(source.files, obs, source.state, source.count, source.discrete))
    for action, _ in sanitized.run(system_compiler, programs, tmp_path):
        assert np.isfinite(action[0]).all()
        assert np.isnan(action[1]).all()


def test_every_channel_by_itself_with_the_channels_first(tmp_path, system_compiler):
    first = Conv2d("a", 5, 5, 6, 7, (3, 2), (2, 1), (1, 0), depthwise=True, reads="chw")
    second = Conv2d("b", 5, 5, first.out_height, first.out_width, (1, 3), (1, 2), (0, 2), depthwise=True, bias=False)
    policy = with_weights("deep", [first, second], first.in_size, second.out_size, np.random.default_rng(5))
    obs = np.random.default_rng(6).normal(size=(3, first.in_size)).astype(np.float32)
    programs = []
    for machine in (AVX512, CORTEX_M4F):
        source = generate(read(to_onnx(policy), {*OPERATORS, *READ_ONLY}), machine, Header("", (), second.out_size))
        programs.append(sanitized.Program(source.files, obs, source.state, source.count, source.discrete))
    for action, _ in sanitized.run(system_compiler, programs, tmp_path):
        assert not difference(policy, action, by_float64(policy, obs))
