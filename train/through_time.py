"""Recurrent cells over whole sequences in which episodes end and begin, for training."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..policy.cells import CFC_HEADS, GRU, LSTM, CfC
from ..policy.network import Network, State


def unroll(network: Network, cell: GRU | LSTM | CfC, x: Tensor, state: State, started: Tensor) -> Tensor:
    """x [T, B, in] from ``state`` ([B, H] each); ``started`` [T, B] is 1 where the memory is emptied first -> h [T, B, H].

    Equal to stepping ``network`` through time, and differentiable like it, at a fraction of the dispatches.
    """
    if isinstance(cell, CfC):
        return (_step_by_step if cell.backbone else _unroll_cfc)(network, cell, x, state, started)
    return _packed(network, cell, x, state, started)


def _packed(network: Network, cell: GRU | LSTM, x: Tensor, state: State, started: Tensor) -> Tensor:
    """torch's own loop over packed sequences (cuDNN's on a GPU): every piece of an episode is a sequence of its own."""
    steps, columns, width = x.shape
    begins = started.bool().T.clone()
    continued = ~begins[:, 0]  # these go on with the memory they had before the first step
    begins[:, 0] = True
    first = begins.flatten().nonzero()[:, 0]
    length = torch.diff(first, append=first.new_tensor([steps * columns]))
    length, by_length = length.sort(descending=True, stable=True)
    inside = torch.arange(int(length[0]), device=x.device)[:, None] < length
    places = (first[by_length] + torch.arange(len(inside), device=x.device)[:, None])[inside]
    memory = tuple(tensor.new_zeros(len(first), cell.hidden_size) for tensor in state)
    owner = first // steps
    goes_on = (first % steps == 0) & continued[owner]
    memory = tuple(torch.where(goes_on[:, None], s[owner], m)[by_length][None] for s, m in zip(state, memory, strict=True))
    weights = [network.tensor(f"{cell.name}.{part}") for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    data, sizes = x.transpose(0, 1).reshape(-1, width)[places], inside.sum(1).cpu()
    if isinstance(cell, GRU):
        h = torch._VF.gru(data, sizes, memory[0], weights, True, 1, 0.0, False, False)[0]
    else:
        h = torch._VF.lstm(data, sizes, memory, weights, True, 1, 0.0, False, False)[0]
    return torch.empty_like(h).index_copy(0, places, h).view(columns, steps, -1).transpose(0, 1)


def _step_by_step(network: Network, cell: CfC, x: Tensor, state: State, started: Tensor) -> Tensor:
    """Any cell, as the network itself runs it."""
    outputs = []
    for now, going in zip(x, 1 - started[..., None], strict=True):
        h, state = network.through(cell, now, tuple(tensor * going for tensor in state))
        outputs.append(h)
    return torch.stack(outputs)


def _unroll_cfc(network: Network, cell: CfC, x: Tensor, state: State, started: Tensor) -> Tensor:
    """What reads the input is one product for all steps."""
    weight = torch.cat([network.tensor(f"{cell.name}.{head}_weight") for head in CFC_HEADS])
    bias = torch.cat([network.tensor(f"{cell.name}.{head}_bias") for head in CFC_HEADS])
    from_input = F.linear(x, weight[:, : cell.in_size], bias)
    by_memory = weight[:, cell.in_size :].T
    (h,) = state
    outputs = []
    for now, going in zip(from_input, 1 - started[..., None], strict=True):
        candidates, times = torch.addmm(now, h * going, by_memory).split(2 * cell.hidden_size, dim=1)
        first, second = torch.tanh(candidates).chunk(2, dim=1)
        time_a, time_b = times.chunk(2, dim=1)
        h = torch.lerp(first, second, torch.sigmoid(time_a * cell.time_step + time_b))
        outputs.append(h)
    return torch.stack(outputs)
