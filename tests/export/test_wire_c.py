"""The device's side of the protocol: the host's numbers, one decision for each request, and no harm from any bytes."""

from __future__ import annotations

import random
import struct
import zlib

import numpy as np
import pytest

pytest.importorskip("onnx")

from wire_host import CLOCK_HZ, DeviceChannel, compiled, observations

from pilotfish.errors import Unreachable
from pilotfish.policy.cells import GRU
from pilotfish.policy.guard import Guard, GuardTable
from pilotfish.policy.layers import Activation, Linear
from pilotfish.policy.reference import Reference
from pilotfish.targets.wire import frames
from pilotfish.targets.wire.client import Client, Refused
from pilotfish.targets.wire.frames import Decoder, encode
from pilotfish.targets.wire.messages import REPLY, Kind, floats, guard_mark

TRAPS = ("-fsanitize=undefined", "-fno-sanitize=float-divide-by-zero", "-fsanitize-undefined-trap-on-error")
"""An index out of bounds, an overflow or a misaligned read ends the process."""
FRAMES = 100_000


@pytest.fixture(scope="module")
def built(tmp_path_factory, system_compiler):
    """kind -> (policy, its device); each is compiled once, with traps."""
    from random_policies import random_policy

    policies = {
        "feed-forward": random_policy([Linear("a", 7, 16), Activation("tanh"), Linear("b", 16, 3)], 7, 3, 0),
        "recurrent": random_policy([GRU("g", 9, 70), Linear("b", 70, 2)], 9, 2, 1),
        "discrete": random_policy([Linear("a", 7, 16), Activation("relu"), Linear("b", 16, 4)], 7, 4, 2, kind="discrete"),
    }
    built = {k: (p, compiled(p, tmp_path_factory.mktemp(k), system_compiler, TRAPS)) for k, p in policies.items()}
    guarded = random_policy([GRU("g", 9, 12), Linear("b", 12, 2)], 9, 2, 3)
    table = GuardTable((-3.0,) * 9, (3.0,) * 9, (-1.0,) * 2, (1.0,) * 2, (0.0,) * 2, (0.1,) * 2, stale_us=1000)
    folder = tmp_path_factory.mktemp("guarded")
    return built | {"guarded": (guarded, compiled(guarded, folder, system_compiler, TRAPS, table))}


@pytest.fixture(params=["feed-forward", "recurrent", "discrete"])
def policy_and_device(request, built):
    policy, device = built[request.param]
    device.clock(0, 1)
    device.library.wire_begin()
    return policy, device


def client_of(device, **more):
    return Client(DeviceChannel(device), timeout_s=0.001, **more)


def test_it_says_what_it_is(policy_and_device):
    policy, device = policy_and_device
    identity = client_of(device).identity
    contract = policy.contract
    assert identity.digest == policy.digest and identity.board == "a board of memory"
    assert (identity.obs, identity.state) == (contract.observation.size, sum(t.size for t in contract.state))
    assert identity.discrete == (contract.action.kind == "discrete")
    assert (identity.clock_hz, identity.core_hz, identity.samples, identity.rows) == (CLOCK_HZ, 0, 1024, 16)
    assert identity.max_payload_bytes >= 256


def test_it_decides_as_the_reference_does(policy_and_device):
    policy, device = policy_and_device
    client, reference = client_of(device), Reference(policy, np.float64)
    for _ in range(2):
        client.reset()
        reference.reset()
        for row in observations(policy, 20):
            decision = client.step(row)
            np.testing.assert_allclose(decision.action, reference.act(row), rtol=0, atol=1e-5)
            assert decision.ticks == 1
    stats = client.stats()
    assert stats.decisions >= 40 and stats.last_ticks == stats.worst_ticks == 1


def test_the_state_can_be_read_and_set(policy_and_device):
    policy, device = policy_and_device
    client, rows = client_of(device), observations(policy, 5)
    client.reset()
    first = [client.step(row).action for row in rows]
    client.reset()
    client.step(rows[0])
    held = client.state
    client.reset()
    client.state = held
    np.testing.assert_array_equal([client.step(row).action for row in rows[1:]], first[1:])


