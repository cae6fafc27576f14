"""Build, check and time a policy on the device itself: `python3 kit.py`, offline, with nothing but numpy and TensorRT.

Builds the engine for the GPU that is here, replays the golden rollout against it and measures its latency; what was found lies
in results/ afterwards. A second run takes the engine that the first one built. Exit codes: 0 good, 1 the engine does not match
the golden rollout, 2 wrong device or damaged files, 3 no TensorRT or no GPU.

This file is copied into kits together with the three that it imports. It needs Python 3.8 or newer.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

if __package__:
    from ...runtime import cuda_driver, tensorrt_engine
    from . import compile as tensorrt_compile
else:
    import cuda_driver  # type: ignore[import-not-found,no-redef]
    import tensorrt_compile  # type: ignore[import-not-found,no-redef]
    import tensorrt_engine  # type: ignore[import-not-found,no-redef]

RESULTS = "results"
PLAN, CACHE, NOTES, REPORT = "policy.engine", "timing.cache", "engine.json", "kit.json"
WARM_UP = 300
GPU_SAMPLES = 1_000
PERCENTILES = (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))


class Failure(Exception):
    """Ends the program with ``code``."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def main(arguments: Any = None, folder: Any = None) -> int:
    """Run the kit in ``folder`` (default: where this file lies); returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=20_000, help="decisions that are timed; 0: none")
    parser.add_argument("--steps", type=int, default=0, help="steps of the golden rollout to compare; 0: all")
    parser.add_argument("--rebuild", action="store_true", help="build again, although an engine is there")
    parser.add_argument("--no-graph", action="store_true", help="do not record the decision as a CUDA graph")
    parser.add_argument("--copy", action="store_true", help="copy observation and action, although the recipe maps them")
    options = parser.parse_args(arguments)
    here = Path(folder) if folder else Path(__file__).resolve().parent
    try:
        report = run(here, options)
    except Failure as failure:
        print(f"kit: {failure}", file=sys.stderr)
        return failure.code
    print(json.dumps({key: report[key] for key in ("device", "build", "parity", "latency")}, indent=1))
    print(f"kit: {'parity holds' if report['passed'] else 'PARITY FAILED'}; the whole report: {here / RESULTS / REPORT}")
    return 0 if report["passed"] else 1


def run(here: Path, options: Any) -> dict:
    """Everything that the kit does; returns the report that it also writes."""
    recipe = checked_recipe(here)
    found = tensorrt_engine.load_flavour(recipe["flavours"])
    if found is None:
        raise Failure(3, "none of these is installed: {}".format(", ".join(recipe["flavours"])))
    flavour, trt = found
    try:
        driver = cuda_driver.Driver()
    except cuda_driver.NoDevice as error:
        raise Failure(3, str(error)) from error
    try:
        device = {
            **driver.describe(),
            "tensorrt": f"{flavour} {trt.__version__}",
            "system": platform.platform(),
            "python": platform.python_version(),
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017 Python 3.8
        }
        if driver.compute_capability != recipe["compute_capability"]:
            wanted, is_here = recipe["compute_capability"], driver.compute_capability
            raise Failure(2, f"this kit is for compute capability {wanted}, {driver.name} has {is_here}: export for it")
        plan, build = engine_plan(here, recipe, flavour, trt, options.rebuild)
        engine = tensorrt_engine.Engine(
            trt,
            driver,
            plan,
            io_of(recipe),
            graph=recipe["cuda_graph"] and not options.no_graph,
            mapped=recipe["mapped"] and not options.copy,
        )
        try:
            golden = dict(np.load(str(here / "golden.npz"), allow_pickle=False))
            failures, errors = parity(engine, golden, recipe, options.steps)
            latency = timed(engine, golden["obs"], options.calls) if options.calls else {}
            report = {
                "recipe": recipe["name"],
                "passed": not failures,
                "failures": failures,
                "parity": errors,
                "latency": latency,
                "transfers": "mapped" if recipe["mapped"] and not options.copy else "copied",
                "graph": engine.graph_note,
                "device": device,
                "build": build,
                "inspection": engine.inspection,
            }
        finally:
            engine.close()
    except (tensorrt_engine.EngineError, tensorrt_compile.CompileError, cuda_driver.CudaError) as error:
        raise Failure(2, str(error)) from error
    finally:
        driver.close()
    written(here / RESULTS / REPORT, json.dumps(report, indent=1).encode())
    return report


def checked_recipe(here: Path) -> dict:
    """recipe.json, if the files that it names are the ones that were exported."""
    recipe = json.loads((here / "recipe.json").read_text(encoding="utf-8"))
    for name, digest in sorted(recipe["sha256"].items()):
        path = here / name
        if not path.is_file():
            raise Failure(2, f"{path} is missing: copy the kit again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise Failure(2, f"{path} is damaged: copy the kit again")
    return dict(recipe)


def engine_plan(here: Path, recipe: dict, flavour: str, trt: Any, rebuild: bool) -> Any:
    """(the engine's bytes, notes on its build); taken from results/ where it was built from this very graph by this TensorRT."""
    results = here / RESULTS
    key = {
        "model": recipe["sha256"]["policy.onnx"],
        "tensorrt": f"{flavour} {trt.__version__}",
        "options": recipe["options"],
        "compute_capability": recipe["compute_capability"],
    }
    if not rebuild and (results / NOTES).is_file() and (results / PLAN).is_file():
        notes = json.loads((results / NOTES).read_text(encoding="utf-8"))
        plan = (results / PLAN).read_bytes()
        if notes["key"] == key and hashlib.sha256(plan).hexdigest() == notes["sha256"]:
            return plan, dict(notes, reused=True)
    # TensorRT-RTX is told what to build for; TensorRT knows the GPU that is here and no other.
    capability = recipe["compute_capability"] if tensorrt_compile.supports(trt, recipe["compute_capability"]) else ""
    cache = results / CACHE
    built = tensorrt_compile.compile_engine(
        trt,
        tensorrt_engine.logger_of(trt),
        (here / "policy.onnx").read_bytes(),
        dict(recipe["options"], compute_capability=capability),
        cache.read_bytes() if cache.is_file() else b"",
    )
    notes = {
        "key": key,
        "sha256": hashlib.sha256(built.plan).hexdigest(),
        "bytes": len(built.plan),
        "build_seconds": round(built.seconds, 3),
        "layers": list(built.layers),
    }
    written(results / PLAN, built.plan)
    if built.timing_cache:
        written(cache, built.timing_cache)
    written(results / "build.log", "\n".join(built.log).encode())
    written(results / NOTES, json.dumps(notes, indent=1).encode())
    return built.plan, dict(notes, reused=False)


def io_of(recipe: dict) -> Any:
    """What goes in and out, as the engine wants to know it."""
    tensor = tensorrt_engine.Tensor
    return tensorrt_engine.Io(
        tensor("obs", recipe["observation"], "float32"),
        tensor("action", *recipe["action"]),
        [tensor(name, size, "float32") for name, size in recipe["states"]],
    )


def parity(session: Any, golden: dict, recipe: dict, steps: int = 0) -> Any:
    """(reasons to fail, largest errors) of a session on the golden rollout, by the rules of the recipe.

    Every step from its recorded state; a recurrent policy also whole episodes on its own state. ``steps``: 0 for all.
    """
    count = min(steps, len(golden["obs"])) if steps > 0 else len(golden["obs"])
    failures, errors = [], {}
    for rule in recipe["rules"]:
        actions = replay(session, golden, count, rule["own_state"])
        wanted = golden["action"][:count].astype(np.float64)
        if not np.isfinite(actions).all():
            failures.append("{}: NaN or infinity in the action".format(rule["name"]))
            continue
        error = np.abs(actions - wanted)
        if recipe["discrete"]:
            different = [int(step) for step in np.flatnonzero(error[:, 0])]
            errors[rule["name"]] = {"agreement": 1 - len(different) / count, "steps": count}
            # Without a share that must agree, only choices whose logits tie may differ.
            mistakes = different if rule["share"] else [step for step in different if step not in rule["close_calls"]]
            if len(mistakes) > ((1 - rule["share"]) * count if rule["share"] else 0):
                failures.append("{}: {} of {} choices differ ({})".format(rule["name"], len(mistakes), count, rule["rule"]))
            continue
        errors[rule["name"]] = {"max_abs_error": float(error.max()), "mean_abs_error": float(error.mean()), "steps": count}
        if (error > np.asarray(rule["worst"])).any():
            failures.append("{}: off by up to {:.3g} ({})".format(rule["name"], float(error.max()), rule["rule"]))
        elif (error <= np.asarray(rule["typical"])).mean() < rule["share"]:
            failures.append("{}: too few entries are close ({})".format(rule["name"], rule["rule"]))
    return failures, errors


def replay(session: Any, golden: dict, count: int, own_state: bool) -> np.ndarray:
    """Actions float64 [count, values] of the session on the recorded observations."""
    actions = np.empty((count, golden["action"].shape[1]))
    stateful = golden["state"].shape[1] > 0
    for t in range(count):
        if golden["start"][t]:
            session.reset()
        if stateful and (not own_state or (t == 0 and not golden["start"][0])):
            session.state = golden["state"][t]
        actions[t] = session.act(golden["obs"][t])
    return actions


def timed(session: Any, observations: np.ndarray, calls: int) -> dict:
    """Latency in microseconds: host to host with transfers, and the time on the GPU alone."""
    rows, now = list(observations), time.perf_counter_ns
    session.reset()
    for k in range(min(WARM_UP, calls)):
        session.act(rows[k % len(rows)])
    taken = np.empty(calls)
    for k in range(calls):
        row = rows[k % len(rows)]
        begin = now()
        session.act(row)
        taken[k] = (now() - begin) / 1e3
    return {
        "host_to_host_us": summary(taken),
        "gpu_us": summary(session.gpu_us(min(calls, GPU_SAMPLES))),
        "note": "host to host: from the observation in host memory to the action in host memory, transfers and Python included; "
        "gpu: by events around recorded decisions, without transfers",
    }


def summary(taken: np.ndarray) -> dict:
    """Percentiles by rank (a value that occurred), the worst and the number of samples."""
    ordered = np.sort(taken)
    found = {name: round(float(ordered[min(len(ordered) - 1, int(np.ceil(q * len(ordered))) - 1)]), 3) for name, q in PERCENTILES}
    return dict(found, worst=round(float(ordered[-1]), 3), samples=len(ordered))


def written(path: Path, data: bytes) -> None:
    """Write a file whole: beside it, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name("." + path.name + ".new")
    beside.write_bytes(data)
    os.replace(str(beside), str(path))


if __name__ == "__main__":
    sys.exit(main())
