"""Law: the firmware is the policy: executed on a virtual board, from reset, it does what the reference does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("ziglang")

from pilotfish.errors import GateFailed
from pilotfish.export.c import build
from pilotfish.export.onnx import to_onnx
from pilotfish.policy.cells import GRU, LSTM
from pilotfish.policy.grid import Quantize
from pilotfish.policy.layers import Activation, LayerNorm, Linear
from pilotfish.policy.reference import Reference
from pilotfish.targets.profile import load_target


def soft_float(target):
    """The same board with a Cortex-M0+: what a user gets by editing the profile."""
    compile_for = dataclasses.replace(target.compile, triple="thumb-freestanding-eabi", mcpu="cortex_m0plus")
    cpu = dataclasses.replace(target.cpu, isa="thumbv6m", core="cortex-m0plus", features=())
    return dataclasses.replace(target, cpu=cpu, compile=compile_for, cost=None)


@pytest.fixture
def on_board(tmp_path):
    """policy, target -> (the board that runs its firmware, the manifest's fields)"""
    for module in ("unicorn", "capstone", "elftools"):
        pytest.importorskip(module)
    from pilotfish.targets.virtual.board import VirtualBoard

    boards = []

    def make(policy, target):
        fields = build(policy, to_onnx(policy), target, tmp_path)
        board = VirtualBoard(tmp_path / fields["entry"], target)
        boards.append(board)
        return board, fields

    yield make
    for board in boards:
        board.close()


def networks():
    return {
        "mlp": [Linear("a", 17, 64), Activation("tanh"), Linear("b", 64, 64), Activation("tanh"), Linear("c", 64, 6)],
        "norm and friends": [
            *(Linear("a", 17, 31), LayerNorm("n", 31), Activation("elu")),
            *(Linear("b", 31, 30, weight_bits=8), Activation("silu"), Linear("c", 30, 6)),
        ],
        "recurrent": [Linear("a", 17, 20), GRU("g", 20, 24), LSTM("l", 24, 16, weight_bits=8), Linear("c", 16, 6)],
    }


@pytest.mark.parametrize("kind", networks())
def test_cortex_m4f_does_what_the_reference_does(kind, on_board, make_policy):
    policy = make_policy(networks()[kind], 17, 6, 1, low=(-1.0,) * 6, high=(1.0,) * 6)
    board, fields = on_board(policy, load_target("crazyflie"))
    assert tuple(board.sizes) == (17, sum(s.size for s in policy.contract.state), 6, False)
    reference = Reference(policy, np.float64)
    for obs in np.random.default_rng(0).normal(size=(60, 17)).astype(np.float32):
        assert np.abs(board.step(obs) - reference.act(obs)).max() <= 1e-5
        assert np.abs(board.state - reference.state).max(initial=0) <= 1e-5
    board.reset()
    assert not board.state.any()
    assert fields["entry"] == "firmware.elf" and not fields["native"] and fields["machine"] == "any"
    assert fields["sizes"]["flash"] == board.flash_bytes and fields["sizes"]["ram"] == board.ram_static_bytes
    assert fields["sizes"]["arena"] < fields["sizes"]["ram"]


def test_a_small_tanh_network_costs_what_its_arithmetic_costs(on_board, make_policy):
    """5 568 multiply-adds and 128 tanh. The best hand-written loop with this compiler took 23 892 instructions."""
    policy = make_policy(networks()["mlp"], 17, 6, 1, normalizer=False)
    board, _ = on_board(policy, load_target("crazyflie"))
    profile = board.profile(np.random.default_rng(0).normal(size=(4, 17)).astype(np.float32))
    assert profile.instructions.max() < 24_500
    assert profile.stack_bytes < 512


def test_discrete_and_int8_grid_on_a_processor_without_fpu(on_board, make_policy):
    layers = [Quantize(0.05, 0), Linear("a", 6, 12, weight_bits=8), Activation("sigmoid"), LayerNorm("n", 12)]
    policy = make_policy([*layers, Linear("b", 12, 4)], 6, 4, 2, kind="discrete")
    board, _ = on_board(policy, soft_float(load_target("crazyflie")))
    reference = Reference(policy, np.float64)
    observations = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    assert [int(board.step(o)[0]) for o in observations] == [int(reference.act(o)[0]) for o in observations]


@pytest.mark.parametrize(
    ("memory", "word"), [({"flash_bytes": 8192}, "of flash where there are 8,192"), ({"ram_bytes": 2048}, "RAM")]
)
def test_what_does_not_fit_is_refused_with_numbers(memory, word, make_policy, tmp_path):
    target = load_target("crazyflie")
    target = dataclasses.replace(target, memory=dataclasses.replace(target.memory, **memory))
    policy = make_policy([Linear("a", 40, 80), Activation("relu"), Linear("b", 80, 4)], 40, 4, 0)
    with pytest.raises(GateFailed, match=word) as caught:
        build(policy, to_onnx(policy), target, tmp_path)
    assert "too many" in str(caught.value)


@pytest.mark.parametrize("level", ["-O2", "-Os", "-Oz"])
def test_every_optimisation_level_runs_on_the_board(level, on_board, make_policy):
    """The compiler strips the symbols that a board looks for where it optimises for size, unless it is told not to."""
    policy = make_policy([Linear("a", 5, 8), Activation("tanh")], 5, 8, 0)
    target = load_target("crazyflie")
    target = dataclasses.replace(target, compile=dataclasses.replace(target.compile, flags=(level,)))
    board, fields = on_board(policy, target)
    obs = np.linspace(-1, 1, 5, dtype=np.float32)
    np.testing.assert_allclose(board.step(obs), Reference(policy).act(obs), atol=1e-6)
    assert fields["sizes"]["flash"] < 4096


def test_the_same_policy_gives_the_same_image(make_policy, tmp_path):
    policy = make_policy([Linear("a", 5, 8)], 5, 8, 0)
    images = []
    for name in ("one", "two/deeper"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        build(policy, to_onnx(policy), load_target("crazyflie"), folder)
        images.append((folder / "firmware.elf").read_bytes())
    assert images[0] == images[1]
