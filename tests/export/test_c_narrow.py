"""Law: packed weights of 2, 3 and 4 bits compute what plain loops over the same integers compute, to the bit."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("onnx")

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pilotfish.export.c import OPERATORS, READ_ONLY, build
from pilotfish.export.c.header import header_of
from pilotfish.export.c.kernels.packed import ROWS, packed_bytes, packed_inputs, packed_rows
from pilotfish.export.c.machine import AVX2, CORTEX_M0, CORTEX_M4F
from pilotfish.export.c.reader import read
from pilotfish.export.c.rewrites import rewrite
from pilotfish.export.c.source import generate
from pilotfish.export.c.toolchain import BASE_FLAGS
from pilotfish.export.onnx import to_onnx
from pilotfish.policy.cells import GRU, LSTM
from pilotfish.policy.grid import Quantize
from pilotfish.policy.layers import Activation, Linear, largest_integer
from pilotfish.policy.reference import Reference
from pilotfish.targets.profile import load_target

MACHINES = {"m4f": CORTEX_M4F, "m0": CORTEX_M0}
RULE = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
BITS = st.sampled_from([2, 3, 4])
WIDTHS = st.integers(1, 40) | st.sampled_from([64, 129])
STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-pedantic"]
FLAGS = [*STRICT, "-Og", "-ffp-contract=off"]
"""No fused multiply-add, and a warning is an error."""


def need_compiler():
    path = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    return path or pytest.skip("no system C compiler (cc, gcc, clang)")


def sources(policy, machine):
    return generate(read(to_onnx(policy), {*OPERATORS, *READ_ONLY}), machine, header_of(policy))


def integers_of(policy, machine):
    """obs -> action as the graph of integers says, in numpy: loops over whole numbers, and nothing packed."""
    nodes = rewrite(read(to_onnx(policy), {*OPERATORS, *READ_ONLY}), machine).nodes
    assert [node.op for node in nodes[:2]] == ["Quantize", "DenseInteger"]
    assume({node.op for node in nodes} <= {"Quantize", "DenseInteger", "Identity"})  # else a function was left to floats

    def act(obs):
        grid, stored = nodes[0].attributes["grid"], nodes[0].attributes["storage"]
        steps = np.rint(obs.astype(np.float32) * np.float32(1 / grid.scale))
        x = np.clip(steps, grid.low - grid.zero, grid.high - grid.zero).astype(np.int64) + grid.zero - stored.origin
        for node in nodes[1:]:
            if node.op != "DenseInteger":
                continue
            layer = node.attributes["layer"]
            total = layer.weight.astype(np.int64) @ x
            if layer.fixed is None:
                return layer.bias.astype(np.float32) + layer.scale.astype(np.float32) * total.astype(np.float32)
            v = (total * layer.fixed.multiplier >> layer.fixed.shift) + layer.fixed.offset
            q = layer.stairs.level(v) if layer.stairs else np.clip(v >> layer.fixed.step_bits, -(1 << 40), 1 << 40)
            q = q if layer.stairs else np.clip(q + layer.outputs.origin, *layer.limits)
            x = q - layer.outputs.origin
        raise AssertionError("the last layer gives floats")

    return act


@st.composite
def networks(draw):
    """Grids and layers whose weights have 2, 3, 4 or 8 bits, every layer its own."""
    width = size = draw(WIDTHS)
    layers = [Quantize(draw(st.sampled_from([1e-4, 1e-3])), 0, 16)]
    for index in range(draw(st.integers(1, 2))):
        out = draw(WIDTHS.filter(lambda n: n > 3))
        layers.append(Linear(f"l{index}", width, out, bias=draw(st.booleans()), weight_bits=draw(BITS | st.just(8))))
        width = out
        kind = draw(st.sampled_from(["tanh", "relu", "none"]))
        layers += [] if kind == "none" else [Activation(kind)]
        layers.append(Quantize(draw(st.sampled_from([2 / 255, 0.0371])), draw(st.integers(-128, 127))))
    layers.append(Linear("end", width, 3, weight_bits=draw(BITS)))
    return layers, size


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=RULE)
@given(network=networks(), seed=st.integers(0, 999))
def test_the_program_computes_the_integer_reference_to_the_bit(network, seed, compile_each, make_policy):
    layers, size = network
    policy = make_policy(layers, size, 3, seed, normalizer=False)
    rng = np.random.default_rng(seed)
    observations = (rng.normal(size=(25, size)) * rng.choice([0.1, 1.0, 5.0], (25, 1))).astype(np.float32)
    truths = [integers_of(policy, machine) for machine in MACHINES.values()]
    for wanted, (act, _) in zip(truths, compile_each(policy, MACHINES.values(), FLAGS), strict=True):
        for obs in observations:
            np.testing.assert_array_equal(act(obs), wanted(obs))


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 11), columns=st.integers(1, 40), bits=BITS, seed=st.integers(0, 999))
def test_packing_loses_nothing_and_wastes_no_bit(rows, columns, bits, seed):
    most = largest_integer(bits)
    weight = np.random.default_rng(seed).integers(-most, most + 1, (rows, columns)).astype(np.int8)
    packed = packed_rows(weight, bits)
    assert packed.nbytes == packed_bytes(rows, columns, bits)
    whole = np.tile(weight, (ROWS, 8))[: -(-rows // ROWS) * ROWS]
    assert packed_rows(whole, bits).nbytes * 8 == whole.size * bits
    sizes = {4: 16 * columns, 3: 16 * (columns // 4 * 3 + columns % 4), 2: 8 * columns}
    assert packed_inputs(weight, bits).nbytes * 8 == sizes[bits] * -(-rows // ROWS)
    changed = weight.copy()
    changed[-1, -1] = most if weight[-1, -1] != most else -most
    assert (packed_rows(changed, bits) != packed).sum() in (1, 2, 3)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("machine", ["m4f", "m0", "avx2"])
@pytest.mark.parametrize("cell", [GRU, LSTM, None])
def test_float_inputs_meet_packed_weights_too(cell, machine, bits, compile_each, make_policy):
    """Cells, and layers whose activations stay float; with vector registers the weights are stored as int8."""
    first = cell("g", 17, 45, weight_bits=bits) if cell else Linear("g", 17, 45, weight_bits=bits)
    layers = [first, Linear("a", 45, 18, weight_bits=bits), Activation("tanh"), Linear("b", 18, 6, weight_bits=bits)]
    policy = make_policy(layers, 17, 6, bits)
    ((act, kernels),) = compile_each(policy, [{**MACHINES, "avx2": AVX2}[machine]], FLAGS)
    assert any("packed" in kernel for kernel in kernels) == (machine != "avx2")
    truth = Reference(policy, np.float64)
    for obs in np.random.default_rng(1).normal(size=(30, 17)).astype(np.float32):
        np.testing.assert_allclose(act(obs), truth.act(obs), rtol=0, atol=3e-6)


@pytest.mark.parametrize("target", ["crazyflie", "nucleo-g0b1re"])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_boards_compute_the_host_s_bits_in_less_flash(target, bits, compile_each, make_policy, tmp_path):
    """The written-out loops of either processor, executed; odd widths, so that every way out of a loop is taken."""
    pytest.importorskip("unicorn")
    pytest.importorskip("ziglang")
    from pilotfish.targets.virtual.board import VirtualBoard

    def network(bits):
        layers = [Quantize(1e-3, 0, 16), Linear("a", 19, 45, weight_bits=bits), Activation("tanh"), Quantize(2 / 255, -3)]
        layers += [Linear("b", 45, 21, weight_bits=bits), Activation("relu"), Quantize(2 / 255, -128)]
        return make_policy([*layers, Linear("c", 21, 6, weight_bits=bits)], 19, 6, 0, normalizer=False)

    profile, sizes = load_target(target), {}
    for width in (bits, 8):
        folder = tmp_path / f"{width}"
        folder.mkdir()
        sizes[width] = build(network(width), to_onnx(network(width)), profile, folder)["sizes"]
    saved = network(8).weight_bytes - network(bits).weight_bytes
    assert sizes[8]["weights"] - sizes[bits]["weights"] > 0.85 * saved
    assert sizes[8]["flash"] - sizes[bits]["flash"] > 0.5 * saved
    board = VirtualBoard(tmp_path / f"{bits}" / "firmware.elf", profile)
    ((host, _),) = compile_each(network(bits), [CORTEX_M4F], FLAGS)
    try:
        for obs in np.random.default_rng(2).normal(size=(30, 19)).astype(np.float32):
            np.testing.assert_array_equal(np.asarray(board.step(obs), np.float32), host(obs))
    finally:
        board.close()


@pytest.mark.parametrize("machine", MACHINES)
def test_undefined_behavior_is_absent(machine, make_policy, tmp_path):
    """A program of its own, as sanitizers want to be there first: largest weights, odd widths, observations beyond reason."""
    compiler = need_compiler()
    layers = [Quantize(1e-4, 0, 16), Linear("a", 19, 29, weight_bits=4), Activation("tanh"), Quantize(2 / 255, 3)]
    layers += [Linear("b", 29, 13, weight_bits=3), Activation("relu"), Quantize(0.1, -128), Linear("c", 13, 5, weight_bits=2)]
    policy = make_policy(layers, 19, 5, 0, normalizer=False)
    for name, tensor in policy.weights.items():
        if name.endswith(".weight"):
            tensor[:] = np.where(tensor < 0, tensor.min(), tensor.max())
    for name, text in sources(policy, MACHINES[machine]).files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "main.c").write_text(
        '#include "policy.h"\nint main(void) {\n  float obs[19], action[5], sum = 0.0f;\n'
        "  for (int k = 0; k < 200; ++k) {\n"
        "    for (int i = 0; i < 19; ++i) obs[i] = (float)((k * 37 + i * 11) % 201 - 100) * (k % 3 ? 0.03f : 1e30f);\n"
        "    policy_step(obs, 0, action);\n    sum += action[0] != action[0];\n  }\n  return sum > 0.0f;\n}\n"
    )
    flags = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    if subprocess.run([compiler, *BASE_FLAGS, *flags, "policy.c", "main.c", "-o", "main"], cwd=tmp_path, check=False).returncode:
        pytest.skip("the system C compiler has no -fsanitize=address,undefined")
    done = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("machine", MACHINES)
def test_clang_warns_of_nothing_either(machine, make_policy, tmp_path):
    pytest.importorskip("ziglang")
    layers = [Quantize(1e-3, 0, 16), Linear("a", 17, 45, weight_bits=4), Activation("tanh"), Quantize(2 / 255, 0)]
    layers += [Linear("b", 45, 18, weight_bits=3), Activation("tanh"), Linear("c", 18, 6, weight_bits=2)]
    for name, text in sources(make_policy(layers, 17, 6, 0), MACHINES[machine]).files.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "ziglang", "cc", "-std=c99", *STRICT, "-O1", "-c", "policy.c", "-o", "p.o"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
