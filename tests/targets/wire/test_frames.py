"""Frames: what is sent arrives, whatever else is on the line; what was damaged never arrives as something else."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pilotfish.errors import BadInput
from pilotfish.targets.wire.frames import MAX_PAYLOAD_BYTES, Decoder, Frame, encode, stuffed, unstuffed

FRAMES = 100_000
payloads = st.binary(max_size=600) | st.lists(st.sampled_from([b"\0", b"\1" * 253, b"\2" * 254, b"\3" * 255])).map(b"".join)
frames = st.builds(Frame, st.integers(0, 255), st.integers(0, 2**32 - 1), payloads)


def line(frame: Frame) -> bytes:
    return encode(frame.kind, frame.sequence, frame.payload)


def test_the_example_of_the_specification_holds() -> None:
    text = (Path(__file__).parents[3] / "docs" / "wire.md").read_text()
    assert f"    {encode(2, 1).hex(' ')}\n" in text and f"`{unstuffed(encode(2, 1)[1:-1]).hex(' ')}`" in text


@given(payloads)
@example(b"")
@example(b"x" * 254)
@example(b"x" * 254 + b"\0")
@example(b"\0" * 3)
def test_stuffing_leaves_no_zero_and_can_be_undone(data: bytes) -> None:
    out = stuffed(data)
    assert 0 not in out and len(out) <= len(data) + len(data) // 254 + 1
    assert unstuffed(out) == data


@given(st.binary(max_size=50).map(lambda data: data.replace(b"\0", b"\1")))
def test_whatever_is_unstuffed_was_complete(data: bytes) -> None:
    out = unstuffed(data)
    assert out is None or len(out) <= len(data)


@given(st.lists(frames, max_size=4), st.lists(st.integers(1, 40), max_size=30))
def test_frames_arrive_in_order_however_the_bytes_are_cut(sent: list[Frame], cuts: list[int]) -> None:
    data, decoder, found = b"".join(map(line, sent)), Decoder(), []
    for size in cuts:
        found += decoder.feed(data[:size])
        data = data[size:]
    assert found + decoder.feed(data) == sent
    assert decoder.damaged == 0


@given(st.binary(max_size=300), frames)
def test_garbage_in_front_does_not_stop_a_frame(garbage: bytes, frame: Frame) -> None:
    assert Decoder().feed(garbage + line(frame))[-1] == frame


@given(frames, st.data())
def test_a_flipped_bit_a_lost_or_an_invented_byte_is_never_another_frame(frame: Frame, data: st.DataObject) -> None:
    sound = line(frame)
    index = data.draw(st.integers(0, len(sound) - 1))
    damage = data.draw(st.sampled_from(["flip", "lose", "invent"]))
    if damage == "flip":
        mask = data.draw(st.integers(1, 255))
        broken = sound[:index] + bytes([sound[index] ^ mask]) + sound[index + 1 :]
    elif damage == "lose":
        broken = sound[:index] + sound[index + 1 :]
    else:
        broken = sound[:index] + bytes([data.draw(st.integers(0, 255))]) + sound[index:]
    next_one = Frame(3, 1, b"next")
    found = Decoder().feed(broken + b"\0" + line(next_one))
    assert found[-1] == next_one  # the damage ended at the zero
    assert found[:-1] in ([], [frame])  # the frame itself where the damage was outside it


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=40), st.integers(0, 100))
def test_a_decoder_holds_no_more_than_a_frame(pieces: list[bytes], most: int) -> None:
    decoder = Decoder(most)
    for piece in pieces:
        for frame in decoder.feed(piece):
            assert len(frame.payload) <= most
        assert len(decoder._held) <= decoder.max_bytes
    assert decoder.feed(encode(1, 2, b"x" * most + b"y")) == []
    fits = Frame(1, 2, b"x" * most)
    assert decoder.feed(b"\0" + line(fits)) == [fits]


def test_a_megabyte_of_one_frame_is_dropped_and_counted() -> None:
    decoder = Decoder(64)
    assert decoder.feed(b"\1" * (1 << 20)) == [] and len(decoder._held) <= decoder.max_bytes
    assert decoder.feed(b"\0") == [] and decoder.damaged == 1


def test_a_payload_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(BadInput, match="at most 1,048,576 bytes"):
        encode(1, 1, bytes(MAX_PAYLOAD_BYTES + 1))


def test_a_hundred_thousand_frames_of_anything() -> None:
    """Sound ones arrive, damaged and random ones are counted and nothing else."""
    generator, decoder = random.Random(1), Decoder(1024)
    sent, got, broken = 0, 0, 0
    for start in range(0, FRAMES, 100):
        batch = []
        for number in range(start, start + 100):
            shape = generator.randrange(3)
            if shape == 0:
                batch.append(generator.randbytes(generator.randrange(1, 100)) + b"\0")
                continue
            frame = bytearray(encode(generator.randrange(256), number, generator.randbytes(generator.randrange(60))))
            if shape == 1:
                frame[generator.randrange(1, len(frame) - 1)] ^= 1 << generator.randrange(8)
                broken += 1
            else:
                sent += 1
            batch.append(bytes(frame))
        found = decoder.feed(b"".join(batch))
        assert all(start <= frame.sequence < start + 100 for frame in found)
        got += len(found)
    assert got == sent and decoder.damaged >= broken
