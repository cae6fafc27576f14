"""Laws of shared weights: the map is balanced and reproducible, and every reader of a policy expands it alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.errors import BadInput
from pilotfish.policy import Action, Contract, Observation, Policy
from pilotfish.policy.hashed import mix, places, rounds
from pilotfish.policy.layers import Activation, HashedLinear, Linear, TiedLinear, tensor_shapes
from pilotfish.policy.reference import Reference

LAYERS = (
    HashedLinear("a", 5, 13, size=21, chunk=3, seed=7),
    Activation("tanh"),
    Linear("b", 13, 13),
    Activation("relu"),
    TiedLinear("c", "b", 13, 13),
    HashedLinear("d", 13, 4, size=8, chunk=4, seed=(1 << 32) - 1, bias=False),
)


def shared_policy(seed=0):
    rng = np.random.default_rng(seed)
    weights = {
        name: (rng.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)
        for layer in LAYERS
        for name, (shape, _) in tensor_shapes(layer).items()
    }
    return Policy("shared", Contract(Observation(5), Action("continuous", 4)), LAYERS, weights)


@settings(max_examples=30, deadline=None)
@given(
    out=st.integers(1, 40),
    width=st.integers(1, 40),
    slots=st.integers(1, 60),
    chunk=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_slot_is_used_equally_often(out, width, slots, chunk, seed):
    entry, sign = places(out, width, slots * chunk, chunk, seed)
    assert entry.shape == sign.shape == (out, width)
    assert set(np.unique(sign)) <= {-1.0, 1.0}
    used = np.bincount(entry[:, ::chunk].ravel() // chunk, minlength=slots)
    assert len(used) == slots
    assert used.max() - used.min() <= 1
    inside = entry[:, : min(chunk, width)]
    assert (np.diff(inside, axis=1) == 1).all()  # neighbours stay neighbours


def test_a_store_as_large_as_the_layer_is_a_permutation():
    entry, _ = places(16, 24, 16 * 24, 8, 3)
    np.testing.assert_array_equal(np.sort(entry.ravel()), np.arange(16 * 24))


def test_the_hash_is_the_one_that_is_written_down():
    """Plain Python integers, step by step as the module's docstring says."""
    mask = (1 << 32) - 1

    def fmix(h):
        h ^= h >> 16
        h = h * 0x85EBCA6B & mask
        h ^= h >> 13
        h = h * 0xC2B2AE35 & mask
        return h ^ h >> 16

    for seed, counter in ((0, 0), (7, 12), (mask, 5), (123456789, mask)):
        assert int(mix(seed, np.array([counter]))[0]) == fmix(seed + 0x9E3779B9 * (counter + 1) & mask)
    assert fmix(1) == 0x514E28B7  # MurmurHash3's finalizer of 1
    signs = places(100, 40, 8, 1, 5)[1]
    assert abs(signs.mean()) < 0.05
    assert rounds(10, 10, 0).shape == (1, 2)
    assert len(rounds(11, 10, 0)) == 2


def test_torch_and_numpy_expand_alike_and_gradients_reach_the_store():
    torch = pytest.importorskip("torch")
    from pilotfish.policy.torch_policy import TorchPolicy

    policy = shared_policy()
    obs = np.random.default_rng(1).normal(size=(30, 5)).astype(np.float32)
    model = TorchPolicy(policy)
    y = model(torch.from_numpy(obs))[0]
    actor = Reference(policy)
    np.testing.assert_allclose(y.detach().numpy(), np.stack([actor.act(row) for row in obs]), atol=1e-6)
    y.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    assert policy.parameters == 21 + 13 + 169 + 13 + 13 + 8
    back = model.network.to_weights()
    assert back.keys() == policy.weights.keys()
    for name, value in policy.weights.items():
        np.testing.assert_array_equal(back[name], value)


def test_the_bundle_keeps_them(tmp_path):
    policy = shared_policy()
    loaded = Policy.load(policy.save(tmp_path / "p.policy"))
    assert loaded.layers == policy.layers
    np.testing.assert_array_equal(Reference(loaded).act(np.ones(5)), Reference(policy).act(np.ones(5)))


def test_the_graph_writes_them_out():
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from pilotfish.export.onnx import to_onnx

    policy = shared_policy()
    session = onnxruntime.InferenceSession(to_onnx(policy).SerializeToString(), providers=["CPUExecutionProvider"])
    actor = Reference(policy)
    for obs in np.random.default_rng(2).normal(size=(10, 5)).astype(np.float32):
        np.testing.assert_allclose(session.run(None, {"obs": obs[None]})[0][0], actor.act(obs), atol=1e-6)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(BadInput, match="a store of whole chunks"):
        HashedLinear("a", 4, 4, size=9, chunk=2)
    policy = shared_policy()
    other = (*LAYERS[:4], TiedLinear("c", "b", 13, 12), HashedLinear("d", 12, 4, size=8, chunk=4, bias=False))
    weights = policy.weights | {"c.bias": np.zeros(12, np.float32)}
    with pytest.raises(BadInput, match=r"one shape and type of b\.weight"):
        policy.replace(layers=other, weights=weights)
