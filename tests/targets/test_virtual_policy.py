"""Every shipped virtual board runs an exported policy, and agrees with the reference."""

import importlib.util
import itertools

import numpy as np
import pytest

from pilotfish.policy.bundle import Policy
from pilotfish.policy.contract import Action, Contract, Observation
from pilotfish.policy.layers import Activation, Linear
from pilotfish.policy.reference import Reference
from pilotfish.targets import load_target, shipped_targets
from pilotfish.targets.virtual.board import VirtualBoard

BOARDS = [name for name in sorted(shipped_targets()) if load_target(name).link.kind == "virtual"]


@pytest.fixture(scope="module")
def policy():
    random = np.random.default_rng(3)
    sizes = (5, 16, 16, 3)
    layers, weights = [], {}
    for n, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        layers += [Linear(f"l{n}", inputs, outputs), Activation("tanh")]
        weights[f"l{n}.weight"] = random.standard_normal((outputs, inputs)).astype(np.float32)
        weights[f"l{n}.bias"] = random.standard_normal(outputs).astype(np.float32)
    return Policy("small", Contract(Observation(5), Action("continuous", 3)), tuple(layers), weights)


@pytest.mark.parametrize("name", BOARDS)
def test_an_exported_policy_runs_on_every_shipped_board(name, policy, tmp_path):
    for module in ("onnx", "ziglang", "unicorn", "capstone", "elftools"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    from pilotfish.export.c import build
    from pilotfish.export.onnx import to_onnx

    target = load_target(name)
    fields = build(policy, to_onnx(policy), target, tmp_path)
    board = VirtualBoard(tmp_path / fields["entry"], target)
    observations = np.random.default_rng(4).standard_normal((8, 5)).astype(np.float32)
    reference = Reference(policy)
    for row in observations:
        np.testing.assert_allclose(board.step(row), reference.act(row), rtol=0, atol=1e-5)
    assert board.flash_bytes > 4 * policy.parameters and board.ram_static_bytes == fields["sizes"]["ram"]
    profile = board.profile(observations[:2])
    assert (profile.instructions > policy.parameters).all()  # at least one a weight
    assert 0 < profile.stack_bytes < 2048
    low, typical, high = profile.latency_us()
    assert (low <= typical).all() and (typical <= high).all()
