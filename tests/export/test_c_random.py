"""Law: whatever network is exported, the generated C computes what torch, ONNX Runtime and float64 numpy compute.

Every example is a policy of random layers, widths, sparsity patterns and number formats, generated for a random kind
of processor (all of them compile on this one), compiled with the address and undefined-behavior sanitizers, and run
twice: once with its scratch memory poisoned. PILOTFISH_RANDOM_POLICIES=500 tries that many instead.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from pilotfish.export.c import OPERATORS, READ_ONLY
from pilotfish.export.c.header import Header
from pilotfish.export.c.machine import AVX2, AVX512, CORTEX_M0, CORTEX_M4F, NEON, Machine
from pilotfish.export.c.reader import read
from pilotfish.export.c.source import generate
from pilotfish.export.onnx import to_onnx
from pilotfish.policy.bundle import Policy
from pilotfish.policy.cells import GRU, LSTM, CfC
from pilotfish.policy.contract import Action, Contract, Normalizer, Observation
from pilotfish.policy.grid import Quantize
from pilotfish.policy.layers import Activation, Affine, Clip, History, Layer, LayerNorm, Linear, state_of, tensor_shapes
from pilotfish.policy.reference import Reference

_spec = importlib.util.spec_from_file_location("sanitized", Path(__file__).with_name("sanitized.py"))
sanitized = importlib.util.module_from_spec(_spec)
sys.modules["sanitized"] = sanitized
_spec.loader.exec_module(sanitized)

COUNT = int(os.environ.get("PILOTFISH_RANDOM_POLICIES", "72"))
TOGETHER = 12
"""Policies in one executable: the sanitizers' start-up costs more than a small policy."""
MACHINES = {"avx2": AVX2, "avx512": AVX512, "neon": NEON, "m4f": CORTEX_M4F, "m0": CORTEX_M0, "scalar": Machine()}
ROWS = 5
ACTIVATIONS = ("tanh", "relu", "elu", "silu", "sigmoid", "softsign", "leaky_relu")
ACTIVATIONS += ("gelu", "selu", "softplus", "mish", "hardswish")
KINDS = ("linear", "linear", "linear", "activation", "activation", "norm", "affine", "clip", "gru", "lstm", "cfc")
KINDS += ("history", "quantize", "integer")


