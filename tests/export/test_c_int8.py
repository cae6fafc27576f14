"""Law: integer kernels compute what rounding to grids computes; a level may differ only at the edge of a step."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("onnx")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotfish.export.c import OPERATORS, READ_ONLY, build
from pilotfish.export.c.functions import definitions
from pilotfish.export.c.graph import Node
from pilotfish.export.c.header import header_of
from pilotfish.export.c.machine import AVX2, AVX512, CORTEX_M0, CORTEX_M4F, NEON
from pilotfish.export.c.reader import read
from pilotfish.export.c.rewrites import rewrite
from pilotfish.export.c.rewrites.integers import LARGEST_ERROR_STEPS
from pilotfish.export.c.source import generate
from pilotfish.export.c.staircase import FUNCTIONS, Grid, staircase
from pilotfish.export.c.toolchain import BASE_FLAGS
from pilotfish.export.onnx import to_onnx
from pilotfish.policy.grid import Quantize
from pilotfish.policy.layers import Activation, Clip, Linear
from pilotfish.policy.reference import Reference, activate
from pilotfish.targets.profile import load_target

MACHINES = {"avx2": AVX2, "vnni": AVX512, "neon": NEON, "m4f": CORTEX_M4F, "m0": CORTEX_M0}
"""All compiled for this machine: what it has no instruction for runs as the plain C beside it."""
FLAGS = ["-Og", "-march=native"]
RULE = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]


def need_compiler():
    path = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    return path or pytest.skip("no system C compiler (cc, gcc, clang)")


def sources(policy, machine):
    return generate(read(to_onnx(policy), {*OPERATORS, *READ_ONLY}), machine, header_of(policy))


def exact(policy, obs):
    """(action, smallest distance of a value from the middle between two levels, in steps), in float64."""
    reference, nearest = Reference(policy, np.float64), np.inf
    x = np.asarray(obs, np.float64)
    for layer in policy.layers:
        if isinstance(layer, Quantize):
            steps = x / np.float64(np.float32(layer.scale))
            inside = steps[(steps > layer.low - layer.zero_point - 1) & (steps < layer.high - layer.zero_point + 1)]
            nearest = min([nearest, *np.abs(inside - np.floor(inside) - 0.5)])
        x = reference._layer(layer, x)
    return x, nearest


SCALES = st.sampled_from([2.0**-9, 1 / 255, 2 / 255, 0.0371, 0.3, 40.0])
WIDTHS = st.integers(1, 40) | st.sampled_from([64, 129, 300])


@st.composite
def networks(draw):
    """Grids, layers with int8 weights, activations; scales that saturate included."""
    width = size = draw(WIDTHS)
    layers = [Quantize(draw(st.sampled_from([1e-4, 1e-3])), draw(st.sampled_from([0, 5000, -32768])), 16)]
    if draw(st.booleans()):
        layers = [Quantize(draw(SCALES), draw(st.integers(-128, 127)))]
    for index in range(draw(st.integers(1, 3))):
        out = draw(WIDTHS)
        layers.append(Linear(f"l{index}", width, out, bias=draw(st.booleans()), weight_bits=8))
        width = out
        kind = draw(st.sampled_from(["tanh", "relu", "elu", "sigmoid", "softsign", "leaky_relu", "silu", "clip", "none"]))
        if kind == "clip":
            layers.append(Clip(-0.7, 1.3))
        elif kind != "none":
            layers.append(Activation(kind, alpha=draw(st.sampled_from([0.01, 0.5, 1.0]))))
        layers.append(Quantize(draw(SCALES), draw(st.integers(-128, 127))))
    layers.append(Linear("end", width, 3, weight_bits=8))
    return layers, size


@settings(max_examples=7, deadline=None, derandomize=True, suppress_health_check=RULE)
@given(network=networks(), seed=st.integers(0, 999))
def test_random_networks_on_every_machine(network, seed, compile_each, make_policy):
    layers, size = network
    policy = make_policy(layers, size, 3, seed, normalizer=False)
    rng = np.random.default_rng(seed)
    observations = (rng.normal(size=(25, size)) * rng.choice([0.1, 1.0, 5.0], (25, 1))).astype(np.float32)
    truth = [exact(policy, obs) for obs in observations]
    scale = max(1.0, max(np.abs(action).max() for action, _ in truth))
    results = {}
    for name, (act, kernels) in zip(MACHINES, compile_each(policy, MACHINES.values(), FLAGS), strict=True):
        assert any("int8" in kernel for kernel in kernels)
        results[name] = np.array([act(obs) for obs in observations])
    for name, got in results.items():
        for action, (wanted, nearest) in zip(got, truth, strict=True):
            # float32 errs by some 1e-6 of a value, which is a larger share of a step on a fine grid under large values.
            if nearest > LARGEST_ERROR_STEPS:
                np.testing.assert_allclose(action, wanted, rtol=0, atol=2e-5 * scale, err_msg=name)


@pytest.mark.parametrize("function", ["tanh", "relu", "none"])
def test_integer_processors_agree_to_the_bit(function, compile_each, make_policy):
    """The pure integer path is the same numbers whatever the instructions, and a tie of floats never decides."""
    layers = [Quantize(1e-3, 0, 16), Linear("a", 17, 64, weight_bits=8)]
    layers += [] if function == "none" else [Activation(function)]
    layers += [Quantize(2 / 255, 0), Linear("b", 64, 33, weight_bits=8), Clip(-0.5, 0.9), Quantize(0.01, -20)]
    policy = make_policy([*layers, Linear("c", 33, 5, weight_bits=8)], 17, 5, 3, normalizer=False)
    (one, kernels), (two, others) = compile_each(policy, [CORTEX_M4F, CORTEX_M0], FLAGS)
    assert {*kernels} == {"dense int8, pairs"}
    assert {*others} == {"dense int8, bytes"}
    for obs in np.random.default_rng(1).normal(size=(300, 17)).astype(np.float32):
        np.testing.assert_array_equal(one(obs), two(obs))


@pytest.mark.parametrize("op", FUNCTIONS)
@pytest.mark.parametrize(("scale", "zero"), [(2 / 255, 0), (1 / 255, -128), (0.05, 17), (0.7, -100), (5.0, 0)])
@pytest.mark.parametrize("bits", [10, 16])
def test_staircases_are_exact(op, scale, zero, bits):
    """Every integer in reach: all of them where there are few, every edge with its neighbors and a sample elsewhere."""
    alpha = 0.3
    grid = Grid(float(np.float32(scale)), zero, -128, 127)
    stairs = staircase(Node(op, "", ("x",), ("y",), {"alpha": alpha}), grid, bits)
    if stairs is None:
        pytest.skip("left to floating point: no edge, or too many cells")
    reach = (len(stairs.base) + 3) << bits
    around = (stairs.edges.astype(np.int64)[:, None] + np.arange(-3, 4)).reshape(-1)
    v = np.arange(-reach, reach) if bits == 10 else np.concatenate([np.linspace(-reach, reach, 100_001).astype(np.int64), around])
    v = np.concatenate([v, -v])
    z = stairs.origin + v * stairs.unit
    names = {"Tanh": "tanh", "Sigmoid": "sigmoid", "Softsign": "softsign", "Elu": "elu", "LeakyRelu": "leaky_relu"}
    steps = activate(names[op], z, alpha) / grid.scale
    wanted = np.clip(np.round(steps) + zero, -128, 127)
    # Half a unit of v at the steepest place, and what float64 does to the edge itself.
    edge = np.abs(steps - np.floor(steps) - 0.5) < 1.5 / 2**bits
    got = stairs.level(v)
    np.testing.assert_array_equal(got[~edge], wanted[~edge])
    assert np.abs(got - wanted).max() <= 1


def test_the_c_staircase_is_the_numpy_one(compile_functions):
    grid = Grid(float(np.float32(2 / 255)), 0, -128, 127)
    for op, mirrored in (("Tanh", 1), ("Sigmoid", 0)):
        stairs = staircase(Node(op, "", ("x",), ("y",)), grid, 10)
        tables = "".join(
            f"static const {kind} {name}[] = {{{', '.join(map(str, array.tolist()))}}};\n"
            for kind, name, array in (("uint8_t", "base", stairs.base), ("int32_t", "edges", stairs.edges))
        )
        text = f"#include <stdint.h>\n{definitions({'stairs'}, 'exact')}{tables}"
        text += f"static const policy_staircase stairs = {{base, edges, {len(stairs.base) - 1}, 10}};\n"
        text += "void run(const uint32_t *sum, const int32_t *row, int n, int16_t *y);\n"
        text += "void run(const uint32_t *sum, const int32_t *row, int n, int16_t *y) {"
        text += (
            f" for (int i = 0; i < n; ++i) policy_stairs(sum + i, row, 1, 16, &stairs, {mirrored}, {stairs.first}, y + i); }}\n"
        )
        v = np.arange(-(1 << 15), 1 << 15, dtype=np.int32)
        v = np.concatenate([v, v * 40])
        row, y = np.zeros(2, np.int32), np.zeros(v.size, np.int16)
        row[0] = 1 << 16
        v = v[np.abs(v) < 1 << 15]
        y = np.zeros(v.size, np.int16)
        arguments = [a.ctypes.data_as(ctypes.c_void_p) for a in (v, row)]
        compile_functions(text).run(*arguments, ctypes.c_int(v.size), y.ctypes.data_as(ctypes.c_void_p))
        np.testing.assert_array_equal(y, stairs.level(v))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(x=st.integers(-(2**30) + 1, 2**30 - 1), m=st.integers(-(2**30) + 1, 2**30 - 1), s=st.integers(16, 31))
def test_four_products_of_16_bits_are_the_upper_half_of_one_of_64(x, m, s):
    """What math_scaled.c writes for processors that keep the lower half of a product only, in 32-bit arithmetic."""
    if abs(x) >= 1 << (s - 1):
        x >>= 31 - s + 1
    xh, mh, xl, ml = x >> 16, m >> 16, x & 0xFFFF, m & 0xFFFF
    middle = xh * ml + xl * mh + ((xl * ml) >> 16)
    assert -(2**31) <= middle < 2**31
    wrapped = ((xh * mh << (32 - s)) + (middle >> (s - 16)) + 2**31) % 2**32 - 2**31
    assert wrapped == ((x * m >> s) + 2**31) % 2**32 - 2**31


def test_a_nan_comes_out_and_a_number_does_not_become_one(compile_each, make_policy):
    layers = [Quantize(1e-3, 0, 16), Linear("a", 4, 16, weight_bits=8), Activation("tanh"), Quantize(2 / 255, 0)]
    policy = make_policy([*layers, Linear("b", 16, 3, weight_bits=8)], 4, 3, 0)
    for act, _ in compile_each(policy, MACHINES.values(), FLAGS):
        assert np.isnan(act(np.array([0, np.nan, 0, 0], np.float32))).all()
        assert np.isfinite(act(np.array([0, np.inf, -np.inf, 1e38], np.float32))).all()


@pytest.mark.parametrize("machine", ["m4f", "m0", "avx2", "vnni"])
def test_undefined_behavior_is_absent(machine, make_policy, tmp_path):
    """A program of its own, as sanitizers want to be there first: extreme weights and observations, odd widths."""
    compiler = need_compiler()
    layers = [Quantize(1e-4, 0, 16), Linear("a", 17, 31, weight_bits=8), Activation("tanh"), Quantize(2 / 255, 3)]
    layers += [Linear("b", 31, 7, weight_bits=8), Activation("relu"), Quantize(0.1, -128), Linear("c", 7, 1, weight_bits=8)]
    policy = make_policy(layers, 17, 1, 0, normalizer=False)
    for name, tensor in policy.weights.items():
        if name.endswith(".weight"):
            tensor[:] = np.where(tensor < 0, -127, 127)
        elif name.endswith("_scale"):
            tensor[::2] *= 1e3
    for name, text in sources(policy, MACHINES[machine]).files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "main.c").write_text(
        '#include "policy.h"\nint main(void) {\n  float obs[17], action[1], sum = 0.0f;\n'
        "  for (int k = 0; k < 200; ++k) {\n"
        "    for (int i = 0; i < 17; ++i) obs[i] = (float)((k * 37 + i * 11) % 201 - 100) * (k % 3 ? 0.03f : 1e30f);\n"
        "    policy_step(obs, 0, action);\n    sum += action[0] != action[0];\n  }\n  return sum > 0.0f;\n}\n"
    )
    flags = ["-O1", "-march=native", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    build_it = [compiler, *BASE_FLAGS, *flags, "policy.c", "main.c", "-o", "main"]
    if subprocess.run(build_it, cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("the system C compiler has no -fsanitize=address,undefined")
    done = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("target", ["crazyflie", "nucleo-g0b1re"])
@pytest.mark.parametrize("function", ["tanh", "relu"])
def test_the_boards_compute_the_host_s_bits(target, function, compile_each, make_policy, tmp_path):
    """SMLAD and the written-out Thumb-1 loop, executed; only the last layer is float, and rounds alike where nothing is fused."""
    pytest.importorskip("unicorn")
    pytest.importorskip("ziglang")
    from pilotfish.targets.virtual.board import VirtualBoard

    layers = [Quantize(1e-3, 0, 16), Linear("a", 17, 45, weight_bits=8), Activation(function), Quantize(2 / 255, -3)]
    layers += [
        Linear("b", 45, 18, weight_bits=8),
        Activation(function),
        Quantize(2 / 255, -128),
        Linear("c", 18, 6, weight_bits=8),
    ]
    policy = make_policy(layers, 17, 6, 0, normalizer=False)
    build(policy, to_onnx(policy), load_target(target), tmp_path)
    board = VirtualBoard(tmp_path / "firmware.elf", load_target(target))
    ((host, _),) = compile_each(policy, [CORTEX_M4F], ["-O1", "-ffp-contract=off"])
    try:
        for obs in np.random.default_rng(2).normal(size=(40, 17)).astype(np.float32):
            np.testing.assert_array_equal(np.asarray(board.step(obs), np.float32), host(obs))
    finally:
        board.close()


def test_a_raspberry_pi_multiplies_four_bytes_at_once(make_policy, tmp_path):
    """sdot and NEON's roundings, executed: which no test on an x86 host does."""
    pytest.importorskip("unicorn")
    pytest.importorskip("ziglang")
    from pilotfish.targets.virtual.board import VirtualBoard

    layers = [Quantize(1e-3, 0, 16), Linear("a", 17, 45, weight_bits=8), Activation("tanh"), Quantize(2 / 255, -3)]
    layers += [Linear("b", 45, 18, weight_bits=8), Activation("relu"), Quantize(2 / 255, -128)]
    layers += [Linear("c", 18, 9, weight_bits=8), Clip(-0.5, 0.9), Quantize(0.01, -20), Linear("d", 9, 6, weight_bits=8)]
    policy, target = make_policy(layers, 17, 6, 0, normalizer=False), load_target("raspberry-pi-5-virtual")
    built = build(policy, to_onnx(policy), target, tmp_path)
    assert built["tools"]["kernels"].count(": dense int8, vectors (") == 4
    board, compared = VirtualBoard(tmp_path / built["entry"], target), 0
    try:
        for obs in np.random.default_rng(2).normal(size=(40, 17)).astype(np.float32):
            wanted, nearest = exact(policy, obs)
            if nearest > LARGEST_ERROR_STEPS / 16:
                np.testing.assert_allclose(board.step(obs), wanted, rtol=0, atol=2e-5 * max(1.0, np.abs(wanted).max()))
                compared += 1
    finally:
        board.close()
    assert compared > 10


