"""``targets check`` finds what makes a profile useless before anything is built."""

import importlib.util
import shutil
from dataclasses import replace

import pytest

from pilotfish.targets import check as check_module
from pilotfish.targets import load_target, shipped_targets
from pilotfish.targets.check import check_target
from pilotfish.targets.profile import Cost


def errors(target):
    return [message for severity, message in check_target(target) if severity == "error"]


@pytest.fixture
def everything_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")


@pytest.mark.parametrize("name", sorted(shipped_targets()))
def test_shipped_profiles_have_neither_errors_nor_warnings(name, everything_installed):
    target = load_target(name)
    said = [finding for finding in check_target(target) if finding.severity != "ok"]
    # Where nobody has published cycles of a core, its board says so, and counts instructions.
    # A device is not here.
    assert all(
        ("no [cost]" in finding.message and target.cost is None)
        or ("does not answer" in finding.message and target.link.kind == "ssh")
        for finding in said
    )


def test_mistakes_in_a_virtual_board(everything_installed):
    good = load_target("crazyflie")
    cases = {
        "c back-end": replace(good, backends=("onnxruntime", "c")),
        "cortex-m4f": replace(good, cpu=replace(good.cpu, core="cortex-m4f")),
        "not for a cortex-m4": replace(good, compile=replace(good.compile, mcpu="cortex_m7")),
        "no FPU": replace(good, cpu=replace(good.cpu, core="cortex-m3"), compile=replace(good.compile, mcpu="cortex_m3")),
        "triple is missing": replace(good, compile=replace(good.compile, triple="")),
        "flash_bytes and memory.ram_bytes": replace(good, memory=replace(good.memory, ram_bytes=None)),
        "overlap": replace(good, memory=replace(good.memory, ram_origin=good.memory.flash_origin)),
        "multiples of 1024": replace(good, memory=replace(good.memory, ram_bytes=1000)),
        "cortex-m9": replace(good, cost=Cost(table="cortex-m9")),
        "must begin with 'riscv32": replace(good, cpu=replace(good.cpu, core="rv32imc")),
        "must not name f or d": replace(
            load_target("esp32-c3"), compile=replace(load_target("esp32-c3").compile, mcpu="generic_rv32+m+c+f")
        ),
        "multiples of 4096": replace(load_target("esp32-c3"), memory=replace(load_target("esp32-c3").memory, ram_bytes=1024)),
        "clock_hz": replace(good, cpu=replace(good.cpu, clock_hz=None)),
    }
    for expected, target in cases.items():
        assert any(expected in message for message in errors(target)), expected


def test_warnings_do_not_forbid(everything_installed):
    good = load_target("crazyflie")
    soft = replace(good, compile=replace(good.compile, mcpu="cortex_m4"))
    uncosted = replace(good, cost=None)
    riscv = load_target("rv32imafc")
    riscv = replace(riscv, compile=replace(riscv.compile, mcpu="generic_rv32+m+a+c"))
    for target, expected in (
        (soft, "soft float"),
        (riscv, "soft float"),
        (uncosted, "cycles and latency not estimated"),
    ):
        assert not errors(target)
        assert any(expected in message for severity, message in check_target(target) if severity == "warning")


def test_a_missing_tool_is_named_with_its_install_line(monkeypatch):
    monkeypatch.setattr(check_module, "_installed", lambda *modules: list(modules))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    board, local = errors(load_target("crazyflie")), errors(load_target("host-cpu"))
    assert any("pilotfish[emulate]" in m for m in board) and any("pilotfish[export]" in m for m in board)
    assert any("pilotfish[ort]" in m for m in local) and any("no C compiler" in m for m in local)


def test_a_local_target_must_be_this_machine(everything_installed):
    local = load_target("host-cpu")
    assert any("native" in m for m in errors(replace(local, cpu=replace(local.cpu, isa="thumbv7em"))))
