"""TensorRT, whichever flavour loads: an engine for the GPU that is here, run with page-locked buffers and a CUDA graph."""

from __future__ import annotations

from collections.abc import Iterator

from pilotfish.export.tensorrt.compile import CompileError, compile_engine, supports
from pilotfish.runtime.cuda_driver import CudaError, Driver, NoDevice
from pilotfish.runtime.tensorrt_engine import Engine, EngineError, Io, Tensor, load_flavour, logger_of

from .batched import onnx_of
from .contestant import Contestant, Refusal, Workload

OPTIONS = {"workspace_bytes": 1 << 30, "optimization_level": None, "tf32": False}


def make(workload: Workload, device: str) -> Iterator[Contestant | Refusal]:
    if device != "cuda":
        yield Refusal("TensorRT", "needs a GPU")
        return
    found = False
    for flavour in ("tensorrt", "tensorrt_rtx"):
        loaded = load_flavour([flavour])
        if loaded is None:
            continue
        found, trt = True, loaded[1]
        label = f"{'TensorRT-RTX' if flavour == 'tensorrt_rtx' else 'TensorRT'} {trt.__version__}, fp32"
        try:
            driver = Driver()
            # TensorRT-RTX is told the chip where it knows it; where not, it is asked for the one at hand, and answers itself.
            rtx = flavour == "tensorrt_rtx"
            chip = driver.compute_capability if rtx and supports(trt, driver.compute_capability) else ""
            options = OPTIONS | {"compute_capability": chip, "measures": not rtx}
            graph = onnx_of(workload.policy, workload.batch).SerializeToString()
            compiled = compile_engine(trt, logger_of(trt), graph, options)
            engine = Engine(trt, driver, compiled.plan, _io(workload))
        except (CompileError, EngineError, CudaError, NoDevice) as error:
            yield Refusal(label, str(error))  # its exact words
            continue
        notes = {flavour: trt.__version__, "build_s": compiled.seconds, "how": engine.graph_note}
        shape = (workload.batch, workload.policy.contract.action.size)

        def close(engine: Engine = engine, driver: Driver = driver) -> None:
            engine.close()
            driver.close()

        yield Contestant(
            label,
            lambda values, engine=engine, shape=shape: engine.act(values.reshape(-1)).reshape(shape),
            engine.reset,
            close,
            engine.gpu_us,
            notes=notes,
        )
    if not found:
        yield Refusal("TensorRT", "no flavour is installed (tensorrt, tensorrt_rtx)")


def _io(workload: Workload) -> Io:
    contract = workload.policy.contract
    return Io(
        Tensor("obs", contract.observation.size, "float32"),
        Tensor("action", contract.action.size, "float32"),
        [Tensor(name, size, "float32") for name, size in workload.state_sizes],
        workload.batch,
    )
