"""Published times of programs whose sources, not images, are public: built here, by our compiler, for the same boards.

The difference to hardware is then also the difference between two compilers; a row cannot say which is which.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from boards import cmsis_nn, foreign, networks, rltools

from pilotfish.targets.profile import Target, load_target
from pilotfish.targets.virtual.board import VirtualBoard
from pilotfish.targets.virtual.cores import find_core
from pilotfish.targets.virtual.cycles import Cycles, find_table
from pilotfish.targets.virtual.image import read_image
from pilotfish.targets.virtual.machine import Machine
from pilotfish.targets.virtual.profiler import Profiler

from . import gnu
from .mlperf_tiny import REPOSITORY, throughput
from .row import Estimate, Row, commit_of

RLTOOLS = "github.com/rl-tools/media@17df0724f3fe: microcontroller_inference.png, column RLtools: {column}; sources built here: "
RLTOOLS_NET = (13, 64, 64, 4)
"""github.com/rl-tools/esp32@8d3ea8d5d943, main/model.h."""
OPTIMIZED = "#include <rl_tools/nn/layers/dense/operations_arm/opt.h>"
GENERIC = "#include <rl_tools/nn/layers/dense/operations_generic.h>"
CLANG = "clang (ziglang) -O3"
FITTED = "the cycles per instruction of esp32-c3 (1.0 to 1.75, typical 1.3) were made from this figure"
ANOMALY_DETECTION = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640)
MICROTVM = "closed/Krai/results/NUCLEO-L4R5ZI_MICROTVM-CMSIS-NN/ad/performance/results.txt"


@dataclass(frozen=True)
class Board:
    """One line of RLtools' table."""

    name: str
    """As its maker calls it."""
    core: str
    """Core and clock (the board's, from memory: the table does not name it)."""
    profile: str
    """Ours."""
    clock_hz: float
    """As in ``core``."""
    optimized_us: float
    """Published."""
    generic_us: float
    """Published."""


BOARDS = (
    Board("Crazyflie 2.1", "Cortex-M4, 168 MHz", "crazyflie", 168e6, 293.0, 743.0),
    Board("Teensy 4.1", "Cortex-M7, 600 MHz", "teensy41", 600e6, 41.0, 64.0),
    Board("Pixhawk 6C (STM32H743)", "Cortex-M7, 480 MHz", "nucleo-h743zi", 480e6, 53.0, 133.0),
    Board("ESP32-C3", "RV32IMC, 160 MHz", "esp32-c3", 160e6, 6645.0, 8716.0),
)


def rltools_rows(root: Path, gxx: Path | None, riscv: Path | None) -> Iterator[Row]:
    """RLtools' two hidden layers of 64, ReLU, float32; ``root``: its source tree.

    ``gxx``: arm-none-eabi-g++, the compiler of the published figures (their flags are not known: -Os and -O2 are both
    common); ``riscv``: riscv64-unknown-elf-gcc, for its floating-point routines. The shipped compiler builds a row in any case.
    """
    mlp = networks.dense("relu", *RLTOOLS_NET)
    optimized, observations = rltools.program(mlp, root), networks.observations(mlp, 1)
    text = str(optimized.sources["rltools.cpp"])
    assert OPTIMIZED in text
    generic = replace(optimized, sources={"rltools.cpp": text.replace(OPTIMIZED, GENERIC)})
    here = f"github.com/rl-tools/rl-tools@{commit_of(root)}"
    for column, program in (("optimized", optimized), ("Generic", generic)):
        for board in BOARDS:
            target = load_target(board.profile)
            time_us = board.optimized_us if column == "optimized" else board.generic_us
            for compiler, estimate in _built(program, target, gxx, riscv, observations):
                yield Row(
                    board=board.name,
                    core=board.core,
                    program=f"RLtools {column.lower()}, 13-64-64-4 ReLU, float32",
                    compiler=compiler,
                    same_binary=False,
                    fitted=FITTED if board.profile == "esp32-c3" and column == "optimized" else "",
                    published=f"{time_us:g} us",
                    published_cycles=time_us * 1e-6 * board.clock_hz,
                    source=RLTOOLS.format(column=column) + here,
                    estimate=estimate,
                )


