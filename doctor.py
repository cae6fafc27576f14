"""What is installed here, and what each missing piece would add."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from .runtime.measure.device_facts import device_facts

EXTRAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ort": ("run ONNX Runtime artifacts", ("onnxruntime",)),
    "sim": ("evaluate in Gymnasium and MuJoCo", ("gymnasium", "mujoco")),
    "train": ("train, distill and adopt policies", ("torch", "tensorboard")),
    "mlflow": ("tell MLflow how a training goes", ("mlflow",)),
    "wandb": ("tell Weights & Biases how a training goes", ("wandb",)),
    "export": ("build ONNX and C artifacts, cross-compile", ("onnx", "ziglang")),
    "ssh": ("reach devices over SSH", ("asyncssh",)),
    "agent": ("serve a device to a lab, and reach one", ("grpcio",)),
    "emulate": ("run firmware on a virtual board", ("unicorn", "capstone", "pyelftools")),
    "tensorrt": ("build TensorRT engines for GeForce RTX", ("tensorrt-rtx-cu13-bindings",)),
    "tvm": ("build artifacts with TVM, run them over its RPC", ("apache-tvm",)),
    "search": ("search policies under a device's budget", ("optuna", "scikit-learn", "scipy")),
    "ray": ("search on a Ray cluster", ("ray",)),
    "video": ("film an artifact for the report", ("pillow",)),
    "report": ("write the HTML report", ("jinja2", "plotly")),
}
"""Extra -> (what it adds, the packages that it brings)."""

COMPILERS = ("cc", "gcc", "clang", "arm-none-eabi-gcc")
RUNTIMES = {
    "tensorrt": ("TensorRT", "builds and runs engines for the GPU that is here"),
}
"""Found and named; what each adds."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    group: str
    name: str
    found: str | None
    """Version or description; None: absent."""
    adds: str = ""
    """What it is for, or what to run to get it."""


def examine() -> list[Finding]:
    """Look at the machine; imports nothing heavy and never fails because something is absent."""
    findings = [
        Finding("machine", "python", platform.python_version(), sys.executable),
        Finding("machine", "system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        Finding("machine", "cores", str(os.cpu_count())),
        *[Finding("machine", "for measuring", f"not quiet: {warning}") for warning in device_facts()["warnings"]],
        Finding("machine", "NVIDIA GPU", _gpu(), "training with --device cuda"),
    ]
    for extra, (adds, packages) in EXTRAS.items():
        for package in packages:
            findings.append(Finding(f"extra {extra}: {adds}", package, _version(package), f'pip install "pilotfish[{extra}]"'))
    findings += [
        Finding("compilers", name, _compiler(name), "host C back-end" if "none" not in name else "not needed: ziglang does it")
        for name in COMPILERS
    ]
    findings.append(_headers())
    findings += [Finding("other runtimes", name, _version(package), adds) for package, (name, adds) in RUNTIMES.items()]
    return findings


def _headers() -> Finding:
    """Can exports for this machine carry the extension that calls them fast?"""
    from .runtime.c_binding import NoBinding, include_folders

    adds = "C artifacts called by an extension: 0.03 us around the policy, where ctypes takes 1"
    try:
        return Finding("compilers", "Python.h, NumPy's headers", ", ".join(include_folders()), adds)
    except NoBinding as reason:
        return Finding("compilers", "Python.h, NumPy's headers", None, f"{adds}: {reason}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _run(command: list[str]) -> str | None:
    """First line that the command prints, or None where it is absent, fails or hangs."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0] if lines else None


def _compiler(name: str) -> str | None:
    return _run([name, "--version"])


def _gpu() -> str | None:
    return _run(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"])
