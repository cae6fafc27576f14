"""The whole way of a serial firmware: exported, on a virtual board behind a pseudo-terminal, reached by pyserial, and flown."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import tty

import numpy as np
import pytest

from pilotfish.errors import BadInput, MissingTool, Unreachable
from pilotfish.policy.environment import make_env
from pilotfish.policy.reference import Reference
from pilotfish.runtime import remote
from pilotfish.runtime.bench import bench
from pilotfish.runtime.open import open_session
from pilotfish.runtime.serve import Server
from pilotfish.runtime.verify import verify
from pilotfish.targets.links import serial as links_serial
from pilotfish.targets.links.open import open_link
from pilotfish.targets.reach import parse_link
from pilotfish.targets.virtual import serve_uart

STEPS = 1_000


@pytest.fixture
def plugged():
    """plugged(artifact, *flags) -> the link of its serial firmware on a virtual board in a process of its own."""
    for module in ("serial", "unicorn", "capstone", "elftools"):
        pytest.importorskip(module)
    if not hasattr(os, "openpty"):
        pytest.skip("no pseudo-terminals on this system")
    running = []

    def start(artifact, *flags):
        program = [sys.executable, "-m", "pilotfish.targets.virtual.serve_uart"]
        firmware = artifact.path / "serial" / "serial.elf"
        command = [*program, str(firmware), artifact.manifest.target.name, *flags]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return running[-1].stdout.readline().strip()

    start.running = running
    yield start
    remote.hang_up()
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def exported(build, policy, target):
    artifact = build(policy, "c", target)
    assert {f"serial/{name}" for name in ("serial.elf", "serial.bin", "wire.c", "wire.h", "board.c", "README.txt")} <= set(
        artifact.manifest.files
    )
    return artifact


def test_verify_and_bench_reach_the_board(build, policy_of, plugged):
    artifact = exported(build, policy_of("gru", control_hz=50.0), "crazyflie")
    url = plugged(artifact)
    there = artifact.reached_by(parse_link(url))
    data = verify(there)
    assert data["passed"] is True and data["device"]["link"] == url.partition("?")[0]
    assert data["device"]["policy"] == artifact.manifest.policy_digest and "pseudo-terminal" in data["device"]["device"]
    data = bench(there, control_hz=500.0, calls=20, paced_seconds=3 / 500)
    assert data["deadline_met"] is True
    trips = {name for name in data["figures"] if name.startswith("round_trip")}
    estimated = data["figures"].keys() - trips - {"artifact_bytes"}
    assert {data["figures"][name]["source"] for name in estimated} == {"estimated"}
    assert trips and all("says nothing about the board" in data["figures"][name]["note"] for name in trips)
    here = bench(artifact, control_hz=500.0)["figures"]["latency_us"]
    # The same policy in another firmware: within 5 % of the typical figure.
    assert data["figures"]["tight_p50_us"]["value"] == pytest.approx(here["value"], rel=0.05)


def test_verify_reaches_the_other_board(build, policy_of, plugged, monkeypatch, tmp_path):
    """And asks for no trust: nothing of the artifact is run, here or by this account."""
    artifact = exported(build, policy_of("gru"), "rp2040")
    monkeypatch.setenv("PILOTFISH_HOME", str(tmp_path / "of somebody else"))
    assert verify(artifact.reached_by(parse_link(plugged(artifact, "--fast"))))["passed"] is True


def test_a_thousand_closed_loop_steps_of_a_quadrotor(build, policy_of, plugged):
    """The simulator here, the policy on the virtual STM32F405: every action is the reference's on the same observation."""
    pytest.importorskip("gymnasium")
    env = make_env("pilotfish/Quadrotor-v0")
    with contextlib.closing(env):
        size = env.observation_space.shape[0]
        artifact = exported(build, policy_of(inputs=size, outputs=4, env="pilotfish/Quadrotor-v0"), "crazyflie")
        url = plugged(artifact, "--fast")
        session, reference = open_session(artifact.reached_by(parse_link(url))), Reference(artifact.policy)
        obs, _ = env.reset(seed=0)
        worst, episodes = 0.0, 1
        for _ in range(STEPS):
            action = session.act(obs)
            worst = max(worst, float(np.abs(action - reference.act(obs)).max()))
            obs, _, ended, cut, _ = env.step(action)
            if ended or cut:
                obs, _ = env.reset(seed=episodes)
                episodes += 1
                session.reset()
    assert worst <= 2e-6
    stats = session.client.stats()
    assert stats.decisions == STEPS and stats.damaged == 0
    session.close()


