"""Is the generator's choice ever worse than the plain one? Whole sparse policies on this computer, against dense code.

    python benchmarks/kernel_networks.py [--widths 16,64,256] [--densities 0.02,0.1,0.6]

Every policy is 17-W-W-6 with random weights, no unit dead, generated twice: as the generator chooses, and with every
layer dense. Rounds are interleaved; figures are lower quartiles (other work on the machine only ever adds time).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pilotfish.export.c.graph import Graph, Node
from pilotfish.export.c.header import Header
from pilotfish.export.c.kernels import KERNELS, DenseLayer
from pilotfish.export.c.machine import machine_for, width_flags
from pilotfish.export.c.operators import chain, dense
from pilotfish.export.c.source import Source, generate
from pilotfish.export.c.toolchain import BASE_FLAGS, checked_flags, host_compiler
from pilotfish.targets.profile import load_target

OBS, ACTIONS = 17, 6
TIMER = """
#include "policy.h"
#include <time.h>
double seconds(const float *obs, float *state, policy_action_t *action, int n);
double seconds(const float *obs, float *state, policy_action_t *action, int n) {
  struct timespec a, b;
  clock_gettime(CLOCK_MONOTONIC, &a);
  for (int i = 0; i < n; ++i) {
    policy_step(obs, state, action);
    __asm__ volatile("" : : : "memory");
  }
  clock_gettime(CLOCK_MONOTONIC, &b);
  return (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
}
"""


def network(width: int, density: float, activation: str) -> Graph:
    """obs -> dense, activation, dense, activation, dense -> action."""
    rng = np.random.default_rng(0)
    sizes = (OBS, width, width, ACTIONS)
    values, nodes, last = {"obs": OBS}, [], "obs"
    for index, (columns, rows) in enumerate(itertools.pairwise(sizes)):
        mask = np.zeros((rows, columns), bool)
        longest = max(rows, columns)
        mask[np.arange(longest) % rows, rng.permutation(longest) % columns] = True
        more = max(0, round(density * mask.size) - int(mask.sum()))
        mask.reshape(-1)[rng.permutation(np.flatnonzero(~mask))[:more]] = True
        weight = rng.normal(size=mask.shape) * mask / np.sqrt(1 + mask.sum(1, keepdims=True))
        layer = DenseLayer(f"w{index}", weight.astype(np.float32), None, np.full(rows, 0.1, np.float32))
        out = f"sum{index}" if rows != ACTIONS or columns != width else "action"
        nodes.append(Node("Dense", out, (last,), (out,), {"layer": layer}))
        values[out] = rows
        if out != "action":
            last = f"h{index}"
            nodes.append(Node(activation, last, (out,), (last,)))
            values[last] = rows
    return Graph({"obs": OBS}, {"action": ACTIONS}, nodes, values, {})


@contextlib.contextmanager
def only(kernels: tuple) -> Iterator[None]:
    """The generator knows no other kernels."""
    modules = (dense, chain)
    try:
        for module in modules:
            module.KERNELS = kernels
        yield
    finally:
        for module in modules:
            module.KERNELS = KERNELS


def measure(sources: list[Source], rounds: int = 25) -> np.ndarray:
    """Microseconds of each: lower quartiles of interleaved rounds of about a millisecond."""
    target, compiler = load_target("host-cpu"), host_compiler()
    flags = [flag.replace("-std=c99", "-std=gnu99") for flag in (*BASE_FLAGS, *checked_flags(target))]
    flags += width_flags(compiler, list(checked_flags(target)))
    with tempfile.TemporaryDirectory() as name:
        libraries = []
        for index, source in enumerate(sources):
            folder = Path(name) / str(index)
            folder.mkdir()
            for each, text in (source.files | {"timer.c": TIMER}).items():
                (folder / each).write_text(text)
            compiler.run([*flags, "-fPIC", "-shared", "policy.c", "timer.c", "-o", "f.so"], folder)
            libraries.append(ctypes.CDLL(str(folder / "f.so")))
            libraries[-1].seconds.restype = ctypes.c_double
        buffers = [np.random.default_rng(1).normal(size=64).astype(np.float32) for _ in range(3)]
        pointers = [buffer.ctypes.data_as(ctypes.c_void_p) for buffer in buffers]
        calls = [max(10, int(1e-3 * 50 / (library.seconds(*pointers, 50) + 1e-9))) for library in libraries]
        times = [[lib.seconds(*pointers, n) / n for lib, n in zip(libraries, calls, strict=True)] for _ in range(rounds)]
    return 1e6 * np.percentile(times, 25, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", default="16,32,64,128,256,512")
    parser.add_argument("--densities", default="0.02,0.05,0.1,0.2,0.35,0.6")
    parser.add_argument("--activations", default="Tanh,Relu")
    options = parser.parse_args()
    machine = machine_for(load_target("host-cpu"))
    plain = tuple(kernel for kernel in KERNELS if kernel.name in ("constant", "dense", "dense vector"))
    ratios: list[float] = []
    for activation in options.activations.split(","):
        for width in map(int, options.widths.split(",")):
            for density in map(float, options.densities.split(",")):
                graph = network(width, density, activation)
                chosen = generate(graph, machine, Header("chosen"))
                with only(plain):
                    dense_code = generate(graph, machine, Header("dense"))
                ours, theirs = measure([chosen, dense_code])
                same = all(choice.kernel in ("dense", "dense vector") for choice in chosen.choices)
                ratios += [] if same else [ours / theirs]
                kernels = ", ".join(choice.kernel for choice in chosen.choices)
                note = "(the same code)" if same else ""
                print(
                    f"{OBS}-{width}-{width}-{ACTIONS} {activation}, {density:.0%} live: {ours:.3f} µs, dense {theirs:.3f} µs, "
                    f"ratio {ours / theirs:.2f} {note} {kernels}",
                    flush=True,
                )
    print(f"{len(ratios)} policies with sparse code: {min(ratios):.2f} to {max(ratios):.2f} times the time of dense code")


if __name__ == "__main__":
    main()
