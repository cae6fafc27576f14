"""Law: the library cross-compiled for a Raspberry Pi 4 computes the reference when it is loaded on AArch64 Linux (qemu-user)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pilotfish.policy.cells import GRU, LSTM
from pilotfish.policy.layers import Activation, Linear
from pilotfish.policy.reference import Reference
from pilotfish.targets import load_target

RUNNER = r"""
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
int main(int count, char **words) {
  void *const library = count == 2 ? dlopen(words[1], RTLD_NOW) : NULL;
  if (!library) return fprintf(stderr, "%s\n", dlerror()), 1;
  const int32_t *const sizes = dlsym(library, "policy_sizes");
  void (*const reset)(float *) = (void (*)(float *))dlsym(library, "policy_reset");
  void (*const step)(const float *, float *, float *) = (void (*)(const float *, float *, float *))dlsym(library, "policy_step");
  static float obs[64], state[256], action[64];
  reset(state);
  while (fread(obs, 4, (size_t)sizes[0], stdin) == (size_t)sizes[0]) {
    step(obs, state, action);
    fwrite(action, 4, (size_t)sizes[2], stdout);
  }
  return 0;
}
"""
"""Observations on standard input, actions on standard output, the state carried from zeros."""
LIBC = Path(os.environ.get("QEMU_LD_PREFIX", "/usr/aarch64-linux-gnu"))
"""Where Debian's libc6-arm64-cross lies."""

NETWORKS = {
    "mlp": (Linear("a", 7, 32), Activation("tanh"), Linear("z", 32, 3)),
    "gru": (GRU("cell", 7, 24), Linear("z", 24, 3)),
    "lstm": (LSTM("cell", 7, 24), Linear("z", 24, 3)),
}


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("qemu-aarch64 is not installed (Debian: apt install qemu-user libc6-arm64-cross)")
    if not (LIBC / "lib/ld-linux-aarch64.so.1").exists():
        pytest.skip("libc6-arm64-cross is not installed")
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    from pilotfish.export.c.toolchain import zig_compiler
    from pilotfish.export.tvm.library import LINUX

    folder = tmp_path_factory.mktemp("runner")
    (folder / "run.c").write_text(RUNNER)
    zig_compiler().run(["-target", LINUX, "-O1", "-o", "run", "run.c", "-ldl"], folder)
    return folder / "run"


@pytest.mark.parametrize("name", NETWORKS)
def test_an_episode_on_aarch64_linux(make_policy, runner: Path, tmp_path: Path, name: str) -> None:
    for package in ("tvm", "onnx"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    from pilotfish.export.onnx import to_onnx
    from pilotfish.export.tvm import build

    policy = make_policy(NETWORKS[name], 7, 3, 6)
    build(policy, to_onnx(policy), load_target("raspberry-pi-4"), tmp_path)
    obs = (2 * np.random.default_rng(1).standard_normal((60, 7))).astype(np.float32)
    command = ["qemu-aarch64", "-cpu", "cortex-a72", "-L", str(LIBC), str(runner), str(tmp_path / "policy.so")]
    done = subprocess.run(command, input=obs.astype("<f4").tobytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found = np.frombuffer(done.stdout, "<f4").reshape(len(obs), -1)
    reference = Reference(policy)
    wanted = np.stack([reference.act(row) for row in obs])
    assert np.abs(found - wanted).max() <= 1e-5
