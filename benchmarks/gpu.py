"""What a decision costs on this machine's GPU, from host memory to host memory, for 1, 64 and 4096 rows at once.

    python benchmarks/gpu.py [--policies MLP,GRU] [--batches 1,64,4096] [--peers torch,onnxruntime,tensorrt,tvm]
                             [--rounds 20] [--fly P.policy] [--json FILE] [--markdown FILE] [--device cuda]

Needs the checkout with ``pilotfish[export,train]`` and what of torch (CUDA), onnxruntime-gpu,
onnxruntime-ep-nv-tensorrt-rtx-cu13, tensorrt-rtx-cu13-{libs,bindings} or tensorrt, and apache-tvm is to be compared; what is
absent or refuses the chip is listed in its own words. Every contestant is first held against the float64 reference, a whole
sequence with its state; then all are timed in turns, one block each a round. ``--fly`` plays paired episodes of a policy with
every contestant in the loop. ``--device cpu`` tries the script without a GPU; those figures mean nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from gpu_flight import fly
from gpu_peers import PEERS
from gpu_peers.contestant import Contestant, Refusal, Workload

from pilotfish.policy.bundle import Policy
from pilotfish.policy.cells import GRU
from pilotfish.policy.contract import Action, Contract, Observation
from pilotfish.policy.layers import Activation, Layer, Linear, state_of, tensor_shapes
from pilotfish.policy.reference import Reference

POLICIES: dict[str, tuple[Layer, ...]] = {
    "17-64-64-6 tanh": (Linear("a", 17, 64), Activation("tanh"), Linear("b", 64, 64), Activation("tanh"), Linear("c", 64, 6)),
    "376-256-256-17 relu": (
        *(Linear("a", 376, 256), Activation("relu"), Linear("b", 256, 256), Activation("relu"), Linear("c", 256, 17)),
    ),
    "GRU 48→64→12": (GRU("cell", 48, 64), Linear("head", 64, 12)),
}
CHECKED_STEPS, CHECKED_ROWS = 12, 8
BOUND = 1e-5
"""Of the largest action, float32 against float64; 16-bit contestants get 1e-2."""
BLOCK_SECONDS = 0.05
GPU_SAMPLES = 200


@dataclass
class Row:
    """One contestant on one workload."""

    workload: str
    batch: int
    label: str
    deviation: float
    right: bool
    notes: dict[str, Any]
    calls_us: list[float] = field(default_factory=list)
    medians_us: list[float] = field(default_factory=list)
    gpu_p50_us: float | None = None

    def percentile(self, share: float) -> float | None:
        """Microseconds; None where too few calls lie beyond it."""
        if len(self.calls_us) * (1 - share) < 10:
            return None
        return float(np.quantile(self.calls_us, share))


def drawn(name: str, layers: tuple[Layer, ...]) -> Policy:
    """Random weights: they cost what trained ones cost."""
    rng = np.random.default_rng(0)
    weights = {
        tensor: (rng.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)
        for layer in layers
        for tensor, (shape, _) in tensor_shapes(layer).items()
    }
    sizes = [layer for layer in layers if isinstance(layer, Linear | GRU)]
    outputs = [layer for layer in layers if isinstance(layer, Linear)][-1].out_size
    contract = Contract(Observation(sizes[0].in_size), Action("continuous", outputs), state=state_of(layers))
    return Policy(name, contract, layers, weights)


def deviation(contestant: Contestant, workload: Workload) -> float:
    """Largest difference from the float64 reference, in units of the largest action, over a sequence from a reset."""
    rng = np.random.default_rng(1)
    obs = rng.normal(size=(CHECKED_STEPS, workload.batch, workload.policy.contract.observation.size)).astype(np.float32)
    contestant.reset()
    got = np.array([contestant.act(step)[:CHECKED_ROWS].copy() for step in obs])
    references = [Reference(workload.policy, np.float64) for _ in range(min(CHECKED_ROWS, workload.batch))]
    wanted = np.array([[one.act(step[row]) for row, one in enumerate(references)] for step in obs])
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def contestants(workload: Workload, options: argparse.Namespace, absent: dict[str, str]) -> Iterator[Contestant]:
    for name in options.peers:
        try:
            module = importlib.import_module(f"gpu_peers.on_{name}")
        except ImportError as error:
            absent[name] = f"not installed: {error}"
            continue
        for made in module.make(workload, options.device):
            if isinstance(made, Refusal):
                absent[f"{made.label}, {workload.name}, batch {workload.batch}"] = made.words
            else:
                yield made


def measure(workload: Workload, options: argparse.Namespace, absent: dict[str, str]) -> list[Row]:
    """Check, then time in turns."""
    rows: list[tuple[Row, Contestant]] = []
    for one in contestants(workload, options, absent):
        error = deviation(one, workload)
        right = error <= (BOUND if one.exact else 1e-2)
        rows.append((Row(workload.name, workload.batch, one.label, error, right, one.notes), one))
        print(f"  {one.label}: deviation {error:.1e}{'' if right else ', WRONG, not timed'}", file=sys.stderr, flush=True)
    obs = np.random.default_rng(2).normal(size=(16, workload.batch, workload.policy.contract.observation.size)).astype(np.float32)
    for index in range(-2, options.rounds):
        turn = index % max(1, len(rows))
        for row, one in rows[turn:] + rows[:turn]:
            if row.right:
                times = _block(one, obs)
                if index >= 0:
                    row.calls_us += times
                    row.medians_us.append(float(np.median(times)))
    for row, one in rows:
        if row.right and one.gpu_us is not None:
            row.gpu_p50_us = float(np.median(one.gpu_us(GPU_SAMPLES)))
        one.close()
    return [row for row, _ in rows]


def _block(one: Contestant, obs: np.ndarray) -> list[float]:
    times, began = [], time.perf_counter()
    while time.perf_counter() - began < BLOCK_SECONDS or len(times) < 5:
        values = obs[len(times) % len(obs)]
        start = time.perf_counter_ns()
        one.act(values)
        times.append((time.perf_counter_ns() - start) / 1e3)
    return times


def device_facts(device: str) -> dict[str, str]:
    """Names and versions of the GPU and its driver, in nvidia-smi's words."""
    facts = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "python": platform.python_version()}
    if device == "cuda":
        query = "name,driver_version,compute_cap,clocks.sm,clocks.max.sm,power.limit"
        if shutil.which("nvidia-smi"):
            command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            facts["gpu"] = f"{query}: {done.stdout.strip() or done.stderr.strip()}"
        else:
            facts["gpu"] = "nvidia-smi is not here"
    return facts