def test_a_repeated_request_is_answered_from_memory(built):
    """Byte for byte, and without another decision: the state has advanced once."""
    policy, device = built["recurrent"]
    device.library.wire_begin()
    row = observations(policy, 1)[0]
    frame = encode(Kind.STEP, 7, floats(row))
    once = device.take(frame)
    state = client_of(device).state
    again = encode(Kind.STEP, 8, floats(row))
    answered = device.take(again)
    assert answered != once
    after = client_of(device).state
    assert not np.array_equal(state, after)
    device.library.wire_begin()
    assert [device.take(frame) for _ in range(3)] == [once] * 3
    assert device.take(again) == answered
    np.testing.assert_array_equal(client_of(device).state, after)


def test_another_request_of_the_same_number_is_not_answered_from_memory(built):
    """Another host may begin where the last one ended."""
    policy, device = built["feed-forward"]
    rows = observations(policy, 2)
    replies = [device.take(encode(Kind.STEP, 7, floats(row))) for row in rows]
    assert replies[0] != replies[1]


def test_back_to_back_decisions_are_timed_by_its_clock(built):
    policy, device = built["recurrent"]
    client, rows = client_of(device), observations(policy, 20)
    with pytest.raises(Refused, match="send ROW first"):
        device.library.wire_begin()
        client.tight(3)
    assert client.hold(rows) == 16
    device.clock(2**32 - 50, 7)  # wraps in the middle
    ticks = client.tight(1500)
    assert ticks.shape == (1500,) and set(ticks) == {7}
    np.testing.assert_array_equal(client.state, 0)


def test_paced_decisions_follow_absolute_releases(built):
    """A reading of the clock takes 10 ticks, a decision 300 of a period of 1,000.5."""
    policy, device = built["feed-forward"]
    client = client_of(device)
    client.hold(observations(policy, 3))
    device.clock(2**32 - 5_000, 10, 300)  # wraps in the middle
    start, duration = client.paced(CLOCK_HZ / 1000.5, 400)
    assert (start >= 0).all() and (start < 20).all() and set(duration) == {310}
    begun = start + np.floor(1000.5 * np.arange(400))
    np.testing.assert_array_equal(np.diff(begun) % 10, 0)  # no drift: each start lies on a reading of one clock


def test_paced_decisions_that_are_too_slow_skip_whole_periods(built):
    """A decision takes 2.5 periods: what follows it starts late by half a period, or by none, and one or two are skipped."""
    policy, device = built["feed-forward"]
    client = client_of(device)
    client.hold(observations(policy, 3))
    device.clock(0, 1, 2500)
    start, duration = client.paced(CLOCK_HZ / 1000, 100)
    skipped = start < 0
    assert 0.55 < skipped.mean() < 0.65
    assert (duration[~skipped] == 2501).all() and (duration[skipped] == -1).all()
    assert (start[~skipped][:-1] < 1000).all()  # the last period is never skipped: a run ends with a decision
    begun = (start + 1000 * np.arange(100))[~skipped]
    assert (np.diff(begun) >= 2501).all() and (np.diff(begun) <= 2520 + 500).all()


@pytest.mark.parametrize(
    ("kind", "payload", "why"),
    [
        (14, b"", "no such request"),
        (0, b"", "no such request"),
        (0x83, b"", "no such request"),
        (Kind.STEP, bytes(27), "another length"),
        (Kind.STEP, bytes(29), "another length"),
        (Kind.RESET, b"\0", "another length"),
        (Kind.ROW, struct.pack("<I", 16) + bytes(28), "rows are held"),
        (Kind.ROW, struct.pack("<I", 2**32 - 1) + bytes(28), "rows are held"),
        (Kind.TIGHT, struct.pack("<I", 0), "from one decision"),
        (Kind.TIGHT, struct.pack("<I", 1025), "from one decision"),
        (Kind.PACED, struct.pack("<III", 513, 0, 1000), "from one decision"),
        (Kind.PACED, struct.pack("<III", 5, 0, 0), "a period is"),
        (Kind.PACED, struct.pack("<III", 5, 0, 1 << 31), "a period is"),
        (Kind.SAMPLES, struct.pack("<II", 2**32 - 1, 2), "not as many"),
        (Kind.SAMPLES, struct.pack("<II", 0, 2**32 - 1), "not as many"),
        (Kind.SAMPLES, struct.pack("<II", 0, 65), "not as many"),
    ],
)
def test_what_it_cannot_do_it_refuses_in_words(kind, payload, why, built):
    policy, device = built["feed-forward"]
    client = client_of(device)
    client.hold(observations(policy, 1))
    client.tight(100)
    with pytest.raises(Refused, match=why):
        client.request(kind, payload)
    assert client.stats().refused >= 1


