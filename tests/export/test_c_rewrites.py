"""Law: a rewrite changes what a graph costs, never what it computes beyond the rounding of one number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.export.c.graph import Graph, Node
from pilotfish.export.c.header import Header
from pilotfish.export.c.kernels import DenseLayer
from pilotfish.export.c.machine import AVX512, CORTEX_M0, CORTEX_M4F
from pilotfish.export.c.rewrites import REWRITES
from pilotfish.export.c.rewrites.chain_straight import chain_straight
from pilotfish.export.c.rewrites.dead_units import dead_units
from pilotfish.export.c.rewrites.fuse_activations import fuse_activations
from pilotfish.export.c.rewrites.low_rank import low_rank
from pilotfish.export.c.source import generate

UNARY = {
    "Tanh": np.tanh,
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Elu": lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x),
    "LeakyRelu": lambda x: np.where(x < 0, np.float32(0.01) * x, x),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Abs": np.abs,
    "Neg": np.negative,
}
BINARY = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Min": np.minimum, "Max": np.maximum}


def run(graph: Graph, obs: np.ndarray) -> np.ndarray:
    """The action in float64: a second reading of the graph, one operation after the other."""
    values = {"obs": obs.astype(np.float64)} | {
        name: np.asarray(c, np.float64).reshape(-1) for name, c in graph.constants.items() if isinstance(c, np.ndarray)
    }
    for node in graph.nodes:
        x = [values[name] for name in node.inputs]
        if node.op in ("Dense", "Chain"):
            y = x[0] if x else np.zeros(0)
            for layer in node.attributes.get("layers") or (node.attributes["layer"],):
                y = layer.bias + (1.0 if layer.scale is None else layer.scale.astype(np.float64)) * (
                    layer.weight.astype(float) @ y
                )
                y = y if layer.activation is None else UNARY[layer.activation.op](y)
        elif node.op == "FakeQuantize":
            scale, zero, low, high = (node.attributes[key] for key in ("scale", "zero", "low", "high"))
            y = (np.clip(np.rint(x[0] / scale) + zero, low, high) - zero) * scale
        elif node.op in UNARY:
            y = UNARY[node.op](x[0])
        elif node.op in BINARY:
            y = BINARY[node.op](*x)
        elif node.op == "Clip":
            y = np.clip(x[0], x[1][0], x[2][0])
        elif node.op == "Slice":
            y = x[0][int(x[1][0]) : int(x[2][0])]
        elif node.op == "Concat":
            y = np.concatenate(x)
        elif node.op == "Softmax":
            y = np.exp(x[0] - x[0].max()) / np.exp(x[0] - x[0].max()).sum()
        elif node.op == "Identity":
            y = x[0]
        elif node.op == "LayerNormalization":
            y = (x[0] - x[0].mean()) / np.sqrt(x[0].var() + 1e-5) * x[1] + x[2]
        else:
            raise AssertionError(node.op)
        assert len(y) == graph.sizes[node.outputs[0]], node.name
        values[node.outputs[0]] = y
    return values["action"]


class Maker:
    """Builds a graph from obs on."""

    def __init__(self, size: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = Graph({"obs": size}, {}, [], {"obs": size}, {})
        self.last = "obs"

    @property
    def size(self) -> int:
        return self.graph.sizes[self.last]

    def node(self, op: str, *others: str, size: int | None = None, of: str | None = None, **attributes) -> str:
        name = f"v{len(self.graph.nodes)}"
        source = self.last if of is None else of
        self.graph.sizes[name] = size or self.graph.sizes[source]
        self.graph.nodes.append(Node(op, f"{op} {name}", (source, *others), (name,), attributes))
        self.last = name
        return name

    def constant(self, values) -> str:
        name = f"c{len(self.graph.constants)}"
        self.graph.constants[name] = np.asarray(values, np.float32)
        return name

    def dense(self, size: int, density: float, int8: bool = False, of: str | None = None) -> str:
        columns = self.graph.sizes[self.last if of is None else of]
        mask = self.rng.random((size, columns)) < density
        bias = self.rng.normal(size=size).astype(np.float32)
        if int8:
            scale = self.rng.uniform(0.001, 0.02, size).astype(np.float32)
            layer = DenseLayer("w", self.rng.integers(-127, 128, (size, columns)).astype(np.int8) * mask, scale, bias)
        else:
            weight = self.rng.normal(size=(size, columns)) * mask / np.sqrt(1 + mask.sum(1, keepdims=True))
            layer = DenseLayer("w", weight.astype(np.float32), None, bias)
        return self.node("Dense", of=of, size=size, layer=layer)

    def done(self) -> Graph:
        self.node("Identity")
        last = self.graph.nodes[-1]
        self.graph.nodes[-1] = Node(last.op, last.name, last.inputs, ("action",))
        self.graph.sizes["action"] = self.graph.outputs["action"] = self.graph.sizes.pop(last.outputs[0])
        return self.graph


@st.composite
def graphs(draw):
    """Pruned networks with everything that stands between dense layers."""
    maker = Maker(draw(st.integers(1, 40)), draw(st.integers(0, 1 << 30)))
    rng = maker.rng
    for _ in range(draw(st.integers(1, 9))):
        kind = draw(
            st.sampled_from(
                ["dense"] * 4 + ["unary"] * 2 + ["affine", "clip", "grid", "residual", "silu", "norm", "softmax", "concat"]
            )
        )
        size = maker.size
        if kind == "dense":
            maker.dense(draw(st.integers(1, 40)), draw(st.sampled_from([0.0, 0.03, 0.1, 0.5])), draw(st.booleans()))
        elif kind == "unary":
            maker.node(draw(st.sampled_from(sorted(UNARY))))
        elif kind == "affine":
            shape = draw(st.sampled_from([(size,), (1, size), (1,)]))
            factor = rng.normal(size=shape) * (rng.random(shape) < 0.7)
            maker.node("Mul", maker.constant(factor))
            maker.node(draw(st.sampled_from(["Add", "Sub", "Min", "Max"])), maker.constant(rng.normal(size=shape)))
        elif kind == "clip":
            maker.node("Clip", maker.constant(-0.5), maker.constant(0.75))
        elif kind == "grid":
            maker.node("FakeQuantize", scale=float(np.float32(0.03)), zero=3, low=-128, high=127)
        elif kind == "residual":
            before = maker.last
            maker.dense(size, draw(st.sampled_from([0.0, 0.05, 0.3])))
            maker.node(draw(st.sampled_from(["Add", "Mul"])), before)
        elif kind == "silu":
            before = maker.last
            maker.node("Sigmoid")
            maker.node("Mul", before)
        elif kind == "concat":
            before = maker.last
            maker.dense(draw(st.integers(1, 12)), draw(st.sampled_from([0.0, 0.1, 0.5])))
            maker.node(draw(st.sampled_from(["Tanh", "Sigmoid"])))
            maker.node("Concat", before, size=maker.size + size)
        elif kind == "norm" and size > 3:
            maker.node("LayerNormalization", maker.constant(rng.normal(size=size)), maker.constant(rng.normal(size=size)))
        elif kind == "softmax":
            maker.node("Softmax")
    return maker.done()


def same(graph: Graph, rewritten: Graph, tolerance: float = 2e-6) -> None:
    """A grid's step is the one thing that may be far off: a number on its edge falls to either side."""
    grid = any(node.op == "FakeQuantize" for node in graph.nodes)
    far = 0
    for seed in range(4):
        obs = np.random.default_rng(seed).normal(size=graph.inputs["obs"]).astype(np.float32)
        want = run(graph, obs)
        far += bool((np.abs(run(rewritten, obs) - want) > tolerance * (1 + np.abs(want).max())).any())
    assert far <= (1 if grid else 0)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(graphs())