def markdown(rows: list[Row], facts: dict[str, str], absent: dict[str, str], flights: list[dict[str, Any]]) -> str:
    """The result page's tables."""
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    for title in dict.fromkeys((row.workload, row.batch) for row in rows):
        here = [row for row in rows if (row.workload, row.batch) == title]
        base = next((row for row in here if row.label == "torch eager" and row.medians_us), None)
        lines += ["", f"### {title[0]}, batch {title[1]}", ""]
        lines += ["| contestant | p50 µs | p99 | p99.9 | GPU alone p50 | of torch eager [quartiles] | deviation | calls |"]
        lines += ["|---|---|---|---|---|---|---|---|"]
        for row in sorted(here, key=lambda row: row.percentile(0.5) or float("inf")):
            cells = [_us(row.percentile(share)) for share in (0.5, 0.99, 0.999)] + [_us(row.gpu_p50_us)]
            ratio = _ratio(row, base)
            lines.append(f"| {row.label} | {' | '.join(cells)} | {ratio} | {row.deviation:.0e} | {len(row.calls_us):,} |")
    if flights:
        lines += [
            "",
            "### Return, paired seeds",
            "",
            "| contestant | return | reference | difference [95 %] | episodes |",
            "|---|---|---|---|---|",
        ]
        lines += [
            "| {label} | {mean:,.1f} | {reference:,.1f} | {difference} | {episodes} |".format(**flight) for flight in flights
        ]
    if absent:
        lines += ["", "### Not measured", ""] + [f"- {what}: {why}" for what, why in absent.items()]
    return "\n".join(lines) + "\n"


def _us(value: float | None) -> str:
    return "—" if value is None else f"{value:.3g}"


def _ratio(row: Row, base: Row | None) -> str:
    if base is None or not row.medians_us:
        return "—"
    low, mid, high = np.quantile(np.array(row.medians_us) / np.array(base.medians_us), [0.25, 0.5, 0.75])
    return f"{mid:.3g} [{low:.2g}, {high:.2g}]"


def main(arguments: list[str] | None = None) -> int:
    """Run it; 1 where a contestant is wrong, 3 where nothing could be measured."""
    options = _options(arguments)
    rows: list[Row] = []
    absent: dict[str, str] = {}
    for name in options.policies:
        policy = drawn(name.split(" ")[0], POLICIES[name])
        for batch in options.batches:
            print(f"{name}, batch {batch}", file=sys.stderr, flush=True)
            rows += measure(Workload(name, policy, batch), options, absent)
    flights = []
    if options.fly:
        workload = Workload(options.fly.stem, Policy.load(options.fly), 1)
        flights = [fly(one, workload.policy, options.episodes) for one in contestants(workload, options, absent)]
    facts = device_facts(options.device)
    text = markdown(rows, facts, absent, flights)
    print(text)
    if options.json:
        options.json.write_text(
            json.dumps({"facts": facts, "absent": absent, "flights": flights, "rows": [asdict(r) for r in rows]})
        )
    if options.markdown:
        options.markdown.write_text(text)
    if not any(row.right for row in rows):
        print("nothing was measured: is there a GPU? The reasons stand above", file=sys.stderr)
        return 3
    return 0 if all(row.right for row in rows) else 1


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--policies", type=_among(POLICIES), default=list(POLICIES), help=f"of: {', '.join(POLICIES)} (a part of the name)"
    )
    parser.add_argument("--batches", type=lambda text: [int(part) for part in text.split(",")], default=[1, 64, 4096])
    parser.add_argument("--peers", type=_among(PEERS), default=list(PEERS), help=f"of: {', '.join(PEERS)}")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--fly", type=Path, help="a policy bundle to fly in the environment it was trained in")
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    return parser.parse_args(arguments)


def _among(known: Any) -> Any:
    def read(text: str) -> list[str]:
        found = [name for part in text.split(",") for name in known if part.strip().lower() in name.lower()]
        if not found:
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(known)}, found {text!r}")
        return list(dict.fromkeys(found))

    return read


if __name__ == "__main__":
    sys.exit(main())
