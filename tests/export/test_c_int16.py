"""Law: 16-bit activations between layers, and inputs with a range per channel, compute what the reference computes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")

from pilotfish.export.c import OPERATORS, READ_ONLY, build
from pilotfish.export.c.header import header_of
from pilotfish.export.c.machine import AVX2, AVX512, CORTEX_M0, CORTEX_M4F, NEON
from pilotfish.export.c.reader import read
from pilotfish.export.c.rewrites import rewrite
from pilotfish.export.c.source import generate
from pilotfish.export.onnx import to_onnx
from pilotfish.policy.grid import Quantize
from pilotfish.policy.layers import Activation, Affine, Clip, Linear
from pilotfish.policy.reference import Reference
from pilotfish.targets.profile import load_target

MACHINES = {"avx2": AVX2, "vnni": AVX512, "neon": NEON, "m4f": CORTEX_M4F, "m0": CORTEX_M0}


def wide(function, bits):
    """Three layers with 16-bit grids between them."""
    between = Clip(-0.5, 0.9) if function == "clip" else Activation(function)
    grid = Quantize(1 / 32767 if function == "tanh" else 2e-4, 0, 16)
    layers = [Quantize(3e-4, 0, 16), Linear("a", 17, 45, weight_bits=bits), between, grid]
    return [*layers, Linear("b", 45, 21, weight_bits=bits), between, grid, Linear("c", 21, 5, weight_bits=bits)]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("function", "bits"), [("tanh", 8), ("relu", 4), ("clip", 8)])
def test_wide_activations_agree_with_the_reference(function, bits, machine, make_policy, make_library):
    """A step of 16 bits moves an action by about 1e-5 here: no tie of rounding is felt, and every layer is an integer one."""
    policy = make_policy(wide(function, bits), 17, 5, bits)
    graph = rewrite(read(to_onnx(policy), {*OPERATORS, *READ_ONLY}), MACHINES[machine])
    assert [node.op for node in graph.nodes].count("DenseInteger") == 3
    library, truth = make_library(policy, MACHINES[machine]), Reference(policy, np.float64)
    for obs in np.random.default_rng(1).normal(size=(40, 17)).astype(np.float32):
        np.testing.assert_allclose(library(obs), truth.act(obs), rtol=0, atol=1e-4)


def test_sums_that_32_bits_do_not_hold_stay_floats(make_policy, make_library):
    policy = make_policy([Quantize(1e-3, 0, 16), Linear("a", 1200, 3, weight_bits=8)], 1200, 3, 0)
    policy.weights["a.weight"][:] = 127
    nodes = rewrite(read(to_onnx(policy), {*OPERATORS, *READ_ONLY}), CORTEX_M4F).nodes
    assert "DenseInteger" not in {node.op for node in nodes}
    obs = np.random.default_rng(1).normal(size=1200).astype(np.float32)
    wanted = Reference(policy, np.float64).act(obs)
    np.testing.assert_allclose(make_library(policy, CORTEX_M4F)(obs), wanted, rtol=0, atol=1e-4 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("target", ["crazyflie", "nucleo-g0b1re"])
def test_a_board_reads_inputs_by_their_own_ranges(target, make_policy, tmp_path):
    """An affine layer, an int8 grid and weights that take the ranges back, executed."""
    pytest.importorskip("unicorn")
    pytest.importorskip("ziglang")
    from pilotfish.targets.virtual.board import VirtualBoard

    layers = [Affine("channels", 17), Quantize(1 / 127, 0), Linear("a", 17, 20, weight_bits=4), Activation("relu")]
    policy = make_policy([*layers, Quantize(0.02, -128), Linear("b", 20, 4, weight_bits=4)], 17, 4, 0)
    build(policy, to_onnx(policy), load_target(target), tmp_path)
    board, truth, close = VirtualBoard(tmp_path / "firmware.elf", load_target(target)), Reference(policy, np.float64), 0
    try:
        for obs in np.random.default_rng(2).normal(size=(30, 17)).astype(np.float32):
            close += np.allclose(board.step(obs), truth.act(obs), rtol=0, atol=1e-5)
    finally:
        board.close()
    assert close >= 27  # a value on the edge of two steps may fall on either side


@pytest.fixture(scope="session")
def make_library(tmp_path_factory, system_compiler):
    """(policy, machine) -> obs -> action, compiled for this machine."""
    import ctypes
    import subprocess

    from pilotfish.export.c.toolchain import BASE_FLAGS

    def make(policy, machine):
        source = generate(read(to_onnx(policy), {*OPERATORS, *READ_ONLY}), machine, header_of(policy))
        folder = tmp_path_factory.mktemp("int16")
        for name, text in source.files.items():
            (folder / name).write_text(text)
        flags = [*BASE_FLAGS, "-O1", "-march=native", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
        subprocess.run([system_compiler, *flags, "policy.c", "-o", "policy.so"], cwd=folder, check=True)
        library = ctypes.CDLL(str(folder / "policy.so"))

        def act(obs):
            row, action = np.ascontiguousarray(obs, np.float32), np.zeros(source.count, np.float32)
            library.policy_step(*(a.ctypes.data_as(ctypes.c_void_p) for a in (row, row, action)))
            return action

        return act

    return make
