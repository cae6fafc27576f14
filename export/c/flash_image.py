"""ELF -> what a programmer or a boot loader takes: plain bytes, or UF2; and the checksum that an RP2040's boot ROM wants."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

BOOT_BYTES = 256
"""An RP2040's second stage with its checksum: RP2040 datasheet, "Bootrom"; pico-sdk, src/rp2040/boot_stage2/pad_checksum."""
UF2_FAMILY_RP2040 = 0xE48BFF56
"""pico-sdk, src/common/boot_uf2_headers/include/boot/uf2.h, as all of the format here (microsoft/uf2)."""
_UF2_MAGIC = (0x0A324655, 0x9E5D5157, 0x0AB16F30)
_UF2_PAYLOAD = 256


@dataclass(frozen=True)
class Piece:
    """What is stored at one place of flash."""

    address: int
    """Where it is stored."""
    at: int
    """Where it begins in the ELF file."""
    size: int
    """Bytes."""


def pieces(elf: bytes) -> list[Piece]:
    """The loadable bytes of a little-endian 32-bit ELF file just linked, by address."""
    (offset,) = struct.unpack_from("<I", elf, 28)
    size, count = struct.unpack_from("<HH", elf, 42)
    found = []
    for index in range(count):
        kind, at, _, load, in_file, _ = struct.unpack_from("<6I", elf, offset + index * size)
        if kind == 1 and in_file:  # PT_LOAD
            found.append(Piece(load, at, in_file))
    return sorted(found, key=lambda piece: piece.address)


def flat(elf: bytes) -> tuple[int, bytes]:
    """(address of the first byte, all that is stored from there); gaps are filled with erased flash, 0xFF."""
    parts = pieces(elf)
    start = parts[0].address
    out = bytearray(b"\xff" * (parts[-1].address + parts[-1].size - start))
    for part in parts:
        out[part.address - start : part.address - start + part.size] = elf[part.at : part.at + part.size]
    return start, bytes(out)


def uf2(address: int, data: bytes, family: int) -> bytes:
    """The same as UF2: blocks of 512 bytes that a board takes as a file on a drive."""
    blocks = []
    count = -(-len(data) // _UF2_PAYLOAD)
    for number in range(count):
        part = data[number * _UF2_PAYLOAD : (number + 1) * _UF2_PAYLOAD].ljust(_UF2_PAYLOAD, b"\xff")
        where = address + number * _UF2_PAYLOAD
        # 0x2000: the last word of the header names a family of chips.
        head = struct.pack("<8I", *_UF2_MAGIC[:2], 0x2000, where, _UF2_PAYLOAD, number, count, family)
        blocks.append(head + part.ljust(476, b"\0") + struct.pack("<I", _UF2_MAGIC[2]))
    return b"".join(blocks)


def with_boot_checksum(elf: bytes) -> bytes:
    """The ELF file with the CRC of its first 252 stored bytes behind them, without which the boot ROM starts nothing."""
    first = pieces(elf)[0]
    body = elf[first.at : first.at + BOOT_BYTES - 4]
    out = bytearray(elf)
    struct.pack_into("<I", out, first.at + BOOT_BYTES - 4, boot_crc(body))
    return bytes(out)


def boot_crc(body: bytes) -> int:
    """CRC-32 with the polynomial 0x04C11DB7, from all ones, most significant bit first, not inverted (CRC-32/MPEG-2)."""
    mirrored = zlib.crc32(bytes(_mirrored(byte, 8) for byte in body)) ^ 0xFFFFFFFF
    return _mirrored(mirrored, 32)


def _mirrored(value: int, bits: int) -> int:
    return int(f"{value:0{bits}b}"[::-1], 2)
