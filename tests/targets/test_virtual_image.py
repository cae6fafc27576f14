"""An ELF file from anywhere is read whole or refused in one line; nothing else happens."""

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotfish.errors import BadInput, PilotfishError
from pilotfish.targets import load_target
from pilotfish.targets.profile import Memory
from pilotfish.targets.virtual.board import VirtualBoard
from pilotfish.targets.virtual.image import read_image

SOURCE = "static volatile int table[9] = {1, 2, 3}; void pilotfish_step(void) { pilotfish_action[0] = table[1]++; }\n"


@pytest.fixture(scope="module")
def elf(firmware):
    return firmware(SOURCE)


@pytest.fixture(scope="module")
def memory():
    return load_target("crazyflie").memory


def patched(elf, folder, offset, data):
    raw = bytearray(elf.read_bytes())
    raw[offset : offset + len(data)] = data
    path = folder / "patched.elf"
    path.write_bytes(raw)
    return path


def test_segments_and_symbols_are_where_the_linker_put_them(elf, memory):
    image = read_image(elf, memory)
    assert image.segments[0].load == memory.flash_origin
    step = image.symbol("pilotfish_step")
    assert step.address % 2 == 0 and memory.flash_origin < step.address < memory.flash_origin + image.flash_bytes
    assert image.name_at(step.address + 2) == "pilotfish_step+0x2"
    assert image.symbol("pilotfish_obs", 8).address >= memory.ram_origin
    assert image.ram_static_bytes == 36 + 8 + 4 + 4
    with pytest.raises(BadInput, match="the symbol policy_magic"):
        image.symbol("policy_magic")


@pytest.mark.parametrize(
    "offset, data, message",
    [
        (0, b"PK\3\4", "a firmware ELF file, found the first bytes"),
        (4, b"\2", "32-bit little-endian ELF file, found 64-bit"),
        (5, b"\2", "big-endian"),
        (16, struct.pack("<H", 1), "linked executable"),
        (18, struct.pack("<H", 62), "machine 62"),
        (28, struct.pack("<I", 0xFFFFFFF0), "program headers"),
        (44, struct.pack("<H", 60000), "program headers"),
        (48, struct.pack("<H", 0), "section headers"),
    ],
)
def test_a_wrong_header_is_refused_by_name(elf, memory, tmp_path, offset, data, message):
    with pytest.raises(BadInput, match=message):
        read_image(patched(elf, tmp_path, offset, data), memory)


def test_missing_empty_and_truncated_files(elf, memory, tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        read_image(tmp_path / "none.elf", memory)
    with pytest.raises(BadInput, match="a folder"):
        read_image(tmp_path, memory)
    whole = elf.read_bytes()
    for size in (0, 3, 4, 20, 51, 52, 100, len(whole) // 2, len(whole) - 1):
        path = tmp_path / "cut.elf"
        path.write_bytes(whole[:size])
        with pytest.raises(BadInput):
            read_image(path, memory)


def test_another_memory_map_is_refused(elf):
    for other, message in (
        (Memory(flash_bytes=1 << 20, ram_bytes=1 << 17, flash_origin=0x10000000), "segments in flash"),
        (Memory(flash_bytes=128, ram_bytes=1 << 17), "at most 128 bytes of flash"),
        (Memory(flash_bytes=1 << 20, ram_bytes=16), "at most 16 bytes of RAM"),
    ):
        with pytest.raises(BadInput, match=message):
            read_image(elf, other)


@settings(max_examples=75, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6))
def test_garbled_bytes_give_an_image_or_one_line(elf, memory, tmp_path, changes):
    raw = bytearray(elf.read_bytes())
    structured = [(0, 52), (52, 300), (len(raw) - 1200, 1200)]  # headers and tables, where damage is interesting
    for n, (where, data) in enumerate(changes):
        start, span = structured[n % 3]
        at = start + int(where * span)
        raw[at : at + len(data)] = data
    path = tmp_path / "garbled.elf"
    path.write_bytes(raw)
    try:
        read_image(path, memory)
    except BadInput as error:
        assert "\n" not in str(error)


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=12))
def test_garbled_code_runs_or_faults_in_words(elf, tmp_path, monkeypatch_session, where, data):
    image = read_image(elf, load_target("crazyflie").memory)
    raw = bytearray(elf.read_bytes())
    start = raw.find(image.segments[0].data)
    at = start + int(where * len(image.segments[0].data))
    raw[at : at + len(data)] = data
    path = tmp_path / "garbled.elf"
    path.write_bytes(raw)
    try:
        board = VirtualBoard(path, load_target("crazyflie"))
        board.step([0, 0])
        board.profile([[0, 0]])
    except PilotfishError as error:
        assert "\n" not in str(error)


@pytest.fixture(scope="module")
def monkeypatch_session():
    """A short leash for code that never returns."""
    from pilotfish.targets.virtual import machine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "MAX_INSTRUCTIONS", 50_000)
        yield
