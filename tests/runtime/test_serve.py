"""serve: a session behind the wire protocol decides as the session does, over pipes too, and no bytes harm it."""

from __future__ import annotations

import contextlib
import os
import random
import select
import struct
import subprocess
import sys

import numpy as np
import pytest

from pilotfish.errors import BadInput, Unreachable
from pilotfish.policy.guard import Guard, GuardTable
from pilotfish.policy.reference import Reference
from pilotfish.runtime import wire_bench as wire_bench_module
from pilotfish.runtime.guarded_session import GuardedSession
from pilotfish.runtime.serve import CLOCK_HZ, Server
from pilotfish.runtime.session import Session
from pilotfish.runtime.wire_bench import wire_bench
from pilotfish.runtime.wire_session import CHECKPOINT_STEPS, WireSession
from pilotfish.runtime.wire_soak import WireSoak
from pilotfish.targets.wire.client import Client, Refused
from pilotfish.targets.wire.frames import Decoder, encode
from pilotfish.targets.wire.messages import Kind, floats


class Memory:
    """A channel to a server in this process; after ``lasts`` writes the line is gone, with what was on its way."""

    def __init__(self, server: Server, lasts: int | None = None) -> None:
        self.server, self.lasts, self._replies = server, lasts, bytearray()

    def write(self, data: bytes) -> None:
        if self.lasts is not None:
            self.lasts -= 1
            if self.lasts < 0:
                self._replies.clear()
                raise Unreachable("the line is gone")
        self._replies += self.server.feed(data)

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        if self.lasts == 0:
            raise Unreachable("the line is gone")
        out = bytes(self._replies[:max_bytes])
        del self._replies[:max_bytes]
        return out

    def close(self) -> None:
        self.lasts = -1


class Pipes:
    """A channel to a program's standard input and output."""

    def __init__(self, command: list[str]) -> None:
        self.program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        if not select.select([self.program.stdout], [], [], timeout_s)[0]:
            return b""
        data = os.read(self.program.stdout.fileno(), max_bytes)
        if not data:
            raise Unreachable("the program has ended")
        return data

    def write(self, data: bytes) -> None:
        try:
            self.program.stdin.write(data)
        except BrokenPipeError as error:
            raise Unreachable("the program has ended") from error

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.program.stdin.close()
        self.program.wait(10)
        self.program.stdout.close()
        self.program.stderr.close()


def serving(policy, **more) -> WireSession:
    server = Server(Reference(policy), policy.digest, "this test")
    return WireSession(Client(Memory(server), timeout_s=0.5), policy.contract, digest=policy.digest, **more)


@pytest.mark.parametrize(("kind", "discrete"), [("mlp", False), ("mlp", True), ("gru", False)])
def test_a_wire_session_is_the_session_at_the_other_end(policy_of, kind, discrete):
    policy = policy_of(kind, discrete=discrete)
    session, reference = serving(policy), Reference(policy)
    assert isinstance(session, Session)
    for _ in range(2):
        session.reset()
        reference.reset()
        for obs in policy.golden.obs[:40]:
            action, expected = session.act(obs), reference.act(obs)
            np.testing.assert_array_equal(action, expected)
            assert action.dtype == expected.dtype and session.last_us > 0
            np.testing.assert_array_equal(session.state, np.asarray(reference.state, np.float32))
    with pytest.raises(BadInput, match="observation"):
        session.act(np.zeros(99))
    session.close()


def test_the_state_can_be_set(policy_of):
    policy = policy_of("gru")
    session = serving(policy)
    state = np.linspace(-0.5, 0.5, 12, dtype=np.float32)
    session.state = state
    np.testing.assert_array_equal(session.state, state)
    with pytest.raises(BadInput, match="state"):
        session.state = np.zeros(3)


def test_another_policy_is_refused_before_it_flies(policy_of):
    policy, other = policy_of(seed=0), policy_of(seed=1)
    server = Server(Reference(other), other.digest, "this test")
    with pytest.raises(BadInput, match="expected the policy"):
        WireSession(Client(Memory(server)), policy.contract, digest=policy.digest)
    with pytest.raises(BadInput, match="policy of sizes"):
        WireSession(Client(Memory(server)), policy_of(inputs=6).contract)


