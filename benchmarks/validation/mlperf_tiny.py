"""MLPerf Tiny v1.1: the firmware images that Bosch submitted for five boards, and the throughput that their logs show.

github.com/mlcommons/tiny_results_v1.1, closed/bosch: int8 networks compiled by Bosch's HALE with arm-none-eabi-gcc 12.2.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pilotfish.targets.profile import Cost, Target, load_target
from pilotfish.targets.virtual.cycles import find_table

from .row import Estimate, Row, commit_of
from .stripped import StrippedImage

REPOSITORY = "github.com/mlcommons/tiny_results_v1.1"
NETWORKS = {
    "ad": ("anomaly detection (640-128x4-8-128x4-640, dense)", 200_000),
    "kws": ("keyword spotting (DS-CNN)", 20_000),
    "ic": ("image classification (ResNet)", 60_000),
    "vww": ("visual wake words (MobileNet)", 200_000),
}
"""Short name -> (what it is, bytes of constants that its inference must read at least)."""


@dataclass(frozen=True)
class Board:
    """One of the submission's boards."""

    folder: str
    """In the repository."""
    core: str
    """For people."""
    clock_hz: float
    """By the submission's system description."""
    profile: str
    """Ours; for the M7 boards that we ship no profile for, one of the same core, with ``cost``."""
    latency_register: int
    """FLASH_ACR, whose low bits are the wait states."""
    cost: Cost | None = None
    """Of a board that we ship no profile for; None: the profile's."""
    words_per_line: int = 0
    """Flash words that a cache line takes: the wait states that an image sets are paid for each. 0: the profile's wait states."""


WIDTH = "that a flash read is 64 bits wide and not 128 was settled with this figure at hand (it would be 0.89 else)"
# Both M7 images switch both caches on (SCB_CCR, seen at boot). Lines of 32 bytes: Arm's Cortex-M7. STM32F746: 4 + 4 KiB, a flash
# word of 256 bits, 7 wait states at 216 MHz (from memory of RM0385: its images set them later than they get here). STM32H7A3:
# 16 + 16 KiB (from memory of RM0455), a flash word of 128 bits (openocd, stm32h7x), wait states as its images set them.
F746 = Cost(table="cortex-m7", flash_wait_states=7, flash_line_bytes=32, instruction_lines=128, data_lines=128)
H7A3 = Cost(table="cortex-m7", flash_wait_states=14, flash_line_bytes=32, instruction_lines=512, data_lines=512)
BOARDS = (
    Board("NUCLEO_L4R5ZI", "Cortex-M4, 120 MHz", 120e6, "nucleo-l4r5zi", 0x40022000),
    Board("NUCLEO_U575ZI", "Cortex-M33, 160 MHz", 160e6, "nucleo-u575zi", 0x40022000),
    Board("NUCLEO_G0B1RE", "Cortex-M0+, 64 MHz", 64e6, "nucleo-g0b1re", 0x40022000),
    Board("DISCO_F746NG", "Cortex-M7, 216 MHz", 216e6, "nucleo-h743zi", 0x40023C00, F746),
    Board("NUCLEO_H7A3ZI", "Cortex-M7, 280 MHz", 280e6, "nucleo-h743zi", 0x52002000, H7A3, words_per_line=2),
)


def rows(root: Path, networks: tuple[str, ...]) -> Iterator[Row | str]:
    """A row, or what is missing for it, per network and board; ``root``: a checkout of the repository."""
    for network in networks:
        for board in BOARDS:
            code = root / "closed/bosch/code" / board.folder / network
            log = root / "closed/bosch/results" / board.folder / network / "performance/results.txt"
            images = sorted(code.glob("**/*.bin"))
            if len(images) != 1 or not log.is_file():
                yield f"{REPOSITORY}: {code if len(images) != 1 else log} is missing"
                continue
            yield _row(board, network, images[0], log, commit_of(root))


def throughput(log: str) -> float:
    """Inferences per second of the benchmark's runner; ValueError where the log has no median."""
    rates = re.findall(r"Median throughput is\s+([0-9.]+) inf", log)
    if not rates:
        raise ValueError("no median throughput in the log")
    return float(rates[-1])


def _row(board: Board, network: str, path: Path, log: Path, commit: str) -> Row:
    rate = throughput(log.read_text(errors="replace"))
    published = board.clock_hz / rate
    what, at_least = NETWORKS[network]
    estimate = _estimate(path, board, at_least, round(2 * published))
    return Row(
        board=board.folder,
        core=board.core,
        program=f"MLPerf Tiny {what}, int8",
        compiler="arm-none-eabi-gcc 12.2.1 (HALE)",
        same_binary=True,
        fitted=WIDTH if (board.profile, network) == ("nucleo-l4r5zi", "ad") else "",
        published=f"{rate:g} inferences/s",
        published_cycles=published,
        source=f"{REPOSITORY}@{commit}: closed/bosch/results/{board.folder}/{network}/performance/results.txt",
        estimate=estimate,
    )


def _estimate(path: Path, board: Board, at_least: int, most: int) -> Estimate:
    target: Target = load_target(board.profile)
    cost = board.cost or target.cost
    assert cost is not None
    image = StrippedImage(path.read_bytes(), target.cpu.core, (board.latency_register,))
    address, distinct = image.find_inference(at_least, most)
    note = f"inference at {address:#010x}, which reads {distinct:,} bytes of flash"
    waits = (image.boot.last(board.latency_register) or 0) & 0xF
    if board.words_per_line and waits:
        cost = replace(cost, flash_wait_states=waits * board.words_per_line)
    if waits:
        note += f"; the image sets {waits} wait states, a line is charged {cost.flash_wait_states}"
    table = find_table(cost.table)
    profile = image.profile(address, table, cost)
    assert profile.cycles is not None
    stalls = profile.stall_cycles or 0
    return Estimate(profile.instructions, profile.cycles, table.widened(profile.cycles, stalls), stalls, note)