def test_noise_on_the_terminal_is_only_a_delay(build, policy_of, plugged):
    """A byte in five hundred is wrong, both ways: the golden rollout of a recurrent policy, action by action."""
    artifact = exported(build, policy_of("gru"), "crazyflie")
    session = open_session(artifact.reached_by(parse_link(plugged(artifact, "--fast", "--noise", "0.002"))))
    reference = Reference(artifact.policy)
    for obs in artifact.golden.obs[:40]:
        np.testing.assert_allclose(session.act(obs), reference.act(obs), rtol=0, atol=2e-6)
    np.testing.assert_allclose(session.state, reference.state, rtol=0, atol=2e-6)
    assert session.client.retries > 0
    session.close()


class Slow:
    """A board in this process that takes ``seconds`` for whatever arrives, as an emulator on a busy computer does."""

    def __init__(self, policy, seconds):
        self._server, self._seconds = Server(Reference(policy), policy.digest, "a slow board"), seconds

    def exchange(self, data):
        time.sleep(self._seconds)
        return self._server.feed(data)


def test_an_emulator_that_is_slow_is_waited_for(build, policy_of, monkeypatch):
    """Its decisions take twice what a board is given; it says that it is at work, and is asked once for each."""
    pytest.importorskip("serial")
    if not hasattr(os, "openpty"):
        pytest.skip("no pseudo-terminals on this system")
    monkeypatch.setattr(serve_uart, "BUSY_EVERY_S", 0.1)
    monkeypatch.setattr(links_serial, "EMULATED_TURN_S", 0.8)
    artifact = exported(build, policy_of(), "crazyflie")
    master, slave = os.openpty()
    tty.setraw(slave)
    emulator = (Slow(artifact.policy, 1.6), master, serve_uart.Noise(0.0))
    threading.Thread(target=serve_uart.serve, args=emulator, daemon=True).start()
    session = open_session(artifact.reached_by(parse_link(f"serial://{os.ttyname(slave)}")))
    reference = Reference(artifact.policy)
    for obs in artifact.golden.obs[:2]:
        np.testing.assert_allclose(session.act(obs), reference.act(obs), rtol=0, atol=2e-6)
    assert session.client.retries == 0 and session.client.busy > 10 and session.recoveries == 0
    session.close()
    remote.hang_up()


def test_an_emulator_that_has_ended_is_not_waited_for(build, policy_of, plugged):
    artifact = exported(build, policy_of(), "crazyflie")
    session = open_session(artifact.reached_by(parse_link(plugged(artifact, "--fast"))))
    session.act(artifact.golden.obs[0])
    plugged.running[-1].kill()
    plugged.running[-1].wait()
    begin = time.monotonic()
    with pytest.raises(Unreachable, match="serial port"):
        session.act(artifact.golden.obs[0])
    assert time.monotonic() - begin < 5
    session.close()


def test_a_board_with_another_policy_is_refused(build, policy_of, plugged):
    artifact, other = exported(build, policy_of(seed=1), "crazyflie"), build(policy_of(seed=2), "c", "crazyflie")
    url = plugged(artifact, "--fast")
    with pytest.raises(BadInput, match="expected the policy"):
        open_session(other.reached_by(parse_link(url)))


def test_a_board_runs_no_steps_and_is_nowhere_without_its_port(build, policy_of, plugged, tmp_path):
    artifact = exported(build, policy_of(), "crazyflie")
    link = open_link(parse_link(plugged(artifact, "--fast")))
    device = link.device()
    assert device.python is None and device.machine == "firmware" and device.facts["baud"] == 115200
    installed = link.install(artifact.path, artifact.manifest.files)
    assert installed.sent_bytes == 0 and installed.digest == artifact.manifest.policy_digest
    with pytest.raises(MissingTool, match="needs a device with Python"):
        link.run(installed, "verify", {})
    again = open_link(parse_link(link.name))
    with pytest.raises(Unreachable, match="serial port"):
        again.device()  # the port is taken
    link.close()
    assert again.device() == device
    again.close()
    with pytest.raises(Unreachable, match="nowhere"):
        open_link(parse_link(f"serial://{tmp_path}/nowhere")).device()
