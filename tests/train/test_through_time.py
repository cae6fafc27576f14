"""Cells over whole sequences equal the network stepped through time, values and gradients, wherever episodes begin."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.policy.cells import GRU, LSTM, CfC
from pilotfish.policy.network import Network
from pilotfish.train.through_time import unroll

CELLS = [GRU("gru", 3, 4), LSTM("lstm", 3, 4), CfC("cfc", 3, 4), CfC("deep", 3, 4, backbone=(5,), time_step=0.7)]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31), steps=st.integers(1, 7), rows=st.integers(1, 4), share=st.sampled_from([0.0, 0.3, 1.0]))
def test_equals_stepping(cell: GRU | LSTM | CfC, seed: int, steps: int, rows: int, share: float) -> None:
    random = torch.Generator().manual_seed(seed)
    network = Network((cell,))
    for parameter in network.parameters():
        parameter.data.uniform_(-1, 1, generator=random)
    x = torch.randn(steps, rows, 3, generator=random)
    state = tuple(torch.randn(rows, 4, generator=random) for _ in network.initial_state(rows))
    started = (torch.rand(steps, rows, generator=random) < share).float()
    weight = torch.randn(steps, rows, 4, generator=random)

    h = unroll(network, cell, x, state, started)
    ours = torch.autograd.grad((h * weight).sum(), list(network.parameters()))
    outputs, memory = [], state
    for t in range(steps):
        y, memory = network(x[t], tuple(tensor * (1 - started[t])[:, None] for tensor in memory))
        outputs.append(y)
    expected = torch.stack(outputs)
    theirs = torch.autograd.grad((expected * weight).sum(), list(network.parameters()))
    torch.testing.assert_close(h, expected, rtol=1e-5, atol=1e-6)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)
