"""Law: the chosen accuracy is what is printed, it is clean C and C++, and a board computes what the host computes."""

from __future__ import annotations

import ctypes
import dataclasses
import importlib.util
import shutil
import subprocess
import sys
from string import Template

import numpy as np
import pytest

pytest.importorskip("onnx")

from onnx import TensorProto, helper

from pilotfish.export.c import OPERATORS, READ_ONLY
from pilotfish.export.c.firmware import build_firmware, memory_map
from pilotfish.export.c.functions import FAST, definitions, template
from pilotfish.export.c.header import Header
from pilotfish.export.c.machine import AVX2, CORTEX_M0, CORTEX_M4F, machine_for
from pilotfish.export.c.reader import read
from pilotfish.export.c.source import generate
from pilotfish.targets.profile import load_target

WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", "-pedantic"]
FUNCTIONS = ("Tanh", "Sigmoid", "Exp", "Elu", "Softplus", "HardSigmoid", "HardSwish", "Selu", "Softsign")
WIDTH = 64
BOUNDS = {"exact": 4e-7, "fast": 2.5e-6}
"""Board against host, relative to max(1, |value|): a host may fuse what the board rounds twice."""


def every_function():
    """obs [64] -> all functions of it, and x * sigmoid(x), side by side."""
    nodes = [helper.make_node(op, ["obs"], [f"y_{op}"], name=op) for op in FUNCTIONS]
    nodes.append(helper.make_node("Mul", ["obs", "y_Sigmoid"], ["y_silu"], name="silu"))
    outputs = [f"y_{op}" for op in FUNCTIONS] + ["y_silu"]
    nodes.append(helper.make_node("Concat", outputs, ["action"], name="all", axis=1))
    obs = helper.make_tensor_value_info("obs", TensorProto.FLOAT, [1, WIDTH])
    action = helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, WIDTH * len(outputs)])
    model = helper.make_model(helper.make_graph(nodes, "g", [obs], [action]), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def program(machine):
    return generate(read(every_function(), {*OPERATORS, *READ_ONLY}), machine, Header("a test")).files


def sample():
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=WIDTH), 6 * rng.normal(size=WIDTH), np.linspace(-12, 12, WIDTH), np.geomspace(1e-40, 80, WIDTH)]
    rows += [-rows[3], np.tile([0.0, -0.0, 7.9, -7.9, 3.4, -3.4, 9.5, -87.0], WIDTH // 8)]
    return np.array(rows, np.float32)


def on_host(machine, folder, *flags):
    for name, text in program(machine).items():
        (folder / name).write_text(text)
    command = ["cc", "-std=c99", "-O2", *flags, "-fPIC", "-shared", "policy.c", "-o", "p.so"]
    subprocess.run(command, cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "p.so"))
    results = []
    for row in sample():
        action = np.empty(WIDTH * (len(FUNCTIONS) + 1), np.float32)
        library.policy_step(*(a.ctypes.data_as(ctypes.c_void_p) if a is not None else None for a in (row, None, action)))
        results.append(action)
    return np.array(results)


@pytest.mark.parametrize("accuracy", ["exact", "fast"])
def test_a_board_computes_what_the_host_computes(accuracy, tmp_path):
    for module in ("ziglang", "unicorn", "capstone", "elftools"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    if not shutil.which("cc"):
        pytest.skip("cc is not installed")
    from pilotfish.targets.virtual.board import VirtualBoard

    target = load_target("crazyflie")
    machine = dataclasses.replace(machine_for(target), accuracy=accuracy)
    host = on_host(machine, tmp_path)
    for name in ("harness.c", "startup.c"):
        (tmp_path / name).write_text(template(name))
    (tmp_path / "link.ld").write_text(Template(template("link.ld.in")).substitute(memory_map(target)))
    build_firmware(tmp_path, target)
    board = VirtualBoard(tmp_path / "firmware.elf", target)
    for row, wanted in zip(sample(), host, strict=True):
        np.testing.assert_allclose(board.step(row), wanted, rtol=BOUNDS[accuracy], atol=BOUNDS[accuracy])
    board.close()


@pytest.mark.parametrize("machine", [AVX2, CORTEX_M4F, CORTEX_M0], ids=["avx2", "m4f", "m0"])
def test_the_accuracy_is_what_is_printed(machine):
    exact, fast = (program(dataclasses.replace(machine, accuracy=accuracy))["policy.c"] for accuracy in ("exact", "fast"))
    assert "fast variant" not in exact and "policy_silu" not in exact
    assert fast.count("fast variant") == len(FAST) and "policy_silu" in fast
    assert "exact variant" in exact


@pytest.mark.parametrize("accuracy", ["exact", "fast"])
def test_fast_errs_by_about_a_thousandth(accuracy, tmp_path):
    if not shutil.which("cc"):
        pytest.skip("cc is not installed")
    x = sample().astype(np.float64)
    got = on_host(dataclasses.replace(CORTEX_M4F, accuracy=accuracy), tmp_path)
    got = got.reshape(len(x), len(FUNCTIONS) + 1, WIDTH)
    bound = 1.2e-3 if accuracy == "fast" else 5e-7
    assert np.abs(got[:, 0] - np.tanh(x)).max() <= bound
    assert np.abs(got[:, -1] - x / (1 + np.exp(-x))).max() <= (bound if accuracy == "fast" else 2e-5)


@pytest.mark.parametrize("language", ["c99", "c++11"])
@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize("accuracy", ["exact", "fast"])
def test_every_function_is_clean(accuracy, compiler, language, tmp_path):
    command = {"gcc": ["gcc"], "zig": [sys.executable, "-m", "ziglang", "cc"]}[compiler]
    if (shutil.which("gcc") if compiler == "gcc" else importlib.util.find_spec("ziglang")) is None:
        pytest.skip(f"{compiler} is not installed")
    names = ["tanh", "exp", "sigmoid", "silu", "elu", "softplus", "mish", "hard_sigmoid", "inverse_sqrt", "abs", "sum"]
    calls = {"elu": ", 1.0f", "hard_sigmoid": ", 0.2f, 0.5f"}
    text = "#include <stdint.h>\n" + definitions(names, accuracy) + "float all(float x);\nfloat all(float x) {\n"
    text += (
        "".join(f"  x += policy_{n}(x{calls.get(n, '')});\n" for n in names if n != "sum")
        + "  return x + policy_sum(&x, 1);\n}\n"
    )
    (tmp_path / "f.c").write_text(text)
    kind = ["-x", "c++", "-std=c++11"] if language == "c++11" else ["-std=c99"]
    done = subprocess.run(
        [*command, *kind, *WARNINGS, "-O1", "-c", "f.c", "-o", "f.o"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
