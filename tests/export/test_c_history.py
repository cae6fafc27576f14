"""Law: a history is shifted where it lives, only if nobody else looks at the old one; CfC and history agree on every path."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")

from pilotfish.export.c.machine import AVX2, CORTEX_M4F
from pilotfish.export.c.operators import OPERATORS, READ_ONLY
from pilotfish.export.c.reader import read
from pilotfish.export.c.rewrites import rewrite
from pilotfish.export.onnx import to_onnx
from pilotfish.policy.cells import CfC
from pilotfish.policy.contract import Action
from pilotfish.policy.layers import History, Linear, state_of
from pilotfish.policy.reference import Reference


def history(make_policy, length=4):
    return make_policy([History("past", 5, length), Linear("a", 5 * length, 3)], 5, 3, 0, normalizer=False)


def test_the_oldest_come_first_and_zeros_before_the_start(make_policy):
    policy = make_policy([History("past", 2, 3)], 2, 6, 0, normalizer=False)
    reference = Reference(policy)
    np.testing.assert_array_equal(reference.act([1, 2]), [0, 0, 0, 0, 1, 2])
    np.testing.assert_array_equal(reference.act([3, 4]), [0, 0, 1, 2, 3, 4])
    np.testing.assert_array_equal(reference.act([5, 6]), [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(reference.act([7, 8]), [3, 4, 5, 6, 7, 8])
    np.testing.assert_array_equal(reference.state, [3, 4, 5, 6, 7, 8])
    assert [(s.name, s.size) for s in state_of(policy.layers)] == [("past_past", 6)]


def test_onnx_runtime_agrees_over_episodes(make_policy):
    ort = pytest.importorskip("onnxruntime")
    layers = [History("past", 5, 4), CfC("cell", 20, 7, (9,), 0.05), CfC("bare", 7, 3)]
    policy = make_policy(layers, 5, 3, 2)
    session = ort.InferenceSession(to_onnx(policy).SerializeToString(), providers=["CPUExecutionProvider"])
    reference = Reference(policy, np.float64)
    rng = np.random.default_rng(1)
    for _ in range(2):
        reference.reset()
        state = {f"state_in_{s.name}": np.zeros((1, s.size), np.float32) for s in state_of(policy.layers)}
        for obs in rng.normal(size=(30, 5)).astype(np.float32):
            action, *following = session.run(None, {"obs": obs[None], **state})
            state = dict(zip(state, following, strict=True))
            np.testing.assert_allclose(action[0], reference.act(obs), atol=3e-6)
        np.testing.assert_allclose(np.concatenate([s[0] for s in following]), reference.state, atol=3e-6)


@pytest.mark.parametrize("machine", [AVX2, CORTEX_M4F], ids=["avx2", "m4f"])
def test_a_history_becomes_one_push(machine, make_policy):
    graph = rewrite(read(to_onnx(history(make_policy)), {*OPERATORS, *READ_ONLY}), machine)
    operations = [node.op for node in graph.nodes]
    assert operations.count("Push") == 1 and not {"Slice", "Concat"} & set(operations)


def test_another_reader_of_the_old_history_keeps_the_copy(make_policy):
    """The action adds the oldest vector of the old state, which a Push would have overwritten."""
    onnx = pytest.importorskip("onnx")
    proto = to_onnx(history(make_policy))
    proto.graph.node.insert(0, onnx.helper.make_node("Neg", ["state_in_past_past"], ["looked_at"], name="look"))
    proto.graph.node.append(onnx.helper.make_node("Tanh", ["looked_at"], ["unused"], name="use"))
    operations = [node.op for node in rewrite(read(proto, {*OPERATORS, *READ_ONLY}), CORTEX_M4F).nodes]
    assert "Push" not in operations or "Neg" not in operations


def test_the_c_program_agrees_when_the_history_is_the_action_too(make_policy, build_host):
    policy = make_policy([History("past", 3, 5)], 3, 15, 0)
    loaded, reference = build_host(policy), Reference(policy)
    loaded.reset()
    for obs in np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32):
        np.testing.assert_allclose(loaded.act(obs), reference.act(obs), atol=1e-6)
        np.testing.assert_allclose(loaded.state, reference.state, atol=1e-6)


def test_the_cell_is_the_published_one(make_policy):
    """ncps' CfCCell (torch/cfc_cell.py, mode default), written out once more with separate time heads."""
    torch = pytest.importorskip("torch")
    from pilotfish.policy.network import Network

    policy = make_policy([CfC("c", 4, 6, (8,), 0.1)], 4, 6, 3, normalizer=False)
    w = {name.removeprefix("c."): torch.from_numpy(value) for name, value in policy.weights.items()}
    x, h = torch.randn(5, 4), torch.randn(5, 6)
    z = 1.7159 * torch.tanh(0.666 * (torch.cat([x, h], 1) @ w["backbone0_weight"].T + w["backbone0_bias"]))
    ff1, ff2 = (torch.tanh(z @ w[f"{n}_weight"].T + w[f"{n}_bias"]) for n in ("ff1", "ff2"))
    time_a, time_b = (z @ w[f"{n}_weight"].T + w[f"{n}_bias"] for n in ("time_a", "time_b"))
    gate = torch.sigmoid(time_a * 0.1 + time_b)
    got, (state,) = Network(policy.layers, policy.weights)(x, (h,))
    torch.testing.assert_close(got, ff1 * (1.0 - gate) + gate * ff2, atol=1e-6, rtol=1e-6)
    assert torch.equal(got, state) and isinstance(policy.contract.action, Action)
