"""Law: what a device's files and tools say is reported as they say it; what they do not say is absent, never guessed.

The trees hold what such devices were seen to answer: the Raspberry Pi 5's cpuinfo as in hrw/arm-socs-table issue 96 (its
"Hardware" is wrong there, too), the Jetson Orin's jetson_clocks as in rbonghi/jetson_stats issue 381; the rest follows
the kernel's documentation of sysfs and the two makers' manuals.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish.runtime.measure import device_facts as module
from pilotfish.runtime.measure.device_facts import THROTTLED, device_facts, moment, numbers, since, throttled, warnings

ARM = "processor\t: {n}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd crc32 asimddp\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"
POLICY = "sys/devices/system/cpu/cpufreq/policy{}/"


def policy(
    first: int, cores: str, governor: str, now: int, allowed: tuple[int, int], possible: tuple[int, int]
) -> dict[str, str]:
    at = POLICY.format(first)
    spans = {
        "scaling_min_freq": allowed[0],
        "scaling_max_freq": allowed[1],
        "cpuinfo_min_freq": possible[0],
        "cpuinfo_max_freq": possible[1],
    }
    texts = {"affected_cpus": cores, "scaling_governor": governor, "scaling_driver": "cpufreq-dt", "scaling_cur_freq": str(now)}
    return {at + name: text + "\n" for name, text in (texts | {name: str(value) for name, value in spans.items()}).items()}


RASPBERRY = {
    "proc/cpuinfo": "".join(ARM.format(n=n, part="0xd0b") for n in range(4))
    + "Hardware\t: BCM2835\nRevision\t: d04170\nSerial\t\t: 0123456789abcdef\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n",
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "proc/version": "Linux version 6.6.31+rpt-rpi-2712 (serge@raspberrypi.com) (gcc-12) #1 SMP PREEMPT Debian 1:6.6.31-1+rpt1\n",
    "proc/cmdline": "coherent_pool=1M console=tty1 root=PARTUUID=x isolcpus=3 nohz_full=3\n",
    "proc/loadavg": "0.08 0.03 0.01 1/185 1234\n",
    "proc/meminfo": "MemTotal:        8245456 kB\nMemFree:         7000000 kB\nMemAvailable:    7654321 kB\n",
    "proc/sys/kernel/sched_rt_runtime_us": "950000\n",
    "sys/devices/system/cpu/online": "0-3\n",
    "sys/devices/system/cpu/isolated": "3\n",
    "sys/devices/system/cpu/nohz_full": "3\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "arch_sys_counter\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "52350\n",
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\n',
} | policy(0, "0 1 2 3", "ondemand", 1_500_000, (1_500_000, 2_400_000), (1_500_000, 2_400_000))
RASPBERRY_TOOLS = {
    "vcgencmd get_throttled": "throttled=0x50000\n",
    "vcgencmd measure_clock arm": "frequency(0)=1500019456\n",
    "vcgencmd version": "2024/04/20 12:00:00\nCopyright (c) 2012 Broadcom\nversion 0 (release)\n",
}
ORIN_CORES = "".join(
    f"cpu{n}: Online=1 Governor=schedutil MinFreq=115200 MaxFreq=2201600 CurrentFreq=1344000 IdleStates: WFI=1 c7=1 \n"
    for n in range(12)
)
ORIN = {
    "proc/cpuinfo": "".join(ARM.format(n=n, part="0xd42") for n in range(12)),
    "proc/device-tree/model": "NVIDIA Orin Jetson-Small Developer Kit\0",
    "proc/version": "Linux version 5.10.104-tegra (builder@host) (gcc 9.3) #1 SMP PREEMPT Sun Mar 19 07:55:28 PDT 2023\n",
    "proc/loadavg": "6.42 5.00 4.10 9/900 4321\n",
    "sys/devices/system/cpu/online": "0-11\n",
    "sys/devices/system/cpu/nohz_full": "(null)\n",
    "etc/nv_tegra_release": "# R35 (release), REVISION: 3.1, GCID: 32827747, BOARD: t186ref, EABI: aarch64\n",
    "sys/class/thermal/thermal_zone0/type": "CPU-therm\n",
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
    "sys/class/thermal/thermal_zone1/type": "GPU-therm\n",
    "sys/class/thermal/thermal_zone1/temp": "-256000\n",
    "sys/class/thermal/thermal_zone10/type": "tj-therm\n",
    "sys/class/thermal/thermal_zone10/temp": "49062\n",
    "sys/class/devfreq/17000000.ga10b/min_freq": "306000000\n",
    "sys/class/devfreq/17000000.ga10b/max_freq": "1300500000\n",
    "sys/class/devfreq/17000000.ga10b/cur_freq": "306000000\n",
} | {
    path: text
    for first in (0, 4, 8)
    for path, text in policy(
        first, " ".join(map(str, range(first, first + 4))), "schedutil", 1_344_000, (115_200, 1_510_400), (115_200, 2_201_600)
    ).items()
}
ORIN_TOOLS = {
    "nvpmodel -q": "NV Power Mode: MODE_30W\n2\n",
    "jetson_clocks --show": "SOC family:tegra234  Machine:NVIDIA Orin Jetson-Small Developer Kit\nOnline CPUs: 0-11\n"
    + ORIN_CORES
    + "GPU MinFreq=306000000 MaxFreq=1300500000 CurrentFreq=306000000\nNV Power Mode: MODE_30W\n",
}


@pytest.fixture
def plant(tmp_path: Path):
    """A tree of files and a table of commands -> (root, run)."""

    def make(files: dict[str, str], tools: dict[str, str] | None = None):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

        def run(command: Sequence[str]) -> str | None:
            return (tools or {}).get(" ".join(command))

        return tmp_path, run

    return make


def test_a_raspberry_pi_5(plant) -> None:
    facts = device_facts(*plant(RASPBERRY, RASPBERRY_TOOLS))
    assert facts["board"] == {"model": "Raspberry Pi 5 Model B Rev 1.0", "firmware": "2024/04/20 12:00:00"}
    (cluster,) = facts["cpu"].pop("clusters")
    assert facts["cpu"] == {"model": "Cortex-A76", "cores": 4, "isolated": "3", "nohz_full": "3"}
    assert cluster["cores"] == "0,1,2,3" and cluster["governor"] == "ondemand" and cluster["now_mhz"] == 1500
    assert cluster["allowed_mhz"] == cluster["possible_mhz"] == [1500, 2400]
    assert facts["thermal"]["hottest_c"] == 52.35
    assert facts["thermal"]["throttling"] == {"since_boot": ["under-voltage", "throttled"]}
    assert facts["clock"] == {"now_mhz": {"policy0": 1500}, "measured_arm_mhz": 1500.019456}
    assert facts["kernel"]["release"] == "6.6.31+rpt-rpi-2712" and facts["kernel"]["preemption"] == "PREEMPT"
    assert "preempt_rt" not in facts["kernel"] and facts["kernel"]["options"] == ["isolcpus=3", "nohz_full=3"]
    assert facts["machine"] == {"load_1min": 0.08, "memory_mib": 8052, "available_mib": 7474}
    assert facts["libraries"] == {"system": "Debian GNU/Linux 12 (bookworm)"}
    assert "power" not in facts  # no nvpmodel, no battery: not a word about them
    assert len(facts["warnings"]) == 2 and "ondemand" in facts["warnings"][0]
    assert facts["warnings"][1] == "throttled since the last boot: under-voltage, throttled"
    assert "0123456789abcdef" not in json.dumps(facts)  # serial numbers stay on the device


def test_a_jetson_orin(plant) -> None:
    facts = device_facts(*plant(ORIN, ORIN_TOOLS))
    assert facts["board"] == {"model": "NVIDIA Orin Jetson-Small Developer Kit", "jetson_linux": "R35.3.1"}
    assert facts["cpu"]["model"] == "Cortex-A78AE" and facts["cpu"]["cores"] == 12 and "nohz_full" not in facts["cpu"]
    assert [cluster["cores"] for cluster in facts["cpu"]["clusters"]] == ["0,1,2,3", "4,5,6,7", "8,9,10,11"]
    assert facts["thermal"] == {"zones_c": {"CPU-therm": 48.312, "tj-therm": 49.062}, "hottest_c": 49.062}
    assert facts["power"]["nvpmodel"] == "MODE_30W" and facts["power"]["jetson_clocks"] is False
    assert facts["power"]["gpu_clock_mhz"] == {"17000000.ga10b": {"low": 306, "high": 1300.5, "now": 306}}
    words = " | ".join(facts["warnings"])
    for part in ("schedutil", "1510.4 MHz at most, of 2201.6", "load average is 6.42 on 12 cores", "306 and 1300.5 MHz"):
        assert part in words
    held = ORIN_TOOLS | {"jetson_clocks --show": ORIN_CORES.replace("MinFreq=115200", "MinFreq=2201600")}
    assert device_facts(*plant(ORIN, held))["power"]["jetson_clocks"] is True


def test_a_quiet_machine_gets_no_warning(plant) -> None:
    steady = policy(0, "0 1 2 3", "performance", 2_400_000, (2_400_000, 2_400_000), (1_500_000, 2_400_000))
    realtime = {"proc/version": "Linux version 6.12.1-rt (x) (gcc) #1 SMP PREEMPT_RT Debian\n", "sys/kernel/realtime": "1\n"}
    facts = device_facts(*plant(RASPBERRY | steady | realtime, {"vcgencmd get_throttled": "throttled=0x0\n"}))
    assert facts["warnings"] == [] and facts["kernel"]["preempt_rt"] is True and "throttling" not in facts["thermal"]


def test_an_x86_laptop_in_a_virtual_machine_on_its_battery(plant) -> None:
    files = {
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: Intel(R) Core(TM) i5-8250U\nflags\t\t: fpu hypervisor\n",
        "sys/class/dmi/id/sys_vendor": "QEMU\n",
        "sys/class/dmi/id/product_name": "Standard PC (Q35 + ICH9, 2009)\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "12\n",
        "sys/class/hwmon/hwmon3/name": "coretemp\n",
        "sys/class/hwmon/hwmon3/temp1_input": "61000\n",
        "sys/class/power_supply/BAT0/type": "Battery\n",
        "sys/class/power_supply/BAT0/status": "Discharging\n",
        "sys/class/power_supply/hidpp_battery_0/type": "Battery\n",
        "sys/class/power_supply/hidpp_battery_0/scope": "Device\n",
        "sys/class/power_supply/hidpp_battery_0/status": "Charging\n",
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet\n",
        "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun  6 22:20:39 UTC 2023\n",
    }
    facts = device_facts(*plant(files))
    assert facts["cpu"] == {"model": "Intel(R) Core(TM) i5-8250U", "cores": 1}
    assert facts["thermal"] == {"zones_c": {"coretemp": 61.0}, "hottest_c": 61.0, "throttling": {"events": 12}}
    assert facts["libraries"] == {"nvidia_driver": "535.54.03"}
    words = " | ".join(facts["warnings"])
    for part in ("throttled 12 times", "virtual machine (QEMU)", "battery", "hpet"):
        assert part in words


def test_nothing_to_read_is_no_error_and_says_nothing(tmp_path: Path) -> None:
    facts = device_facts(tmp_path, lambda _: None)
    assert facts.pop("date") and facts == {"warnings": []}
    garbage = {"proc/cpuinfo": "\0\xff::::\n", "proc/loadavg": "\n", POLICY.format(0) + "scaling_cur_freq": "fast\n"}
    for name, text in garbage.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    device_facts(tmp_path, lambda _: "\n")


def test_throttling_that_began_during_a_run_is_told(plant) -> None:
    files = RASPBERRY | {"sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "5\n"}
    before = device_facts(*plant(files, {"vcgencmd get_throttled": "throttled=0x50000\n"}))
    assert since(before, before) == []
    files |= {"sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "8\n"}
    after = moment(*plant(files, {"vcgencmd get_throttled": "throttled=0xd0008\n"}))
    assert since(before, after) == [
        "throttled during the run: soft temperature limit",
        "the processor throttled 3 times during the run",
    ]


@given(st.sets(st.sampled_from(range(4))), st.sets(st.sampled_from(range(4))))
def test_every_throttling_bit_has_its_word(now: set[int], earlier: set[int]) -> None:
    bits = sum(1 << bit for bit in now) | sum(1 << (16 + bit) for bit in earlier)
    assert throttled(bits) == {"now": [THROTTLED[b] for b in sorted(now)], "since_boot": [THROTTLED[b] for b in sorted(earlier)]}


@given(st.sets(st.integers(0, 300), max_size=20))
def test_lists_of_cores(cores: set[int]) -> None:
    assert numbers(" ".join(map(str, sorted(cores)))) == sorted(cores)
    assert numbers("0-2,5") == [0, 1, 2, 5]


def test_it_runs_alone_on_this_machine() -> None:
    """As over ssh, from standard input, without the package's help."""
    source = Path(module.__file__).read_text(encoding="utf-8")
    done = subprocess.run([sys.executable, "-I", "-S", "-"], input=source, capture_output=True, text=True, check=True, timeout=60)
    facts = json.loads(done.stdout)
    assert facts["cpu"]["cores"] >= 1 and facts["libraries"]["python"]
    assert warnings(facts) == facts["warnings"]
