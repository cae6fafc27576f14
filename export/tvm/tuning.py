"""``--tune-trials``: MetaSchedule searches schedules on this machine, and each kernel gets the fastest that was found.

The records lie in one database per processor and TVM version, in the user's own folder, keyed by the kernel's structure:
an equal kernel of another policy starts from them, and an interrupted search goes on where it was.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ...errors import MissingTool, Unsupported, require
from ...runtime.trust import state_folder
from .measuring import builder_and_runner
from .processor import Processor
from .program import kernel_functions
from .schedule import Scheduled, scheduled

ROUND = 64
"""Trials between two looks at the progress; what an interrupt loses at most."""
FFI_THAT_CRASHES = "0.1.15.post2"
"""apache-tvm 0.27.0.post1 ends in a segmentation fault inside MetaSchedule with it, and works with 0.1.14.post1 (measured)."""
CANDIDATES = ((2, 8), (4, 4), (4, 8), (8, 1), (8, 8))
"""(vectors, chains) of the batch-1 schedule that compete with MetaSchedule's best."""
ROUNDS, CALLS = 9, 500
"""Timings of one candidate, taken in turns with the others, and calls in each."""


def searched(module: Any, processor: Processor, trials: int) -> Mapping[str, Any]:
    """Kernel name -> its best PrimFunc after ``trials`` trials over all kernels, earlier ones counted.

    Raises Unsupported where the processor is not this machine's (its schedules cannot be timed here), MissingTool where
    MetaSchedule lacks a package or would crash.
    """
    if not processor.is_this_machine:
        raise Unsupported(
            "--tune-trials", expected="a target whose processor is this machine's, to time schedules on", found=processor.machine
        )
    _check_packages()
    tuner = require("tvm.s_tir.meta_schedule", "tvm")
    with _quick_stacks():
        require("tvm.s_tir.tensor_intrin", "tvm")
    # Its tables go to files beside the database, and nowhere else.
    logging.getLogger("tvm.s_tir.meta_schedule.logging").propagate = False
    logging.getLogger("tvm.s_tir.meta_schedule").setLevel(logging.ERROR)
    folder = database_folder(processor)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = tuner.database.JSONDatabase(work_dir=str(folder))
    builder, runner = builder_and_runner()
    with processor.llvm:
        done = _records(tuner, database, module, processor)
        with _bar(done, trials) as (progress, task):
            while done < trials:
                # Every round goes on from the database: its best schedules are the next generation's parents.
                tuner.relax_integration.tune_relax(
                    module,
                    {},
                    processor.llvm,
                    str(folder),
                    max_trials_global=min(ROUND, trials - done),
                    num_trials_per_iter=16,
                    database=database,
                    space=_space(tuner),
                    cost_model=cost_model(),
                    builder=builder,
                    runner=runner,
                    # Not "default": that removes the folder of every candidate, and ours have none.
                    measure_callbacks=[tuner.measure_callback.AddToDatabase(), tuner.measure_callback.UpdateCostModel()],
                    seed=done,
                )
                found = _records(tuner, database, module, processor)
                if found <= done:
                    break  # the search has nothing left to try: small kernels have few schedules
                done = found
                progress.update(task, completed=min(done, trials))
        with database:
            best = require("tvm.relax", "tvm").transform.MetaScheduleApplyDatabase()(module)
    scheduled_by_it = {
        name.name_hint: function
        for name, function in kernel_functions(best).items()
        if function.attrs is not None and "tirx.is_scheduled" in function.attrs
    }
    return {name: function for name, function in scheduled_by_it.items() if not _is_parallel(function)}


def cost_model() -> Literal["xgb", "random"]:
    """What picks the candidates worth timing: XGBoost where it is installed, else chance."""
    return "xgb" if importlib.util.find_spec("xgboost") else "random"


def database_folder(processor: Processor) -> Path:
    """Where the records of this processor and TVM version lie."""
    key = hashlib.sha256(f"{processor.llvm} {version('apache-tvm')}".encode()).hexdigest()[:16]
    return state_folder() / "tvm" / key


def fastest(function: Any, found: Any, processor: Processor, constant: tuple[bool, ...]) -> Scheduled:
    """The fastest of MetaSchedule's best ``found`` (None: it has none) and of the batch-1 schedules, timed here in turns."""
    options = [scheduled(function, processor.vector_floats, constant, vectors=v, chains=c) for v, c in CANDIDATES]
    unique: dict[str, Scheduled] = {option.how: option for option in options}
    if found is not None:
        unique["MetaSchedule"] = Scheduled(found.without_attr("tirx.is_scheduled"), None, "MetaSchedule")
    if len(unique) == 1:
        return options[0]
    timers = {how: _timer(option.function, processor) for how, option in unique.items()}
    taken: dict[str, list[float]] = {how: [] for how in unique}
    for _ in range(ROUNDS):
        for how, timer in timers.items():
            taken[how].append(timer())
    median = {how: float(np.median(values)) for how, values in taken.items()}
    best = min(median, key=lambda how: median[how])
    chosen = unique[best]
    return Scheduled(chosen.function, chosen.packing, f"{best} ({median[best] * 1e6:.2f} us, best of {len(unique)})")