def test_removing_dead_units_changes_nothing(graph):
    smaller = dead_units(graph, CORTEX_M4F)
    same(graph, smaller)
    work = [sum(node.attributes["layer"].weight.size for node in g.nodes if node.op == "Dense") for g in (graph, smaller)]
    assert work[1] <= work[0]
    again = dead_units(smaller, CORTEX_M4F)
    assert [node.op for node in again.nodes] == [node.op for node in smaller.nodes]
    assert again.sizes.keys() >= {name for node in smaller.nodes for name in node.outputs}
    assert all(again.sizes[name] == smaller.sizes[name] for node in smaller.nodes for name in node.outputs)


@settings(max_examples=75, deadline=None, derandomize=True, database=None)
@given(graphs(), st.sampled_from([CORTEX_M4F, CORTEX_M0, AVX512]))
def test_all_float_rewrites_in_a_row_change_nothing(graph, machine):
    steps = (dead_units, low_rank, fuse_activations, chain_straight)
    assert [step for step in REWRITES if step in steps] == list(steps)
    rewritten = graph
    for step in steps:
        rewritten = step(rewritten, machine)
    same(graph, rewritten)


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(graphs(), st.sampled_from([CORTEX_M4F, AVX512]))
def test_whatever_is_left_can_be_printed(graph, machine):
    program = generate(graph, machine, Header("test")).files["policy.c"]
    assert "[0]" not in "".join(line for line in program.splitlines() if line.startswith("static const"))


