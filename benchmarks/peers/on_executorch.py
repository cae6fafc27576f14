"""ExecuTorch with the XNNPACK delegate, through its Python binding."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.extension.pybindings.portable_lib import _load_for_executorch_from_buffer

from .contestant import Contestant, nothing
from .on_torch import module_of
from .subject import Subject

_KEPT: list[bytes] = []
"""The programs: a loaded module reads its buffer without keeping it alive."""


def versions() -> dict[str, str]:
    torch.set_num_threads(1)
    return {"executorch": version("executorch"), "torch": torch.__version__}


def prepare(subject: Subject, scratch: Path) -> list[Contestant]:  # noqa: ARG001 part of the contract
    example: tuple[torch.Tensor, ...] = tuple(torch.zeros(1, size) for size in (subject.sizes[0], *(s for _, s in subject.state)))
    if subject.quantized:
        exported = torch.export.export(_quantized(subject, example), example)
    else:
        exported = torch.export.export(module_of(subject), example)
    program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    buffer = program.buffer
    _KEPT.append(buffer)
    module = _load_for_executorch_from_buffer(buffer)
    forward, from_numpy = module.forward, torch.from_numpy
    contains = "from_numpy, forward([tensor]), .numpy(): array in, new array out"
    if not subject.state:

        def plain(row: np.ndarray) -> np.ndarray:
            return forward([from_numpy(row[None])])[0].numpy()

        return [Contestant("ExecuTorch, XNNPACK", contains, plain, nothing)]
    held = [torch.zeros(1, subject.sizes[1])]

    def recurrent(row: np.ndarray) -> np.ndarray:
        action, held[0] = forward([from_numpy(row[None]), held[0]])
        return action.numpy()

    def reset() -> None:
        held[0] = torch.zeros(1, subject.sizes[1])

    return [Contestant("ExecuTorch, XNNPACK", contains, recurrent, reset)]


def _quantized(subject: Subject, example: tuple[torch.Tensor, ...]) -> torch.nn.Module:
    """The float twin, quantized by ExecuTorch's own tools: static, per channel, calibrated on the subject's observations."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    twin = subject.twin()
    observed = prepare_pt2e(torch.export.export(module_of(twin), example).module(), quantizer)
    for row in twin.observations:
        observed(torch.from_numpy(row[None]))
    return convert_pt2e(observed)
