"""Law: every kernel computes every layer, whatever its pattern of zeros, to within the rounding of float32."""

from __future__ import annotations

import ctypes
import dataclasses
import itertools
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.export.c.functions import definitions
from pilotfish.export.c.graph import Graph, Node
from pilotfish.export.c.kernels import KERNELS, DenseLayer, choose
from pilotfish.export.c.kernels.depth_first import depth_first
from pilotfish.export.c.kernels.straight import Straight, straight_line
from pilotfish.export.c.machine import AVX2, AVX512, CORTEX_M0, CORTEX_M4F, NEON
from pilotfish.export.c.memory import plan
from pilotfish.export.c.operators.operator import Scope
from pilotfish.export.c.source import _table
from pilotfish.export.c.toolchain import BASE_FLAGS

MACHINES = {"m4f": CORTEX_M4F, "m0": CORTEX_M0, "neon": NEON, "avx2": AVX2, "avx512": AVX512}
PATTERNS = ("random", "dead rows", "dead columns", "one row", "one column", "one weight", "blocks", "none", "full")
SPARSE = ("constant", "block", "csr", "straight", "straight block")


def pattern(kind: str, rows: int, columns: int, density: float, rng: np.random.Generator) -> np.ndarray:
    """Where the weights of a pruned layer are, bool [rows, columns]."""
    mask = rng.random((rows, columns)) < density
    if kind == "dead rows":
        mask[rng.random(rows) < 0.5] = False
    elif kind == "dead columns":
        mask[:, rng.random(columns) < 0.5] = False
    elif kind == "one row":
        mask[np.arange(rows) != rng.integers(rows)] = False
    elif kind == "one column":
        mask[:, np.arange(columns) != rng.integers(columns)] = False
    elif kind == "one weight":
        mask[:] = False
        mask[rng.integers(rows), rng.integers(columns)] = True
    elif kind == "blocks":
        mask = np.kron(rng.random((-(-rows // 4), -(-columns // 2))) < density, np.ones((4, 2), bool))[:rows, :columns]
    elif kind in ("none", "full"):
        mask[:] = kind == "full"
    return mask


def random_layer(kind: str, rows: int, columns: int, density: float, int8: bool, relu: bool, seed: int) -> DenseLayer:
    rng = np.random.default_rng(seed)
    mask = pattern(kind, rows, columns, density, rng)
    bias = rng.normal(size=rows).astype(np.float32) * (rng.random(rows) < 0.8).astype(np.float32)
    activation = Node("Relu", "relu", ("a",), ("b",)) if relu else None
    if int8:
        scale = rng.uniform(0.001, 0.01, rows).astype(np.float32)
        return DenseLayer("w", rng.integers(-127, 128, (rows, columns)).astype(np.int8) * mask, scale, bias, activation)
    return DenseLayer("w", (rng.normal(size=(rows, columns)) * mask).astype(np.float32), None, bias, activation)


@st.composite
def layers(draw, most=300):
    """Layers of all shapes and patterns."""
    size = st.integers(1, 24) | st.integers(1, most) | st.sampled_from([1, 8, 16, 64, 257])
    density = draw(st.sampled_from([0.01, 0.05, 0.1, 0.3, 0.8]))
    return random_layer(
        draw(st.sampled_from(PATTERNS)),
        *(draw(size), draw(size), density, draw(st.booleans()), draw(st.booleans())),
        draw(st.integers(0, 1 << 30)),
    )


def expected(layer: DenseLayer, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(y in float64, how far float32 sums of these terms, in any order, may be from it)"""
    scale = 1.0 if layer.scale is None else layer.scale.astype(np.float64)
    weight = layer.weight.astype(np.float64)
    y = layer.bias + scale * (weight @ x)
    size = np.abs(layer.bias) + scale * (np.abs(weight) @ np.abs(x))
    bound = (np.count_nonzero(weight, axis=1) + 8) * 2.0**-23 * size + 1e-30
    return (np.maximum(y, 0.0) if layer.activation is not None else y), bound


def need_compiler() -> str:
    path = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if path is None:
        pytest.skip("no system C compiler (cc, gcc, clang)")
    return path


def scope_for(machine) -> Scope:
    return Scope(Graph({}, {}, [], {}, {}), plan({}, [], {}, []), machine, {})


def compiled(functions: list[list[str]], scope: Scope, folder, flags: tuple[str, ...]) -> ctypes.CDLL:
    """Bodies that read x and write y -> a library of f0, f1 …, compiled without a warning."""
    text = "#include <stdint.h>\n#include <stddef.h>\n#define POLICY_ALIGNED\n"
    text += definitions(scope.math, "exact", scope.machine.vector_floats)
    text += "\n".join(_table(name, array, comment) for name, (array, comment) in scope.tables.items())
    for index, body in enumerate(functions):
        head = f"void f{index}(const float *x, float *y);\nvoid f{index}(const float *x, float *y) {{\n"
        text += head + "\n".join(body) + "\n}\n"
    (folder / "f.c").write_text(text)
    strict = ["-Wall", "-Wextra", "-Werror", "-O1", "-fPIC", "-shared"]
    subprocess.run([need_compiler(), *BASE_FLAGS, *flags, *strict, "f.c", "-o", "f.so"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "f.so"))


def outputs(function, x: np.ndarray, rows: int) -> np.ndarray:
    """What a compiled body writes; what lies behind x is NaN, so that reading it would show."""
    room = np.full(len(x) + 64, np.nan, np.float32)
    room[: len(x)] = x
    y = np.full(rows + 128, np.nan, np.float32)
    function(room.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p))
    return y[:rows]


def able(layer: DenseLayer, machine):
    """Every kernel that can compute the layer, forced: above its density and size limits, straight-line code too."""
    found = [kernel for kernel in KERNELS if layer.live and kernel.cost(layer, machine) is not None]
    if not layer.live:
        found = [kernel for kernel in KERNELS if kernel.name == "constant"]
    elif layer.live < 400 and not any(kernel.name == "straight" for kernel in found):
        found.append(Straight())
    return found


@pytest.mark.parametrize("name", MACHINES)
def test_every_kernel_computes_every_pattern(name, tmp_path_factory):
    machine = MACHINES[name]
    # NEON code has blocks of four, which a compiler with wider registers refuses.
    flags = () if name == "neon" else ("-march=native",)

    @settings(max_examples=3, deadline=None, derandomize=True, database=None)
    @given(st.lists(layers(), min_size=6, max_size=6))
    def check(drawn):
        drawn = [d if not machine.vectors else dataclasses.replace(d, activation=None) for d in drawn]
        scope = scope_for(machine)
        cases = [(layer, kernel) for layer in drawn for kernel in able(layer, machine)]
        assert cases
        library = compiled([k.print(layer, scope) for layer, k in cases], scope, tmp_path_factory.mktemp("k"), flags)
        for index, (layer, kernel) in enumerate(cases):
            x = np.random.default_rng(index).normal(size=layer.columns).astype(np.float32)
            want, bound = expected(layer, x)
            got = outputs(getattr(library, f"f{index}"), x, layer.rows)
            assert (np.abs(got - want) <= bound).all(), (kernel.name, layer.weight.shape, layer.live)

    check()


@settings(max_examples=3, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.sampled_from([1, 3, 6, 17, 40, 64]), min_size=3, max_size=5),
    st.sampled_from([0.03, 0.1, 0.3]),
    st.integers(0, 99),
)
def test_a_chain_computes_what_its_layers_compute(tmp_path_factory, widths, density, seed):
    chain = [
        random_layer("random", out, size, density, bool((seed + i) % 2), bool((seed + i) % 3), seed + i)
        for i, (size, out) in enumerate(itertools.pairwise(widths))
    ]
    scope = scope_for(CORTEX_M4F)
    library = compiled([straight_line(chain, scope)], scope, tmp_path_factory.mktemp("chain"), ())
    for case in range(5):
        x = np.random.default_rng(case).normal(size=widths[0]).astype(np.float32)
        got = outputs(library.f0, x, widths[-1])
        y, error = x.astype(np.float64), np.zeros(widths[0])
        for layer in chain:
            scale = 1.0 if layer.scale is None else layer.scale.astype(np.float64)
            carried = scale * (np.abs(layer.weight).astype(np.float64) @ error)
            y, bound = expected(layer, y)
            error = bound + 1.01 * carried
        assert (np.abs(got - y) <= error).all()


@given(st.lists(st.integers(1, 12), min_size=2, max_size=5), st.sampled_from([0.1, 0.4, 1.0]), st.integers(0, 1 << 20))
@settings(max_examples=50, deadline=None, derandomize=True, database=None)
def test_depth_first_computes_everything_once_and_in_time(widths, density, seed):
    rng = np.random.default_rng(seed)
    weights = [(rng.random((out, size)) < density) * 1.0 for size, out in itertools.pairwise(widths)]
    wanted = list(range(0, widths[-1], 2))
    order = depth_first(weights, wanted)
    assert len(set(order)) == len(order)
    assert {unit for layer, unit in order if layer == len(weights) - 1} == set(wanted)
    for index, (layer, unit) in enumerate(order):
        if layer:
            assert {(layer - 1, int(s)) for s in np.flatnonzero(weights[layer][unit])} <= set(order[:index])


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_fewer_weights_never_cost_more(machine):
    """The estimate of the sparse kernels, and with it that of the cheapest, falls with every weight that goes."""
    layer = random_layer("random", 64, 64, 1.0, False, False, 0)
    order = np.random.default_rng(1).permutation(64 * 64)
    before: dict[str, float] = {}
    for live in (4096, 3000, 1500, 1024, 700, 400, 200, 50, 1):
        weight = layer.weight.copy().reshape(-1)
        weight[order[live:]] = 0
        _, choice = choose(dataclasses.replace(layer, weight=weight.reshape(64, 64)), machine, KERNELS)
        now = choice.cycles | {"cheapest": min(choice.cycles.values())}
        assert all(now[kernel] <= before[kernel] for kernel in now if kernel in before)
        before = now
    assert choice.kernel in SPARSE


def test_a_sparse_layer_that_stays_dense_says_so():
    layer = random_layer("random", 64, 64, 0.4, False, False, 0)
    _, choice = choose(layer, AVX512, KERNELS)
    assert choice.kernel.startswith("dense")
    assert "sparse, but the dense loop is cheaper on this machine" in str(choice)
    assert "sparse, but" not in str(choose(random_layer("full", 16, 16, 1.0, False, False, 0), AVX512, KERNELS)[1])


def test_small_sparse_layers_on_vector_machines_are_blocks_of_straight_line_code():
    """Never code that stores single numbers: the vector loop that reads them next would wait for the last one."""
    for machine in (NEON, AVX2, AVX512):
        for shape in ((64, 17), (64, 64), (6, 64)):
            _, choice = choose(random_layer("random", *shape, 0.05, False, False, 0), machine, KERNELS)
            assert machine is AVX512 or choice.kernel == "straight block"  # of sixteen outputs, one reads most inputs
            assert "straight" not in choice.cycles


def test_straight_line_code_has_a_limit():
    assert Straight().cost(random_layer("random", 300, 300, 0.1, False, False, 0), CORTEX_M4F) is None
    assert Straight().cost(random_layer("random", 64, 64, 0.05, False, False, 0), CORTEX_M4F) is not None
    assert Straight().cost(random_layer("random", 64, 64, 0.5, False, False, 0), CORTEX_M4F) is None


def alive(rows: int, columns: int, live: int, rng: np.random.Generator) -> np.ndarray:
    """So many weights that every row and every column has one."""
    mask = np.zeros((rows, columns), bool)
    longest = max(rows, columns)
    mask[np.arange(longest) % rows, rng.permutation(longest) % columns] = True
    free = np.flatnonzero(~mask)
    mask.reshape(-1)[rng.choice(free, live - int(mask.sum()), replace=False)] = True
    return (rng.normal(size=mask.shape) * mask).astype(np.float32)


def policy_of(weights: list[np.ndarray], activation: str, make_policy):
    """obs -> Linear, activation, …, Linear with these weights."""
    from pilotfish.policy.layers import Activation, Linear

    layers = []
    for index, weight in enumerate(weights):
        layers += [Activation(activation)] * bool(index) + [Linear(f"l{index}", weight.shape[1], len(weight))]
    policy = make_policy(layers, weights[0].shape[1], len(weights[-1]), 0, normalizer=False)
    tensors = dict(policy.weights) | {f"l{index}.weight": weight for index, weight in enumerate(weights)}
    return dataclasses.replace(policy, weights=tensors)


def on_board(policy, name: str, folder):
    """(the board with the policy's firmware, the manifest's fields)"""
    for module in ("onnx", "ziglang", "unicorn", "capstone", "elftools"):
        pytest.importorskip(module)
    from pilotfish.export.c import build
    from pilotfish.export.onnx import to_onnx
    from pilotfish.targets.profile import load_target
    from pilotfish.targets.virtual.board import VirtualBoard

    target = load_target(name)
    folder.mkdir()
    fields = build(policy, to_onnx(policy), target, folder)
    return VirtualBoard(folder / fields["entry"], target), fields


@pytest.mark.parametrize(
    ("lives", "most_cycles", "most_bytes", "faster"), [((75, 120, 83), 2300, 8600, 7), ((109, 410, 64), 4000, 16000, 4)]
)
def test_pruned_networks_cost_what_their_live_weights_cost(lives, most_cycles, most_bytes, faster, make_policy, tmp_path):
    """17-64-64-6 on a Cortex-M4F, every unit alive, 95 and 90 % sparse. By hand, the former took 2 414 cycles, 8 622 bytes."""
    from pilotfish.policy.reference import Reference

    rng, shapes = np.random.default_rng(0), ((64, 17), (64, 64), (6, 64))
    weights = [alive(*shape, live, rng) for shape, live in zip(shapes, lives, strict=True)]
    twin = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    policy = policy_of(weights, "relu", make_policy)
    board, fields = on_board(policy, "crazyflie", tmp_path / "sparse")
    dense, _ = on_board(policy_of(twin, "relu", make_policy), "crazyflie", tmp_path / "dense")
    observations = rng.normal(size=(4, 17)).astype(np.float32)
    cycles = board.profile(observations).cycles_typical.max()
    assert cycles <= most_cycles
    assert dense.profile(observations).cycles_typical.min() >= faster * cycles
    assert fields["sizes"]["flash"] <= most_bytes
    assert fields["tools"]["kernels"].count(": straight (") == 3
    reference = Reference(policy, np.float64)
    for obs in observations:
        assert np.abs(board.step(obs) - reference.act(obs)).max() <= 1e-5
    board.close()
    dense.close()


@pytest.mark.parametrize("name", ["crazyflie", "nucleo-g0b1re"])
def test_sparse_networks_on_boards_do_what_the_reference_does(name, make_policy, tmp_path):
    """Rows, blocks, straight-line code and a constant layer in one network."""
    from pilotfish.policy.reference import Reference

    rng = np.random.default_rng(3)
    blocks = np.kron(rng.random((6, 24)) < 0.3, np.ones((8, 1))) * rng.normal(size=(48, 24))
    weights = [
        (rng.normal(size=(24, 19)) * (rng.random((24, 19)) < 0.35)).astype(np.float32),
        blocks.astype(np.float32),
        alive(40, 48, 70, rng),
        (rng.normal(size=(5, 40)) * (np.arange(5) > 1)[:, None]).astype(np.float32),
    ]
    policy = policy_of(weights, "tanh", make_policy)
    board, fields = on_board(policy, name, tmp_path / "board")
    chosen = {
        text.partition(" weights: ")[2].split()[0] for text in fields["tools"]["kernels"].split("; ") if " weights: " in text
    }
    assert "straight" in chosen and len(chosen) > 1
    reference = Reference(policy, np.float64)
    for obs in rng.normal(size=(10, 19)).astype(np.float32):
        assert np.abs(board.step(obs) - reference.act(obs)).max() <= 1e-5
    board.close()
