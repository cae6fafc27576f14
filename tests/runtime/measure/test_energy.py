"""Law: an action's energy is what the loop with the policy takes more than the loop without, whatever the sensor is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pilotfish.errors import BadInput
from pilotfish.runtime.measure.energy import Ina3221, Meter, Rapl, Spent, energy_figures, find_meter, load_meter, spend

IDLE_W, WORK_W = 2.0, 12.0
MS = 1_000_000


class World:
    """A machine that takes 2 W, and 12 W while it computes; its clock moves by sleeping and computing alone."""

    def __init__(self, work_ns: int = 3 * MS) -> None:
        self.time, self.joules_now, self.work_ns, self.on_change = 1_000, 0.0, work_ns, lambda: None

    def now_ns(self) -> int:
        return self.time

    def now_s(self) -> float:
        return self.time * 1e-9

    def sleep_ns(self, duration: int) -> None:
        self._pass(duration, IDLE_W)

    def call(self, _: int) -> None:
        self._pass(self.work_ns, WORK_W)

    def _pass(self, duration: int, watt: float) -> None:
        self.time += duration
        self.joules_now += watt * duration * 1e-9
        self.on_change()


class Counter:
    name, every_s = "a perfect meter", None

    def __init__(self, world: World) -> None:
        self.joules = lambda: world.joules_now


def measure(world: World, meter: Meter, hz: float = 100.0, **options) -> Spent:
    return spend(world.call, meter, hz, clock=world, spin_ns=0, pairs=4, turn_seconds=0.2, **options)


def test_the_policy_alone_is_charged() -> None:
    world = World()
    spent = measure(world, Counter(world))
    np.testing.assert_allclose(spent.net_j, (WORK_W - IDLE_W) * 0.003, rtol=0.02)  # 30 mJ: 10 W more for 3 ms
    np.testing.assert_allclose(spent.gross_j, IDLE_W * 0.01 + 0.03, rtol=0.02)
    np.testing.assert_allclose(spent.baseline_w, IDLE_W, rtol=1e-3)
    figures = energy_figures(spent, Counter(world), "d")
    assert figures["energy_uj"].value == pytest.approx(30_000, rel=0.02) and figures["energy_uj"].samples == 80
    assert "taken off" in figures["energy_uj"].note and "noise" not in figures["energy_uj"].note
    assert figures["energy_baseline_w"].value == pytest.approx(2, rel=1e-3)


def test_a_policy_that_takes_nothing_is_said_to_be_in_the_noise() -> None:
    world = World(work_ns=0)
    figures = energy_figures(measure(world, Counter(world)), Counter(world), "d")
    assert abs(figures["energy_uj"].value) < 1 and "not above the noise" in figures["energy_uj"].note


def rapl_tree(root: Path, world: World, span: int = 1_000_000_000) -> Path:
    folder = root / "sys/class/powercap/intel-rapl:0"
    for name, kind in ((folder, "package-0"), (root / "sys/class/powercap/intel-rapl:0:0", "core")):
        name.mkdir(parents=True)
        (name / "name").write_text(f"{kind}\n")
        (name / "max_energy_range_uj").write_text(f"{span}\n")
        (name / "energy_uj").write_text("0\n")

    def write() -> None:
        (folder / "energy_uj").write_text(f"{round(world.joules_now * 1e6) % (span + 1)}\n")

    world.on_change = write
    return root


def test_rapl_counts_packages_once_and_survives_its_overflow(tmp_path: Path) -> None:
    world = World()
    meter, why = find_meter(rapl_tree(tmp_path, world, span=70_000))
    assert isinstance(meter, Rapl) and why == "" and "package-0" in meter.name and "core" not in meter.name
    before = meter.joules()
    for _ in range(10):
        world.call(0)
        assert meter.joules() - before == pytest.approx(world.joules_now, abs=2e-6)
    assert world.joules_now > 4 * 0.07  # it has turned over
    world = World()
    meter, _ = find_meter(rapl_tree(tmp_path / "again", world))
    np.testing.assert_allclose(measure(world, meter).net_j, 0.03, rtol=0.02)


def ina_tree(root: Path, world: World, rails: dict[str, float]) -> Path:
    """Rails by their share of the power, on 5 V; channel 3 of every chip is not connected."""
    folder = root / "sys/class/hwmon/hwmon4"
    folder.mkdir(parents=True)
    (folder / "name").write_text("ina3221\n")
    for channel, label in enumerate((*rails, "NC"), start=1):
        (folder / f"in{channel}_label").write_text(f"{label}\n")
        (folder / f"in{channel}_input").write_text("5000\n")
        (folder / f"curr{channel}_input").write_text("0\n")
    before = [0.0, 0]

    def write() -> None:
        joules, at = world.joules_now, world.time
        watt = (joules - before[0]) / max((at - before[1]) * 1e-9, 1e-12)
        before[:] = [joules, at]
        for channel, share in enumerate(rails.values(), start=1):
            (folder / f"curr{channel}_input").write_text(f"{round(watt * share / 5 * 1000)}\n")

    world.on_change = write
    return root


def test_a_jetson_is_measured_at_its_input(tmp_path: Path) -> None:
    world = World()
    meter, why = find_meter(ina_tree(tmp_path, world, {"VDD_IN": 1.0, "VDD_CPU_GPU_CV": 0.5}), world.now_s)
    assert isinstance(meter, Ina3221) and why == "" and "VDD_IN" in meter.name and "VDD_CPU" not in meter.name
    world.sleep_ns(100 * MS)
    start = meter.joules()
    for _ in range(10):
        world.sleep_ns(100 * MS)
        meter.joules()
    assert meter.joules() - start == pytest.approx(IDLE_W, rel=0.01)
    only, _ = find_meter(ina_tree(tmp_path / "agx", world, {"VDD_GPU_SOC": 0.4, "VDD_CPU_CV": 0.6}), world.now_s)
    assert "VDD_GPU_SOC, VDD_CPU_CV" in only.name


def test_no_sensor_no_figure_and_why(tmp_path: Path) -> None:
    meter, why = find_meter(tmp_path)
    assert meter is None and "MODULE:FUNCTION" in why
    tree = rapl_tree(tmp_path, World())
    (tree / "sys/class/powercap/intel-rapl:0/energy_uj").write_text("not today\n")
    meter, why = find_meter(tree)
    assert meter is None and "chmod" in why
    astray = Spent(np.array([np.nan]), np.array([1.0]), np.array([1.0]), 5, 1.0)
    figures = energy_figures(astray, Counter(World()), "d")
    assert all(figure.value is None and "astray" in figure.note for figure in figures.values())


def test_a_meter_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_meter.py").write_text("total = 0\ndef joules():\n    global total\n    total += 0.5\n    return total\n")
    monkeypatch.syspath_prepend(tmp_path)
    meter = load_meter("my_meter:joules")
    assert "my_meter:joules" in meter.name and meter.joules() < meter.joules()
    for wrong in ("my_meter", "my_meter:nothing", "no_such_module:f", "my_meter:total"):
        with pytest.raises(BadInput, match="joules"):
            load_meter(wrong)


def test_a_bench_charges_it(build, policy_of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pilotfish.runtime.bench import bench
    from pilotfish.runtime.measure import energy

    (tmp_path / "steady_meter.py").write_text("import time\ndef joules():\n    return 5 * time.perf_counter()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(energy, "TURN_SECONDS", 0.02)
    artifact = build(policy_of())
    figures = bench(artifact, calls=200, paced_seconds=0, control_hz=500, energy="steady_meter:joules")["figures"]
    assert figures["energy_baseline_w"]["value"] == pytest.approx(5, rel=0.05)
    assert figures["energy_gross_uj"]["value"] == pytest.approx(10_000, rel=0.2)
    assert abs(figures["energy_uj"]["value"]) < 2_000  # of 10,000: the meter sees no difference
    monkeypatch.setattr(energy, "find_meter", lambda: (None, "no sensor"))
    data = bench(artifact, calls=200, paced_seconds=0, energy="auto")
    assert "energy_uj" not in data["figures"] and any("no energy" in note for note in data["notes"])
