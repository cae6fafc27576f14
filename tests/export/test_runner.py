"""The native runner computes what the library computes, for every processor it is built for, and needs nothing there."""

from __future__ import annotations

import dataclasses
import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pilotfish.errors import MissingTool, Unreachable, Unsupported
from pilotfish.policy import Golden
from pilotfish.policy.cells import GRU
from pilotfish.policy.guard import GuardTable
from pilotfish.policy.guard_table import GUARD_FILE, dumped
from pilotfish.policy.layers import Linear
from pilotfish.policy.reference import Reference
from pilotfish.runtime.guarded_session import GuardedSession
from pilotfish.runtime.wire_session import WireSession
from pilotfish.targets import load_target
from pilotfish.targets.links.local import LocalProcess
from pilotfish.targets.wire.client import Client

pytest.importorskip("onnx")
ZIG = {"x86_64": "x86_64", "aarch64": "cortex_a72", "arm": "cortex_a7"}


@pytest.fixture(scope="module")
def wire_policy():
    """Recurrent, with a golden rollout of the plain reference."""
    from random_policies import random_policy

    policy = random_policy([GRU("g", 9, 24), Linear("b", 24, 2)], 9, 2, 1)
    obs = np.random.default_rng(3).standard_normal((90, 9)).astype(np.float32)
    start, reference, rows = np.arange(90) % 40 == 0, Reference(policy), []
    for t in range(90):
        if start[t]:
            reference.reset()
        rows.append((np.asarray(reference.state, np.float32), reference.act(obs[t])))
    states, actions = (np.stack(column) for column in zip(*rows, strict=True))
    return policy.replace(golden=Golden(obs, actions, states, start, "random observations"))


def built(policy, folder: Path, isa: str, guard: GuardTable | None = None) -> Path:
    from pilotfish.export.c import generate_for
    from pilotfish.export.c.guard import guard_files
    from pilotfish.export.c.runner import TRIPLES, build_runner
    from pilotfish.export.c.toolchain import BASE_FLAGS, zig_compiler
    from pilotfish.export.onnx import to_onnx

    target = load_target("raspberry-pi-5")
    triple = TRIPLES[isa]
    target = dataclasses.replace(target, compile=dataclasses.replace(target.compile, triple=triple, mcpu=ZIG[isa]))
    if (folder / "runner").exists():
        return folder / "runner"
    try:
        compiler = zig_compiler()
        files = generate_for(policy, to_onnx(policy), target).files
        files |= {} if guard is None else guard_files(policy, guard) | {GUARD_FILE: dumped(guard)}
        for name, text in files.items():
            (folder / name).write_text(text)
        flags = [*BASE_FLAGS, "-target", triple, f"-mcpu={ZIG[isa]}", "-O2"]
        size = build_runner(folder, policy, compiler, flags)
    except MissingTool as error:
        pytest.skip(str(error))
    assert size < 100_000
    return folder / "runner"


def session(policy, command: str) -> WireSession:
    return WireSession(Client(LocalProcess("runner", f"exec {command}"), timeout_s=20), policy.contract, digest=policy.digest)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """``folder(isa)`` -> where that runner is built, once."""
    made: dict[str, Path] = {}
    return lambda isa: made.setdefault(isa, made.get(isa) or tmp_path_factory.mktemp(isa))


