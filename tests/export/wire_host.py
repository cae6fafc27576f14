"""The protocol's C, compiled for this machine: six board functions over memory, and a channel to it."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pilotfish.export.c import generate_for
from pilotfish.export.c.guard import guard_files
from pilotfish.export.c.toolchain import BASE_FLAGS
from pilotfish.export.c.wire import wire_files
from pilotfish.export.onnx import to_onnx
from pilotfish.policy.bundle import Policy
from pilotfish.policy.guard import GuardTable
from pilotfish.targets.profile import load_target

CLOCK_HZ = 1_000_000
BOARD = """
#include "wire.h"

static uint8_t sent[1 << 20];
static uint32_t sent_count, now, each, work;

void board_start(void) {}
void board_stop(void) {}
int board_read(void) { return -1; }
void board_write(uint8_t byte) { if (sent_count < sizeof sent) sent[sent_count++] = byte; }
uint32_t board_clock(void) { return now += each; }
const board_identity *board_identify(void) {
  static const board_identity identity = {"a board of memory", 1000000u, 0u};
  return &identity;
}

void test_step(const float *obs, float *state, policy_action_t *action);
void test_step(const float *obs, float *state, policy_action_t *action) {
  policy_step(obs, state, action);
  now += work;
}
void test_clock(uint32_t start, uint32_t per_reading, uint32_t per_decision) {
  now = start;
  each = per_reading;
  work = per_decision;
}
int test_take(const uint8_t *bytes, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i)
    if (wire_take(bytes[i])) return 1;
  return 0;
}
const uint8_t *test_sent(uint32_t *count) {
  *count = sent_count;
  sent_count = 0;
  return sent;
}
"""
"""Its clock advances a fixed number of ticks at every reading, and another one at every decision."""


class Device:
    """The library: bytes in, bytes out."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))
        self.library.test_sent.restype = ctypes.POINTER(ctypes.c_uint8)
        self.clock(0, 1)
        self.library.wire_begin()

    def clock(self, start: int, per_reading: int, per_decision: int = 0) -> None:
        self.library.test_clock(*map(ctypes.c_uint32, (start, per_reading, per_decision)))

    def take(self, data: bytes) -> bytes:
        """Feed it; what it sends."""
        self.stopped = bool(self.library.test_take(data, len(data)))
        count = ctypes.c_uint32()
        sent = self.library.test_sent(ctypes.byref(count))
        return ctypes.string_at(sent, count.value)


class DeviceChannel:
    """A channel to it (see :class:`pilotfish.targets.wire.client.Channel`); a silent device times out at once."""

    def __init__(self, device: Device) -> None:
        self.device, self._replies = device, bytearray()

    def write(self, data: bytes) -> None:
        self._replies += self.device.take(data)

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        out = bytes(self._replies[:max_bytes])
        del self._replies[:max_bytes]
        return out

    def close(self) -> None:
        pass


def compiled(policy: Policy, folder: Path, compiler: str, more: Sequence[str] = (), guard: GuardTable | None = None) -> Device:
    """``policy`` behind the protocol (and ``guard``), with every warning an error."""
    files = generate_for(policy, to_onnx(policy), load_target("host-cpu")).files
    files |= wire_files(policy, guard)
    if guard is not None:
        files |= guard_files(policy, guard)
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "board.c").write_text(BOARD)
    strict = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-ffreestanding", "-Wconversion"]
    subprocess.run(
        [compiler, *BASE_FLAGS, "-O2", *strict, *more, "-fPIC", "-c", "-Dpolicy_step=test_step", "wire.c"], cwd=folder, check=True
    )
    rest = ["-march=native", "-O3", "-fPIC", "-shared", "-o", "device.so", "wire.o", "policy.c", "board.c"]
    rest += ["guard.c"] if guard is not None else []
    subprocess.run([compiler, *BASE_FLAGS, *more, *rest], cwd=folder, check=True)
    return Device(folder / "device.so")


def observations(policy: Policy, count: int, seed: int = 0) -> np.ndarray:
    """[count, obs] float32."""
    return np.random.default_rng(seed).standard_normal((count, policy.contract.observation.size)).astype(np.float32)
