"""Convolution layers: torch's own numbers, a bundle that keeps them, and errors that say what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.errors import BadInput
from pilotfish.policy import Action, Contract, Observation, Policy
from pilotfish.policy.conv import Conv2d, positions
from pilotfish.policy.layers import LAYERS, tensor_shapes
from pilotfish.policy.reference import Reference

torch = pytest.importorskip("torch")
from pilotfish.policy.network import Network  # noqa: E402
from pilotfish.policy.torch_policy import TorchPolicy  # noqa: E402


@st.composite
def convolutions(draw: st.DrawFn) -> Conv2d:
    """Any that fits."""
    height, width, channels = (draw(st.integers(1, 7)) for _ in range(3))
    padding = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    kernel = tuple(
        draw(st.integers(pad + 1, max(pad + 1, min(4, side + 2 * pad))))
        for side, pad in zip((height, width), padding, strict=True)
    )
    depthwise = draw(st.booleans())
    return Conv2d(
        "c", channels, channels if depthwise else draw(st.integers(1, 6)), height, width, kernel,
        (draw(st.integers(1, 3)), draw(st.integers(1, 3))), padding, depthwise, draw(st.booleans()),
        reads=draw(st.sampled_from(["hwc", "chw"])),
    )  # fmt: skip


def policy_of(layer: Conv2d, seed: int = 0) -> Policy:
    rng = np.random.default_rng(seed)
    weights = {name: rng.normal(size=shape).astype(dtype) for name, (shape, dtype) in tensor_shapes(layer).items()}
    return Policy("conv", Contract(Observation(layer.in_size), Action("continuous", layer.out_size)), (layer,), weights)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(convolutions(), st.integers(0, 1000))
def test_it_is_torchs_convolution(layer: Conv2d, seed: int) -> None:
    policy = policy_of(layer, seed)
    theirs = torch.nn.Conv2d(
        layer.in_channels, layer.out_channels, layer.kernel, layer.stride, layer.padding,
        groups=layer.in_channels if layer.depthwise else 1, bias=layer.bias,
    )  # fmt: skip
    weight = policy.weights["c.weight"].reshape(layer.out_channels, *layer.kernel, -1)
    image = np.random.default_rng(seed).normal(size=(layer.height, layer.width, layer.in_channels)).astype(np.float32)
    obs = (image if layer.reads == "hwc" else image.transpose(2, 0, 1)).reshape(-1)
    with torch.no_grad():
        theirs.weight.copy_(torch.from_numpy(weight).permute(0, 3, 1, 2))
        if layer.bias:
            theirs.bias.copy_(torch.from_numpy(policy.weights["c.bias"]))
        wanted = theirs(torch.from_numpy(image).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
        ours = TorchPolicy(policy)(torch.from_numpy(obs)[None])[0][0]
    assert wanted.shape == (layer.out_height, layer.out_width, layer.out_channels)
    for found in (Reference(policy).act(obs), Reference(policy, np.float64).act(obs), ours.numpy()):
        np.testing.assert_allclose(found, wanted.reshape(-1), atol=2e-5)
    assert layer.macs == layer.pixels * layer.out_channels * layer.columns == layer.pixels * policy.weights["c.weight"].size


@settings(max_examples=20, deadline=None, derandomize=True)
@given(convolutions())
def test_a_patch_is_what_the_kernel_covers(layer: Conv2d) -> None:
    found = positions(layer)
    assert found.shape == (layer.pixels, layer.area, layer.in_channels)
    real = found[found < layer.in_size]
    assert real.size == 0 or real.min() >= 0
    if layer.padding == (0, 0):
        assert real.size == found.size
    if layer.stride == (1, 1) and layer.padding == (0, 0):
        assert set(real.tolist()) == set(range(layer.in_size))


def test_a_bundle_keeps_it(tmp_path: Path) -> None:
    layer = Conv2d("c", 2, 3, 5, 4, (3, 2), (2, 1), (1, 0), reads="chw")
    policy = policy_of(layer)
    loaded = Policy.load(policy.save(tmp_path / "conv.policy"))
    assert loaded.layers == (layer,) and loaded.digest == policy.digest
    assert LAYERS.validate_json(LAYERS.dump_json(loaded.layers)) == (layer,)
    returned = Network(loaded.layers, loaded.weights).to_weights()
    np.testing.assert_array_equal(returned["c.weight"], policy.weights["c.weight"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kernel": (6, 2)}, "a kernel of 6"),
        ({"padding": (3, 0)}, "less padding"),
        ({"depthwise": True}, "as many channels out as in"),
        ({"depthwise": True, "out_channels": 2, "weight_bits": 8}, "float32 weights"),
        ({"height": 1000, "width": 1000}, "at most 1,000,000 numbers"),
        ({"height": 512, "width": 512, "kernel": (9, 9)}, "in all patches together"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(fields: dict, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Conv2d(**({"name": "c", "in_channels": 2, "out_channels": 3, "height": 5, "width": 4, "kernel": (3, 2)} | fields))
