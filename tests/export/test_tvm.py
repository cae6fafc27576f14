"""Law: the TVM back-end computes the reference on every layer, faster than TVM's default, and says what it cannot do."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish.errors import BadInput, MissingTool, Unsupported
from pilotfish.export.tvm.schedule import ODD_FLOATS, Packing, columns_per_block
from pilotfish.policy import Golden, Policy
from pilotfish.policy.cells import GRU, LSTM, CfC
from pilotfish.policy.grid import Quantize
from pilotfish.policy.layers import Activation, Affine, Clip, History, LayerNorm, Linear
from pilotfish.policy.reference import Reference
from pilotfish.targets import host, load_target

ACTIVATIONS = (
    *("tanh", "relu", "sigmoid", "softsign", "softplus", "hardswish"),
    *("selu", "silu", "gelu", "mish", "elu", "leaky_relu"),
)


def needs(*packages: str) -> None:
    for package in packages:
        pytest.importorskip(package, reason=f"{package} is not installed")


def activations() -> tuple:
    body = [layer for name in ACTIVATIONS for layer in (Linear(f"before_{name}", 8, 8), Activation(name))]
    return (*body, Linear("last", 8, 3))


NETWORKS: dict[str, tuple[int, int, tuple]] = {
    "activations": (8, 3, activations()),
    "norm": (9, 3, (Linear("a", 9, 13), LayerNorm("n", 13), Affine("f", 13), Clip(-1.0, 1.0), Linear("z", 13, 3))),
    "history": (6, 3, (History("h", 6, 4), Linear("a", 24, 8), Activation("tanh"), Linear("z", 8, 3))),
    "cfc": (6, 3, (CfC("c", 6, 8, (16,)), Linear("z", 8, 3))),
    "int16": (6, 3, (Quantize(8 / 32767, 0, bits=16), Linear("a", 6, 8), Activation("relu"), Linear("z", 8, 3))),
    "wide": (6, 1, (Linear("a", 6, 113), Activation("relu"), Linear("b", 113, 600), Activation("tanh"), Linear("z", 600, 1))),
    "gru": (7, 3, (GRU("cell", 7, 24), Linear("z", 24, 3))),
    "lstm": (7, 3, (LSTM("cell", 7, 24), Linear("z", 24, 3))),
}


def recorded(policy: Policy, steps: int = 40) -> Policy:
    """With a golden rollout of two episodes by the plain reference."""
    reference, rows = Reference(policy), {"action": [], "state": []}
    obs = 2 * np.random.default_rng(0).standard_normal((steps, policy.contract.observation.size)).astype(np.float32)
    start = np.arange(steps) % (steps // 2) == 0
    for t in range(steps):
        if start[t]:
            reference.reset()
        rows["state"].append(np.asarray(reference.state, np.float32))
        rows["action"].append(reference.act(obs[t]))
    return policy.replace(golden=Golden(obs, np.stack(rows["action"]), np.stack(rows["state"]), start, "random observations"))


@pytest.fixture
def verified(tmp_path: Path) -> Callable[[Policy, str], float]:
    """(policy, target) -> largest error of the built artifact, which must pass."""
    from pilotfish.export.build import export_policy
    from pilotfish.runtime.verify import verify

    def check(policy: Policy, target: str) -> float:
        result = verify(export_policy(recorded(policy), load_target(target), "tvm", tmp_path))
        assert result["passed"], result["failures"]
        return result["figures"]["max_abs_error"]["value"]

    return check


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_computes_the_reference(make_policy, verified, name: str) -> None:
    needs("tvm", "onnx")
    inputs, outputs, layers = NETWORKS[name]
    assert verified(make_policy(layers, inputs, outputs, 3), "host-cpu") <= 2e-6


@pytest.mark.parametrize("name", ["norm", "gru", "lstm"])
def test_aarch64_code_computes_the_reference(make_policy, verified, name: str) -> None:
    """The very machine code, executed by the emulator of the virtual Raspberry Pi 4."""
    needs("tvm", "onnx", "ziglang", "unicorn", "capstone", "elftools")
    inputs, outputs, layers = NETWORKS[name]
    assert verified(make_policy(layers, inputs, outputs, 4), "raspberry-pi-4-virtual") <= 1e-5


def test_a_library_for_a_raspberry_pi_is_cross_compiled(make_policy, tmp_path: Path) -> None:
    needs("tvm", "onnx", "ziglang")
    from pilotfish.export.build import export_policy
    from pilotfish.runtime.open import open_session

    artifact = export_policy(recorded(make_policy((Linear("a", 4, 2),), 4, 2, 0)), load_target("raspberry-pi-4"), "tvm", tmp_path)
    machine = struct.unpack_from("<H", artifact.entry.read_bytes(), 18)[0]
    assert (machine, artifact.manifest.machine) == (183, "aarch64-linux")  # EM_AARCH64
    if host.machine() != "aarch64-linux":
        with pytest.raises(BadInput, match="copy the folder to such a machine"):
            open_session(artifact)


def test_the_schedule_beats_the_default_at_least_twice(make_policy) -> None:
    """17-256-256-6, both timed in turns here. Some 20 times is usual; a busy machine slows both."""
    needs("tvm", "onnx")
    import tvm

    from pilotfish.export.onnx import to_onnx
    from pilotfish.export.tvm.network import kernels_of
    from pilotfish.export.tvm.processor import processor_for
    from pilotfish.export.tvm.program import SYMBOL, one_function
    from pilotfish.export.tvm.schedule import Scheduled, scheduled

    layers = (Linear("a", 17, 256), Activation("relu"), Linear("b", 256, 256), Activation("relu"), Linear("c", 256, 6))
    model, processor = to_onnx(make_policy(layers, 17, 6, 0)), processor_for(load_target("host-cpu"))
    timers = []
    for choose in (
        lambda _, function, fixed: Scheduled(function, None, "default"),
        lambda _, function, fixed: scheduled(function, processor.vector_floats, fixed),
    ):
        program = one_function(kernels_of(model), choose)
        built = tvm.tirx.build(tvm.IRModule({SYMBOL: program.function}), target=processor.llvm)
        inputs = [np.ones(shape, np.float32) for shape in program.inputs]
        outputs = [np.zeros(shape, dtype) for shape, dtype in program.outputs]
        tensors = [tvm.runtime.tensor(value) for value in (*inputs, *program.constants, *outputs)]
        timers.append((built.time_evaluator(SYMBOL, tvm.cpu(), number=20, repeat=1), tensors))
    taken = np.array([[evaluate(*tensors).mean for evaluate, tensors in timers] for _ in range(9)])
    default, ours = np.median(taken, axis=0)
    assert default >= 2 * ours, f"default {default * 1e6:.1f} us, scheduled {ours * 1e6:.1f} us"


def test_an_operator_that_tvm_does_not_import_is_named() -> None:
    needs("tvm", "onnx")
    from onnx import TensorProto, helper, numpy_helper

    from pilotfish.export.tvm.network import kernels_of

    weights = [
        numpy_helper.from_array(np.zeros((1, 12, 3), np.float32), "W"),
        numpy_helper.from_array(np.zeros((1, 12, 4), np.float32), "R"),
    ]
    node = helper.make_node("GRU", ["obs", "W", "R"], ["", "action"], hidden_size=4)
    obs = helper.make_tensor_value_info("obs", TensorProto.FLOAT, [1, 1, 3])
    action = helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, 1, 4])
    graph = helper.make_graph([node], "policy", [obs], [action], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    with pytest.raises(Unsupported, match="GRU"):
        kernels_of(model)


def test_an_instruction_set_that_it_does_not_serve_is_named(make_policy, tmp_path: Path) -> None:
    needs("tvm", "onnx")
    from pilotfish.export.onnx import to_onnx
    from pilotfish.export.tvm import build

    policy = make_policy((Linear("a", 4, 2),), 4, 2, 0)
    with pytest.raises(Unsupported, match="thumbv7em"):
        build(policy, to_onnx(policy), load_target("crazyflie"), tmp_path)


def test_without_tvm_the_extra_is_named(make_policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("onnx")
    from pilotfish.export.onnx import to_onnx
    from pilotfish.export.tvm import build

    monkeypatch.setitem(sys.modules, "tvm", None)
    policy = make_policy((Linear("a", 4, 2),), 4, 2, 0)
    with pytest.raises(MissingTool, match=r"pip install \"pilotfish\[tvm\]\""):
        build(policy, to_onnx(policy), load_target("host-cpu"), tmp_path)


@given(rows=st.integers(1, 9), blocks=st.integers(1, 5), columns=st.integers(1, 9))
def test_packing_moves_every_weight_where_the_schedule_reads_it(rows: int, blocks: int, columns: int) -> None:
    matrix = np.arange(rows * blocks * columns).reshape(rows, -1)
    packed = Packing(0, columns).pack(matrix)
    assert packed.shape == (blocks, rows, columns) and packed.flags.c_contiguous
    k, j = np.indices(matrix.shape)
    assert np.array_equal(packed[j // columns, k, j % columns], matrix)


@given(width=st.integers(1, 3000), lanes=st.sampled_from([4, 8, 16]), vectors=st.integers(1, 12))
def test_blocks_of_columns_divide_the_width(width: int, lanes: int, vectors: int) -> None:
    columns = columns_per_block(width, lanes, vectors)
    assert width % columns == 0 and (columns <= lanes * vectors or columns == width <= ODD_FLOATS)
