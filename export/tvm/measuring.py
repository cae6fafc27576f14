"""MetaSchedule's builder and runner in this very process.

TVM's own start worker processes, each of which imports TVM again (and torch, where it is installed) and gives up after 30 s:
beside a busy trainer none of them ever builds anything. Kernels of a policy compile in 50 ms and run in microseconds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import require

REPEATS, REPEAT_MS = 3, 4
"""Timings of one candidate, and the least duration of each."""


def builder_and_runner() -> tuple[Any, Any]:
    """What ``tune_relax`` takes as ``builder`` and ``runner``; built modules are handed over in memory."""
    tvm = require("tvm", "tvm")
    tuner = require("tvm.s_tir.meta_schedule", "tvm")
    derived = require("tvm.ir.utils", "tvm").derived_object
    drive = require("tvm.driver", "tvm").build
    built: dict[str, Any] = {}

    @derived
    class Here(tuner.builder.PyBuilder):  # type: ignore[name-defined] # mypy follows no module in a variable
        def build(self, build_inputs: list[Any]) -> list[Any]:
            results = []
            for item in build_inputs:
                name = f"candidate{len(built)}"
                try:
                    built[name] = drive(item.mod, target=item.target)
                    results.append(tuner.builder.BuilderResult(name, None))
                except Exception as error:  # noqa: BLE001 a schedule that does not compile is one to throw away
                    results.append(tuner.builder.BuilderResult(None, str(error)[:500]))
            return results

    @derived
    class Finished(tuner.runner.PyRunnerFuture):  # type: ignore[name-defined]
        def __init__(self, result: Any) -> None:
            super().__init__()
            self.outcome = result

        def done(self) -> bool:
            return True

        def result(self) -> Any:
            return self.outcome

    @derived
    class Timer(tuner.runner.PyRunner):  # type: ignore[name-defined]
        def run(self, runner_inputs: list[Any]) -> list[Any]:
            return [Finished(self.timed(item)) for item in runner_inputs]

        def timed(self, item: Any) -> Any:
            # Popped: a search of hundreds of candidates keeps no machine code that it is done with.
            module = built.pop(str(item.artifact_path))
            generator = np.random.default_rng(0)
            try:
                arguments = [
                    tvm.runtime.tensor(generator.normal(size=[int(n) for n in info.shape]).astype(str(info.dtype)))
                    for info in item.args_info
                ]
                timer = module.time_evaluator(module.entry_name, tvm.cpu(), number=10, repeat=REPEATS, min_repeat_ms=REPEAT_MS)
                return tuner.runner.RunnerResult([float(seconds) for seconds in timer(*arguments).results], None)
            except Exception as error:  # noqa: BLE001 nor is one that does not run
                return tuner.runner.RunnerResult(None, str(error)[:500])

    return Here(), Timer()
