"""What a device is and in what state, read there: ``python -m pilotfish.runtime.measure.device_facts`` prints JSON.

Standard library only, and no other module of Pilotfish, so that the file also runs alone (``python3 - < device_facts.py``).
A fact that cannot be read is absent, never guessed. Nothing here needs root, and no serial number or address is read.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Run = Callable[[Sequence[str]], "str | None"]
"""A command -> what it printed, or None where it is absent, fails or hangs."""

MAX_BYTES = 1 << 20
TIMEOUT_S = 5.0
ARM_CORES = {
    "0xc07": "Cortex-A7", "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1", "0xd42": "Cortex-A78AE",
}  # fmt: skip
"""Part numbers of implementer 0x41 (Arm), as in the kernel's arch/arm64/include/asm/cputype.h."""
THROTTLED = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
"""Bits of ``vcgencmd get_throttled``; the same + 16: since the last boot (Raspberry Pi documentation, vcgencmd)."""
LIBRARIES = ("numpy", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx-cu13", "apache-tvm", "pilotfish")


def run_command(command: Sequence[str]) -> str | None:
    """See :data:`Run`."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, timeout=TIMEOUT_S, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout


def device_facts(root: Path = Path("/"), run: Run = run_command) -> dict[str, Any]:
    """All that can be read, by section; ``root``: where the device's file system begins.

    Sections: board, cpu (model, cores, clusters with governor and MHz), thermal (Celsius, throttling), power, kernel, machine
    (virtual, load, memory), libraries. ``warnings``: why a latency taken now should not be trusted, in words.
    """
    tree = _Tree(root)
    facts = {
        "board": _board(tree, run),
        "cpu": _cpu(tree),
        **moment(root, run),
        "power": _power(tree, run),
        "kernel": _kernel(tree),
        "machine": _machine(tree),
        "libraries": _libraries(tree),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
    }
    found = _without_gaps(facts)
    return found | {"warnings": warnings(found)}


def moment(root: Path = Path("/"), run: Run = run_command) -> dict[str, Any]:
    """The facts that a run itself may change: ``thermal`` and ``clock``; cheap enough to ask for every few seconds."""
    tree = _Tree(root)
    clock = {folder.name: _megahertz(tree, folder / "scaling_cur_freq") for folder in _policies(tree)}
    hertz = re.search(r"=(\d+)", run(["vcgencmd", "measure_clock", "arm"]) or "")
    return _without_gaps(
        {
            "thermal": _thermal(tree, run),
            "clock": {"now_mhz": clock, "measured_arm_mhz": int(hertz[1]) / 1e6 if hertz else None},
        }
    )


def warnings(facts: Mapping[str, Any]) -> list[str]:
    """Why a latency taken on a device in this state should not be trusted; empty where nothing speaks against it."""
    said: list[str] = []
    cpu, thermal, power = (facts.get(section, {}) for section in ("cpu", "thermal", "power"))
    machine, kernel = facts.get("machine", {}), facts.get("kernel", {})
    for cluster in cpu.get("clusters", []):
        governor = cluster.get("governor")
        if governor not in (None, "performance"):
            said.append(f"cores {cluster['cores']}: the governor is {governor}, not performance: the clock follows the load")
        high = cluster.get("allowed_mhz", [None, None])[1]
        most = cluster.get("possible_mhz", [None, None])[1]
        if high and most and high < 0.99 * most:
            said.append(f"cores {cluster['cores']} may run at {high:g} MHz at most, of {most:g} that they could")
    throttling = thermal.get("throttling", {})
    if throttling.get("now"):
        said.append(f"throttled now: {', '.join(throttling['now'])}")
    elif throttling.get("since_boot"):
        said.append(f"throttled since the last boot: {', '.join(throttling['since_boot'])}")
    if throttling.get("events"):
        said.append(f"the processor has throttled {throttling['events']:,} times since the last boot")
    if machine.get("virtual"):
        said.append(f"a virtual machine ({machine['virtual']}): its neighbors and its host take time that nobody here sees")
    cores = cpu.get("cores") or 1
    busy = machine.get("load_1min")
    if busy is not None and busy > 0.25 * cores:
        said.append(f"the load average is {busy:g} on {cores} cores: other work competes with the policy")
    if power.get("battery") == "discharging":
        said.append("it runs on its battery, which often means a lower clock")
    for name, now in power.get("gpu_clock_mhz", {}).items():
        if now.get("low") != now.get("high"):
            said.append(f"{name} moves between {now['low']:g} and {now['high']:g} MHz: sudo jetson_clocks holds it")
    if kernel.get("clocksource") not in (None, "tsc", "arch_sys_counter", "kvm-clock", "hyperv_clocksource_tsc_page"):
        said.append(f"the clock source is {kernel['clocksource']}: reading the time may cost microseconds")
    return said


def since(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Warnings about what happened between two :func:`moment`s (or facts): throttling that began while something was measured."""
    was, now = (side.get("thermal", {}).get("throttling", {}) for side in (before, after))
    fresh = [name for key in ("now", "since_boot") for name in now.get(key, []) if name not in was.get(key, [])]
    said = [f"throttled during the run: {', '.join(dict.fromkeys(fresh))}"] if fresh else []
    more = now.get("events", 0) - was.get("events", 0)
    return said + ([f"the processor throttled {more:,} times during the run"] if more > 0 else [])


class _Tree:
    """The device's file system, from ``root`` on."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def text(self, path: str | Path) -> str | None:
        """The start of a small file, without blanks and zeros around it; None where it is absent, empty or not readable."""
        try:
            with (self.root / str(path).lstrip("/")).open("rb") as stream:
                return stream.read(MAX_BYTES).decode("utf-8", "replace").strip("\0 \n\t") or None
        except OSError:
            return None

    def number(self, path: str | Path) -> int | None:
        """A file that holds one integer."""
        text = self.text(path)
        return int(text) if text and re.fullmatch(r"-?\d+", text) else None

    def folders(self, path: str, pattern: str) -> list[Path]:
        """What matches below a folder, in natural order, as paths from the root."""
        try:
            found = list((self.root / path.lstrip("/")).glob(pattern))
        except OSError:
            return []
        return [Path("/") / each.relative_to(self.root) for each in sorted(found, key=lambda each: _natural(each.name))]


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name) if part]


def _board(tree: _Tree, run: Run) -> dict[str, Any]:
    dmi = " ".join(filter(None, (tree.text(f"/sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name"))))
    firmware = (run(["vcgencmd", "version"]) or "").splitlines()
    release = re.search(r"R(\d+).*?REVISION: ([\d.]+)", tree.text("/etc/nv_tegra_release") or "")
    return {
        "model": tree.text("/proc/device-tree/model") or tree.text("/sys/firmware/devicetree/base/model") or dmi or None,
        "firmware": firmware[0] if firmware else None,
        "jetson_linux": f"R{release[1]}.{release[2]}" if release else None,
    }


def _cpu(tree: _Tree) -> dict[str, Any]:
    pairs = [line.partition(":") for line in (tree.text("/proc/cpuinfo") or "").splitlines()]
    fields = [(key.strip(), value.strip()) for key, colon, value in pairs if colon]
    online = tree.text("/sys/devices/system/cpu/online")
    usable = len(os.sched_getaffinity(0)) if tree.root == Path("/") and hasattr(os, "sched_getaffinity") else None
    return {
        "model": _model(fields),
        "isa": platform.machine() if tree.root == Path("/") else None,
        "cores": len(numbers(online)) if online else sum(key == "processor" for key, _ in fields) or None,
        "usable": usable,
        "isolated": tree.text("/sys/devices/system/cpu/isolated"),
        "nohz_full": _listed(tree.text("/sys/devices/system/cpu/nohz_full")),
        "boost": {"1": True, "0": False}.get(tree.text("/sys/devices/system/cpu/cpufreq/boost") or ""),
        "clusters": [_cluster(tree, folder) for folder in _policies(tree)],
    }


def _model(fields: list[tuple[str, str]]) -> str | None:
    """By the part's number where that is known: Raspberry Pi kernels write BCM2835 for whatever it is (bookworm-feedback 129)."""
    first = dict(reversed(fields))
    if first.get("model name"):
        return first["model name"]
    parts = {value.lower() for key, value in fields if key == "CPU part"}
    if first.get("CPU implementer", "").lower() == "0x41" and parts and parts <= ARM_CORES.keys():
        return " and ".join(sorted(ARM_CORES[part] for part in parts))
    return first.get("Model") or first.get("Hardware") or None


def _policies(tree: _Tree) -> list[Path]:
    return tree.folders("/sys/devices/system/cpu/cpufreq", "policy*")


def _cluster(tree: _Tree, folder: Path) -> dict[str, Any]:
    """Cores that share a clock."""

    def span(prefix: str) -> list[float] | None:
        ends = [_megahertz(tree, folder / f"{prefix}_{end}_freq") for end in ("min", "max")]
        return None if None in ends else [end for end in ends if end is not None]

    return {
        "cores": ",".join(str(core) for core in numbers(tree.text(folder / "affected_cpus") or folder.name[6:])),
        "governor": tree.text(folder / "scaling_governor"),
        "driver": tree.text(folder / "scaling_driver"),
        "now_mhz": _megahertz(tree, folder / "scaling_cur_freq"),
        "allowed_mhz": span("scaling"),
        "possible_mhz": span("cpuinfo"),
    }


def _thermal(tree: _Tree, run: Run) -> dict[str, Any]:
    zones: dict[str, float] = {}
    for folder in tree.folders("/sys/class/thermal", "thermal_zone*"):
        degrees = tree.number(folder / "temp")
        if degrees is not None and -40_000 < degrees < 200_000:  # an absent Jetson GPU reads -256 degrees
            zones[tree.text(folder / "type") or folder.name] = degrees / 1000
    for folder in tree.folders("/sys/class/hwmon", "hwmon*") if not zones else []:
        if tree.text(folder / "name") in ("k10temp", "coretemp", "zenpower"):
            degrees = tree.number(folder / "temp1_input")
            if degrees is not None:
                zones[str(tree.text(folder / "name"))] = degrees / 1000
    flags = re.search(r"0x([0-9a-fA-F]+)", run(["vcgencmd", "get_throttled"]) or "")
    bits = flags[1] if flags else tree.text("/sys/devices/platform/soc/soc:firmware/get_throttled")
    throttling: dict[str, Any] = {}
    if bits and re.fullmatch(r"[0-9a-fA-F]+", bits):
        throttling = throttled(int(bits, 16))
    counts = [tree.number(each) for each in tree.folders("/sys/devices/system/cpu", "cpu*/thermal_throttle/core_throttle_count")]
    if counts:
        throttling["events"] = sum(count or 0 for count in counts)
    return {"zones_c": zones, "hottest_c": max(zones.values(), default=None), "throttling": throttling}


def throttled(bits: int) -> dict[str, list[str]]:
    """The flags of ``vcgencmd get_throttled`` in words."""
    return {
        "now": [name for bit, name in THROTTLED.items() if bits >> bit & 1],
        "since_boot": [name for bit, name in THROTTLED.items() if bits >> (bit + 16) & 1],
    }


def _power(tree: _Tree, run: Run) -> dict[str, Any]:
    mode = re.search(r"NV Power Mode: *(\S.*)", run(["nvpmodel", "-q"]) or "")
    shown = run(["jetson_clocks", "--show"]) or ""
    held = re.findall(r"^cpu\d+: +Online=1 .*MinFreq=(\d+) +MaxFreq=(\d+)", shown, re.MULTILINE)
    supplies = tree.folders("/sys/class/power_supply", "*")
    batteries = [
        tree.text(each / "status")
        for each in supplies
        if tree.text(each / "type") == "Battery" and tree.text(each / "scope") != "Device"  # a mouse has one, too
    ]
    gpus = {}
    for folder in tree.folders("/sys/class/devfreq", "*gpu*") + tree.folders("/sys/class/devfreq", "*.ga10b"):
        ends = [tree.number(folder / f"{end}_freq") for end in ("min", "max", "cur")]
        if None not in ends:
            low, high, now = (end / 1e6 for end in ends if end is not None)
            gpus[folder.name] = {"low": low, "high": high, "now": now}
    return {
        "nvpmodel": mode[1] if mode else None,
        "jetson_clocks": all(low == high for low, high in held) if held else None,
        "gpu_clock_mhz": gpus,
        "battery": (batteries[0] or "unknown").lower() if batteries else None,
    }


def _kernel(tree: _Tree) -> dict[str, Any]:
    version = tree.text("/proc/version") or ""
    release = re.match(r"Linux version (\S+)", version)
    kind = re.search(r"PREEMPT\w*", version)
    command = (tree.text("/proc/cmdline") or "").split()
    telling = ("isolcpus", "nohz_full", "rcu_nocbs", "mitigations", "idle", "processor.max_cstate", "cpuidle.off")
    return {
        "release": release[1] if release else None,
        "preemption": kind[0] if kind else None,
        "preempt_rt": tree.text("/sys/kernel/realtime") == "1" or "PREEMPT_RT" in version or None,
        "rt_runtime_us": tree.number("/proc/sys/kernel/sched_rt_runtime_us"),
        "clocksource": tree.text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "options": [option for option in command if option.partition("=")[0] in telling],
    }


def _machine(tree: _Tree) -> dict[str, Any]:
    loads = (tree.text("/proc/loadavg") or "").split()
    memory = dict(re.findall(r"^(\w+): +(\d+) kB", tree.text("/proc/meminfo") or "", re.MULTILINE))
    return {
        "virtual": _virtual(tree),
        "load_1min": float(loads[0]) if loads else None,
        "memory_mib": int(memory["MemTotal"]) // 1024 if "MemTotal" in memory else None,
        "available_mib": int(memory["MemAvailable"]) // 1024 if "MemAvailable" in memory else None,
    }


def _virtual(tree: _Tree) -> str | None:
    named = tree.text("/sys/hypervisor/type")
    product = f"{tree.text('/sys/class/dmi/id/sys_vendor') or ''} {tree.text('/sys/class/dmi/id/product_name') or ''}"
    for word in ("KVM", "QEMU", "VMware", "VirtualBox", "Bochs", "Amazon EC2", "Google Compute", "Parallels", "Xen"):
        if word.lower() in product.lower() and ".metal" not in product:
            return word
    if named:
        return named
    if (tree.text("/proc/device-tree/hypervisor/compatible") or "").strip():
        return "device tree"
    flags = re.search(r"^flags\s*:(.*)$", tree.text("/proc/cpuinfo") or "", re.MULTILINE)
    return "hypervisor" if flags and "hypervisor" in flags[1].split() else None


def _libraries(tree: _Tree) -> dict[str, Any]:
    name = re.search(r'^PRETTY_NAME="?([^"\n]+)', tree.text("/etc/os-release") or "", re.MULTILINE)
    found: dict[str, Any] = {"system": name[1] if name else None}
    if tree.root == Path("/"):
        from importlib import metadata

        found |= {"python": platform.python_version(), "libc": " ".join(platform.libc_ver()).strip() or None}
        for package in LIBRARIES:
            try:
                found[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                continue
    driver = re.search(r"Kernel Module.*?(\d+\.\d+(?:\.\d+)?)", tree.text("/proc/driver/nvidia/version") or "")
    return found | {"nvidia_driver": driver[1] if driver else None}


def numbers(text: str) -> list[int]:
    """The kernel's lists of cores: "0-2,5" or "0 1 2 5" -> [0, 1, 2, 5]."""
    found: list[int] = []
    for part in re.findall(r"\d+(?:-\d+)?", text):
        low, _, high = part.partition("-")
        found += range(int(low), int(high or low) + 1)
    return found


def _listed(text: str | None) -> str | None:
    return text if text and re.fullmatch(r"[\d,-]+", text) else None  # "(null)" where there are none


def _megahertz(tree: _Tree, path: Path) -> float | None:
    kilohertz = tree.number(path)
    return None if kilohertz is None else kilohertz / 1000


def _without_gaps(value: Any) -> Any:
    """Without what could not be read: None, and sections and lists that are empty for it."""
    if isinstance(value, dict):
        kept = {key: _without_gaps(each) for key, each in value.items()}
        return {key: each for key, each in kept.items() if each is not None and each not in ({}, [])}
    return [_without_gaps(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    json.dump(device_facts(), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")
