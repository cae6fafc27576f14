"""Published times of programs whose sources, not images, are public: built here, by our compiler, for the same boards.

The difference to hardware is then also the difference between two compilers; a row cannot say which is which.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from boards import cmsis_nn, networks, rltools
from boards.foreign import Foreign, board

from pilotfish.targets.profile import load_target
from pilotfish.targets.virtual.board import VirtualBoard
from pilotfish.targets.virtual.cycles import Cycles

from . import gnu
from .row import Estimate, Row

RLTOOLS = "github.com/rl-tools/media, microcontroller_inference.png, column RLtools: optimized"
RLTOOLS_NET = (13, 64, 64, 4)
"""github.com/rl-tools/esp32, main/model.h."""
RLTOOLS_TIMES = (
    ("Crazyflie 2.1", "Cortex-M4, 168 MHz", "crazyflie", 293.0, 168e6),
    ("Teensy 4.1", "Cortex-M7, 600 MHz", "teensy41", 41.0, 600e6),
    ("Pixhawk 6C (STM32H743)", "Cortex-M7, 480 MHz", "nucleo-h743zi", 53.0, 480e6),
    ("ESP32-C3", "RV32IMC, 160 MHz", "esp32-c3", 6645.0, 160e6),
)
"""Board, core, profile, published microseconds, clock (of the board, from memory: the table does not name it)."""
ANOMALY_DETECTION = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640)
MICROTVM_HZ = 116.212
MICROTVM = (
    "github.com/mlcommons/tiny_results_v1.1, closed/Krai, NUCLEO-L4R5ZI_MICROTVM-CMSIS-NN, ad: 116.212 inferences per second"
)


def rltools_rows(root: Path, gxx: Path | None) -> Iterator[Row]:
    """RLtools' two hidden layers of 64, ReLU, float32; ``root``: its source tree.

    ``gxx``: arm-none-eabi-g++, the compiler of the published figures (their flags are not known: -Os and -O2 are both
    common); the shipped compiler builds a row in any case.
    """
    mlp = networks.dense("relu", *RLTOOLS_NET)
    program, observations = rltools.program(mlp, root), networks.observations(mlp, 1)
    for name, core, profile, time_us, clock_hz in RLTOOLS_TIMES:
        published = time_us * 1e-6 * clock_hz
        target = load_target(profile)
        for optimize in ("-Os", "-O2") if gxx and target.cpu.core in gnu.MACHINES else ():
            assert gxx is not None
            with tempfile.TemporaryDirectory() as folder:
                elf = gnu.build(program, target, Path(folder), gxx, optimize)
                estimate = _profiled(VirtualBoard(elf, target), observations)
            yield Row(name, core, f"RLtools 13-64-64-4 ReLU, float32, gcc {optimize}", False, published, RLTOOLS, estimate)
        estimate = _estimate(program, profile, observations)
        yield Row(name, core, "RLtools 13-64-64-4 ReLU, float32, clang -O3", False, published, RLTOOLS, estimate)


def cmsis_rows(root: Path) -> Iterator[Row]:
    """CMSIS-NN's int8 dense layers in the shape of MLPerf Tiny's anomaly detection; ``root``: its source tree."""
    mlp = networks.dense("relu", *ANOMALY_DETECTION)
    program = cmsis_nn.program(mlp, root, networks.observations(mlp, 64))
    estimate = _estimate(program, "nucleo-l4r5zi", networks.observations(mlp, 1))
    yield Row(
        "NUCLEO_L4R5ZI", "Cortex-M4, 120 MHz", "anomaly detection, CMSIS-NN int8", False, 120e6 / MICROTVM_HZ, MICROTVM, estimate
    )


def _estimate(program: Foreign, profile: str, observations: np.ndarray) -> Estimate:
    with tempfile.TemporaryDirectory() as folder:
        return _profiled(board(program, load_target(profile), Path(folder)), observations)


def _profiled(machine: VirtualBoard, observations: np.ndarray) -> Estimate:
    try:
        found = machine.profile(observations)
    finally:
        machine.close()
    bands = (found.cycles_low, found.cycles_typical, found.cycles_high)
    if any(band is None for band in bands):
        raise LookupError(f"the profile {machine.target.name} has no cycle model")
    low, typical, high = (round(float(np.mean(band))) for band in bands if band is not None)
    stalls = 0 if found.memory_stall_cycles is None else round(float(np.mean(found.memory_stall_cycles)))
    return Estimate(int(found.instructions[0]), Cycles(low, typical, high), stalls, found.note)