@pytest.mark.parametrize("isa", ["x86_64", "aarch64", "arm"])
def test_a_runner_replays_the_golden_rollout_on_each_processor(wire_policy, folder, isa):
    emulator = "" if isa == "x86_64" else f"qemu-{isa}"
    if emulator and shutil.which(emulator) is None:
        pytest.skip(f"{emulator} is not installed (qemu-user)")
    if not emulator and platform.machine() != isa:
        pytest.skip(f"not an {isa}")
    runner = built(wire_policy, folder(isa), isa)
    header = runner.read_bytes()[:20]
    assert header[:4] == b"\x7fELF" and int.from_bytes(header[18:20], "little") == {"x86_64": 62, "aarch64": 183, "arm": 40}[isa]
    assert b"ld-linux" not in runner.read_bytes()  # no interpreter, no libc
    flown, golden = session(wire_policy, f"{emulator} {runner}"), wire_policy.golden
    try:
        for k in range(60):
            if golden.start[k]:
                flown.reset()
            assert np.allclose(flown.act(golden.obs[k]), golden.action[k], atol=1e-5)
            assert flown.last_us > 0
        flown.state = golden.state[70]
        assert np.allclose(flown.act(golden.obs[70]), golden.action[70], atol=1e-5)
        calls = 500 if emulator else 20_000  # more than fits into one reply
        tight = flown.tight_us(golden.obs, calls)
        assert len(tight) == calls and (tight > 0).all()
        paced = flown.paced(golden.obs, 500.0, 50)
        assert len(paced.response_ns) == 50 and (paced.response_ns >= 0).all()
        assert flown.client.identity.clock_hz == 1_000_000_000 and "native runner" in flown.client.identity.board
    finally:
        flown.close()


@pytest.mark.parametrize("isa", ["x86_64", "arm"])
def test_a_guarded_runner_decides_behind_its_guard(wire_policy, tmp_path, isa):
    """With a linear fallback, whose sums are in double precision; tests/targets/links/test_native.py flies one on AArch64."""
    emulator = "" if isa == "x86_64" else f"qemu-{isa}"
    if emulator and shutil.which(emulator) is None:
        pytest.skip(f"{emulator} is not installed (qemu-user)")
    if not emulator and platform.machine() != isa:
        pytest.skip(f"not an {isa}")
    gain = np.random.default_rng(5).standard_normal((2, 9)).round(3).tolist()
    table = GuardTable(
        (-2.0,) * 9, (2.0,) * 9, (-1.0,) * 2, (1.0,) * 2, (0.0,) * 2, (0.2,) * 2, fallback="linear",
        gain=tuple(map(tuple, gain)), bias=(0.1, -0.1), stale_us=1000,
    )  # fmt: skip
    flown = session(wire_policy, f"{emulator} {built(wire_policy, tmp_path, isa, table)}")
    try:
        sent, mirror = GuardedSession(flown, table), GuardedSession(Reference(wire_policy), table)
        assert flown.client.identity.guarded and sent.on_device and not mirror.on_device
        for k, obs in enumerate(wire_policy.golden.obs[:40]):
            age = 5000 * (k % 7 == 2)
            action, expected = sent.act_at(obs, age), mirror.act_at(obs, age)
            assert np.allclose(action, expected, rtol=0, atol=1e-5) and sent.last == mirror.last
        assert sent.counters == mirror.counters and sent.counters["fell_back"] > 5 < sent.counters["rate_limited"]
        flown.client.hold(wire_policy.golden.obs)
        assert (flown.client.tight(50, guarded=True) > 0).all()
        with pytest.raises(Unsupported, match="a guard in this process"):
            sent.late()
    finally:
        flown.close()


def test_it_tells_what_it_was_granted_and_refuses_other_words(wire_policy, folder):
    if platform.machine() != "x86_64":
        pytest.skip("not an x86_64")
    runner = built(wire_policy, folder("x86_64"), "x86_64")
    flown = session(wire_policy, f"{runner} --realtime --pin 0")
    told = flown.client.identity.board
    assert "SCHED_FIFO" in told and "locked memory" in told
    flown.client.stop()
    with pytest.raises(Unreachable, match="exit code 0"):
        flown.client.channel.read(10, 10)
    flown.close()
    assert subprocess.run([runner, "--loud"]).returncode == 2
    assert subprocess.run([runner], input=b"", capture_output=True).returncode == 0  # the line ended: so does it
    noise = np.random.default_rng(0).integers(0, 256, 200_000).astype(np.uint8).tobytes()
    assert subprocess.run([runner], input=noise, capture_output=True).returncode == 0
