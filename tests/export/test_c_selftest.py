"""Law: the generated selftest passes a sound build, catches a wrong one, and runs on the host, by CMake and on a board."""

from __future__ import annotations

import ctypes
import dataclasses
import importlib.util
import shutil
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("torch")

from pilotfish.export.c import build, generate_for
from pilotfish.export.c.firmware import build_firmware
from pilotfish.export.c.selftest import MOST_BYTES, rows_of, selftest_files
from pilotfish.export.onnx import to_onnx
from pilotfish.policy.cells import GRU, LSTM
from pilotfish.policy.layers import Activation, Linear
from pilotfish.policy.record import record_golden
from pilotfish.targets.profile import load_target

WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", "-pedantic"]
COMPILERS = {
    "gcc": (["gcc"], "gcc"),
    "zig": ([sys.executable, "-m", "ziglang", "cc"], "ziglang"),
}


def policies(make_policy):
    limits = {"low": (-30.0, -0.5, -1.0), "high": (30.0, 0.5, 1.0), "scale": (20.0, 0.5, 1.0)}
    return {
        "feed-forward": make_policy([Linear("a", 7, 16), Activation("tanh"), Linear("b", 16, 3)], 7, 3, 0, **limits),
        "recurrent": make_policy([GRU("g", 7, 12), LSTM("l", 12, 5), Linear("b", 5, 3)], 7, 3, 1),
        "discrete": make_policy([Linear("a", 7, 16), Activation("relu"), Linear("b", 16, 4)], 7, 4, 2, kind="discrete"),
    }


@pytest.fixture(params=["feed-forward", "recurrent", "discrete"])
def policy(request, make_policy):
    bare = policies(make_policy)[request.param]
    return dataclasses.replace(bare, golden=record_golden(bare, None, steps=60, seed=3))


def written(policy, target, folder):
    source = generate_for(policy, to_onnx(policy), target)
    for name, text in (source.files | selftest_files(policy, target)).items():
        (folder / name).write_text(text)
    return folder


def deviation_of(folder, compiler="gcc"):
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    command = [compiler, "-std=c99", "-O2", "-march=native", "-fPIC", "-shared", "policy.c", "policy_selftest.c", "-o", "t.so"]
    subprocess.run(command, cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "t.so"))
    library.policy_selftest.restype = ctypes.c_float
    return library.policy_selftest()


def bound_of(folder):
    line = next(
        s for s in (folder / "policy_selftest.c").read_text().splitlines() if s.startswith("#define POLICY_SELFTEST_BOUND")
    )
    return float(line.split()[-1].rstrip("f"))


def test_a_sound_build_passes(policy, tmp_path):
    folder = written(policy, load_target("host-cpu"), tmp_path)
    assert 0 <= deviation_of(folder) <= bound_of(folder) <= (0.01 if policy.contract.action.kind == "discrete" else 1e-4)


def test_a_fast_build_is_held_to_the_rule_of_fast_builds(policy, tmp_path):
    target = load_target("host-cpu")
    target = dataclasses.replace(target, compile=dataclasses.replace(target.compile, accuracy="fast"))
    folder = written(policy, target, tmp_path)
    assert "fast variant" in (folder / "policy.c").read_text() or policy.contract.action.kind == "discrete"
    assert 0 <= deviation_of(folder) <= bound_of(folder)
    assert bound_of(folder) > 0.005


def test_a_wrong_build_is_caught(policy, tmp_path):
    """One bias of the last layer is off."""
    folder = written(policy, load_target("host-cpu"), tmp_path)
    bias = policy.weights["b.bias"].copy()
    bias[1] += 2.5
    other = dataclasses.replace(policy, weights=policy.weights | {"b.bias": bias})
    (folder / "policy.c").write_text(generate_for(other, to_onnx(other), load_target("host-cpu")).files["policy.c"])
    assert deviation_of(folder) > bound_of(folder)


def test_a_number_that_is_none_is_caught(policy, tmp_path):
    """A NaN observation makes a NaN action, or some index."""
    folder = written(policy, load_target("host-cpu"), tmp_path)
    if policy.contract.action.kind == "discrete":
        pytest.skip("an index is always a number")
    text = (folder / "policy_selftest.c").read_text()
    (folder / "policy_selftest.c").write_text(
        text.replace("selftest_deviation(row, action);", '(action[1] = __builtin_nanf(""), selftest_deviation(row, action));')
    )
    assert deviation_of(folder) > 1e38


@pytest.mark.parametrize("target", ["host-cpu", "crazyflie"])
@pytest.mark.parametrize("language", ["c99", "c++11"])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_every_file_is_clean(compiler, language, target, policy, tmp_path):
    command, needs = COMPILERS[compiler]
    if shutil.which(needs) is None and importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    folder = written(policy, load_target(target), tmp_path)
    kind = ["-x", "c++", "-std=c++11"] if language == "c++11" else ["-std=c99"]
    for main in ([], ["-DPOLICY_SELFTEST_MAIN"]):
        call = [*command, *kind, *WARNINGS, *main, "-c", "policy_selftest.c", "-o", "unit.o"]
        done = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and not done.stderr, done.stderr


def test_cmake_builds_library_and_selftest(policy, tmp_path):
    if not shutil.which("cmake"):
        pytest.skip("cmake is not installed")
    written(policy, load_target("host-cpu"), tmp_path)
    subprocess.run(["cmake", "-S", ".", "-B", "build"], cwd=tmp_path, check=True, capture_output=True)
    subprocess.run(["cmake", "--build", "build"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "build/libpolicy.a").is_file()
    done = subprocess.run(["build/policy_selftest"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "good" in done.stdout, done.stdout


def test_it_runs_on_a_board(policy, tmp_path):
    for module in ("ziglang", "unicorn", "capstone", "elftools"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    from pilotfish.targets.virtual.image import read_image
    from pilotfish.targets.virtual.machine import Machine

    target = load_target("crazyflie")
    build(policy, to_onnx(policy), target, tmp_path)
    without = (tmp_path / "firmware.elf").read_bytes()
    assert b"policy_selftest" not in without  # built into nothing by default
    harness = (tmp_path / "harness.c").read_text() + '\n#include "policy_selftest.c"\n'
    harness += "KEPT float pilotfish_deviation;\nKEPT void pilotfish_check(void);\n"
    harness += "void pilotfish_check(void) { pilotfish_deviation = policy_selftest(); }\n"
    (tmp_path / "harness.c").write_text(harness)
    build_firmware(tmp_path, target)
    image = read_image(tmp_path / "firmware.elf", target.memory)
    machine = Machine(image, target)
    result = machine.view("pilotfish_deviation", "<f4", 1)
    result[:] = -1
    machine.call(image.symbol("pilotfish_check").address)
    assert 0 <= result[0] <= bound_of(tmp_path)
    machine.close()


def test_equal_policies_give_equal_bytes_and_the_record_stays_small(policy):
    target = load_target("crazyflie")
    files = selftest_files(policy, target)
    assert files == selftest_files(dataclasses.replace(policy), target)
    assert sorted(files) == ["CMakeLists.txt", "policy_selftest.c"]
    wide = dataclasses.replace(policy.golden, obs=np.zeros((60, 2000), np.float32))
    assert rows_of(policy.golden) == 60 and rows_of(wide) == 2
    assert 4 * rows_of(policy.golden) * (7 + policy.golden.action.shape[1]) <= MOST_BYTES


def test_without_a_record_there_is_no_selftest(policy):
    assert list(selftest_files(dataclasses.replace(policy, golden=None), load_target("crazyflie"))) == ["CMakeLists.txt"]
