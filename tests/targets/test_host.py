"""What the host is, on any Linux and where nothing can be read."""

import json
import platform

import pytest

from pilotfish.targets import host

PI = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU part\t: 0xd08

processor\t: 1
Features\t: fp asimd evtstrm crc32 cpuid pmull
CPU implementer\t: 0x41
CPU part\t: 0xd08
"""
PC = """processor\t: 0
model name\t: Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz
flags\t\t: fpu sse2 avx2 fma
"""


@pytest.fixture
def cpuinfo(tmp_path):
    def write(text):
        path = tmp_path / "cpuinfo"
        path.write_text(text)
        return path

    return write


def test_the_machine_is_isa_and_system(monkeypatch):
    for isa, system, expected in (
        ("AMD64", "Linux", "x86_64-linux"),
        ("arm64", "Darwin", "aarch64-darwin"),
        ("", "", "unknown-unknown"),
    ):
        monkeypatch.setattr(platform, "machine", lambda isa=isa: isa)
        monkeypatch.setattr(platform, "system", lambda system=system: system)
        assert host.machine() == expected


def test_flags_are_those_that_every_core_has(cpuinfo):
    assert host.cpu_flags(cpuinfo(PI)) == {"fp", "asimd", "evtstrm", "crc32", "cpuid"}
    assert host.cpu_flags(cpuinfo(PC)) == {"fpu", "sse2", "avx2", "fma"}
    assert host.cpu_flags(cpuinfo("nothing here\n")) == frozenset()


def test_the_model_is_named_on_arm_and_x86(cpuinfo):
    assert host.cpu_model(cpuinfo(PI)) == "Cortex-A72"
    assert host.cpu_model(cpuinfo(PI.replace("0xd08", "0xfff"))) == "implementer 0x41 part 0xfff"
    assert host.cpu_model(cpuinfo(PC)) == "Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz"


def test_the_device_name_is_short(cpuinfo, tmp_path, monkeypatch):
    monkeypatch.setattr(host, "MODEL_FILES", ())
    monkeypatch.setattr(host, "cpu_model", lambda: "Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz")
    assert host.device_name() == "Intel Core i7-8650U"
    (tmp_path / "model").write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    monkeypatch.setattr(host, "MODEL_FILES", (tmp_path / "none", tmp_path / "model"))
    assert host.device_name() == "Raspberry Pi 4 Model B Rev 1.4"


def test_a_fingerprint_is_json_even_where_nothing_can_be_read(tmp_path, monkeypatch):
    assert json.loads(json.dumps(host.fingerprint()))["cores"] >= 1
    for name in ("CPUINFO", "CPU_FOLDER"):
        monkeypatch.setattr(host, name, tmp_path / "none")
    monkeypatch.setattr(host, "MODEL_FILES", ())
    monkeypatch.setattr(host.os, "getloadavg", lambda: (_ for _ in ()).throw(OSError()))
    monkeypatch.delattr(host.os, "sched_getaffinity")
    blind = json.loads(json.dumps(host.fingerprint()))
    assert blind["governor"] is None and blind["frequency_mhz"] is None and blind["load"] is None
    assert host.cpu_flags(tmp_path / "none") == frozenset()
    assert blind["device"] and blind["machine"]