@pytest.mark.parametrize("kind", ["mlp", "gru"])
@pytest.mark.parametrize("lasts", [4, 30, 5 + CHECKPOINT_STEPS])
def test_an_episode_outlives_lost_connections(policy_of, kind, lasts):
    """Every new connection reaches a new process, whose state is zero; the episode goes on to the last bit."""
    policy = policy_of(kind)
    reference, lives = Reference(policy), []

    def reopen() -> Memory:
        # Each connection carries a few more requests than the last: the way back may take many.
        lives.append(lasts + 40 * len(lives))
        return Memory(Server(Reference(policy), policy.digest, "this test"), lives[-1])

    session = WireSession(Client(reopen(), timeout_s=0.5), policy.contract, digest=policy.digest, reopen=reopen)
    session.reset()
    rows = np.tile(policy.golden.obs, (3, 1))
    for obs in rows:
        np.testing.assert_array_equal(session.act(obs), reference.act(obs))
    np.testing.assert_array_equal(session.state, np.asarray(reference.state, np.float32))
    assert session.recoveries >= 2 and len(lives) == session.recoveries + 1


def test_without_a_way_back_a_lost_connection_is_an_error(policy_of):
    policy = policy_of()
    session = WireSession(Client(Memory(Server(Reference(policy), policy.digest, ""), 5)), policy.contract)
    with pytest.raises(Unreachable, match="gone"):
        for obs in policy.golden.obs:
            session.act(obs)


def test_it_times_decisions_by_its_own_clock(policy_of):
    policy = policy_of("gru")
    session = serving(policy)
    us = session.tight_us(policy.golden.obs, 500)
    assert us.shape == (500,) and (us > 0).all() and np.median(us) < 5e4
    np.testing.assert_array_equal(session.state, 0)
    run = session.paced(policy.golden.obs, 500.0, 30)
    assert len(run.response_ns) == 30 and run.period_ns == 2_000_000
    ran = run.start_ns >= 0
    assert ran.any() and (run.response_ns[ran] == run.start_ns[ran] + run.call_ns[ran]).all()
    assert (run.response_ns > 0).all()


def test_a_skipped_period_waits_for_the_next_decision(policy_of):
    from pilotfish.runtime.wire_session import _responses

    start, call = np.array([10.0, -1, -1, 40, 5]), np.array([250.0, -1, -1, 20, 20])
    np.testing.assert_array_equal(_responses(start, call, 100.0), [260, 260, 160, 60, 25])


def test_what_a_session_refuses_comes_back_in_words(policy_of):
    class Broken(Reference):
        def act(self, obs):
            raise RuntimeError("the GPU fell off the bus")

    policy = policy_of()
    client = Client(Memory(Server(Broken(policy), policy.digest, "")))
    with pytest.raises(Refused, match="RuntimeError: the GPU fell off the bus"):
        client.step(policy.golden.obs[0])
    with pytest.raises(Refused, match="no observation is held"):
        client.tight(3)
    with pytest.raises(Refused, match="no such request"):
        client.request(99)
    assert client.stats().refused == 3 and client.identity.clock_hz == CLOCK_HZ


def test_a_guarded_artifact_answers_behind_its_guard(policy_of):
    policy = policy_of("gru")
    table = GuardTable((-1.0,) * 5, (1.0,) * 5, (-0.1,) * 3, (0.1,) * 3, (0.0,) * 3, (0.05,) * 3, stale_us=1000)
    client = Client(Memory(Server(Reference(policy), policy.digest, "", table)))
    guard, reference = Guard(table), Reference(policy)
    assert client.identity.guarded
    for k, obs in enumerate(policy.golden.obs[:40]):
        age = 5000 if k % 9 == 4 else 0
        expected, flags = guard.step(obs, reference.act, age_us=age, restart=reference.reset)
        decision = client.guarded_step(obs, age)
        np.testing.assert_array_equal(decision.action, expected)
        assert decision.flags == flags and decision.ticks > 0
    assert client.guard_counters() == guard.counters and guard.counters["obs_stale"] > 0
    bare = Client(Memory(Server(Reference(policy), policy.digest, "")))
    with pytest.raises(Refused, match="no such request"):
        bare.guard_counters()


def guard_of(rate: float = 0.05) -> GuardTable:
    """Three actions, limited and slow, and an observation that may be clipped and too old."""
    limits = ((-1.0,) * 5, (1.0,) * 5, (-0.1,) * 3, (0.1,) * 3, (0.0,) * 3, (rate,) * 3)
    return GuardTable(*limits, stale_us=1000, hold_steps=2)