def _timer(function: Any, processor: Processor) -> Any:
    """A call that returns the seconds of one run of ``function``, on random tensors."""
    tvm = require("tvm", "tvm")
    built = tvm.tirx.build(tvm.IRModule({"main": function.with_attr("global_symbol", "main")}), target=processor.llvm)
    generator = np.random.default_rng(0)
    tensors = []
    for buffer in function.params:
        values = generator.normal(size=tuple(int(size) for size in buffer.shape))
        tensors.append(tvm.runtime.tensor(values.astype(str(buffer.dtype))))
    evaluate = built.time_evaluator("main", tvm.cpu(), number=CALLS, repeat=1)
    return lambda: evaluate(*tensors).mean


@contextmanager
def _quick_stacks() -> Iterator[None]:
    """Let TVM ask for the call stack without reading the source of all callers.

    MetaSchedule imports some 400 kernels for tensor cores, and each asks inspect.stack(), which looks through every loaded
    module for every frame: 71 s of processor time where torch is installed, 4 s this way (measured, TVM 0.27).
    """

    def stack(context: int = 1) -> list[inspect.FrameInfo]:  # noqa: ARG001 as inspect.stack
        found: list[inspect.FrameInfo] = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            found.append(inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None))
            frame = frame.f_back
        return found

    slow = inspect.stack
    inspect.stack = stack
    try:
        yield
    finally:
        inspect.stack = slow


def _check_packages() -> None:
    for name in ("psutil", "cloudpickle"):
        require(name, "tvm")
    found = version("apache-tvm-ffi")
    if found == FFI_THAT_CRASHES and version("apache-tvm").startswith("0.27."):
        raise MissingTool(
            f"MetaSchedule crashes with apache-tvm-ffi {found}; run: pip install apache-tvm-ffi==0.1.14.post1, "
            "or export without --tune-trials"
        )


def _records(tuner: Any, database: Any, module: Any, processor: Processor) -> int:
    """How many trials the database holds for the kernels of ``module``."""
    tasks = tuner.relax_integration.extract_tasks(module, processor.llvm, {})
    total = 0
    for task in tasks:
        workload = task.dispatched[0]
        if database.has_workload(workload):
            total += len(database.get_top_k(database.commit_workload(workload), 1_000_000))
    return total


def _space(tuner: Any) -> Any:
    """TVM's search space for processors, without threads: the control loop has one core, and one row fills no second."""
    rules, after, change = tuner.schedule_rule, tuner.postproc, tuner.mutator
    tiling = rules.MultiLevelTiling(
        structure="SSRSRS",
        max_innermost_factor=64,
        reuse_write=rules.ReuseType(req="may", levels=[1, 2], scope="global"),
    )
    return tuner.space_generator.PostOrderApply(
        sch_rules=[
            rules.InlineConstantScalars(),
            rules.AutoInline(
                into_producer=False,
                into_consumer=True,
                inline_const_tensor=True,
                disallow_if_then_else=True,
                require_injective=True,
                require_ordered=True,
            ),
            rules.AddRFactor(max_jobs_per_core=16, max_innermost_factor=64),
            tiling,
            rules.ParallelizeVectorizeUnroll(
                max_jobs_per_core=-1, max_vectorize_extent=64, unroll_max_steps=[0, 16, 64, 512], unroll_explicit=True
            ),
            rules.RandomComputeLocation(),
        ],
        postprocs=[after.DisallowDynamicLoop(), after.RewriteParallelVectorizeUnroll(), after.RewriteReductionBlock()],
        mutator_probs={change.MutateTileSize(): 0.9, change.MutateComputeLocation(): 0.05, change.MutateUnroll(): 0.05},
    )


def _is_parallel(function: Any) -> bool:
    """Does it start threads? Such a record came from elsewhere: this search makes none, and the library has no threads."""
    return "T.parallel(" in function.script()


class _bar:
    """A progress bar on standard error where somebody watches."""

    def __init__(self, done: int, total: int) -> None:
        watched = sys.stderr.isatty() or bool(os.environ.get("PILOTFISH_PROGRESS"))
        columns = (TextColumn("[bold]tune"), BarColumn(), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), disable=not watched, transient=True)
        self._task = self._progress.add_task("tune", total=total, completed=min(done, total))

    def __enter__(self) -> tuple[Progress, Any]:
        self._progress.start()
        return self._progress, self._task

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
