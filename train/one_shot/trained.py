"""A trained family: the hypernetwork on disk, and plain policies of any of its architectures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ... import sealed
from ...errors import BadInput
from ...policy.bundle import Policy
from ..actor import network_layers
from .actors import Actors
from .family import Family, Member

SETTINGS, WEIGHTS, PATTERN = "family.json", "hypernetwork.safetensors", "pattern.policy"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class _Saved:
    family: Family
    ends: tuple[int, int]
    sha256: str


class Trained:
    """What a one-shot training leaves behind. ``pattern``: a policy of the training, whose contract all members have."""

    def __init__(self, actors: Actors, pattern: Policy) -> None:
        self.actors, self.pattern, self.family, self.ends = actors, pattern, actors.family, actors.ends

    def policy(self, member: Member) -> Policy:
        """Plain layers and weights, without a golden rollout. BadInput for what is not of the family."""
        if member not in self.family:
            raise BadInput(
                f"architecture {member.name}", expected=f"depth {self.family.depth[0]} to {self.family.depth[1]}, widths of "
                f"{sorted(self.family.widths)}, {' or '.join(self.family.activations)}", found=member.name,
            )  # fmt: skip
        layers = network_layers(self.ends[0], member.hidden, member.activation, False, self.ends[1])
        weights = self.actors.weights_of(member)
        return self.pattern.replace(name=f"{self.pattern.name}-{member.name}", layers=layers, weights=weights, golden=None)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write into ``folder``, which may exist."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.pattern.save(path / PATTERN)
        data = save({name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors(self.actors).items()})
        sealed.write_atomic(path / WEIGHTS, data)
        saved: Any = TypeAdapter(_Saved).dump_python(_Saved(self.family, self.ends, sealed.sha256_bytes(data)), mode="json")
        sealed.write_atomic(path / SETTINGS, sealed.canonical_json(saved))

    @staticmethod
    def load(folder: str | os.PathLike[str]) -> Trained:
        """The inverse of :meth:`save`; BadInput for anything else, and for a file that was changed."""
        path = Path(folder)
        table = sealed.read_json(path / SETTINGS, "a trained family (a one-shot training leaves one in its folder)")
        try:
            saved = TypeAdapter(_Saved).validate_python(table)
            if sealed.sha256_file(path / WEIGHTS) != saved.sha256:
                raise ValueError(f"{WEIGHTS} is not the file that was written")
            actors = Actors(saved.family, saved.ends, torch.Generator(), torch.device("cpu"))
            kept, wanted = (
                load_file(path / WEIGHTS),
                dict(actors.network.named_parameters()) | dict(actors.network.named_buffers()),
            )
            if kept.keys() != wanted.keys():
                raise ValueError(f"{WEIGHTS} holds {sorted(kept)}")
            with torch.no_grad():
                for name, tensor in wanted.items():
                    tensor.copy_(torch.from_numpy(kept[name]))
        except (ValidationError, ValueError, OSError, SafetensorError, RuntimeError) as error:
            raise BadInput(path, expected="a trained family", found=f"{type(error).__name__}: {str(error)[:200]}") from error
        return Trained(actors, Policy.load(path / PATTERN))


def tensors(actors: Actors) -> dict[str, torch.Tensor]:
    """All that a hypernetwork is made of, by name."""
    return dict(actors.network.named_parameters()) | dict(actors.network.named_buffers())
