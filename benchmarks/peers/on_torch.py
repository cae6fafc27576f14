"""torch, eager: an nn.Module under inference_mode, one thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .contestant import Contestant, NotOffered, Step, nothing
from .subject import Subject

CONTAINS = "from_numpy, the module under inference_mode, .numpy(): array in, new array out"


def versions() -> dict[str, str]:
    torch.set_num_threads(1)
    return {"torch": torch.__version__}


def prepare(subject: Subject, scratch: Path) -> list[Contestant]:  # noqa: ARG001 part of the contract
    if subject.quantized:
        raise NotOffered("int8 activations are not set up for torch here")
    return [contestant("torch eager", CONTAINS, subject, module_of(subject))]


class Recurrent(nn.Module):
    """A GRU cell and what follows: (obs [1, n], h [1, H]) -> (action [1, m], h [1, H])."""

    def __init__(self, cell: nn.GRUCell, head: nn.Module) -> None:
        super().__init__()
        self.cell, self.head = cell, head

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.cell(x, h)
        return self.head(h), h


def module_of(subject: Subject) -> nn.Module:
    """The float32 network as plain torch modules: Sequential, or a cell and a head."""
    modules: list[nn.Module] = []
    for layer in subject.layers:
        match layer["kind"]:
            case "linear":
                linear = nn.Linear(layer["in_size"], layer["out_size"])
                _load(linear, subject, layer["name"], {"weight": "weight", "bias": "bias"})
                modules.append(linear)
            case "activation":
                modules.append({"tanh": nn.Tanh, "relu": nn.ReLU}[layer["function"]]())
            case "gru":
                cell = nn.GRUCell(layer["in_size"], layer["hidden_size"])
                _load(cell, subject, layer["name"], {name: name for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")})
                modules.append(cell)
            case other:
                raise NotOffered(f"no module for a layer {other}")
    if isinstance(modules[0], nn.GRUCell):
        return Recurrent(modules[0], nn.Sequential(*modules[1:])).eval()
    return nn.Sequential(*modules).eval()


def contestant(label: str, contains: str, subject: Subject, call: Any) -> Contestant:
    """``call``, a module or its compiled form, as a contestant that carries the state."""
    from_numpy, mode = torch.from_numpy, torch.inference_mode
    if not subject.state:

        def plain(row: np.ndarray) -> np.ndarray:
            with mode():
                return call(from_numpy(row[None])).numpy()

        return Contestant(label, contains, plain, nothing)
    held = [torch.zeros(1, subject.sizes[1])]

    def recurrent(row: np.ndarray) -> np.ndarray:
        with mode():
            action, held[0] = call(from_numpy(row[None]), held[0])
            return action.numpy()

    def reset() -> None:
        held[0] = torch.zeros(1, subject.sizes[1])

    step: Step = recurrent
    return Contestant(label, contains, step, reset)


def _load(module: nn.Module, subject: Subject, name: str, tensors: dict[str, str]) -> None:
    with torch.no_grad():
        for parameter, tensor in tensors.items():
            getattr(module, parameter).copy_(torch.from_numpy(subject.matrix(f"{name}.{tensor}").copy()))
