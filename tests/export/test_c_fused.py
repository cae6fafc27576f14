"""Law: neighbouring elementwise operations become one loop that computes what they computed."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("onnx")

from pilotfish.export.c.graph import Graph, Node
from pilotfish.export.c.header import Header
from pilotfish.export.c.machine import AVX2, CORTEX_M4F
from pilotfish.export.c.rewrites import rewrite
from pilotfish.export.c.source import generate

UNARY = {
    "Tanh": np.tanh,
    "Relu": lambda x: np.maximum(x, 0),
    "Abs": np.abs,
    "Neg": np.negative,
    "Softsign": lambda x: x / (1 + np.abs(x)),
}
BINARY = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Min": np.minimum, "Max": np.maximum}


@st.composite
def chains(draw):
    """A graph of elementwise operations over values and constants of one size or of size 1, and its numpy twin."""
    size = draw(st.integers(2, 40))
    sizes, nodes, constants, program = {"obs": size}, [], {}, []
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    for index in range(draw(st.integers(1, 9))):
        values = sorted(name for name in sizes if name != "action")
        out = f"v{index}"
        if draw(st.booleans()):
            op = draw(st.sampled_from(sorted(UNARY)))
            inputs = (draw(st.sampled_from(values)),)
        else:
            op = draw(st.sampled_from(sorted(BINARY)))
            other = draw(st.sampled_from(["value", "vector", "number"]))
            second = draw(st.sampled_from(values))
            if other != "value":
                second = f"c{index}"
                constants[second] = rng.normal(size=size if other == "vector" else 1).astype(np.float32)
            inputs = (draw(st.sampled_from(values)), second)
            inputs = inputs[:: draw(st.sampled_from([1, -1]))]
        nodes.append(Node(op, out, inputs, (out,)))
        program.append((op, inputs, out))
        sizes[out] = size
    nodes.append(Node("Neg", "action", (draw(st.sampled_from([n for n in sizes if n != "obs"])),), ("action",)))
    program.append(("Neg", nodes[-1].inputs, "action"))
    sizes["action"] = size
    return Graph({"obs": size}, {"action": size}, nodes, sizes, constants), program


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=False)
@given(chain=chains(), machine=st.sampled_from([AVX2, CORTEX_M4F]))
def test_one_loop_computes_what_many_did(chain, machine, compile_functions):
    graph, program = chain
    source = generate(graph, machine, Header(""))
    loops = source.files["policy.c"].partition("void policy_step")[2].count("for (")
    assert loops == 2  # all of the chain, and the copy to the caller
    library = compile_functions(source.files["policy.c"].replace('#include "policy.h"', source.files["policy.h"]))
    obs = np.random.default_rng(1).normal(size=graph.sizes["obs"]).astype(np.float32)
    action = np.full(graph.sizes["obs"], np.nan, np.float32)
    library.policy_step(obs.ctypes.data_as(ctypes.c_void_p), None, action.ctypes.data_as(ctypes.c_void_p))
    values = {"obs": obs.astype(np.float64)} | {k: v.astype(np.float64) for k, v in graph.constants.items()}
    for op, inputs, out in program:
        values[out] = (UNARY | BINARY)[op](*(values[name] for name in inputs))
    scale = max(1.0, *(float(np.abs(v).max()) for v in values.values()))
    assert np.abs(values["action"] - action).max() <= 4e-6 * scale


def test_what_nobody_reads_is_not_computed():
    nodes = [Node("Tanh", "a", ("obs",), ("a",)), Node("Tanh", "b", ("obs",), ("b",)), Node("Neg", "n", ("b",), ("action",))]
    graph = Graph({"obs": 3}, {"action": 3}, nodes, {"obs": 3, "a": 3, "b": 3, "action": 3}, {})
    (fused,) = rewrite(graph, AVX2).nodes
    assert fused.op == "Fused" and fused.outputs == ("action",)
    assert [inner.name for inner in fused.attributes["nodes"]] == ["b", "n"]


def test_a_value_that_others_read_is_kept():
    nodes = [Node("Tanh", "a", ("obs",), ("a",)), Node("Neg", "b", ("a",), ("b",)), Node("Concat", "c", ("a", "b"), ("action",))]
    graph = Graph({"obs": 3}, {"action": 6}, nodes, {"obs": 3, "a": 3, "b": 3, "action": 6}, {})
    fused, _ = rewrite(graph, CORTEX_M4F).nodes
    assert fused.outputs == ("a", "b")