def test_another_version_is_told_apart(built):
    _, device = built["feed-forward"]
    message = frames.HEADER.pack(2, Kind.STEP, 1, 0)
    reply = device.take(b"\0" + frames.stuffed(message + struct.pack("<I", zlib.crc32(message))) + b"\0")
    [frame] = Decoder().feed(reply)
    assert frame.kind == Kind.ERROR | REPLY and b"version 1" in frame.payload


def test_behind_a_guard_it_acts_as_the_guard_does(tmp_path, system_compiler):
    """Every action, flag and counter is the Python guard's; without one both requests are unknown."""
    from random_policies import random_policy

    policy = random_policy([Linear("a", 5, 8), Activation("tanh"), Linear("b", 8, 2)], 5, 2, 4, low=(-1.0, -1.0), high=(1.0, 1.0))
    table = GuardTable((-1.5,) * 5, (1.5,) * 5, (-0.2, -0.1), (0.2, 0.3), (0.0, 0.0), (0.15, 0.1), stale_us=1000, hold_steps=2)
    device = compiled(policy, tmp_path, system_compiler, TRAPS, table)
    client, guard, reference = client_of(device), Guard(table), Reference(policy)
    assert client.identity.guarded and np.isfinite(client.step(np.zeros(5)).action).all()
    rows = observations(policy, 60)
    rows[::7, 2] = np.nan
    for k, row in enumerate(rows):
        if k % 20 == 0:
            client.reset()
            guard.reset()
        age = 2000 if k % 11 == 5 else 3
        expected, flags = guard.step(row, reference.act, age_us=age, restart=reference.reset)
        decision = client.guarded_step(row, age)
        np.testing.assert_allclose(decision.action, expected, rtol=0, atol=1e-6)
        assert decision.flags == flags and decision.ticks == 1
    counters = client.guard_counters()
    assert counters == guard.counters and min(counters[n] for n in ("obs_not_finite", "obs_stale", "fell_back", "clamped")) > 0
    assert client.identity.guard_mark == guard_mark(table)
    client.hold(rows[1:7])
    assert (client.tight(50, guarded=True) == 1).all() and client.guard_counters() == counters
    start, duration = client.paced(CLOCK_HZ / 200, 12, guarded=True)
    assert (start >= 0).all() and (duration == 1).all() and client.guard_counters() == counters
    guard.reset()  # as a reset of the device's guard: no action before the first one
    np.testing.assert_allclose(client.guarded_step(rows[1]).action, guard.step(rows[1], reference.act)[0], rtol=0, atol=1e-6)
    bare = tmp_path / "bare"
    bare.mkdir()
    client = client_of(compiled(policy, bare, system_compiler))
    assert not client.identity.guarded
    client.hold(rows[1:2])
    for ask in (
        client.guard_counters,
        lambda: client.guarded_step(rows[1]),
        lambda: client.tight(1, guarded=True),
        lambda: client.paced(100, 1, guarded=True),
    ):
        with pytest.raises(Refused, match="no such request"):
            ask()


def test_stop_ends_it(built):
    _, device = built["feed-forward"]
    client_of(device).stop()
    assert device.stopped
    device.take(encode(Kind.RESET, 1))
    assert not device.stopped