@pytest.mark.parametrize("machine", MACHINES)
def test_a_file_of_plain_onnx_operators_is_read_as_integers(machine, make_policy):
    """Div, Round, Clip and Mul of a file that says nothing else, as any other tool may write them."""
    import onnx

    layers = [Quantize(1e-3, 0, 16), Linear("a", 17, 45, weight_bits=8), Activation("tanh"), Quantize(2 / 255, -3)]
    model = onnx.load_from_string(
        to_onnx(make_policy([*layers, Linear("c", 45, 6, weight_bits=8)], 17, 6, 0)).SerializeToString()
    )
    assert "Round" in {node.op_type for node in model.graph.node}
    nodes = rewrite(read(model, {*OPERATORS, *READ_ONLY}), MACHINES[machine]).nodes
    grids = [node.attributes["grid"] for node in nodes if node.op == "Quantize"]
    assert grids == [Grid(float(np.float32(1e-3)), 0, -(1 << 15), (1 << 15) - 1)]
    assert [node.op for node in nodes].count("DenseInteger") == 2


@pytest.mark.parametrize("machine", ["avx2", "vnni", "neon"])
def test_values_go_from_grid_to_grid_in_registers(machine, make_policy):
    """The only loops over single values are those over the observation and the action."""
    layers = [Quantize(1e-3, 0, 16), Linear("a", 17, 64, weight_bits=8), Activation("tanh"), Quantize(2 / 255, 0)]
    layers += [Linear("b", 64, 33, weight_bits=8), Activation("relu"), Quantize(2 / 255, -128), Linear("c", 33, 6, weight_bits=8)]
    text = sources(make_policy(layers, 17, 6, 0), MACHINES[machine]).files["policy.c"]
    assert "{ /* Tanh" not in text
    assert text.count("{ /* Quantize") == 1
    assert text.count("{ /* DenseInteger") == 3


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize("machine", MACHINES)
def test_no_warnings(compiler, machine, make_policy, tmp_path):
    if compiler == "zig":
        pytest.importorskip("ziglang")
        command = [sys.executable, "-m", "ziglang", "cc"]
    elif shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    else:
        command = [compiler]
    layers = [Quantize(1e-3, 0, 16), Linear("a", 17, 45, weight_bits=8), Activation("tanh"), Quantize(2 / 255, 0)]
    layers += [Linear("b", 45, 18, weight_bits=8), Activation("relu"), Quantize(2 / 255, -128), Linear("c", 18, 6, weight_bits=8)]
    for name, text in sources(make_policy(layers, 17, 6, 0), MACHINES[machine]).files.items():
        (tmp_path / name).write_text(text)
    flags = [
        "-std=c99",
        "-Wall",
        "-Wextra",
        "-Wconversion",
        "-Wshadow",
        "-Werror",
        "-pedantic",
        "-O1",
        "-c",
        "policy.c",
        "-o",
        "p.o",
    ]
    done = subprocess.run([*command, *flags], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