def mlp(*layers: tuple[np.ndarray, np.ndarray], act: str = "Tanh") -> Graph:
    """Dense layers (weight, bias) with an activation between them."""
    maker = Maker(layers[0][0].shape[1], 0)
    for index, (weight, bias) in enumerate(layers):
        if index and act:
            maker.node(act)
        layer = DenseLayer(f"w{index}", np.asarray(weight, np.float32), None, np.asarray(bias, np.float32))
        maker.node("Dense", size=len(weight), layer=layer)
    return maker.done()


def dense_of(graph: Graph) -> list[DenseLayer]:
    return [node.attributes["layer"] for node in graph.nodes if node.op == "Dense"]


def test_a_constant_unit_goes_into_the_next_bias_rounded_once():
    first = np.array([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]])
    graph = dead_units(mlp((first, [0.1, 0.2, 0.3]), (np.array([[1.0, 2.0, 3.0]]), [0.5])), CORTEX_M4F)
    left = dense_of(graph)
    assert [layer.weight.shape for layer in left] == [(1, 2), (1, 1)]
    exact = 0.5 + 2 * np.tanh(np.float64(np.float32(0.2))) + 3 * np.tanh(np.float64(np.float32(0.3)))
    assert left[1].bias[0] == np.float32(exact)


def test_what_nobody_reads_goes_through_all_layers():
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=s) for s in ((8, 5), (6, 8), (2, 6))]
    weights[2][:, 1:] = 0  # one unit is read
    weights[1][0, 2:] = 0  # and it reads two
    weights[0][:2, 3:] = 0  # which read three inputs
    graph = dead_units(mlp(*((w, np.ones(len(w))) for w in weights), act="Relu"), CORTEX_M4F)
    assert [layer.weight.shape for layer in dense_of(graph)] == [(2, 3), (1, 2), (2, 1)]
    assert graph.nodes[0].op == "Slice"  # a view: the last two inputs are not read


def test_a_network_without_live_weights_is_a_constant():
    graph = dead_units(mlp((np.zeros((4, 3)), [1, 2, 3, 4]), (np.ones((2, 4)), [0, 1]), act="Relu"), CORTEX_M4F)
    assert [layer.weight.shape for layer in dense_of(graph)] == [(2, 0)]
    assert dense_of(graph)[0].bias.tolist() == [10, 11]
    assert "k_w0" not in generate(graph, CORTEX_M4F, Header("test")).files["policy.c"]


