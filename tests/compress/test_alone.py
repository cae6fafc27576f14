"""Timings of parallel processes follow each other; emulated boards wait for nobody."""

import subprocess
import sys
import time

import pytest

pytest.importorskip("fcntl")

from pilotfish.compress.alone import alone
from pilotfish.targets import load_target

HOLD = """
import sys, time
from pilotfish.compress.alone import alone
from pilotfish.targets import load_target
with alone(load_target(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
    print(time.time(), flush=True)
"""


def _holder(target, seconds):
    process = subprocess.Popen([sys.executable, "-c", HOLD, target, str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_timing_begins_when_the_first_is_over():
    first = _holder("host-cpu", 0.4)
    with alone(load_target("host-cpu")):
        begun = time.time()
    assert float(first.communicate()[0]) <= begun


def test_a_process_that_dies_while_it_times_blocks_nobody():
    first = _holder("host-cpu", 60)
    first.kill()
    first.communicate()
    with alone(load_target("host-cpu")):
        pass


def test_a_board_that_is_emulated_waits_for_nobody():
    first = _holder("host-cpu", 60)
    try:
        with alone(load_target("crazyflie")):
            pass
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()
