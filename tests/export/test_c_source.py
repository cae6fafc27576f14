"""Law: the generated program is clean C99 and C++, the same for the same policy, and says nothing it was not meant to say."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("onnx")

from pilotfish.export.c import OPERATORS, READ_ONLY
from pilotfish.export.c.header import harmless, header_of
from pilotfish.export.c.machine import AVX2, AVX512, CORTEX_M0, CORTEX_M4F
from pilotfish.export.c.operators import number
from pilotfish.export.c.reader import read
from pilotfish.export.c.source import generate, template
from pilotfish.export.onnx import to_onnx
from pilotfish.policy.cells import GRU, LSTM
from pilotfish.policy.grid import Quantize
from pilotfish.policy.layers import Activation, Clip, LayerNorm, Linear

LAYOUTS = {"avx2": AVX2, "avx512": AVX512, "m4f": CORTEX_M4F, "m0": CORTEX_M0}
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-pedantic"]
ACTIVATIONS = ("tanh", "relu", "elu", "silu", "sigmoid", "softsign", "leaky_relu")


@pytest.fixture
def everything(make_policy):
    """A policy with every kind of layer."""
    layers = [Linear("a", 11, 37), LayerNorm("n", 37), Quantize(0.03, -5), Linear("b", 37, 23, bias=False, weight_bits=8)]
    layers += [Activation(name, alpha=0.3) for name in ACTIVATIONS]
    layers += [GRU("g", 23, 19), LSTM("l", 19, 70, weight_bits=8), Clip(-2, 2), Linear("c", 70, 6)]
    action = {"scale": (2.0,) * 6, "offset": (-0.5,) * 6, "low": (-1.0,) * 6, "high": (1.0,) * 6, "squash": "tanh"}
    return make_policy(layers, 11, 6, 0, **action)


def source_of(policy, layout):
    return generate(read(to_onnx(policy), {*OPERATORS, *READ_ONLY}), layout, header_of(policy))


def compilers():
    import importlib.util

    found = {name: [name] for name in ("gcc", "clang") if shutil.which(name)}
    if importlib.util.find_spec("ziglang"):
        found["zig"] = [sys.executable, "-m", "ziglang", "cc"]
    return found


@pytest.mark.parametrize("language", ["c99", "c++11"])
@pytest.mark.parametrize("compiler", ["gcc", "clang", "zig"])
def test_no_warnings(compiler, language, everything, tmp_path):
    """Of any processor's program, all in one file: a compiler's start costs more than a program."""
    from side_by_side import one_text, renamed

    if compiler not in compilers():
        pytest.skip(f"{compiler} is not installed")
    programs = [one_text(source_of(everything, layout).files) for layout in LAYOUTS.values()]
    (tmp_path / "policies.c").write_text("\n".join(renamed(text, index) for index, text in enumerate(programs)))
    (tmp_path / "policy.h").write_text(source_of(everything, CORTEX_M4F).files["policy.h"])
    (tmp_path / "host_timing.c").write_text(template("host_timing.c"))
    kind = ["-x", "c++", "-std=c++11"] if language == "c++11" else ["-std=c99"]
    for unit in ("policies.c", "host_timing.c"):
        command = [*compilers()[compiler], *kind, *WARNINGS, "-O1", "-c", unit, "-o", "unit.o"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.mark.parametrize("flags", [["-mno-avx", "-msse2"], ["-mavx2", "-mfma"], ["-mavx512f"], ["-m32"]], ids=" ".join)
def test_every_vector_width_compiles(flags, everything, tmp_path):
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    import platform

    if platform.machine() != "x86_64":
        pytest.skip("x86-64 flags")
    for name, text in source_of(everything, AVX2).files.items():
        (tmp_path / name).write_text(text)
    command = ["gcc", "-std=c99", *WARNINGS, "-ffreestanding", "-O1", *flags, "-c", "policy.c"]
    subprocess.run(command, cwd=tmp_path, check=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_needs_no_libc(layout, everything, tmp_path):
    """Nothing is called but what every freestanding compiler brings (C99, 4: memcpy and friends); no warning at -O3 either."""
    if not shutil.which("gcc") or not shutil.which("nm"):
        pytest.skip("gcc or nm is not installed")
    for name, text in source_of(everything, LAYOUTS[layout]).files.items():
        (tmp_path / name).write_text(text)
    subprocess.run(["gcc", "-std=c99", *WARNINGS, "-O3", "-c", "policy.c", "-o", "p.o"], cwd=tmp_path, check=True)
    undefined = subprocess.run(["nm", "-u", "p.o"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout.split()
    assert set(undefined) - {"U"} <= {"memcpy", "memset", "memmove"}
    defined = subprocess.run(["nm", "-g", "p.o"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout.split()
    assert {name for name in defined if name.startswith("policy")} == {"policy_reset", "policy_step"}


def test_equal_policies_give_equal_bytes(everything):
    again = dataclasses.replace(everything, weights={k: v.copy() for k, v in reversed(list(everything.weights.items()))})
    for layout in LAYOUTS.values():
        assert source_of(everything, layout).files == source_of(again, layout).files


def test_a_changed_weight_changes_the_program(everything):
    weights = dict(everything.weights)
    weights["c.bias"] = weights["c.bias"] + np.float32(0.5)
    other = dataclasses.replace(everything, weights=weights)
    assert source_of(everything, CORTEX_M4F).files["policy.c"] != source_of(other, CORTEX_M4F).files["policy.c"]


def test_numbers_are_exact():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 20_000, dtype=np.uint64).astype(np.uint32)
    values = bits.view(np.float32)
    for value in [*values[np.isfinite(values)], np.float32(0), np.float32(-0.0), np.float32(1e9), np.float32(1.4e-45)]:
        text = number(value)
        assert text.endswith("f") and ("." in text or "e" in text)
        assert np.float32(float(text[:-1])).tobytes() == value.tobytes()


def test_names_cannot_leave_their_comment(make_policy, tmp_path):
    """A bundle from a stranger may call things what it likes; none of it becomes code."""
    evil = '*/ int main(void) { return 0; } #include "/etc/passwd" /*'
    policy = make_policy([Linear("a", 2, 2)], 2, 2, 0, names=(evil, "\\\n??/\n${obs}"), units=evil)
    observation = dataclasses.replace(policy.contract.observation, names=(evil, "é\u202e"), units=f"m/s {evil}")
    policy = dataclasses.replace(policy, contract=dataclasses.replace(policy.contract, observation=observation))
    header = dataclasses.replace(header_of(policy), provenance=evil)  # a policy's own name is checked earlier
    files = generate(read(to_onnx(policy), {*OPERATORS, *READ_ONLY}), AVX2, header).files
    for text in files.values():
        text.encode("ascii")
    for name in ("policy.c", "policy.h"):
        comments = files[name].split("/*")[1:]
        assert all(comment.count("*/") == 1 for comment in comments)
        assert "main(void)" not in "".join(comment.split("*/")[1] for comment in comments)
        (tmp_path / name).write_text(files[name])
    if shutil.which("gcc"):
        command = ["gcc", "-std=c99", *WARNINGS, "-Wcomment", "-Wtrigraphs", "-c", "policy.c"]
        subprocess.run(command, cwd=tmp_path, check=True)


@pytest.mark.parametrize("text", ["a*/b", "/*", "**//", "*\\\n/", "*??/\n/", "*" + "/" * 5, "/" * 5 + "*"])
def test_harmless_text_neither_opens_nor_closes_a_comment(text):
    safe = harmless(text)
    assert "*/" not in safe and "/*" not in safe and "\\" not in safe and "\n" not in safe


def test_sizes_are_what_the_header_says(everything):
    source = source_of(everything, CORTEX_M4F)
    header = source.files["policy.h"]
    for line in ("POLICY_OBS_SIZE 11", "POLICY_ACTION_SIZE 6", "POLICY_ACTION_COUNT 6", f"POLICY_STATE_SIZE {19 + 70 + 70}"):
        assert f"#define {line}\n" in header
    assert everything.digest in header and "State [19, 89): l_h" in header
    assert (source.obs, source.state, source.count, source.discrete) == (11, 159, 6, False)