class Noise:
    """A line that flips bits, loses bytes and invents some, each with probability ``rate`` a byte, both ways."""

    def __init__(self, channel, rate, seed):
        self._channel, self._rate, self._random = channel, rate, random.Random(seed)

    def _damage(self, data):
        out, chance = bytearray(), self._random.random
        for byte in data:
            if chance() < self._rate:
                kind = self._random.randrange(3)
                if kind == 0:
                    out.append(byte ^ 1 << self._random.randrange(8))
                elif kind == 1:
                    out += bytes([self._random.randrange(256), byte])
                continue
            out.append(byte)
        return bytes(out)

    def write(self, data):
        self._channel.write(self._damage(data))

    def read(self, max_bytes, timeout_s):
        return self._damage(self._channel.read(max_bytes, timeout_s))

    def close(self):
        pass


@pytest.mark.parametrize("seed", range(3))
def test_a_noisy_line_never_changes_an_action(seed, built):
    """4 errors in a thousand bytes, both ways: 300 decisions of a recurrent policy are those of a quiet line, to the bit."""
    policy, device = built["recurrent"]
    rows = observations(policy, 300, seed)
    quiet = client_of(device)
    quiet.reset()
    expected = [quiet.step(row).action for row in rows]
    noisy = Client(Noise(DeviceChannel(device), 0.004, seed), timeout_s=0.0005, attempts=50)
    noisy.reset()
    np.testing.assert_array_equal([noisy.step(row).action for row in rows], expected)
    np.testing.assert_array_equal(noisy.state, quiet.state)
    assert noisy.retries > 20


def test_a_line_that_is_only_noise_is_an_error(built):
    _, device = built["feed-forward"]
    with pytest.raises(Unreachable, match="did not answer: asked 3 times"):
        Client(Noise(DeviceChannel(device), 0.7, 0), timeout_s=0.0005, attempts=3).reset()


def test_every_flipped_bit_and_every_lost_byte_is_noticed(built):
    policy, device = built["feed-forward"]
    device.library.wire_begin()
    frame = encode(Kind.STEP, 123, floats(observations(policy, 1)[0]))
    for index in range(1, len(frame)):
        for bit in range(8):
            broken = bytearray(frame)
            broken[index] ^= 1 << bit
            assert device.take(bytes(broken) + b"\0") == b""
        if index < len(frame) - 1:  # another zero makes up for the last one
            assert device.take(frame[:index] + frame[index + 1 :] + b"\0") == b""
    assert device.take(frame) != b""


def fuzzed(generator):
    """One frame: garbage, a sound request of random content, or a sound request with a few bytes changed."""
    shape = generator.randrange(4)
    if shape == 0:
        return generator.randbytes(generator.randrange(1, 400))
    kind = generator.randrange(16) if generator.random() < 0.9 else generator.randrange(256)
    size = generator.choice((0, 4, 8, 12, 28, 32, 36, 40, 280, generator.randrange(700)))
    payload = bytearray(generator.randbytes(size) if generator.random() < 0.5 else size)
    if size and generator.random() < 0.5:
        payload[:4] = struct.pack("<I", generator.randrange(20))[: len(payload[:4])]
    if kind in (Kind.PACED, Kind.PACED_GUARDED):
        payload[4:12] = struct.pack("<II", generator.getrandbits(32), generator.randrange(20))[: len(payload[4:12])]
    frame = encode(kind, generator.getrandbits(32), bytes(payload))
    if shape == 1:
        broken = bytearray(frame)
        for _ in range(generator.randrange(1, 4)):
            broken[generator.randrange(len(broken))] = generator.randrange(256)
        return bytes(broken)
    return frame


@pytest.mark.parametrize("kind", ["recurrent", "discrete", "guarded"])
def test_no_bytes_harm_it(kind, built):
    """A hundred thousand frames; then it still decides as ever, and nothing but frames has been sent."""
    policy, device = built[kind]
    device.library.wire_begin()
    row = observations(policy, 1)[0]
    client = client_of(device)
    expected = client.step(row).action
    generator, decoder, replies = random.Random(5), Decoder(4096), 0
    for _ in range(FRAMES // 3 // 50 + 1):
        replies += len(decoder.feed(device.take(b"".join(fuzzed(generator) for _ in range(50)))))
    assert replies > FRAMES // 20 and decoder.damaged == 0
    device.take(b"\0")
    client.reset()
    np.testing.assert_array_equal(client.step(row).action, expected)
    stats = client.stats()
    assert stats.damaged > FRAMES // 20 and stats.refused > 1000
