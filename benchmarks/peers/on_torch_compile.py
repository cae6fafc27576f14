"""torch.compile of the same module: default mode and max-autotune."""

from __future__ import annotations

from pathlib import Path

import torch

from .contestant import Contestant, NotOffered
from .on_torch import CONTAINS, contestant, module_of, versions
from .subject import Subject

__all__ = ["prepare", "versions"]


def prepare(subject: Subject, scratch: Path) -> list[Contestant]:  # noqa: ARG001 part of the contract
    if subject.quantized:
        raise NotOffered("int8 activations are not set up for torch here")
    made = []
    for label, mode in (("torch.compile", "default"), ("torch.compile, max-autotune", "max-autotune")):
        torch._dynamo.reset()
        made.append(contestant(label, CONTAINS, subject, torch.compile(module_of(subject), mode=mode, dynamic=False)))
    return made
