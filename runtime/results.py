"""The dictionaries that are stored beside an artifact: figures, device fingerprint, date."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

from ..figure import Figure
from ..targets import host
from .artifact import Artifact
from .cuda_driver import CudaError, Driver
from .place import is_remote, is_virtual


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
