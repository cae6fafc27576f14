"""report: what the device was, why its figures are doubtful, and how its latency went over time."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from pilotfish.errors import BadInput
from pilotfish.runtime import bench as bench_module
from pilotfish.runtime.bench import bench
from pilotfish.runtime.measure.soak_run import Soak
from pilotfish.runtime.report import write_report
from pilotfish.runtime.report.html import embedded_json
from pilotfish.runtime.report.plots import plots

pytest.importorskip("plotly")
pytest.importorskip("jinja2")
FACTS = {
    "board": {"model": "Raspberry Pi 5 <b>Model B</b>"},
    "cpu": {
        "model": "Cortex-A76",
        "cores": 4,
        "clusters": [{"cores": "0,1,2,3", "governor": "ondemand", "now_mhz": 1500.0, "allowed_mhz": [1500.0, 2400.0]}],
    },
    "thermal": {"zones_c": {"cpu-thermal": 52.35}, "throttling": {"since_boot": ["under-voltage", "throttled"]}},
    "warnings": ["cores 0,1,2,3: the governor is <ondemand>"],
}


@pytest.fixture
def measured(build, policy_of, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench_module, "device_facts", lambda: FACTS)
    artifact = build(policy_of())
    bench(artifact, calls=500, paced_seconds=0.1, control_hz=500)
    return artifact


def soaked(artifact, misses: int = 0) -> dict:
    """A soak of ten simulated minutes, its device growing warm."""

    class World:
        time, calls = 0, 0

        def now_ns(self) -> int:
            return self.time

        def sleep_ns(self, duration: int) -> None:
            self.time += duration

        def call(self, k: int) -> None:
            self.calls += 1
            self.time += 30_000_000 if k < misses else 1_000_000

        def moment(self) -> dict:
            return {"thermal": {"hottest_c": 40.0 + self.calls / 1000}}

    world = World()
    run = Soak(world.call, 50.0, 600.0, moment=world.moment, clock=world, spin_ns=0)
    run.go()
    figures = {
        name: {key: value for key, value in vars(figure).items() if not key.startswith("_")}
        for name, figure in run.figures("simulated", None).items()
    }
    data = {"figures": figures, "stretches": [vars(each) for each in run.stretches], "seconds": run.measured_s}
    data |= {"deadline_us": 20_000.0, "control_hz": 50.0, "deadline_met": run.misses == 0, "interrupted": False}
    artifact.store_result("soak", data)
    return data


def test_the_state_of_the_device_and_its_doubts_are_shown(measured, tmp_path: Path) -> None:
    report = write_report([measured], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Its state when it was measured" in page and "governor ondemand, 1,500 MHz now, 1,500 to 2,400 allowed" in page
    assert "under-voltage, throttled" in page
    for text in ("the governor is <ondemand>", "<b>Model B</b>"):
        assert html.escape(text) in page and text not in page  # a stranger's text stays text
    assert report["artifacts"][0]["bench"]["warnings"][0] == FACTS["warnings"][0]
    assert json.loads((tmp_path / "r.json").read_text())["devices"][0]["facts"]["cpu"]["model"] == "Cortex-A76"


def test_a_soak_is_drawn_over_time(measured, tmp_path: Path) -> None:
    assert plots(write_report([measured], tmp_path / "r.html"))["soak"] == []
    data = soaked(measured)
    report = write_report([measured], tmp_path / "r.html")
    latency, temperature = plots(report)["soak"]
    assert len(latency["figure"]["data"][0]["x"]) == len(data["stretches"]) == 200
    assert [trace["name"] for trace in latency["figure"]["data"]] == ["median", "worst"]  # 150 periods hold no p99
    assert "no deadline missed" in latency["caption"] and "temperature" in temperature["caption"]
    assert embedded_json([plot["figure"] for plot in (latency, temperature)])
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Over time" in page and "Response, median, soak" in page


def test_misses_of_a_soak_decide_the_verdict(measured, tmp_path: Path) -> None:
    soaked(measured, misses=3)
    report = write_report([measured], tmp_path / "r.html")
    verdict = report["artifacts"][0]["verdicts"]["in_time"]
    assert verdict["mark"] == "bad" and re.search(r"in a soak, \d of 30,000 were", verdict["sentence"])


@pytest.mark.parametrize(
    "broken", [{"stretches": [{"start_s": "x"}]}, {"stretches": [{"start_s": 0, "seconds": 1, "worst_us": "no"}]}]
)
def test_a_soak_that_is_none_is_refused_with_its_repair(measured, tmp_path: Path, broken: dict) -> None:
    measured.store_result("soak", broken)
    with pytest.raises(BadInput, match="pilotfish bench --soak"):
        write_report([measured], tmp_path / "r.html")
