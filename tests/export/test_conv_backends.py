"""A policy that sees images, built by every back-end that is here, and run: on this computer, and on virtual boards."""

from __future__ import annotations

import importlib.util
import shutil

import numpy as np
import pytest

pytest.importorskip("onnx")

from pilotfish.errors import GateFailed
from pilotfish.export.build import export_policy
from pilotfish.policy import Action, Contract, Golden, Normalizer, Observation, Policy
from pilotfish.policy.conv import Conv2d
from pilotfish.policy.grid import Quantize
from pilotfish.policy.layers import Activation, Linear, tensor_shapes
from pilotfish.policy.reference import Reference
from pilotfish.runtime.verify import verify
from pilotfish.targets import load_target
from pilotfish.targets.virtual.board import VirtualBoard

NEEDS = {"onnxruntime": ("onnxruntime",), "c": (), "tvm": ("tvm",)}
BOARDS = ("nucleo-l4r5zi", "nucleo-g0b1re", "esp32-c3", "teensy41")


def eye(bits: int = 32) -> Policy:
    """What Tucker leaves: channels in, a kernel, channels out; a depthwise one; bytes of pixels as observations."""
    first = Conv2d("in", 3, 4, 9, 7, (1, 1), bias=False, weight_bits=bits)
    core = Conv2d("core", 4, 5, 9, 7, (3, 3), (2, 1), (1, 1), bias=False, weight_bits=bits)
    out = Conv2d("out", 5, 12, core.out_height, core.out_width, (1, 1), weight_bits=bits)
    deep = Conv2d("deep", 12, 12, out.out_height, out.out_width, (2, 1), depthwise=True)
    end = Linear("end", deep.out_size, 3, weight_bits=bits)
    grids = [Quantize(0.05, 3), Quantize(0.05, -4)] if bits == 8 else []
    layers = [*grids[:1], first, core, out, Activation("relu"), deep, Activation("tanh"), *grids[1:], end]
    rng, weights = np.random.default_rng(2), {}
    for layer in layers:
        for name, (shape, dtype) in tensor_shapes(layer).items():
            if dtype == np.int8:
                weights[name] = rng.integers(-127, 128, shape).astype(np.int8)
            elif name.endswith("_scale"):
                weights[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32) / np.float32(127)
            else:
                weights[name] = (rng.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)
    normalizer = Normalizer((0.0,) * first.in_size, (255.0**2,) * first.in_size)
    contract = Contract(Observation(first.in_size, normalizer=normalizer, shape=(9, 7, 3)), Action("continuous", 3))
    policy = Policy(f"eye{bits}", contract, tuple(layers), weights)
    obs = rng.integers(0, 256, (30, first.in_size)).astype(np.float32)
    reference = Reference(policy)
    action = np.array([reference.act(row) for row in obs])
    return policy.replace(golden=Golden(obs, action, np.zeros((30, 0), np.float32), np.arange(30) == 0, "environment"))


@pytest.mark.parametrize("backend", NEEDS)
def test_every_backend_of_this_computer(backend: str, tmp_path) -> None:
    for module in NEEDS[backend]:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    if backend != "onnxruntime" and not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no system C compiler (cc, gcc, clang)")
    artifact = export_policy(eye(), load_target("host-cpu"), backend, tmp_path)
    assert verify(artifact)["passed"]


@pytest.mark.parametrize(("bits", "bound"), [(8, 0.1), (32, 0.02)])
def test_what_tensorrt_is_given_computes_the_same(bits: int, bound: float) -> None:
    """Zero points at 0, and matrices in 16 bits: run by ONNX Runtime, since no GPU is here."""
    ort = pytest.importorskip("onnxruntime")
    from pilotfish.export.onnx import to_onnx
    from pilotfish.export.tensorrt.half import to_half
    from pilotfish.export.tensorrt.symmetric import to_symmetric

    policy = eye(bits)
    model = to_symmetric(to_onnx(policy)) if bits == 8 else to_half(to_onnx(policy), "fp16")
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = np.array([session.run(None, {"obs": row[None]})[0][0] for row in policy.golden.obs])
    off = np.abs(found - policy.golden.action)
    assert off.max() <= bound and np.median(off) <= (1e-5 if bits == 8 else 2e-3)


def test_a_board_that_is_too_slow_is_told_of_multiplications(tmp_path) -> None:
    for module in ("ziglang", "unicorn", "capstone", "elftools"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    with pytest.raises(GateFailed, match=r"of the 10,\d+ multiplications .* tucker"):
        export_policy(eye(), load_target("nucleo-g0b1re"), "c", tmp_path, control_hz=1000.0)


@pytest.mark.parametrize("bits", [32, 8])
@pytest.mark.parametrize("name", BOARDS)
def test_boards(name: str, bits: int, tmp_path) -> None:
    for module in ("ziglang", "unicorn", "capstone", "elftools"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    from pilotfish.export.c import build
    from pilotfish.export.onnx import to_onnx

    policy, target = eye(bits), load_target(name)
    fields = build(policy, to_onnx(policy), target, tmp_path)
    board = VirtualBoard(tmp_path / fields["entry"], target)
    try:
        found = np.array([board.step(row) for row in policy.golden.obs[:6]])
    finally:
        board.close()
    off = np.abs(found - policy.golden.action[:6])
    assert off.max() <= (3e-6 if bits == 32 else 0.1)  # a level of the last grid moves an action by 0.05 times its weight
    assert np.median(off) <= 1e-5
