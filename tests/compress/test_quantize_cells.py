"""Laws of quantized cells: their input and their hidden state get grids read from recorded episodes, and lose little by it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pilotfish.compress import Context, apply
from pilotfish.compress.activations import layer_inputs
from pilotfish.compress.quantize import QUANTIZE
from pilotfish.compress.quantize_settings import Quantize
from pilotfish.compress.replay import Replay
from pilotfish.errors import BadInput
from pilotfish.policy import Action, Contract, Observation, Policy
from pilotfish.policy.cells import GRU, LSTM
from pilotfish.policy.layers import Linear, tensor_shapes
from pilotfish.policy.reference import Reference
from pilotfish.policy.torch_policy import TorchPolicy


def test_grids_of_input_and_state_come_from_the_recording(make):
    policy = make((4, 8, 2), cell=True)
    small = apply(policy, QUANTIZE, Quantize(cells="int8", quantize_input="int8"), Context(policy))
    assert [layer.kind for layer in small.layers[:2]] == ["quantize", "gru"]
    states = layer_inputs(policy, policy.golden, {1})[1]
    grid = small.layers[1].state_grid
    assert grid.scale == pytest.approx((states.max() - states.min()) / 255, rel=1e-3)
    changed = small.contract.provenance.passes[-1].changed
    assert changed["states"] == {"gru": {"scale": grid.scale, "zero_point": grid.zero_point, "bits": 8}}
    wide = apply(policy, QUANTIZE, Quantize(cells="int16"), Context(policy))
    assert (wide.layers[0].bits, wide.layers[1].state_grid.bits) == (16, 16)
    assert apply(policy, QUANTIZE, Quantize(), Context(policy)).layers[0].state_grid is None


@pytest.mark.parametrize("cells", ["int16", "int8"])
def test_the_torch_twin_agrees_and_wide_grids_cost_next_to_nothing(make, cells):
    policy = make((4, 8, 2), cell=True)
    replay = Replay(policy, policy.golden)
    plain = apply(policy, QUANTIZE, Quantize(activations="float"), Context(policy))
    small = apply(policy, QUANTIZE, Quantize(activations="float", cells=cells), Context(policy))
    errors = [replay.error(one.layers, one.weights) for one in (plain, small)]
    assert errors[1] < (1.02 if cells == "int16" else 3.0) * errors[0]
    twin, actor = TorchPolicy(small), Reference(small)
    state, agreed = twin.network.initial_state(1), 0
    for obs in policy.golden.obs[:50]:
        with torch.no_grad():
            action, state = twin(torch.from_numpy(obs)[None], state)
        agreed += bool(np.allclose(actor.act(obs), action[0].numpy(), atol=1e-4 if cells == "int16" else 2e-2))
    assert agreed >= 48


def test_cells_on_grids_need_a_recording(make):
    policy = make((4, 8, 2), cell=True, source="")
    with pytest.raises(BadInput, match="recorded in the environment"):
        apply(policy, QUANTIZE, Quantize(activations="float", cells="int16"), Context(policy))


def test_a_bundle_without_grids_keeps_the_digest_that_it_had_before_there_were_any():
    layers = (GRU("g", 2, 3), LSTM("l", 3, 2, weight_bits=8), Linear("a", 2, 1))
    shapes = {name: entry for layer in layers for name, entry in tensor_shapes(layer).items()}
    weights = {n: (np.arange(int(np.prod(s))).reshape(s) % 5 + 1).astype(d) for n, (s, d) in shapes.items()}
    policy = Policy("old", Contract(Observation(2), Action("continuous", 1)), layers, weights)
    assert policy.digest == "90f33e63b5ae6a450e77049f104af8c2e4105ed93d6574aa7b84cfd1b360daba"
