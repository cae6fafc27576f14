"""Open an ONNX Runtime session on exactly one execution provider, or refuse: never a silent fall-back to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import BadInput, MissingTool, Unreachable, require
from ..targets.onnxruntime import PACKAGES, PROVIDERS, Provider

_PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"
"""The module that carries the TensorRT-RTX provider as a plug-in library."""


def open_graph(graph: bytes, provider: Provider, where: Path, *, optimized: bool = False) -> Any:
    """An InferenceSession whose nodes all run on ``provider``, on one thread.

    ``optimized``: the graph was optimized when it was exported, so nothing is done to it now.
    Raises MissingTool where ONNX Runtime lacks the provider, Unreachable where there is no device for it, and BadInput
    where the graph does not load, or where a part of it would run on another provider.
    """
    ort = require("onnxruntime", "ort")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_DISABLE_ALL if optimized else levels.ORT_ENABLE_ALL
    options.log_severity_level = 3
    # Measured with onnxruntime 1.31 on an x86 without VNNI: the rewriting of quantize/dequantize pairs into integer
    # kernels moves actions by up to 190 int8 steps (their 8-bit products saturate in 16 bits), and turns float32 weights
    # between quantized activations into int8. Without it the graph means what it says; up to width 256 it is as fast.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    for pool in ("intra_op", "inter_op"):
        options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
    name = PROVIDERS[provider]
    if provider == "cpu":
        providers: list[str] | None = [name]
    else:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        providers = _attach(ort, options, provider)
    try:
        session = ort.InferenceSession(graph, options, providers=providers)
    except Exception as error:
        raise BadInput(
            where, expected=f"a graph that ONNX Runtime loads on {name} alone", found=str(error).partition("\n")[0]
        ) from error
    session.disable_fallback()
    running = session.get_providers()
    if running[:1] != [name]:  # ONNX Runtime warns and goes on when a provider's libraries do not load
        raise Unreachable(f"{name} did not start (ONNX Runtime would use {', '.join(running)}): is its GPU driver there?")
    return session


def _attach(ort: Any, options: Any, provider: Provider) -> list[str] | None:
    """Put an accelerator into the options; returns the list of providers, None where the options hold them."""
    name = PROVIDERS[provider]
    if provider != "nv_tensorrt_rtx":
        if name not in ort.get_available_providers():
            raise MissingTool(
                f"ONNX Runtime {ort.__version__} has no {name} (it has {', '.join(ort.get_available_providers())});"
                f" install {PACKAGES[provider]}"
            )
        return [name]
    try:
        plugin = __import__(_PLUGIN)
    except ModuleNotFoundError as error:
        raise MissingTool(f"{name} is not installed; run: pip install {PACKAGES[provider]}") from error
    if name not in {device.ep_name for device in ort.get_ep_devices()}:
        try:
            ort.register_execution_provider_library(_PLUGIN, plugin.get_library_path())
        except Exception as error:
            raise Unreachable(f"{name} does not load: {str(error).partition(chr(10))[0]}") from error
    devices = [device for device in ort.get_ep_devices() if device.ep_name == name]
    if not devices:
        raise Unreachable(f"{name} finds no NVIDIA GPU that it supports")
    options.add_provider_for_devices(devices[:1], {})
    return None