@pytest.mark.parametrize("kind", ["mlp", "gru"])
@pytest.mark.parametrize("lasts", [None, 9, 60])
def test_the_guard_on_the_device_is_the_one_that_is_flown(policy_of, kind, lasts):
    """Actions and counters are those of a guard around the policy here, however often the device is lost and begins anew."""
    policy, table = policy_of(kind), guard_of()
    reference, lives = GuardedSession(Reference(policy), table), []

    def reopen() -> Memory:
        lives.append(lasts and lasts + 40 * len(lives))
        server = Server(Reference(policy), policy.digest, "this test", table)
        for obs in policy.golden.obs[:3]:  # it has been at work before
            server._guarded.act(obs)
        return Memory(server, lives[-1])

    inner = WireSession(Client(reopen(), timeout_s=0.5), policy.contract, digest=policy.digest, reopen=reopen)
    session = GuardedSession(inner, table)
    for _ in range(2):
        session.reset()
        reference.reset()
        for k, obs in enumerate(np.tile(policy.golden.obs[:60], (2, 1))):
            seen, age = (np.full(5, np.nan) if k % 17 == 3 else 3 * obs if k % 5 == 1 else obs), 5000 * (k % 13 == 4)
            np.testing.assert_array_equal(session.act_at(seen, age), reference.act_at(seen, age))
            assert session.last == reference.last
        assert session.counters == reference.counters
    counted = session.counters
    assert min(counted[name] for name in ("obs_not_finite", "obs_out_of_range", "obs_stale", "rate_limited")) > 0
    assert lasts is None or inner.recoveries >= 2
    session.close()
    assert session.counters == counted and counted["steps"] == 240


def test_a_device_with_another_guard_is_refused(policy_of):
    policy = policy_of()
    client = Client(Memory(Server(Reference(policy), policy.digest, "a board", guard_of())))
    with pytest.raises(BadInput, match=r"a board.*expected the artifact's guard \(mark [0-9a-f]{4}\), found another one"):
        GuardedSession(WireSession(client, policy.contract), guard_of(rate=0.06))


def test_a_guard_whose_device_is_gone_tells_no_counters(policy_of):
    policy, table = policy_of(), guard_of()
    client = Client(Memory(Server(Reference(policy), policy.digest, "", table), 12))
    session = GuardedSession(WireSession(client, policy.contract), table)
    with pytest.raises(Unreachable, match="gone"):
        for obs in policy.golden.obs:
            session.act(obs)
    session.close()
    with pytest.raises(Unreachable, match="before it told"):
        _ = session.counters


def test_an_episode_that_is_too_long_to_keep_does_not_outlive_its_connection(policy_of, monkeypatch):
    from pilotfish.runtime import wire_session

    monkeypatch.setattr(wire_session, "KEPT_BYTES", 20 * 5 * 4)
    policy, table = policy_of(), guard_of()

    def reopen() -> Memory:
        return Memory(Server(Reference(policy), policy.digest, "", table), 40)

    session = GuardedSession(WireSession(Client(reopen()), policy.contract, reopen=reopen), table)
    with pytest.raises(Unreachable, match="cannot be led through again"):
        for obs in policy.golden.obs:
            session.act(obs)


def test_decisions_behind_the_guard_are_timed_and_not_counted(policy_of):
    policy, table = policy_of("gru"), guard_of()
    session = WireSession(Client(Memory(Server(Reference(policy), policy.digest, "", table))), policy.contract)
    figures, _ = wire_bench(session, policy.golden.obs, 100.0, 200, 0.1, device="here", jitter_budget_us=None)
    assert figures["paced_misses"].samples == 10 and "through the guard" in figures["paced_p50_us"].note
    assert figures["guarded_p50_us"].samples == figures["tight_p50_us"].samples == 200
    extra = figures["guarded_p50_us"].value - figures["tight_p50_us"].value
    assert figures["guard_us"].value == pytest.approx(extra, abs=10)
    assert session.guard_counters["steps"] == 0
    bare = WireSession(Client(Memory(Server(Reference(policy), policy.digest, ""))), policy.contract)
    assert "guard_us" not in wire_bench(bare, policy.golden.obs, 100.0, 20, 0.0, device="here", jitter_budget_us=None)[0]