@pytest.mark.parametrize("between", ["LayerNormalization", "Concat", "Add", "Softmax"])
def test_layers_of_which_every_unit_dies(between):
    """No live weight before, behind or on both sides of what joins units."""
    for before, behind in ((0.0, 1.0), (1.0, 0.0), (0.0, 0.0)):
        maker = Maker(5, 1)
        maker.dense(6, before)
        first = maker.node("Tanh")
        if between == "LayerNormalization":
            maker.node(between, maker.constant(np.ones(6)), maker.constant(np.arange(6)))
        elif between == "Softmax":
            maker.node(between)
        else:
            maker.dense(6, before, of="obs")
            maker.node("Sigmoid")
            maker.node(between, first, size=12 if between == "Concat" else 6)
        maker.dense(4, behind)
        graph = maker.done()
        smaller = dead_units(graph, CORTEX_M4F)
        same(graph, smaller)
        if not behind:
            assert [node.op for node in smaller.nodes] == ["Dense", "Identity"]
            assert dense_of(smaller)[0].weight.shape == (4, 0)
        generate(graph, CORTEX_M4F, Header("test"))


def test_nothing_is_taken_through_layer_norm_softmax_and_outputs():
    for op in ("LayerNormalization", "Softmax", "Identity"):
        maker = Maker(4, 0)
        maker.dense(6, 0.0)
        others = [maker.constant(np.ones(6)), maker.constant(np.zeros(6))] if op == "LayerNormalization" else []
        maker.node(op, *others)
        graph = dead_units(maker.done(), CORTEX_M4F)
        assert dense_of(graph)[0].rows == 6


def test_unused_inputs_are_not_normalized():
    maker = Maker(30, 0)
    maker.node("Sub", maker.constant(maker.rng.normal(size=30)))
    maker.node("Mul", maker.constant(maker.rng.normal(size=(1, 30))))
    maker.dense(4, 1.0)
    graph = maker.done()
    dense_of(graph)[0].weight[:, 1::3] = 0
    dense_of(graph)[0].weight[:, 15:] = 0
    smaller = dead_units(graph, CORTEX_M4F)
    assert dense_of(smaller)[0].columns == 10
    assert {smaller.sizes[n.outputs[0]] for n in smaller.nodes if n.op in ("Sub", "Mul")} == {10}
    same(graph, smaller)


@pytest.mark.parametrize("machine", [CORTEX_M4F, CORTEX_M0, AVX512], ids=["m4f", "m0", "avx512"])
def test_thin_products_stay_and_wide_ones_are_multiplied_out(machine):
    rng = np.random.default_rng(0)

    def product(outer: int, inner: int):
        return mlp(
            (rng.normal(size=(inner, outer)), rng.normal(size=inner)),
            (rng.normal(size=(outer, inner)), rng.normal(size=outer)),
            act="",
        )

    thin, wide = product(256, 16), product(64, 64)
    assert len(dense_of(low_rank(thin, machine))) == 2
    multiplied = low_rank(wide, machine)
    first, second = dense_of(wide)
    (one,) = dense_of(multiplied)
    assert (one.weight == (second.weight.astype(np.float64) @ first.weight).astype(np.float32)).all()
    assert (one.bias == (second.weight.astype(np.float64) @ first.bias + second.bias).astype(np.float32)).all()
    same(wide, multiplied)


def test_int8_layers_are_not_multiplied_out():
    maker = Maker(16, 0)
    maker.dense(16, 1.0, int8=True)
    maker.dense(16, 1.0)
    assert len(dense_of(low_rank(maker.done(), CORTEX_M4F))) == 2


def test_layers_of_straight_line_code_become_one_piece():
    maker = Maker(17, 0)
    for size in (64, 64, 6):
        maker.dense(size, 0.06)
        if size == 64:
            maker.node("Relu")
    graph = maker.done()
    chained = chain_straight(fuse_activations(graph, CORTEX_M4F), CORTEX_M4F)
    assert [node.op for node in chained.nodes] == ["Chain", "Identity"]
    same(graph, chained)
