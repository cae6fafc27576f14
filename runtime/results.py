"""The dictionaries that are stored beside an artifact: figures, device fingerprint, date."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping
from typing import Any

from ..figure import Figure, Source
from ..targets import host
from ..targets.reach import REMOTE, SerialLink
from .artifact import Artifact
from .cuda_driver import CudaError, Driver

Progress = Callable[[int, int], None]
"""Called now and then with (done, total); never with done > total."""


def is_virtual(artifact: Artifact) -> bool:
    """True where an emulator stands for the device."""
    return artifact.manifest.target.link.kind == "virtual"


def is_remote(artifact: Artifact) -> bool:
    """True where the artifact's link leads to another computer or board (see :mod:`pilotfish.runtime.remote`)."""
    return artifact.manifest.target.link.kind in REMOTE


def is_behind_terminal(artifact: Artifact) -> bool:
    """True where a serial link leads to a pseudo-terminal: an emulator, or a bridge to something that cannot be told from one."""
    link = artifact.manifest.target.link
    return isinstance(link, SerialLink) and link.port.startswith("/dev/pts/")


def source_of(artifact: Artifact) -> Source:
    """Where numbers come from that the artifact itself computed: the real device, or its binary in an emulator."""
    return "emulated" if is_virtual(artifact) or is_behind_terminal(artifact) else "measured"


def device_of(artifact: Artifact) -> str:
    """Short device name for figures: what ran the artifact."""
    name = artifact.manifest.target.name
    if is_virtual(artifact):
        return f"{name} (virtual board)"
    if is_remote(artifact):
        from .remote import fingerprint

        return str(fingerprint(artifact)["device"])
    gpu = _gpu(artifact)
    return f"{gpu['gpu']} beside {host.device_name()}" if gpu else host.device_name()


def _gpu(artifact: Artifact) -> dict[str, str]:
    """Name, compute capability and driver of the GPU that runs a TensorRT artifact; empty for others."""
    if artifact.manifest.backend != "tensorrt" or is_remote(artifact):
        return {}
    try:
        return Driver(context=False).describe()
    except CudaError:
        return {}


def result(artifact: Artifact, figures: Mapping[str, Figure], **fields: Any) -> dict[str, Any]:
    """A result ready for :meth:`Artifact.store_result`: ``fields``, the dumped figures, the device and the date (UTC, ISO)."""
    device = host.fingerprint()
    if is_virtual(artifact):
        target = artifact.manifest.target
        device = {"virtual_board": target.name, "core": target.cpu.core, "clock_hz": target.cpu.clock_hz, "host": device}
    if is_remote(artifact):
        from .remote import fingerprint

        device = fingerprint(artifact) | {"host": device}
    device |= _gpu(artifact)
    return {
        **fields,
        "figures": {name: dataclasses.asdict(figure) for name, figure in figures.items()},
        "device": device,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
