"""ONNX -> TensorRT engine, with whichever flavour of TensorRT is at hand; the precision is what the graph says.

`tensorrt_rtx` compiles for a compute capability that it is told, and needs no GPU for that; `tensorrt` times kernels on the GPU
that is here, and knows no other. Networks are strongly typed in all of them (the only kind that TensorRT 11 has).

This file is copied into kits that run where only Python 3.8, numpy and TensorRT are: it imports nothing of Pilotfish.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

LAYERS = "Layers:\n"
"""How the builder's list of layers begins in its log."""


class CompileError(RuntimeError):
    """TensorRT did not parse or build the graph; the message holds its own words."""


class Compiled(NamedTuple):
    """What came out."""

    plan: bytes
    """The engine file."""
    timing_cache: bytes
    """Measurements that make the next build short and its choices the same; empty where the flavour measures nothing."""
    layers: tuple
    """The engine's layers as the builder names them, one line each; empty where its log does not list them."""
    tensors: dict
    """Inputs and outputs of the network: name -> {"input": bool, "shape": [...], "dtype": str}."""
    log: tuple
    """Lines of the build log, from severity INFO up."""
    seconds: float
    """Time that building took, parsing not included."""


def supports(trt: Any, compute_capability: str) -> bool:
    """True where ``trt`` builds for that compute capability ("8.9") without such a GPU."""
    return hasattr(trt, "ComputeCapability") and hasattr(trt.ComputeCapability, _member(compute_capability))


def compile_engine(trt: Any, logger: Any, model: bytes, options: dict, timing_cache: bytes = b"") -> Compiled:
    """Build ``model`` (a serialized ONNX graph). ``logger``: the process's own, see tensorrt_engine.logger_of.

    ``options``: compute_capability, "" for the GPU that is here; workspace_bytes; optimization_level 0 to 5 or None;
    tf32; measures: kernels are timed and the cache of that is kept (default: where the GPU is here; TensorRT-RTX never does).
    Raises CompileError.
    """
    first = len(logger.lines)
    builder = trt.Builder(logger)
    if errors := _errors(logger.lines[first:]):
        # With a driver too old for it, TensorRT returns an empty object that crashes when it is used.
        raise CompileError(errors)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        mistakes = [parser.get_error(index) for index in range(parser.num_errors)]
        raise CompileError("; ".join(f"{m.node_name() or 'graph'}: {m.desc()}" for m in mistakes) or "no reason given")
    config = builder.create_builder_config()
    _configure(trt, config, options)
    measures = options.get("measures", not options["compute_capability"])
    if measures:
        # A cache of another version or GPU is not an error: TensorRT then starts from an empty one.
        cache = config.create_timing_cache(timing_cache) or config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    begin = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    seconds = time.perf_counter() - begin
    lines = logger.lines[first:]
    if plan is None:
        raise CompileError(_errors(lines) or "no reason given")
    listed = [text[len(LAYERS) :] for severity, text in lines if text.startswith(LAYERS)]
    return Compiled(
        bytes(plan),
        bytes(config.get_timing_cache().serialize()) if measures else b"",
        tuple(line for line in listed[-1].splitlines() if line.startswith("Name: ")) if listed else (),
        {t.name: _described(trt, t, into) for t, into in _ends(network)},
        tuple(f"{severity}: {text}" for severity, text in lines if severity != "VERBOSE"),
        seconds,
    )


def _configure(trt: Any, config: Any, options: dict) -> None:
    if options["compute_capability"]:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, _member(options["compute_capability"])), 0)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options["workspace_bytes"])
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.max_aux_streams = 0  # a policy's layers follow each other; more streams would only add waiting
    if options["optimization_level"] is not None:
        config.builder_optimization_level = options["optimization_level"]
    if not options["tf32"]:
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default, and it rounds float32 products to 10 bits of mantissa


def _errors(lines: Any) -> str:
    return "; ".join(text for severity, text in lines if severity in ("ERROR", "INTERNAL_ERROR"))


def _member(compute_capability: str) -> str:
    return "SM" + compute_capability.replace(".", "")


def _ends(network: Any) -> list:
    return [(network.get_input(i), True) for i in range(network.num_inputs)] + [
        (network.get_output(i), False) for i in range(network.num_outputs)
    ]


def _described(trt: Any, tensor: Any, into: bool) -> dict:
    return {"input": into, "shape": [int(size) for size in tensor.shape], "dtype": str(trt.nptype(tensor.dtype).__name__)}