def _built(
    program: foreign.Foreign,
    target: Target,
    gxx: Path | None,
    riscv: Path | None,
    observations: np.ndarray,
    levels: tuple[str, ...] = ("-Os", "-O2"),
) -> Iterator[tuple[str, Estimate]]:
    """(compiler, estimate) of each build that the compilers at hand allow; ``levels``: of ``gxx``."""
    if gxx and target.cpu.core in gnu.MACHINES:
        for optimize in levels:
            with tempfile.TemporaryDirectory() as folder:
                elf = gnu.build(program, target, Path(folder), gxx, optimize)
                yield f"arm-none-eabi-g++ {optimize}", _profiled(elf, target, observations)
    with tempfile.TemporaryDirectory() as folder:
        elf = foreign.build(program, target, Path(folder))
        yield CLANG, _profiled(elf, target, observations)
        if riscv and target.cpu.core == "rv32imc":
            yield f"{CLANG}, libgcc's floats", _profiled(gnu.relink(Path(folder), riscv), target, observations)


def cmsis_rows(root: Path, results: Path, gcc: Path | None) -> Iterator[Row | str]:
    """CMSIS-NN's int8 dense layers in the shape of MLPerf Tiny's anomaly detection; ``root``: its source tree, ``results``: of
    the benchmark."""
    log = results / MICROTVM
    if not log.is_file():
        yield f"{REPOSITORY}: {log} is missing"
        return
    rate = throughput(log.read_text(errors="replace"))
    mlp = networks.dense("relu", *ANOMALY_DETECTION)
    program, target = cmsis_nn.program(mlp, root, networks.observations(mlp, 64)), load_target("nucleo-l4r5zi")
    source = (
        f"{REPOSITORY}@{commit_of(results)}: {MICROTVM}; sources built here: github.com/ARM-software/CMSIS-NN@{commit_of(root)}"
    )
    levels = ("-Os", "-O2", "-Ofast")  # the last is the library's own default (its README)
    for compiler, estimate in _built(program, target, gcc, None, networks.observations(mlp, 1), levels):
        yield Row(
            board="NUCLEO_L4R5ZI",
            core="Cortex-M4, 120 MHz",
            program="anomaly detection, CMSIS-NN int8 (hardware: called by microTVM)",
            compiler=compiler,
            same_binary=False,
            fitted="",
            published=f"{rate:g} inferences/s",
            published_cycles=120e6 / rate,
            source=source,
            estimate=estimate,
        )


def _profiled(elf: Path, target: Target, observations: np.ndarray) -> Estimate:
    machine = VirtualBoard(elf, target)
    try:
        found = machine.profile(observations[:1])
    finally:
        machine.close()
    if found.cycles_low is None or found.cycles_typical is None or found.cycles_high is None:
        raise LookupError(f"the profile {target.name} has no cycle model")
    band = Cycles(int(found.cycles_low[0]), int(found.cycles_typical[0]), int(found.cycles_high[0]))
    stalls = 0 if found.memory_stall_cycles is None else int(found.memory_stall_cycles[0])
    model = _model_band(elf, target, observations[0])
    return Estimate(int(found.instructions[0]), model or band, band, stalls, found.note)


def _model_band(elf: Path, target: Target, observation: np.ndarray) -> Cycles | None:
    """The cycle table's own band; None where the target has none."""
    if target.cost is None or not target.cost.table:
        return None
    machine = Machine(read_image(elf, target.memory, find_core(target.cpu.core).isa), target)
    try:
        machine.view("pilotfish_obs", "<f4", observation.size)[:] = observation
        with Profiler(machine, find_table(target.cost.table), target.cost) as profiler:
            return profiler.call(machine.image.symbol("pilotfish_step").address).cycles
    finally:
        machine.close()
