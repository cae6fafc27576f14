"""How well the estimates behind the choice of kernels fit: every kernel on a grid of shapes and densities, measured.

    python benchmarks/kernel_costs.py crazyflie nucleo-g0b1re host-cpu [--fit] [--int8] [-o costs.json]

On virtual boards: typical cycles (instructions, where the board has no cycle table) of a policy of one layer, less those of
the same policy without the layer. On this
computer: medians of interleaved rounds, in cycles of a dependent addition. Says how far the estimates are off, how
often the chosen kernel is the fastest, and what the choice costs where it is not; ``--fit`` prints the coefficients
that would fit best (relative least squares).
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from string import Template

import numpy as np

from pilotfish.export.c.firmware import build_firmware, memory_map
from pilotfish.export.c.functions import definitions
from pilotfish.export.c.graph import Graph, Node
from pilotfish.export.c.header import Header
from pilotfish.export.c.kernels import KERNELS, DenseLayer, Kernel
from pilotfish.export.c.kernels.block import best_width, entries
from pilotfish.export.c.kernels.straight import Straight, max_live
from pilotfish.export.c.machine import Machine, machine_for
from pilotfish.export.c.memory import plan
from pilotfish.export.c.operators import dense
from pilotfish.export.c.operators.operator import Scope
from pilotfish.export.c.source import _table, generate, template
from pilotfish.export.c.toolchain import BASE_FLAGS, checked_flags, host_compiler
from pilotfish.targets.profile import Target, load_target

SHAPES = ((16, 16), (64, 17), (64, 64), (6, 64), (32, 128), (256, 256), (512, 512))
"""(outputs, inputs)"""
DENSITIES = (0.03, 0.1, 0.25, 0.6, 1.0)
MOST, MOST_SMALL, MOST_SOFT = 1 << 18, 1 << 14, 2048
"""Most weights of a layer: on computers, on boards (more does not fit), and where every operation is a call (emulating
more takes minutes)."""
PATTERNS = ("random", "blocks")
"""Single weights anywhere, and blocks of 8 outputs that live or die together."""


@dataclasses.dataclass(frozen=True)
class Forced:
    """A kernel that is always the cheapest."""

    kernel: Kernel | None
    """None: no code at all, for what a call costs without the layer."""
    name: str = "forced"

    def cost(self, layer: DenseLayer, machine: Machine) -> float:
        del layer, machine
        return 0.0

    def table_bytes(self, layer: DenseLayer, machine: Machine) -> int:
        del layer, machine
        return 0

    def print(self, layer: DenseLayer, scope: Scope) -> list[str]:
        return self.kernel.print(layer, scope) if self.kernel else ["(void)x; (void)y;"]


def make_layer(rows: int, columns: int, density: float, pattern: str, int8: bool, seed: int = 0) -> DenseLayer:
    """A layer with exactly that share of live weights (of live blocks)."""
    rng = np.random.default_rng(seed)
    high = 8 if pattern == "blocks" else 1
    cells = np.zeros((-(-rows // high), columns), bool)
    live = max(1, round(density * cells.size))
    cells.reshape(-1)[rng.permutation(cells.size)[:live]] = True
    mask = np.repeat(cells, high, 0)[:rows]
    bias = rng.normal(size=rows).astype(np.float32)
    if int8:
        weight = rng.integers(1, 128, (rows, columns)).astype(np.int8) * mask
        return DenseLayer("w", weight, rng.uniform(0.001, 0.01, rows).astype(np.float32), bias)
    return DenseLayer("w", (rng.normal(size=(rows, columns)) * mask).astype(np.float32), None, bias)


def candidates(layer: DenseLayer, machine: Machine) -> list[Kernel]:
    """Kernels that could do it; straight-line code also above its limit of density."""
    able = [kernel for kernel in KERNELS if kernel.cost(layer, machine) is not None]
    if (
        not machine.vectors
        and layer.density <= 0.5
        and layer.live <= max_live(machine)
        and not any(k.name == "straight" for k in able)
    ):
        able.append(Straight())
    return able


def on_board(layer: DenseLayer, kernels: list[Kernel], target: Target, machine: Machine) -> list[tuple[float, int]]:
    """(typical cycles, bytes of flash) of every kernel, less those of a policy without the layer."""
    results = []
    for kernel in (None, *kernels):
        rows, columns = layer.weight.shape
        node = Node("Dense", "layer", ("obs",), ("action",), {"layer": layer})
        graph = Graph({"obs": columns}, {"action": rows}, [node], {"obs": columns, "action": rows}, {})
        held, dense.KERNELS = dense.KERNELS, (Forced(kernel),)
        try:
            files = dict(generate(graph, machine, Header("calibration")).files)
        finally:
            dense.KERNELS = held
        results.append(_profile(files, target, columns))
    return [(cycles - results[0][0], flash - results[0][1]) for cycles, flash in results[1:]]


def _profile(files: dict[str, str], target: Target, columns: int) -> tuple[float, int]:
    from pilotfish.targets.virtual.board import VirtualBoard

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files |= {each: template(each) for each in ("harness.c", "startup.c")}
        files["link.ld"] = Template(template("link.ld.in")).substitute(memory_map(target))
        for each, text in files.items():
            (folder / each).write_text(text)
        build_firmware(folder, target)
        board = VirtualBoard(folder / "firmware.elf", target)
        profile = board.profile(np.random.default_rng(1).normal(size=(2, columns)).astype(np.float32))
        flash = board.flash_bytes
        board.close()
    # No published cycle table: instructions, which is what such boards report.
    return float((profile.instructions if profile.cycles_typical is None else profile.cycles_typical).mean()), flash


TIMER = """
#include <time.h>
typedef void (*layer_function)(const float *, float *);
double seconds(layer_function f, const float *x, float *y, int n) {
  struct timespec a, b;
  clock_gettime(CLOCK_MONOTONIC, &a);
  for (int i = 0; i < n; ++i) f(x, y);
  clock_gettime(CLOCK_MONOTONIC, &b);
  return (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
}
void additions(const float *x, float *y) {
  long s = (long)x[0];
  for (int i = 0; i < 1000; ++i) {
    s += 1;
    __asm__ volatile("" : "+r"(s));
  }
  y[0] = (float)s;
}
"""


def on_host(
    layer: DenseLayer, kernels: list[Kernel], target: Target, machine: Machine, rounds: int = 31
) -> list[tuple[float, int]]:
    """(cycles, bytes of tables) of every kernel: medians over interleaved rounds."""
    scope = Scope(Graph({}, {}, [], {}, {}), plan({}, [], {}, []), machine, {})
    bodies = ["\n".join(kernel.print(layer, scope)) for kernel in kernels]
    text = "#include <stdint.h>\n#include <stddef.h>\n#define POLICY_ALIGNED __attribute__((aligned(64)))\n"
    text += definitions(scope.math, machine.accuracy, machine.vector_floats)
    text += "\n".join(_table(name, array, "") for name, (array, _) in scope.tables.items())
    for index, body in enumerate(bodies):
        text += f"void f{index}(const float *x, float *y) {{\n{body}\n}}\n"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "f.c").write_text(text + TIMER)
        flags = [flag for flag in BASE_FLAGS if flag != "-std=c99"]
        host_compiler().run([*flags, *checked_flags(target), "-fPIC", "-shared", "f.c", "-o", "f.so"], folder)
        library = ctypes.CDLL(str(folder / "f.so"))
        library.seconds.restype = ctypes.c_double
        x = np.random.default_rng(1).normal(size=layer.columns + 64).astype(np.float32)
        y = np.zeros(layer.rows + 128, np.float32)
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (x, y)]
        calls = max(20, 400_000 // max(layer.weight.size, 64))
        times = np.zeros((rounds, len(kernels) + 1))
        for each in times:
            for index in range(len(kernels)):
                each[index] = library.seconds(getattr(library, f"f{index}"), *pointers, calls) / calls
            each[-1] = library.seconds(library.additions, *pointers, 20) / 20 / 1000
        cycles = np.median(times[:, :-1] / times[:, -1:], axis=0)
    return [(float(c), kernel.table_bytes(layer, machine)) for c, kernel in zip(cycles, kernels, strict=True)]


def features(kernel: str, layer: DenseLayer, machine: Machine) -> list[float]:
    """What a kernel's cycles grow with."""
    if kernel == "block":
        width = best_width(layer, machine)
        used, blocks = entries(layer, width, machine)
        return [used, used * width, blocks]
    if kernel == "straight block":
        used, blocks = entries(layer, machine.vector_floats, machine)
        return [used, blocks, 1.0]
    if kernel in ("csr", "straight"):
        return [layer.live, layer.rows, 1.0]
    padded = -(-layer.rows // machine.vector_floats)
    return [padded * layer.columns, layer.rows, 1.0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=["crazyflie"])
    parser.add_argument("--fit", action="store_true", help="print the coefficients that fit best")
    parser.add_argument("--int8", action="store_true", help="int8 weights with float activations")
    parser.add_argument("-o", "--output", type=Path, help="write every measurement as JSON")
    options = parser.parse_args()
    everything = []
    for name in options.targets:
        target = load_target(name)
        machine = machine_for(target)
        measure = on_host if target.link.kind == "local" else on_board
        rows: list[dict] = []
        for shape in SHAPES:
            most = MOST if machine.vectors else MOST_SMALL if machine.fpu else MOST_SOFT
            if shape[0] * shape[1] > most:
                continue
            for pattern in PATTERNS:
                for density in DENSITIES:
                    if pattern == "blocks" and density == 1.0:
                        continue
                    layer = make_layer(*shape, density, pattern, options.int8)
                    kernels = candidates(layer, machine)
                    for kernel, (cycles, size) in zip(kernels, measure(layer, kernels, target, machine), strict=True):
                        rows.append(
                            {"target": name, "shape": shape, "pattern": pattern, "density": density, "live": layer.live}
                            | {"kernel": kernel.name, "measured": cycles, "bytes": size}
                            | {"estimate": kernel.cost(layer, machine), "features": features(kernel.name, layer, machine)}
                        )
                    print(_line(rows, shape, pattern, density), flush=True)
        report(name, rows, options.fit)
        everything += rows
    if options.output:
        options.output.write_text(json.dumps(everything, indent=1))


def _line(rows: list[dict], shape: tuple[int, int], pattern: str, density: float) -> str:
    case = [r for r in rows if (r["shape"], r["pattern"], r["density"]) == (shape, pattern, density)]
    cells = ", ".join(
        f"{r['kernel']} {r['measured']:,.0f} ({'-' if r['estimate'] is None else format(r['estimate'], ',.0f')})" for r in case
    )
    return f"{shape[0]:>4} x {shape[1]:<4} {pattern:>7} {density:4.0%}  measured (estimated): {cells}"


def report(name: str, rows: list[dict], fit: bool) -> None:
    """Residuals of the estimates, and how good the choices are."""
    print(f"\n{name}")
    known = [r for r in rows if r["estimate"] is not None]
    for kernel in dict.fromkeys(r["kernel"] for r in known):
        ratio = np.array([r["estimate"] / max(r["measured"], 1.0) for r in known if r["kernel"] == kernel])
        low, median, high = np.percentile(ratio, [10, 50, 90])
        print(f"  {kernel}: estimate / measured, median {median:.2f}, 80 % within {low:.2f} to {high:.2f} ({len(ratio)} layers)")
        if fit:
            chosen = [r for r in rows if r["kernel"] == kernel]
            measured = np.array([max(r["measured"], 1.0) for r in chosen])
            matrix = np.array([r["features"] for r in chosen], float) / measured[:, None]
            found = np.linalg.lstsq(matrix, np.ones(len(chosen)), rcond=None)[0]
            print(f"    fit: {', '.join(f'{c:.3g}' for c in found)}")
    cases: dict[tuple, list[dict]] = {}
    for row in known:
        cases.setdefault((row["shape"], row["pattern"], row["density"]), []).append(row)
    losses = []
    for case in cases.values():
        picked = min(case, key=lambda r: r["estimate"])
        losses.append(max(picked["measured"], 1.0) / max(min(r["measured"] for r in case), 1.0))
    right = sum(loss < 1.005 for loss in losses)
    print(
        f"  the choice is the fastest in {right} of {len(losses)} layers; it costs {np.mean(losses) - 1:.1%} on average, "
        f"{max(losses) - 1:.0%} at worst"
    )


if __name__ == "__main__":
    sys.exit(main())
