"""The computer that runs Pilotfish: what it is and in what state, so that a latency can be judged later."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")
CPU_FOLDER = Path("/sys/devices/system/cpu")
MODEL_FILES = (Path("/proc/device-tree/model"), Path("/sys/firmware/devicetree/base/model"))
"""Boards such as a Raspberry Pi or a Jetson write their name there."""
MAX_BYTES = 1 << 20


def machine() -> str:
    """Instruction set and system that native code needs, such as "x86_64-linux"."""
    isa = platform.machine().lower() or "unknown"
    isa = {"amd64": "x86_64", "arm64": "aarch64"}.get(isa, isa)
    if isa == "aarch64" and sys.maxsize < 2**32:
        isa = "armv8l"  # a 32-bit Python on a 64-bit kernel, as on many a Raspberry Pi
    return f"{isa}-{platform.system().lower() or 'unknown'}"


def cpu_flags(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """Instruction-set extensions that every core has ("avx2", "asimddp"); empty where nobody tells."""
    per_core = [
        frozenset(value.split())
        for key, value in _cpuinfo(cpuinfo)
        if key in ("flags", "Features", "features")  # x86, Arm, s390
    ]
    return frozenset.intersection(*per_core) if per_core else frozenset()


def cpu_model(cpuinfo: Path = CPUINFO) -> str:
    """The processor's name, or the instruction set where it has none."""
    fields = dict(reversed(_cpuinfo(cpuinfo)))  # reversed: the first core's entry wins
    for key in ("model name", "Model", "Hardware", "cpu model", "uarch"):
        if fields.get(key):
            return fields[key]
    if "CPU implementer" in fields and "CPU part" in fields:
        parts = {
            "0xd03": "Cortex-A53",
            "0xd08": "Cortex-A72",
            "0xd0b": "Cortex-A76",
            "0xd0c": "Neoverse-N1",
            "0xd42": "Cortex-A78AE",
        }
        part = fields["CPU part"].lower()
        known = parts.get(part) if fields["CPU implementer"].lower() == "0x41" else None
        return known or f"implementer {fields['CPU implementer']} part {part}"
    return platform.processor() or platform.machine() or "unknown"


def device_name() -> str:
    """Short name of this computer: the board's where it has one, else the processor's."""
    for path in MODEL_FILES:
        text = _read(path).strip("\0 \n")
        if text:
            return text
    name = cpu_model()
    for noise in ("(R)", "(TM)", "(r)", "(tm)", " CPU", " Processor"):
        name = name.replace(noise, "")
    return " ".join(name.partition(" @ ")[0].split()) or machine()


def fingerprint() -> dict[str, Any]:
    """Everything about this computer that moves a latency; what cannot be read is None.

    ``load`` is the one-minute load average; frequencies are those of the first core, in MHz, at this moment.
    """
    frequency = CPU_FOLDER / "cpu0/cpufreq"
    try:
        load: float | None = round(os.getloadavg()[0], 2)
    except OSError:
        load = None
    return {
        "machine": machine(),
        "device": device_name(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "governor": _read(frequency / "scaling_governor").strip() or None,
        "frequency_mhz": _megahertz(frequency / "scaling_cur_freq"),
        "frequency_max_mhz": _megahertz(frequency / "cpuinfo_max_freq"),
        "boost": {"1": True, "0": False}.get(_read(CPU_FOLDER / "cpufreq/boost").strip()),
        "load": load,
        "realtime_kernel": _read(Path("/sys/kernel/realtime")).strip() == "1",
        "kernel": platform.release(),
        "system": platform.system(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _cpuinfo(path: Path) -> list[tuple[str, str]]:
    pairs = (line.partition(":") for line in _read(path).splitlines())
    return [(key.strip(), value.strip()) for key, colon, value in pairs if colon]


def _megahertz(path: Path) -> float | None:
    text = _read(path).strip()
    return int(text) / 1000 if text.isdigit() else None


def _read(path: Path) -> str:
    """The start of a small system file, or "" where it is missing or may not be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
