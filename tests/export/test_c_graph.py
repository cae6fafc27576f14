"""Law: an ONNX graph is read as it is meant, or refused in one line that says what to do."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx
from onnx import TensorProto, helper, numpy_helper

from pilotfish.errors import BadInput, Unsupported
from pilotfish.export.c import OPERATORS, READ_ONLY
from pilotfish.export.c.constants import Int8Rows
from pilotfish.export.c.header import Header
from pilotfish.export.c.host import build_library
from pilotfish.export.c.machine import AVX2, CORTEX_M4F
from pilotfish.export.c.reader import read
from pilotfish.export.c.source import generate, template
from pilotfish.export.onnx import to_onnx
from pilotfish.policy.cells import GRU
from pilotfish.policy.layers import Linear
from pilotfish.targets.profile import load_target

RNG = np.random.default_rng(0)


def model(nodes, constants=None, in_shape=(1, 8), out_shape=(1, 8), states=(), out_type=TensorProto.FLOAT, opset=17):
    """A model with obs, action and [1, n] states; ``nodes`` are (op, inputs, outputs, attributes)."""
    made = [helper.make_node(op, i, o, name=f"{op}:{o[0]}", **a) for op, i, o, a in nodes]
    inputs = [helper.make_tensor_value_info("obs", TensorProto.FLOAT, in_shape)]
    outputs = [helper.make_tensor_value_info("action", out_type, out_shape)]
    for name, size in states:
        inputs.append(helper.make_tensor_value_info(f"state_in_{name}", TensorProto.FLOAT, [1, size]))
        outputs.append(helper.make_tensor_value_info(f"state_out_{name}", TensorProto.FLOAT, [1, size]))
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()]
    graph = helper.make_graph(made, "g", inputs, outputs, initializers)
    made_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made_model.ir_version = 8
    return made_model


def graph_of(proto):
    return read(proto, {*OPERATORS, *READ_ONLY})


def floats(*shape):
    return RNG.normal(size=shape).astype(np.float32)


I64 = np.int64
FOREIGN = {
    "MatMul and Add, weights [in, out]": (
        [("MatMul", ["obs", "w"], ["m"], {}), ("Add", ["b", "m"], ["action"], {})],
        {"w": floats(8, 5), "b": floats(5)},
        (1, 5),
    ),
    "Gemm with alpha, beta and a scalar bias": (
        [("Gemm", ["obs", "w", "b"], ["action"], {"alpha": 0.5, "beta": -2.0})],
        {"w": floats(8, 5), "b": floats(1)},
        (1, 5),
    ),
    "transposed constant weight": (
        [("Transpose", ["w"], ["wt"], {"perm": [1, 0]}), ("MatMul", ["obs", "wt"], ["action"], {})],
        {"w": floats(5, 8)},
        (1, 5),
    ),
    "slices, backwards too, put together again": (
        [
            ("Slice", ["obs", "s0", "e0", "ax"], ["a"], {}),
            ("Slice", ["obs", "s1", "e1", "ax"], ["b"], {}),
            ("Concat", ["b", "k", "a", "obs"], ["action"], {"axis": 1}),
        ],
        {
            "s0": np.array([2], I64),
            "e0": np.array([5], I64),
            "ax": np.array([1], I64),
            "s1": np.array([-3], I64),
            "e1": np.array([2**62], I64),
            "k": floats(1, 2),
        },
        (1, 16),
    ),
    "shapes that come and go": (
        [
            ("Flatten", ["obs"], ["f"], {"axis": 1}),
            ("Reshape", ["f", "shape"], ["r"], {}),
            ("Transpose", ["r"], ["t"], {"perm": [2, 1, 0]}),
            ("Squeeze", ["t", "axes"], ["q"], {}),
            ("Unsqueeze", ["q", "front"], ["u"], {}),
            ("Neg", ["u"], ["action"], {}),
        ],
        {"shape": np.array([1, 1, 8], I64), "axes": np.array([1, 2], I64), "front": np.array([0], I64)},
        (1, 8),
    ),
    "numbers on either side": (
        [
            ("Sub", ["one", "obs"], ["a"], {}),
            ("Div", ["a", "minus"], ["b"], {}),
            ("Max", ["b", "one"], ["c"], {}),
            ("Min", ["c", "obs"], ["d"], {}),
            ("Abs", ["d"], ["e"], {}),
            ("Mul", ["e", "e"], ["action"], {}),
        ],
        {"one": np.float32(1.0), "minus": np.array([-0.3], np.float32)},
        (1, 8),
    ),
    "a computed number scales a vector": (
        [
            ("MatMul", ["obs", "w"], ["n"], {}),
            ("Exp", ["n"], ["x"], {}),
            ("Mul", ["obs", "x"], ["action"], {}),
        ],
        {"w": floats(8, 1) * np.float32(0.1)},
        (1, 8),
    ),
    "softmax and one-sided clips": (
        [
            ("Clip", ["obs", "low"], ["a"], {}),
            ("Clip", ["a", "", "high"], ["b"], {}),
            ("Softmax", ["b"], ["action"], {"axis": -1}),
        ],
        {"low": np.float32(-0.5), "high": np.float32(0.7)},
        (1, 8),
    ),
    "every third entry, backwards from the end, by a table and one alone": (
        [
            ("Slice", ["obs", "s0", "e0", "ax", "t0"], ["a"], {}),
            ("Slice", ["obs", "s1", "e1", "ax", "t1"], ["b"], {}),
            ("Gather", ["obs", "table"], ["c"], {"axis": 1}),
            ("Gather", ["obs", "back"], ["d"], {"axis": -1}),
            ("Gather", ["obs", "one"], ["e"], {"axis": 1}),
            ("Gather", ["obs", "row"], ["f"], {"axis": 0}),
            ("Concat", ["a", "b", "c", "d", "e", "f"], ["action"], {"axis": 1}),
        ],
        {
            "s0": np.array([0], I64),
            "e0": np.array([8], I64),
            "t0": np.array([3], I64),
            "ax": np.array([1], I64),
            "s1": np.array([-1], I64),
            "e1": np.array([-(2**62)], I64),
            "t1": np.array([-2], I64),
            "table": np.array([7, 0, 0, -2, 3], I64),
            "back": np.array([6, 4, 2], I64),
            "one": np.array([5], I64),
            "row": np.array([0], I64),
        },
        (1, 3 + 4 + 5 + 3 + 1 + 8),
    ),
    "activations of other graphs": (
        [
            ("Softplus", ["obs"], ["a"], {}),
            ("HardSigmoid", ["a"], ["b"], {"alpha": 0.3, "beta": 0.1}),
            ("HardSwish", ["obs"], ["c"], {}),
            ("Selu", ["obs"], ["d"], {}),
            ("Celu", ["obs"], ["e"], {"alpha": 0.7}),
            ("Add", ["c", "d"], ["f"], {}),
            ("Add", ["e", "f"], ["g"], {}),
            ("Add", ["b", "g"], ["action"], {}),
        ],
        {},
        (1, 8),
    ),
    "residual around a layer": (
        [
            ("MatMul", ["obs", "w"], ["m"], {}),
            ("Tanh", ["m"], ["t"], {}),
            ("Add", ["obs", "t"], ["r"], {}),
            ("Mul", ["r", "t"], ["action"], {}),
        ],
        {"w": floats(8, 8)},
        (1, 8),
    ),
    "layer norm without bias": (
        [("LayerNormalization", ["obs", "w"], ["action"], {"epsilon": 1e-3})],
        {"w": floats(8)},
        (1, 8),
    ),
    "uneven split, parts reused": (
        [
            ("Split", ["obs", "sizes"], ["a", "b", "c"], {"axis": 1}),
            ("Tanh", ["b"], ["t"], {}),
            ("Concat", ["c", "t", "b", "a"], ["action"], {"axis": -1}),
        ],
        {"sizes": np.array([1, 3, 4], I64)},
        (1, 11),
    ),
    "int8 weights by column and by row, uint8 activations": (
        [
            ("DequantizeLinear", ["w", "ws"], ["wf"], {"axis": 1}),
            ("QuantizeLinear", ["obs", "s", "z"], ["q"], {}),
            ("DequantizeLinear", ["q", "s", "z"], ["x"], {}),
            ("MatMul", ["x", "wf"], ["m"], {}),
            ("DequantizeLinear", ["v", "vs"], ["vf"], {"axis": 0}),
            ("MatMul", ["m", "vf"], ["action"], {}),
        ],
        {
            "w": RNG.integers(-127, 128, (8, 20)).astype(np.int8),
            "ws": np.abs(floats(20)) / 100,
            "s": np.float32(0.02),
            "z": np.uint8(101),
            "v": RNG.integers(-127, 128, (20, 8)).astype(np.int8),
            "vs": np.abs(floats(20)) / 100,
        },
        (1, 8),
    ),
}


def run(proto, folder, layout):
    """Compile ``proto`` and return a function obs -> action; the state is used in place."""
    import ctypes

    source = generate(graph_of(proto), layout, Header("a test"))
    for name, text in {**source.files, "host_timing.c": template("host_timing.c")}.items():
        (folder / name).write_text(text)
    build_library(folder, load_target("host-cpu"))
    library = ctypes.CDLL(str(folder / "policy.so"))

    def act(obs, state=None):
        action = np.zeros(source.count, np.int32 if source.discrete else np.float32)
        row = np.ascontiguousarray(obs, np.float32)
        pointers = [a.ctypes.data_as(ctypes.c_void_p) if a is not None else None for a in (row, state, action)]
        library.policy_step(*pointers)
        return action

    return act


@pytest.mark.parametrize("case", FOREIGN)
def test_foreign_graphs_compute_what_onnx_computes(case, tmp_path):
    nodes, constants, out_shape = FOREIGN[case]
    proto = model(nodes, constants, out_shape=out_shape)
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    # Literally: its optimizer computes a per-channel int8 product in its own way, and saturates where AVX2 has no VNNI.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    truth = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    layout = AVX2 if len(case) % 2 else CORTEX_M4F
    act = run(proto, tmp_path, layout)
    for obs in RNG.normal(size=(20, 1, 8)).astype(np.float32):
        expected = truth.run(None, {"obs": obs})[0].reshape(-1)
        np.testing.assert_allclose(act(obs), expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("layout", [AVX2, CORTEX_M4F], ids=["wide", "narrow"])
def test_states_may_be_swapped_and_passed_through(layout, tmp_path):
    """The old state is read to the end before the new one is written over it."""
    nodes = [
        ("Identity", ["state_in_b"], ["state_out_a"], {}),
        ("Reshape", ["state_in_a", "shape"], ["state_out_b"], {}),
        ("Identity", ["obs"], ["action"], {}),
    ]
    proto = model(nodes, {"shape": np.array([1, 3], I64)}, (1, 2), (1, 2), states=[("a", 3), ("b", 3)])
    act = run(proto, tmp_path, layout)
    state = np.array([1, 2, 3, 10, 20, 30], np.float32)
    np.testing.assert_array_equal(act([7, 8], state), [7, 8])
    np.testing.assert_array_equal(state, [10, 20, 30, 1, 2, 3])


@pytest.mark.parametrize("layout", [AVX2, CORTEX_M4F], ids=["wide", "narrow"])
def test_an_old_state_lasts_until_its_last_reader(layout, tmp_path):
    """A view of the old state is read after the new one is known, and after others have been handed over."""
    nodes = [
        ("Reshape", ["state_in_h", "shape"], ["old"], {}),
        ("Gemm", ["obs", "w", ""], ["state_out_h"], {}),
        ("Gemm", ["state_in_k", "w", ""], ["state_out_k"], {}),
        ("Gemm", ["state_out_h", "w", ""], ["twice"], {}),
        ("Mul", ["twice", "old"], ["action"], {}),
    ]
    w = np.array([[0, 1], [2, 0]], np.float32)
    proto = model(nodes, {"shape": np.array([1, 2], I64), "w": w}, (1, 2), (1, 2), states=[("h", 2), ("k", 2)])
    act = run(proto, tmp_path, layout)
    state = np.array([3, 4, 5, 6], np.float32)
    np.testing.assert_array_equal(act([7, 8], state), [3 * 14, 4 * 16])
    np.testing.assert_array_equal(state, [16, 7, 12, 5])


def test_int8_weights_stay_int8(make_policy):
    policy = make_policy([Linear("a", 10, 30, weight_bits=8), GRU("g", 30, 20, weight_bits=8)], 10, 20, 0)
    graph = graph_of(to_onnx(policy))
    rows = [c for c in graph.constants.values() if isinstance(c, Int8Rows)]
    assert sorted(r.values.size for r in rows) == [300, 1200, 1800]
    source = generate(graph, CORTEX_M4F, Header(""))
    weights = 300 + 1200 + 1800
    scales_and_biases = 4 * 2 * (30 + 60 + 60)
    all_of_it = weights + scales_and_biases + 4 * 2 * 10  # and the normalizer
    assert all_of_it <= source.table_bytes < 1.2 * all_of_it  # a kernel may index its blocks
    assert source.files["policy.c"].count("static const int8_t") == 3


def test_the_gates_of_a_recurrent_cell_take_no_memory_of_their_own(make_policy):
    policy = make_policy([GRU("g", 8, 32)], 8, 32, 0, normalizer=False)
    source = generate(graph_of(to_onnx(policy)), CORTEX_M4F, Header(""))
    assert source.arena_bytes == 4 * 32 * 6  # two Gemms of three gates; everything else happens in place


REFUSED = {
    "unknown operator": (model([("Sin", ["obs"], ["action"], {})]), Unsupported, ["Sin", "Sin:action", "Gemm", "Tanh"]),
    "matrix inside": (
        model([("Reshape", ["obs", "s"], ["r"], {}), ("Reshape", ["r", "t"], ["action"], {})], {"s": [2, 4], "t": [1, 8]}),
        Unsupported,
        ["[2, 4]", "batch 1"],
    ),
    "outer product": (
        model([("Reshape", ["obs", "s"], ["r"], {}), ("Add", ["obs", "r"], ["action"], {})], {"s": [8, 1]}, out_shape=(8, 8)),
        Unsupported,
        ["[8, 8]"],
    ),
    "dynamic batch": (
        model([("Tanh", ["obs"], ["action"], {})], in_shape=("batch", 8), out_shape=("batch", 8)),
        BadInput,
        ["static shape", "batch", "batch 1"],
    ),
    "batch of two": (model([("Tanh", ["obs"], ["action"], {})], in_shape=(2, 8), out_shape=(2, 8)), Unsupported, ["[2, 8]"]),
    "NaN weight": (
        model([("MatMul", ["obs", "w"], ["action"], {})], {"w": np.full((8, 8), np.nan, np.float32)}),
        BadInput,
        ["'w'", "64 NaN"],
    ),
    "infinite by folding": (
        model(
            [("Div", ["one", "zero"], ["k"], {}), ("Add", ["obs", "k"], ["action"], {})],
            {"one": np.float32(1), "zero": np.float32(0)},
        ),
        BadInput,
        ["finite", "'k'"],
    ),
    "computed weight": (
        model([("Reshape", ["obs", "s"], ["r"], {}), ("MatMul", ["obs", "r"], ["action"], {})], {"s": [8, 1]}, out_shape=(1, 1)),
        Unsupported,
        ["constant weight matrix"],
    ),
    "index used inside": (
        model(
            [("ArgMax", ["obs"], ["i"], {"axis": 1}), ("Cast", ["i"], ["action"], {"to": TensorProto.FLOAT})], out_shape=(1, 1)
        ),
        Unsupported,
        ["Cast"],
    ),
    "index out of reach": (
        model([("Gather", ["obs", "i"], ["action"], {"axis": 1})], {"i": np.array([0, 8], np.int64)}, out_shape=(1, 2)),
        Unsupported,
        ["indices into 8 entries", "[8]"],
    ),
    "wrong names": (
        model([("Tanh", ["obs"], ["action"], {})], states=[]).SerializeToString().replace(b"obs", b"xyz"),
        Unsupported,
        ["obs", "xyz"],
    ),
    "double weights": (
        model(
            [("Cast", ["w"], ["c"], {"to": TensorProto.FLOAT16}), ("Cast", ["obs"], ["h"], {"to": TensorProto.FLOAT16})],
            {"w": floats(8)},
        ),
        BadInput,
        ["action"],
    ),
    "constant action": (model([("Identity", ["k"], ["action"], {})], {"k": floats(1, 8)}), Unsupported, ["a constant"]),
    "other grid on the way back": (
        model(
            [("QuantizeLinear", ["obs", "s", "z"], ["q"], {}), ("DequantizeLinear", ["q", "t", "z"], ["action"], {})],
            {"s": np.float32(0.1), "t": np.float32(0.2), "z": np.int8(0)},
        ),
        Unsupported,
        ["QuantizeLinear"],
    ),
    "integers on the way": (
        model(
            [("QuantizeLinear", ["obs", "s", "z"], ["action"], {})],
            {"s": np.float32(0.1), "z": np.int8(0)},
            out_type=TensorProto.INT8,
        ),
        Unsupported,
        ["float32"],
    ),
    "huge constant from a small file": (
        model(
            [("Add", ["a", "b"], ["k"], {}), ("Tanh", ["obs"], ["action"], {})],
            {"a": np.zeros((40000, 1), np.float32), "b": np.zeros((1, 40000), np.float32)},
        ),
        Unsupported,
        ["constant values", "1600000000"],
    ),
    "old opset": (model([("Tanh", ["obs"], ["action"], {})], opset=9), Unsupported, ["opset 13", "found 9"]),
    "wrong inner shape": (model([("MatMul", ["obs", "w"], ["action"], {})], {"w": floats(9, 8)}), BadInput, ["valid model"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_what_is_wrong(case):
    proto, error, words = REFUSED[case]
    proto = onnx.load_from_string(proto) if isinstance(proto, bytes) else proto
    with pytest.raises(error) as caught:
        generate(graph_of(proto), AVX2, Header(""))
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_weights_in_a_side_file_are_refused(tmp_path):
    proto = model([("MatMul", ["obs", "w"], ["action"], {})], {"w": floats(8, 8)})
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, location="w.data")
    with pytest.raises(BadInput, match="side file"):
        graph_of(onnx.load(tmp_path / "m.onnx", load_external_data=False))
