"""Law: float16 weights are widened exactly, take half the flash on microcontrollers, and change nothing else."""

from __future__ import annotations

import ctypes
import dataclasses

import numpy as np
import pytest

pytest.importorskip("onnx")

from pilotfish.errors import BadInput
from pilotfish.export.c import OPERATORS, READ_ONLY, build
from pilotfish.export.c.functions import definitions
from pilotfish.export.c.header import header_of
from pilotfish.export.c.machine import AVX2, CORTEX_M0, CORTEX_M4F
from pilotfish.export.c.reader import read
from pilotfish.export.c.source import generate
from pilotfish.export.onnx import to_onnx
from pilotfish.export.precision import at_precision
from pilotfish.policy.cells import GRU, LSTM
from pilotfish.policy.layers import Activation, Linear
from pilotfish.policy.reference import Reference
from pilotfish.targets.profile import load_target

MACHINES = {"m4f": CORTEX_M4F, "m0": CORTEX_M0, "avx2": AVX2}


def half_policy(make_policy, cell=None):
    """A policy whose matrices are float16, a subnormal and a negative zero among them."""
    first = cell("g", 17, 31) if cell else Linear("g", 17, 31)
    layers = [first, Activation("tanh"), Linear("a", 31, 18), Activation("relu"), Linear("b", 18, 6)]
    policy = make_policy(layers, 17, 6, 3)
    halves = tuple(dataclasses.replace(e, weight_bits=16) if hasattr(e, "weight_bits") else e for e in layers)
    weights = {n: t.astype(np.float16) if t.ndim == 2 else t for n, t in policy.weights.items()}
    weights["a.weight"][0, :3] = (6e-8, -0.0, -3e-6)
    return policy.replace(layers=halves, weights=weights)


def sources(policy, machine):
    return generate(read(to_onnx(policy), {*OPERATORS, *READ_ONLY}), machine, header_of(policy))


def test_every_finite_float16_is_widened_exactly(compile_functions):
    text = f"#include <stdint.h>\n{definitions({'half'}, 'exact')}void run(const uint16_t *h, float *y, int n);\n"
    text += "void run(const uint16_t *h, float *y, int n) { for (int i = 0; i < n; ++i) y[i] = policy_half(h[i]); }\n"
    bits = np.arange(1 << 16, dtype=np.uint16)
    values = bits.view(np.float16)
    bits, values = bits[np.isfinite(values)], values[np.isfinite(values)]
    found = np.zeros(len(bits), np.float32)
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (bits, found)]
    compile_functions(text).run(*pointers, ctypes.c_int(len(bits)))
    np.testing.assert_array_equal(found.view(np.uint32), values.astype(np.float32).view(np.uint32))


@pytest.mark.parametrize("cell", [None, GRU, LSTM])
@pytest.mark.parametrize("machine", MACHINES)
def test_half_the_bytes_and_the_kernel_of_its_own(machine, cell, make_policy):
    policy = half_policy(make_policy, cell)
    wide = policy.replace(
        layers=tuple(dataclasses.replace(e, weight_bits=32) if hasattr(e, "weight_bits") else e for e in policy.layers),
        weights={n: t.astype(np.float32) for n, t in policy.weights.items()},
    )
    assert policy.precision == "fp32"
    assert wide.weight_bytes - policy.weight_bytes == 2 * sum(t.size for t in policy.weights.values() if t.ndim == 2)
    small, large = sources(policy, MACHINES[machine]), sources(wide, MACHINES[machine])
    if machine == "avx2":
        assert small.table_bytes == large.table_bytes
    else:
        assert {choice.kernel for choice in small.choices} == {"dense, float16"}
        assert large.table_bytes - small.table_bytes == wide.weight_bytes - policy.weight_bytes


@pytest.mark.parametrize("cell", [None, GRU])
@pytest.mark.parametrize("target", ["crazyflie", "nucleo-g0b1re"])
def test_the_boards_compute_what_the_reference_computes(target, cell, make_policy, tmp_path):
    """__fp16 of the processor with an FPU, integers of the one without, executed."""
    pytest.importorskip("unicorn")
    pytest.importorskip("ziglang")
    from pilotfish.targets.virtual.board import VirtualBoard

    policy = half_policy(make_policy, cell)
    build(policy, to_onnx(policy), load_target(target), tmp_path)
    board, truth = VirtualBoard(tmp_path / "firmware.elf", load_target(target)), Reference(policy, np.float64)
    try:
        for obs in np.random.default_rng(2).normal(size=(20, 17)).astype(np.float32):
            np.testing.assert_allclose(board.step(obs), truth.act(obs), rtol=0, atol=1e-5)
    finally:
        board.close()


def test_asking_for_fp16_arithmetic_is_refused_with_what_there_is(make_policy):
    policy = half_policy(make_policy)
    assert at_precision(policy, load_target("crazyflie"), "c", "fp32").name == "crazyflie"
    with pytest.raises(BadInput, match="weight_bits = 16"):
        at_precision(policy, load_target("crazyflie"), "c", "fp16")


def test_the_host_and_onnx_runtime_agree_too(make_policy, build_host):
    ort = pytest.importorskip("onnxruntime")
    policy = half_policy(make_policy)
    session = ort.InferenceSession(to_onnx(policy).SerializeToString(), providers=["CPUExecutionProvider"])
    library, truth = build_host(policy), Reference(policy, np.float64)
    for obs in np.random.default_rng(2).normal(size=(20, 17)).astype(np.float32):
        np.testing.assert_allclose(library.act(obs), truth.act(obs), rtol=0, atol=1e-5)
        np.testing.assert_allclose(session.run(None, {"obs": obs[None]})[0][0], truth.act(obs), rtol=0, atol=1e-5)