def test_a_bench_of_an_emulator_takes_what_fits_into_its_time(policy_of, monkeypatch):
    """However many calls and seconds are asked for: the device's own clock does not say how long they take here."""
    for name, seconds in (("MAX_TIGHT_SECONDS", 0.1), ("MAX_TRIP_SECONDS", 0.1), ("MAX_EMULATED_SECONDS", 0.3)):
        monkeypatch.setattr(wire_bench_module, name, seconds)
    session, told = serving(policy_of()), []
    session.client.busy = 1
    figures, _ = wire_bench(
        session, policy_of().golden.obs, 100.0, 10**6, 60.0, device="", jitter_budget_us=None,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert 8 <= figures["tight_p50_us"].samples < 10**6 and 8 <= figures["round_trip_p50_us"].samples <= 300
    assert 8 < figures["paced_misses"].samples < 200
    assert told[-1] == (10**6 + 300 + 6000,) * 2 and told == sorted(told)


def test_a_soak_of_a_device_that_remembers_little_is_made_of_many_short_blocks(policy_of, monkeypatch):
    monkeypatch.setattr("pilotfish.runtime.serve.SAMPLES", 40)
    run = WireSoak(serving(policy_of()), policy_of().golden.obs, 200.0, 0.5)
    run.warm_up()
    blocks = []
    paced = run._session.paced
    monkeypatch.setattr(run._session, "paced", lambda *words, **more: blocks.append(words[2]) or paced(*words, **more))
    assert run.go() is False and run.periods + run.rested == 100 and max(blocks) <= 20 and len(blocks) >= 4
    assert run.whole.figures("soak", "here", "")["soak_p50_us"].samples == run.periods


def test_no_bytes_harm_it(policy_of):
    """20,000 frames of any kind and content, half of them damaged; then it decides as before."""
    policy = policy_of("gru")
    server, generator, decoder = Server(Reference(policy), policy.digest, "", guard_of()), random.Random(3), Decoder()
    sizes = (0, 4, 8, 12, 20, 24, 48)
    for _ in range(20_000):
        kind, size = generator.randrange(16), generator.choice(sizes)
        payload = bytearray(generator.randbytes(size))
        if kind in (Kind.TIGHT, Kind.TIGHT_GUARDED, Kind.PACED, Kind.PACED_GUARDED, Kind.ROW):
            payload[:4] = struct.pack("<I", generator.randrange(3))[:size]
        if kind in (Kind.PACED, Kind.PACED_GUARDED):
            payload[4:12] = struct.pack("<II", 0, generator.randrange(1000))[: max(0, size - 4)]
        frame = bytearray(encode(kind, generator.getrandbits(32), bytes(payload)))
        if generator.random() < 0.5:
            frame[generator.randrange(len(frame))] = generator.randrange(256)
        assert decoder.feed(server.feed(bytes(frame))) is not None
        server.stopped = False
    assert decoder.damaged == 0 and server.stats.damaged > 5000
    server.feed(b"\0" + encode(Kind.RESET, 1))
    [frame] = decoder.feed(server.feed(encode(Kind.STEP, 2, floats(policy.golden.obs[0]))))
    np.testing.assert_array_equal(np.frombuffer(frame.payload[4:], "<f4"), Reference(policy).act(policy.golden.obs[0]))


@pytest.fixture
def program(build, policy_of):
    artifact = build(policy_of("gru"), "onnxruntime")
    channel = Pipes([sys.executable, "-m", "pilotfish.runtime.serve", str(artifact.path)])
    yield artifact, channel
    channel.close()


def test_an_artifact_serves_over_pipes(program):
    artifact, channel = program
    channel.write(b"a banner of a login shell\n")  # what is no frame is not in the way
    contract, digest = artifact.manifest.contract, artifact.manifest.policy_digest
    session = WireSession(Client(channel, timeout_s=60), contract, digest=digest)
    reference = Reference(artifact.policy)
    for obs in artifact.golden.obs[:50]:
        np.testing.assert_allclose(session.act(obs), reference.act(obs), rtol=0, atol=2e-6)
    session.client.stop()
    assert channel.program.wait(20) == 0


def test_a_bad_artifact_is_told_on_standard_error(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pilotfish.runtime.serve", str(tmp_path)], capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 2 and done.stdout == b"" and b"expected an artifact" in done.stderr
