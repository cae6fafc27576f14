"""MLPerf Tiny v1.1: the firmware images that Bosch submitted for five boards, and the throughput that their logs show.

github.com/mlcommons/tiny_results_v1.1, closed/bosch: int8 networks compiled by Bosch's HALE with arm-none-eabi-gcc 12.2.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pilotfish.targets.profile import Target, load_target
from pilotfish.targets.virtual.cycles import find_table

from .row import Estimate, Row
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
    """Ours; for the M7 boards that we ship no profile for, one of the same core."""
    latency_register: int
    """FLASH_ACR, whose low bits are the wait states."""
    images: str
    """Where its images are, below code/BOARD/NETWORK; * matches."""


BOARDS = (
    Board("NUCLEO_L4R5ZI", "Cortex-M4, 120 MHz", 120e6, "nucleo-l4r5zi", 0x40022000, "**/*.bin"),
    Board("NUCLEO_U575ZI", "Cortex-M33, 160 MHz", 160e6, "nucleo-u575zi", 0x40022000, "**/*.bin"),
    Board("NUCLEO_G0B1RE", "Cortex-M0+, 64 MHz", 64e6, "nucleo-g0b1re", 0x40022000, "**/*.bin"),
    Board("DISCO_F746NG", "Cortex-M7, 216 MHz", 216e6, "nucleo-h743zi", 0x40023C00, "**/*.bin"),
    Board("NUCLEO_H7A3ZI", "Cortex-M7, 280 MHz", 280e6, "nucleo-h743zi", 0x52002000, "**/*.bin"),
)


def rows(root: Path, networks: tuple[str, ...]) -> Iterator[Row | str]:
    """A row, or what is missing for it, per network and board; ``root``: a checkout of the repository."""
    for network in networks:
        for board in BOARDS:
            code = root / "closed/bosch/code" / board.folder / network
            log = root / "closed/bosch/results" / board.folder / network / "performance/results.txt"
            images = sorted(code.glob(board.images))
            if len(images) != 1 or not log.is_file():
                yield f"{REPOSITORY}: {code if len(images) != 1 else log} is missing"
                continue
            yield _row(board, network, images[0], log)


def _row(board: Board, network: str, path: Path, log: Path) -> Row:
    rates = re.findall(r"Median throughput is\s+([0-9.]+) inf", log.read_text(errors="replace"))
    published = board.clock_hz / float(rates[-1])
    target = replace(load_target(board.profile), name=board.folder)
    what, at_least = NETWORKS[network]
    estimate = _estimate(path, target, board.latency_register, at_least, round(2 * published))
    source = f"{REPOSITORY}, closed/bosch: {rates[-1]} inferences per second"
    return Row(board.folder, board.core, f"MLPerf Tiny {what}, int8", True, published, source, estimate)


def _estimate(path: Path, target: Target, latency_register: int, at_least: int, most: int) -> Estimate:
    assert target.cost is not None
    image = StrippedImage(path.read_bytes(), target.cpu.core, (latency_register,))
    address, distinct = image.find_inference(at_least, most)
    profile = image.profile(address, find_table(target.cost.table), target.cost)
    assert profile.cycles is not None
    note = f"inference at {address:#010x}, which reads {distinct:,} bytes of flash"
    latency = image.boot.last(latency_register)
    if latency is not None and latency & 0xF and target.cost.flash_wait_states:
        note += f"; the image sets {latency & 0xF} wait states, the profile has {target.cost.flash_wait_states}"
    return Estimate(profile.instructions, profile.cycles, profile.stall_cycles or 0, note)
