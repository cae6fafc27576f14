"""Laws of shared weights in C: the map regenerated on the device is the policy's, and flash holds the store alone."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")

from pilotfish.export.c import generate_for
from pilotfish.export.onnx import to_onnx
from pilotfish.policy.layers import Activation, HashedLinear, Linear, TiedLinear
from pilotfish.policy.reference import Reference
from pilotfish.targets.profile import load_target

HASHED = [
    HashedLinear("a", 17, 40, size=60, chunk=6, seed=1),
    Activation("tanh"),
    HashedLinear("b", 40, 33, size=208, chunk=16, seed=2),
    Activation("relu"),
    HashedLinear("c", 33, 30, size=30 * 35, chunk=7, seed=3, bias=False),
    Activation("tanh"),
    HashedLinear("d", 30, 6, size=30, chunk=30, seed=4),
]
TIED = [
    *(Linear("a", 17, 32), Activation("tanh"), Linear("b", 32, 32), Activation("tanh")),
    *(TiedLinear("c", "b", 32, 32), Linear("d", 32, 6)),
]


@pytest.fixture
def on_board(tmp_path):
    """policy, target -> (the board that runs its firmware, the manifest's fields)"""
    for module in ("ziglang", "unicorn", "capstone", "elftools"):
        pytest.importorskip(module)
    from pilotfish.export.c import build
    from pilotfish.targets.virtual.board import VirtualBoard

    boards = []

    def make(policy, target):
        fields = build(policy, to_onnx(policy), target, tmp_path)
        boards.append(VirtualBoard(tmp_path / fields["entry"], target))
        return boards[-1], fields

    yield make
    for board in boards:
        board.close()


@pytest.mark.parametrize("target", ["crazyflie", "rp2040"])
def test_the_board_finds_every_weight_again(target, on_board, make_policy):
    policy = make_policy(HASHED, 17, 6, 1)
    board, fields = on_board(policy, load_target(target))
    assert fields["tools"]["kernels"].count(": hashed (") == 4
    assert fields["sizes"]["weights"] < 4 * policy.parameters + 4 * 17 * 2 + 600  # store, biases, normalizer, rounds
    reference = Reference(policy, np.float64)
    for obs in np.random.default_rng(0).normal(size=(10, 17)).astype(np.float32):
        np.testing.assert_allclose(board.step(obs), reference.act(obs), atol=1e-5)


def test_a_host_has_memory_and_gets_the_weights_themselves(build_host, make_policy):
    policy = make_policy(HASHED, 17, 6, 2)
    library, reference = build_host(policy), Reference(policy, np.float64)
    for obs in np.random.default_rng(0).normal(size=(10, 17)).astype(np.float32):
        np.testing.assert_allclose(library.act(obs), reference.act(obs), atol=1e-5)


def test_a_weight_that_a_rewrite_changed_is_no_longer_hashed(make_policy):
    """Two layers with nothing in between become one where that is cheaper, and a dead unit leaves: no store shows that."""
    layers = [HashedLinear("a", 17, 40, size=68, chunk=17, seed=1), Activation("tanh"), Linear("b", 40, 6)]
    policy = make_policy(layers, 17, 6, 3)
    source = generate_for(policy, to_onnx(policy), load_target("crazyflie"))
    assert source.choices[0].kernel == "hashed"
    weights = {name: value.copy() for name, value in policy.weights.items()}
    weights["b.weight"][:, :3] = 0
    policy = policy.replace(weights=weights)
    source = generate_for(policy, to_onnx(policy), load_target("crazyflie"))
    assert source.choices[0].shape == (37, 17)
    assert source.choices[0].kernel != "hashed"


def test_a_tied_weight_is_stored_once(on_board, make_policy):
    policy = make_policy(TIED, 17, 6, 4)
    board, fields = on_board(policy, load_target("crazyflie"))
    assert fields["sizes"]["weights"] < 4 * policy.parameters + 4 * 17 * 2 + 100
    reference = Reference(policy, np.float64)
    for obs in np.random.default_rng(0).normal(size=(10, 17)).astype(np.float32):
        np.testing.assert_allclose(board.step(obs), reference.act(obs), atol=1e-5)