def mask(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """A sparsity pattern: none, scattered, whole rows, whole columns, blocks, a diagonal, a single weight, nothing left."""
    kind = rng.choice(["dense", "dense", "scattered", "scattered", "rows", "columns", "blocks", "diagonal", "single", "zero"])
    keep = rng.uniform(0.01, 0.6)
    full = np.ones((rows, columns), bool)
    match kind:
        case "scattered":
            return rng.random((rows, columns)) < keep
        case "rows":
            return full & (rng.random((rows, 1)) < keep)
        case "columns":
            return full & (rng.random((1, columns)) < keep)
        case "blocks":
            blocks = rng.random((-(-rows // 4), -(-columns // 4))) < keep
            return np.kron(blocks, np.ones((4, 4), bool))[:rows, :columns]
        case "diagonal":
            return np.eye(rows, columns, dtype=bool)
        case "single":
            one = np.zeros((rows, columns), bool)
            one[rng.integers(rows), rng.integers(columns)] = True
            return one
        case "zero":
            return np.zeros((rows, columns), bool)
    return full


def width_of(rng: np.random.Generator) -> int:
    return int(rng.choice([1, 2, 3, rng.integers(4, 40), rng.integers(4, 70), 16, 32, 64, rng.integers(70, 301)]))


def random_layers(rng: np.random.Generator) -> tuple[list[Layer], int, int]:
    """(layers, inputs, outputs)"""
    width = in_size = width_of(rng)
    layers: list[Layer] = []
    for index in range(int(rng.integers(1, 8))):
        kind = rng.choice(KINDS)
        name = f"l{index}"
        out = width_of(rng)
        bits = int(rng.choice([8, 32]))
        match kind:
            case "linear":
                layers.append(Linear(name, width, out, bias=bool(rng.random() < 0.8), weight_bits=bits))
                width = out
            case "integer":
                layers.append(_grid(rng))
                layers.append(Linear(name, width, out, bias=bool(rng.random() < 0.8), weight_bits=8))
                width = out
                if rng.random() < 0.7:
                    layers.append(Activation(str(rng.choice(["tanh", "relu", "sigmoid", "elu", "softsign"]))))
                    layers.append(_grid(rng))
            case "activation":
                layers.append(Activation(str(rng.choice(ACTIVATIONS)), alpha=float(rng.choice([0.01, 0.5, 1.0]))))
            case "norm" if width > 3:
                layers.append(LayerNorm(name, width))
            case "affine":
                layers.append(Affine(name, width))
            case "clip":
                layers.append(Clip(-1.5, 2.0))
            case "gru" | "lstm":
                hidden = min(out, 48)
                layers.append((GRU if kind == "gru" else LSTM)(name, width, hidden, weight_bits=bits))
                width = hidden
            case "cfc":
                hidden = min(out, 32)
                layers.append(CfC(name, width, hidden, () if rng.random() < 0.5 else (9,), 0.5))
                width = hidden
            case "history" if width <= 64:
                layers.append(History(name, width, int(rng.integers(2, 5))))
                width *= layers[-1].length
            case "quantize":
                layers.append(_grid(rng))
    return layers, in_size, width


def _grid(rng: np.random.Generator) -> Quantize:
    bits = int(rng.choice([8, 8, 16]))
    half = 2 ** (bits - 1)
    zero = int(rng.choice([0, rng.integers(-half // 2, half // 2), -half]))
    return Quantize(float(np.float32(rng.uniform(0.5, 6.0) / half)), zero, bits)


def random_policy(seed: int) -> Policy:
    rng = np.random.default_rng(seed)
    layers, in_size, out_size = random_layers(rng)
    weights: dict[str, np.ndarray] = {}
    for layer in layers:
        shapes = tensor_shapes(layer)
        for name, (shape, dtype) in shapes.items():
            if dtype == np.int8:
                rows = rng.integers(-127, 128, shape) * mask(rng, *shape)
                # torch finds the scale of a row by its largest weight: it must be there, where anything is.
                largest = np.abs(rows).argmax(axis=1)
                rows[np.arange(len(rows)), largest] = 127 * np.sign(rows[np.arange(len(rows)), largest])
                weights[name] = rows.astype(np.int8)
            elif name.endswith("_scale"):
                columns = shapes[name.removesuffix("_scale")][0][1]
                weights[name] = (rng.uniform(0.2, 1.5, shape) / (127 * np.sqrt(columns))).astype(np.float32)
            elif len(shape) == 2:
                weights[name] = (rng.normal(size=shape) / np.sqrt(shape[1]) * mask(rng, *shape)).astype(np.float32)
            else:
                one = 1.0 if name.endswith(".scale") or (layer.kind == "layer_norm" and name.endswith("weight")) else 0.0
                weights[name] = (one + 0.3 * rng.normal(size=shape) * (rng.random() < 0.8)).astype(np.float32)
    norm = None
    if rng.random() < 0.4:
        norm = Normalizer(tuple(rng.normal(size=in_size)), tuple(rng.uniform(0.3, 4.0, in_size)), clip=5.0)
    if rng.random() < 0.15:
        action = Action("discrete", out_size)
    else:
        action = Action("continuous", out_size, squash=str(rng.choice(["none", "tanh"])))
    return Policy(
        f"random-{seed}",
        Contract(Observation(in_size, normalizer=norm), action, state=state_of(tuple(layers))),
        tuple(layers),
        weights,
    )


def follow(policy: Policy, obs: np.ndarray, runner: str) -> np.ndarray:
    """Actions [T, m] of one implementation, its own state carried."""
    contract = policy.contract
    if runner == "float64":
        reference = Reference(policy, np.float64)
        return np.array([reference.act(row) for row in obs])
    if runner == "torch":
        torch = pytest.importorskip("torch")
        from pilotfish.policy.torch_policy import TorchPolicy

        model, state = TorchPolicy(policy), tuple(torch.zeros(1, s.size) for s in contract.state)
        rows = []
        with torch.no_grad():
            for row in obs:
                action, state = model(torch.from_numpy(row[None]), state)
                rows.append(action.numpy().reshape(-1).copy())
        return np.array(rows)
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(to_onnx(policy).SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {f"state_in_{s.name}": np.zeros((1, s.size), np.float32) for s in contract.state}
    rows = []
    for row in obs:
        action, *states = session.run(None, feed | {"obs": row[None]})
        feed = {f"state_in_{s.name}": value for s, value in zip(contract.state, states, strict=True)}
        rows.append(action.reshape(-1).copy())
    return np.array(rows)


def agree(policy: Policy, ours: np.ndarray, theirs: np.ndarray) -> str:
    """ "" where two sequences of actions agree, as far as float32 and its rounding to a grid allow; else how they differ."""
    if policy.contract.action.kind == "discrete":
        share = float((ours == theirs).mean())
        return "" if share >= (0.5 if _on_grid(policy) else 0.75) else f"only {share:.0%} of the choices agree"
    error = np.abs(ours.astype(np.float64) - theirs) / np.maximum(1.0, np.abs(theirs).max())
    if not _on_grid(policy):
        recurrent = bool(policy.contract.state)
        bound = 3e-4 if recurrent else 3e-5
        return "" if error.max() <= bound else f"differs by {error.max():.2g}"
    # A value that lies between two grid points goes either way: one step of one value, seldom.
    step = max(layer.scale for layer in policy.layers if isinstance(layer, Quantize))
    off = float((error > 1e-3).mean())
    return (
        ""
        if np.median(error) <= 1e-3 + step / 4 and error.max() <= max(0.2, 8 * step)
        else (f"differs by {error.max():.2g} ({off:.0%} of the entries by more than 1e-3, largest step {step:.2g})")
    )


def _on_grid(policy: Policy) -> bool:
    return any(isinstance(layer, Quantize) for layer in policy.layers)


@pytest.mark.parametrize("batch", range(-(-COUNT // TOGETHER)))
def test_random_policies(batch, tmp_path, system_compiler):
    seeds = range(batch * TOGETHER, min(COUNT, (batch + 1) * TOGETHER))
    policies, programs, machines = [], [], []
    for seed in seeds:
        policy = random_policy(seed)
        machine = sorted(MACHINES)[seed % len(MACHINES)]
        source = generate(
            read(to_onnx(policy), {*OPERATORS, *READ_ONLY}), MACHINES[machine], Header("", (), policy.contract.action.size)
        )
        obs = np.random.default_rng(seed).normal(size=(ROWS, policy.contract.observation.size)).astype(np.float32)
        policies.append(policy)
        machines.append(machine)
        programs.append(sanitized.Program(source.files, obs, source.state, source.count, source.discrete))
    results = sanitized.run(system_compiler, programs, tmp_path)
    wrong = []
    for policy, machine, program, (action, _) in zip(policies, machines, programs, results, strict=True):
        if action.dtype.kind == "f" and not np.isfinite(action).all():
            wrong.append(f"{policy.name} on {machine}: not finite")
        for runner in ("float64", "torch", "onnxruntime"):
            difference = agree(policy, action, follow(policy, program.obs, runner))
            if difference:
                wrong.append(f"{policy.name} on {machine} against {runner}: {difference}; {policy.layers}")
    assert not wrong, "\n".join(wrong)
