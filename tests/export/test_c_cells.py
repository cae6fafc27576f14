"""Law: cells that multiply integers, input and hidden state on grids, compute what the reference computes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")

from pilotfish.export.c import OPERATORS, READ_ONLY, build
from pilotfish.export.c.header import header_of
from pilotfish.export.c.machine import AVX2, AVX512, CORTEX_M0, CORTEX_M4F
from pilotfish.export.c.reader import read
from pilotfish.export.c.source import generate
from pilotfish.export.onnx import to_onnx
from pilotfish.policy.cells import GRU, LSTM
from pilotfish.policy.grid import Quantize
from pilotfish.policy.layers import Linear
from pilotfish.policy.reference import Reference
from pilotfish.targets.profile import load_target

MACHINES = {"m4f": CORTEX_M4F, "m0": CORTEX_M0, "avx2": AVX2, "vnni": AVX512}
WIDE, NARROW = Quantize(1 / 32767, 0, 16), Quantize(1 / 127, 0)


def recurrent(make_policy, cell, bits, grid, **ranks):
    """A cell between an observation of 16 bits and a linear layer."""
    layers = [Quantize(2e-4, 0, 16), cell("g", 9, 24, weight_bits=bits, state_grid=grid, **ranks)]
    return make_policy([*layers, Linear("a", 24, 4)], 9, 4, bits)


@pytest.mark.parametrize("cell", [GRU, LSTM])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("machine", MACHINES)
def test_both_matrices_are_integer_layers(machine, bits, cell, make_policy):
    policy = recurrent(make_policy, cell, bits, WIDE)
    source = generate(read(to_onnx(policy), {*OPERATORS, *READ_ONLY}), MACHINES[machine], header_of(policy))
    gates = [choice.kernel for choice in source.choices if choice.layer.startswith("g.")]
    wanted = "dense int8, vectors" if machine in ("avx2", "vnni") else ""
    wanted = wanted or ("dense, packed bits" if bits == 4 else f"dense int8, {'pairs' if machine == 'm4f' else 'bytes'}")
    assert gates == [wanted, wanted]


@pytest.mark.parametrize("cell", [GRU, LSTM])
@pytest.mark.parametrize(("grid", "atol", "share"), [(WIDE, 1e-4, 1.0), (NARROW, 1e-3, 0.9)])
def test_an_episode_on_this_machine(cell, grid, atol, share, make_policy, build_host):
    """8 bits: a value on the edge of two steps may fall on either side, and is carried on."""
    policy = recurrent(make_policy, cell, 8, grid)
    library, truth = build_host(policy), Reference(policy, np.float64)
    library.reset()
    close = []
    for obs in np.random.default_rng(1).normal(size=(60, 9)).astype(np.float32):
        close.append(np.abs(library.act(obs) - truth.act(obs)).max() <= atol)
    assert np.mean(close) >= share


@pytest.mark.parametrize("target", ["crazyflie", "nucleo-g0b1re"])
@pytest.mark.parametrize("ranks", [{}, {"rank_hh": 5}])
def test_a_board_runs_an_episode_and_saves_the_float_products(target, ranks, make_policy, tmp_path):
    pytest.importorskip("unicorn")
    pytest.importorskip("ziglang")
    from pilotfish.targets.virtual.board import VirtualBoard

    profile, observations = load_target(target), np.random.default_rng(2).normal(size=(20, 9)).astype(np.float32)
    instructions = {}
    for name, grid in (("integers", WIDE), ("floats", None)):
        policy = recurrent(make_policy, GRU, 8, grid, **ranks)
        (folder := tmp_path / name).mkdir()
        build(policy, to_onnx(policy), profile, folder)
        board, truth = VirtualBoard(folder / "firmware.elf", profile), Reference(policy, np.float64)
        try:
            for obs in observations:
                np.testing.assert_allclose(board.step(obs), truth.act(obs), rtol=0, atol=1e-4)
            instructions[name] = board.profile(observations[:2]).instructions.mean()
        finally:
            board.close()
    if not ranks or target != "crazyflie":  # factors of a few rows are as fast in the floats of an FPU
        assert instructions["integers"] < instructions["floats"]
