"""Every figure of a board says where it comes from: executed, added up from a table, or scaled by a published band."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pilotfish.runtime.measure.board_bench import board_bench
from pilotfish.targets.profile import Cost, load_target


@pytest.fixture
def benched(build, policy_of):
    """board_bench of a small policy on a shipped board whose cost is replaced after the build."""
    from pilotfish.targets.virtual.board import VirtualBoard

    def make(name, cost, clock_hz=None):
        artifact = build(policy_of("mlp"), "c", name)
        target = artifact.manifest.target
        cpu = dataclasses.replace(target.cpu, clock_hz=clock_hz or target.cpu.clock_hz)
        board = VirtualBoard(artifact.entry, dataclasses.replace(target, cost=cost, cpu=cpu))
        observations = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
        try:
            return board_bench(artifact, board, observations, 1e4)
        finally:
            board.close()

    return make


def test_a_published_band_scales_the_exact_instructions_and_names_its_source(benched):
    figures, verdict = benched("rv32imafc", Cost(cpi=(1.0, 1.5, 3.0), source="Someone 2024, table 1"), clock_hz=100e6)
    instructions, cycles, latency = (figures[name] for name in ("instructions", "cycles", "latency_us"))
    assert (instructions.source, cycles.source, latency.source) == ("emulated", "estimated", "estimated")
    assert cycles.value == pytest.approx(1.5 * instructions.value, abs=1)
    assert cycles.low == instructions.low and cycles.high == 3 * instructions.high
    assert latency.value == pytest.approx(cycles.value / 100)
    for figure in (cycles, latency):
        assert "Someone 2024, table 1" in figure.note and "stalls included" in figure.note
        assert "no model of memory stalls" not in figure.note
    assert "memory_stall_cycles" not in figures and verdict["deadline_met"] is True


def test_a_table_keeps_the_stalls_on_their_own_line(benched):
    cost = load_target("crazyflie").cost
    figures, _ = benched("crazyflie", cost)
    without, _ = benched("crazyflie", dataclasses.replace(cost, flash_wait_states=0))
    stalls = figures["memory_stall_cycles"]
    fewer = without["memory_stall_cycles"]
    assert stalls.value > fewer.value >= 0
    assert figures["cycles"].value - stalls.value == pytest.approx(without["cycles"].value - fewer.value, rel=0.01)
    assert figures["instructions"].value == without["instructions"].value


def test_without_either_there_are_instructions_and_sizes_but_no_verdict(benched):
    figures, verdict = benched("crazyflie", None)
    assert "cycles" not in figures and "latency_us" not in figures and verdict["deadline_met"] is None
    assert figures["instructions"].value > 0 and verdict["fits"] == {"flash": True, "ram": True}
    assert "of 131,072" in figures["ram_bytes"].note and "of stack" in figures["ram_bytes"].note
