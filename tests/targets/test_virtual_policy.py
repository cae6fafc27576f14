"""The same C runs on every shipped virtual board and returns the host's numbers.

Two classes of cores. Where the compiler fuses no multiply with its add (cores without an FPU; Cortex-M4 and -M33, where
zig finds a fused one too slow), every rounding is IEEE 754's, so the board's C gives the very bits that it gives on the
host without contraction. Where it fuses (Cortex-M7, RV32IMAFC, AArch64), each fused pair rounds once instead of twice:
within ``BOUND``, for actions of the order of 1 (measured: 7.2e-7).
"""

import ctypes
import importlib.util
import itertools
import shutil
import subprocess

import numpy as np
import pytest

from pilotfish.policy.bundle import Policy
from pilotfish.policy.cells import GRU
from pilotfish.policy.contract import Action, Contract, Observation
from pilotfish.policy.grid import Quantize
from pilotfish.policy.layers import Activation, Linear, tensor_shapes
from pilotfish.policy.reference import Reference
from pilotfish.targets import load_target, shipped_targets
from pilotfish.targets.virtual.board import VirtualBoard

BOARDS = [name for name in sorted(shipped_targets()) if load_target(name).link.kind == "virtual"]
FUSED = {"cortex-m7", "rv32imafc", "cortex-a53", "cortex-a72", "cortex-a76"}
BOUND = 2e-6
NETWORKS = {
    "tanh": [Linear("a", 9, 24), Activation("tanh"), Linear("b", 24, 17), Activation("tanh"), Linear("c", 17, 4)],
    "relu": [Linear("a", 9, 24), Activation("relu"), Linear("b", 24, 17), Activation("relu"), Linear("c", 17, 4)],
    "gru": [Linear("a", 9, 12), GRU("g", 12, 14), Linear("c", 14, 4)],
    "int8": [
        *(Quantize(0.05, 0), Linear("a", 9, 24, weight_bits=8), Activation("relu")),
        *(Quantize(0.05, 0), Linear("b", 24, 4, weight_bits=8)),
    ],
}
OBSERVATIONS = np.random.default_rng(4).standard_normal((12, 9)).astype(np.float32)


def policy_of(kind):
    random, weights = np.random.default_rng(3), {}
    shapes = {name: shape for layer in NETWORKS[kind] for name, shape in tensor_shapes(layer).items()}
    for name, (shape, dtype) in shapes.items():
        if dtype == np.int8:
            weights[name] = random.integers(-127, 128, shape).astype(np.int8)
        elif name.endswith("_scale"):
            weights[name] = random.uniform(0.002, 0.01, shape).astype(np.float32)
        else:
            weights[name] = (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)
    return Policy(kind, Contract(Observation(9), Action("continuous", 4)), tuple(NETWORKS[kind]), weights)


@pytest.fixture(scope="module")
def on_host(tmp_path_factory):
    """folder of a board's sources -> its actions on OBSERVATIONS, compiled for this machine without contraction."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("no system C compiler (cc, gcc, clang)")
    known, count = {}, itertools.count()

    def run(folder, states):
        text = (folder / "policy.c").read_text()
        if text not in known:
            library = tmp_path_factory.mktemp("host") / f"policy{next(count)}.so"
            flags = ["-std=c99", "-O2", "-ffp-contract=off", "-shared", "-fPIC", f"-I{folder}"]
            subprocess.run([compiler, *flags, str(folder / "policy.c"), "-o", str(library)], check=True)
            step = ctypes.CDLL(str(library)).policy_step
            state, action, actions = np.zeros(max(1, states), np.float32), np.zeros(4, np.float32), []
            for row in OBSERVATIONS:
                step(*(ctypes.c_void_p(array.ctypes.data) for array in (np.ascontiguousarray(row), state, action)))
                actions.append(action.copy())
            known[text] = np.array(actions)
        return known[text]

    return run


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_every_board_returns_the_hosts_numbers(kind, name, on_host, tmp_path):
    for module in ("onnx", "ziglang", "unicorn", "capstone", "elftools"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    from pilotfish.export.c import build
    from pilotfish.export.onnx import to_onnx

    policy, target = policy_of(kind), load_target(name)
    fields = build(policy, to_onnx(policy), target, tmp_path)
    board = VirtualBoard(tmp_path / fields["entry"], target)
    found, reference = np.array([board.step(row) for row in OBSERVATIONS]), Reference(policy, np.float64)
    expected = on_host(tmp_path, board.sizes.state)
    if target.cpu.core in FUSED:
        np.testing.assert_allclose(found, expected, rtol=0, atol=BOUND)
    else:
        np.testing.assert_array_equal(found.view(np.int32), expected.view(np.int32))
    np.testing.assert_allclose(found, [reference.act(row) for row in OBSERVATIONS], rtol=0, atol=BOUND)
    assert board.ram_static_bytes == fields["sizes"]["ram"] and board.flash_bytes == fields["sizes"]["flash"]
    if kind == "tanh":
        profile = board.profile(OBSERVATIONS[:1])
        weights = policy.parameters / (4 if target.cpu.isa == "aarch64" else 1)  # NEON: four multiply-adds an instruction
        assert profile.instructions[0] > weights
        assert (0 if target.cpu.isa == "aarch64" else 1) <= profile.stack_bytes < 2048  # AArch64 may need none: 31 registers
        latency = profile.latency_us()
        assert (latency is None) == (target.cost is None or target.cpu.clock_hz is None)
        if latency is not None:
            low, typical, high = latency
            assert 0 < low <= typical <= high
    board.close()
