"""The comparison on the virtual boards: peers' programs are built and checked as the benchmark says."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from boards import cmsis_nn, foreign, networks, thresholds
from boards.rational_tanh import TANHF
from boards.row import FLOAT_TOLERANCE, OURS, Row, WrongAnswer, markdown, measure
from validation import row as validation
from validation.mlperf_tiny import throughput
from validation.stripped import StrippedImage

from pilotfish.errors import BadInput, Unsupported
from pilotfish.targets.profile import load_target
from pilotfish.targets.virtual.cycles import TABLES, Cycles

for tool in ("ziglang", "unicorn", "capstone", "elftools"):
    pytest.importorskip(tool, reason=f"{tool} is not installed")

C = """#include <string.h>
float tanhf(float x);
void foreign_step(const float *obs, float *state, float *action) {
  float first;
  memcpy(&first, obs, 4);
  state[0] += 1.0f;
  action[0] = state[0] + tanhf(first);
}
"""
CPP = """#include <cstddef>
#include <cmath>
template <typename T> static T twice(T x) { return x + x; }
extern "C" void foreign_step(const float *obs, float *, float *action) {
  for (std::size_t i = 0; i < 2; ++i) action[i] = twice(std::fabs(obs[i]));
}
"""


@pytest.mark.parametrize("name", ["crazyflie", "nucleo-g0b1re", "esp32-c3"])
def test_foreign_c_runs_with_state_and_our_tanh(name: str, tmp_path: Path) -> None:
    board = foreign.board(foreign.Foreign({"a.c": C + TANHF}, 1, 1, state=1), load_target(name), tmp_path)
    for x in (-20.0, -1.5, 0.0, 0.3, 9.0):
        board.reset()
        assert [float(board.step([x])[0]) for _ in range(2)] == pytest.approx([1 + np.tanh(x), 2 + np.tanh(x)], abs=1e-6)


def test_foreign_cplusplus_finds_its_headers(tmp_path: Path) -> None:
    board = foreign.board(foreign.Foreign({"a.cpp": CPP}, 2, 2), load_target("crazyflie"), tmp_path)
    assert board.step([-1.25, 3.0]).tolist() == [2.5, 6.0]
    assert board.profile(np.ones((1, 2))).instructions[0] > 0


def test_objects_with_constructors_are_refused(tmp_path: Path) -> None:
    text = CPP + "volatile int seed; struct S { S() : v(seed) {} int v; }; S s; int f() { return s.v; }"
    with pytest.raises(BadInput, match="constructors"):
        foreign.build(foreign.Foreign({"a.cpp": text}, 2, 2), load_target("crazyflie"), tmp_path)


def test_only_virtual_boards_run_foreign_code(tmp_path: Path) -> None:
    with pytest.raises(Unsupported):
        foreign.build(foreign.Foreign({"a.c": C}, 1, 1), load_target("host-cpu"), tmp_path)


@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.9, 0.95])
def test_sparse_networks_keep_every_unit_alive(sparsity: float) -> None:
    dense = networks.dense("relu", 17, 64, 64, 6)
    thin = networks.sparse(dense, sparsity)
    total = sum(weight.size for weight in dense.weights)
    assert sum(np.count_nonzero(weight) for weight in thin.weights) == round(total * (1 - sparsity))
    for before, after in zip(dense.weights, thin.weights, strict=True):
        live = after != 0
        assert live.any(axis=0).all() and live.any(axis=1).all()
        assert np.array_equal(after[live], before[live])


def test_int8_policy_is_near_the_float_network() -> None:
    from pilotfish.policy.reference import Reference

    mlp = networks.dense("tanh", 5, 16, 16, 3)
    seen = networks.observations(mlp, 64)
    expected = mlp.reference(seen)
    for grid in ("int8", "int16", "float"):
        reference = Reference(mlp.policy_int8(seen, grid), np.float64)
        answers = np.stack([reference.act(row) for row in seen])
        assert 0 < np.abs(answers - expected).max() < 0.1 * np.abs(expected).max()
    exact = Reference(mlp.policy(), np.float64)
    assert np.stack([exact.act(row) for row in seen]) == pytest.approx(expected, abs=1e-12)


def test_fixed_point_multipliers_hold_31_bits() -> None:
    for factor in (1e-4, 0.123, 0.5, 0.999_999_999_9, 1.7):
        multiplier, shift = cmsis_nn._fixed_point(factor)
        assert 2**30 <= multiplier < 2**31
        assert multiplier * 2.0 ** (shift - 31) == pytest.approx(factor, rel=1e-9)


def test_a_wrong_program_is_not_counted(tmp_path: Path) -> None:
    target = load_target("crazyflie")
    elf = foreign.build(foreign.Foreign({"a.cpp": CPP}, 2, 2), target, tmp_path)
    rows = np.ones((2, 2), np.float32)
    assert measure(elf, target, 2 * rows, rows, FLOAT_TOLERANCE)["instructions"] > 0
    with pytest.raises(WrongAnswer):
        measure(elf, target, 2.001 * rows, rows, FLOAT_TOLERANCE)


def test_goals_are_judged_by_the_numbers() -> None:
    def row(variant: str, maker: str, cycles: int, flash: int) -> Row:
        return Row("crazyflie", variant, maker, 1, cycles, cycles, cycles, 0, flash, 0, 0, 0.0)

    rows = [row("float32 tanh", OURS, 30_000, 100), row("float32 tanh", "onnx2c", 40_000, 99)]
    rows += [row("90 % sparse tanh", OURS, 7_500, 10), row("95 % sparse tanh", OURS, 7_500, 10)]
    said = {line.split(maxsplit=1)[1]: line.split()[0] for line in thresholds.lines(rows)}
    assert said["crazyflie: float32 tanh at most 33,000 cycles: 30,000"] == "met"
    assert said["crazyflie: flash of float32 tanh at most that of onnx2c, 99 bytes: 100"] == "SHORT"
    assert said["crazyflie: 90 % sparse tanh at least 4 times as fast as its dense twin: 4.00"] == "met"
    assert said["crazyflie: 95 % sparse tanh at least 7 times as fast as its dense twin: 4.00"] == "SHORT"
    table = markdown(rows).splitlines()
    assert len({line.count("|") for line in table}) == 1 and len(table) == 2 + len(rows)
    assert table[3].endswith("| 1.33 |")


TABLE = """#include <stdint.h>
static const volatile uint8_t weights[4096] = {1, 2, 3};
static volatile int sink;
__attribute__((noinline)) void spin(void);
__attribute__((noinline)) void spin(void) { for (int i = 0; i < 200000; ++i) sink = i; }
__attribute__((noinline)) int inference(void);
__attribute__((noinline)) int inference(void) {
  int sum = 0;
  for (int round = 0; round < 40; ++round)
    for (int i = 0; i < 4096; ++i) sum += weights[i];
  return sum;
}
void foreign_step(const float *obs, float *state, float *action) {
  *(volatile uint32_t *)0x40001000 = 1; /* as benchmarks do: a timer around the inference */
  spin();
  action[0] = (float)inference();
}
"""


def test_the_inference_of_a_stripped_image_is_found_and_costs_what_it_costs_with_symbols(tmp_path: Path) -> None:
    from elftools.elf.elffile import ELFFile

    from pilotfish.targets.virtual.cores import find_core
    from pilotfish.targets.virtual.image import read_image
    from pilotfish.targets.virtual.machine import Machine
    from pilotfish.targets.virtual.profiler import Profiler

    target = load_target("crazyflie")
    elf = foreign.build(foreign.Foreign({"a.c": TABLE}, 1, 1), target, tmp_path)
    with elf.open("rb") as file:
        loaded = [segment for segment in ELFFile(file).iter_segments() if segment["p_type"] == "PT_LOAD" and segment["p_filesz"]]
        stop = max(segment["p_paddr"] + segment["p_filesz"] for segment in loaded)
        flash = bytearray(stop - target.memory.flash_origin)
        for segment in loaded:
            start = segment["p_paddr"] - target.memory.flash_origin
            flash[start : start + segment["p_filesz"]] = segment.data()
    stripped = StrippedImage(bytes(flash), "cortex-m4")
    machine = Machine(read_image(elf, target.memory, find_core("cortex-m4").isa), target)
    table = TABLES["cortex-m4"]
    try:
        address = machine.image.symbol("inference").address & ~1
        with Profiler(machine, table, target.cost) as profiler:
            expected = profiler.call(address)
    finally:
        machine.close()
    found, read = stripped.find_inference(4096, 2_000_000)
    assert found == address and 4096 <= read < 4200
    assert stripped.profile(address, table, target.cost) == expected
    with pytest.raises(LookupError, match="most is 0"):
        stripped.find_inference(1, 200_000)  # none returns that soon


def _compared(published: float, low: int, high: int, fitted: str = "") -> validation.Row:
    model, reported = Cycles(90, 100, 110), Cycles(low, 100, high)
    estimate = validation.Estimate(80, model, reported, 50)
    return validation.Row("B", "Cortex-M4, 1 MHz", "p", "cc", True, fitted, "1 us", published, "somewhere", estimate)


def test_a_validation_row_judges_typical_and_band_with_the_stalls() -> None:
    row = _compared(165.0, 85, 120)
    assert row.ratio == pytest.approx(150 / 165)
    assert row.inside and not row.inside_model
    assert not _compared(171.0, 85, 120).inside and not _compared(134.0, 85, 120).inside
    rows = [row, _compared(171.0, 85, 120, "the clock was made from it")]
    lines = validation.markdown(rows).splitlines()
    assert len({line.count("|") for line in lines[:4]}) == 1
    assert "held out" in lines[2] and "| **0.909** | yes |" in lines[2]
    assert "| fitted |" in lines[3] and lines[3].endswith("| **no** |")
    assert "- 1, 2: somewhere" in lines and "- fitted, 2: the clock was made from it" in lines
    assert "in the reported band of 1 of them, in the cost model's own of 0" in validation.summary(rows)


def test_the_last_median_of_a_log_is_its_throughput() -> None:
    assert throughput("x: Median throughput is    1.5 inf./sec.\ny: Median throughput is 176.699 inf./sec.\n") == 176.699
    with pytest.raises(ValueError, match="median"):
        throughput("Throughput : 12 inf./sec.")
