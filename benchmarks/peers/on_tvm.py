"""TVM: Relax from the ONNX file, for this processor, as built by default; its schedules are compared by tvm_schedules.py.

Arrays go in through a buffer that is bound once: tvm.runtime.tensor(array) and .numpy() cost more than a small policy.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from .contestant import Contestant, NotOffered
from .subject import Subject

ALIGNMENT = 64
"""Bytes: TVM takes no memory of numpy's that is not aligned to this."""


def versions() -> dict[str, str]:
    return {"apache-tvm": tvm.__version__, "apache-tvm-ffi": version("apache-tvm-ffi")}


def prepare(subject: Subject, _: Path) -> list[Contestant]:
    try:
        module = from_onnx(onnx.load(str(subject.onnx)), keep_params_in_input=False)
    except tvm.error.OpNotImplemented as error:
        raise NotOffered(str(error).strip().splitlines()[-1]) from error
    target = tvm.target.Target.from_device(tvm.cpu())
    return [_contestant("TVM", relax.build(module, target), subject)]


def _contestant(label: str, built: Any, subject: Subject) -> Contestant:
    machine = relax.VirtualMachine(built, tvm.cpu())
    main: Callable[..., Any] = machine["main"]
    obs, bound = _aligned((1, subject.sizes[0]))
    states = [_aligned((1, size)) for _, size in subject.state]
    bound_states = [tensor for _, tensor in states]
    from_dlpack = np.from_dlpack

    def plain(row: np.ndarray) -> np.ndarray:
        obs[0] = row
        return from_dlpack(main(bound))

    def recurrent(row: np.ndarray) -> np.ndarray:
        obs[0] = row
        results = main(bound, *bound_states)
        for (array, _), new in zip(states, results[1:], strict=True):
            array[:] = from_dlpack(new)
        return from_dlpack(results[0])

    def reset() -> None:
        for array, _ in states:
            array[:] = 0

    contains = "copy into the bound input, the virtual machine's main, result as a view (DLPack)"
    return Contestant(label, contains, recurrent if states else plain, reset)


def _aligned(shape: tuple[int, ...]) -> tuple[np.ndarray, Any]:
    """A numpy array and TVM's tensor over the same memory."""
    count = int(np.prod(shape))
    raw = np.zeros(4 * count + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    array = raw[start : start + 4 * count].view(np.float32).reshape(shape)
    return array, tvm.runtime.from_dlpack(array)
