"""Build the wheel, then use it the way strangers do: in clean environments, without the checkout.

1. Without torch: install the wheel with the ort extra alone, import the runtime, run and verify an artifact.
2. With all extras, and Warp, whose kernels need it at import: import every module that the wheel holds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"

MAKE_ARTIFACT = """
import sys, numpy as np
from pilotfish.policy import Action, Contract, Observation, Policy
from pilotfish.policy.layers import Activation, Linear
from pilotfish.policy.network import Network
from pilotfish.policy.record import record_golden
from pilotfish.export.build import export_policy
from pilotfish.targets import load_target
layers = (Linear("a", 4, 16), Activation("tanh"), Linear("b", 16, 2))
policy = Policy("wheel", Contract(Observation(4), Action("continuous", 2)), layers, Network(layers).to_weights())
policy = policy.replace(golden=record_golden(policy, None, steps=50))
print(export_policy(policy, load_target("host-cpu"), "onnxruntime", sys.argv[1]).path)
"""

RUN_WITHOUT_TORCH = """
import importlib.util, sys
import numpy as np
assert importlib.util.find_spec("torch") is None, "torch is present in the environment that must not need it"
import pilotfish.runtime
from pilotfish.runtime.artifact import Artifact
from pilotfish.runtime.open import open_session
from pilotfish.runtime.verify import verify
artifact = Artifact.load(sys.argv[1])
session = open_session(artifact)
print("action", session.act(np.zeros(4, np.float32)))
assert verify(artifact)["passed"]
assert "torch" not in sys.modules
"""

IMPORT_ALL = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(len(sys.argv) - 1, "modules imported")
"""


def run(*command: str | Path) -> str:
    """Run a command outside the checkout, so that nothing is imported from it by accident."""
    print("+", *(str(part) if "\n" not in str(part) else "<script>" for part in command), flush=True)
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(part) for part in command], cwd=tempfile.gettempdir(), env=environment, stdout=subprocess.PIPE, text=True
    )
    print(done.stdout, end="", flush=True)
    if done.returncode:
        sys.exit(f"failed with exit code {done.returncode}")
    return done.stdout


def fresh(folder: Path, requirement: str) -> Path:
    """A new virtual environment with one requirement in it; returns its python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "-c", CONSTRAINTS, requirement)
    return python


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        run(sys.executable, "-m", "build", "-q", "--wheel", "--outdir", work / "wheel", ROOT)
        (wheel,) = (work / "wheel").glob("*.whl")
        names = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")]
        modules = sorted(name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names)
        tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
        outside = ("tests/", "benchmarks/", ".ci/", "docs/", "examples/")
        expected = {f"pilotfish/{name}" for name in tracked if not name.startswith(outside)}
        if forgotten := sorted(expected - set(names)):
            sys.exit(f"the wheel lacks {forgotten}: list their packages in pyproject.toml")

        artifact = run(sys.executable, "-c", MAKE_ARTIFACT, work / "dist").strip().splitlines()[-1]
        artifact_path = (Path(tempfile.gettempdir()) / artifact).resolve()
        light = fresh(work / "light", f"{wheel}[ort]")
        run(light, "-c", RUN_WITHOUT_TORCH, artifact_path)
        run(light, "-m", "pilotfish.cli", "verify", artifact_path)
        run(light, "-m", "pilotfish.cli", "bench", artifact_path, "--calls", "200", "--paced-seconds", "0.2")
        run(light, "-m", "pilotfish.cli", "doctor")
        full = fresh(work / "full", f"{wheel}[all,warp]")
        run(full, "-c", IMPORT_ALL, *modules)
        run(full, "-m", "pilotfish.cli", "verify", artifact_path)
        print("wheel: good")


if __name__ == "__main__":
    main()
