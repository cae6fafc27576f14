"""export/onnxruntime: the ONNX file as it is, and beside it what ONNX Runtime's optimizer makes of it, to open it faster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import Unsupported, require
from ...policy.bundle import Policy
from ...runtime.onnxruntime_session import OPTIMIZED
from ...targets.profile import Target

if TYPE_CHECKING:
    import onnx


_README = """policy.onnx: the whole policy {name}, normalizer and action transform inside; batch 1, opset {opset}.

Inputs:  {inputs}
Outputs: {outputs}
Feed every state_out back as the state_in of the next decision; zeros start an episode.
{int8}"""
_INT8 = """
int8: open the session with session.disable_quant_qdq = 1. On x86 processors without VNNI, ONNX Runtime's default
rewriting into integer kernels changes the actions:

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
"""


def _readme(policy: Policy, model: onnx.ModelProto) -> str:
    """How to use the file without Pilotfish, and what goes silently wrong if one does not know."""

    def words(values: Any) -> str:
        return ", ".join(f"{v.name} [{', '.join(str(d.dim_value) for d in v.type.tensor_type.shape.dim)}]" for v in values)

    return _README.format(
        name=policy.name,
        opset=model.opset_import[0].version,
        inputs=words(model.graph.input),
        outputs=words(model.graph.output),
        int8=_INT8 if policy.precision == "int8" else "",
    )


def build(policy: Policy, model: onnx.ModelProto, target: Target, folder: Path) -> dict[str, Any]:
    """Write policy.onnx into ``folder`` and return the manifest fields; the file runs on any machine.

    optimized.onnx is made for the provider "cpu": it opens several times as fast, and only the very ONNX Runtime that
    wrote it (``tools["onnxruntime"]``) gets it.
    """
    onnx = require("onnx", "export")
    data = model.SerializeToString(deterministic=True)
    (folder / "policy.onnx").write_bytes(data)
    tools = {"onnx": onnx.__version__, "opset": str(model.opset_import[0].version)}
    if target.onnxruntime is None or target.onnxruntime.provider == "cpu":
        tools["onnxruntime"] = _optimize(data, folder / OPTIMIZED)
    (folder / "README.txt").write_text(_readme(policy, model), encoding="utf-8")
    return {
        "target": target,
        "backend": "onnxruntime",
        "precision": policy.precision,
        "entry": "policy.onnx",
        "native": False,
        "machine": "any",
        "tools": tools,
        "sizes": {"weights": policy.tensor_bytes, "file": len(data)},
    }


def _optimize(data: bytes, path: Path) -> str:
    """Write what the optimizer makes of the graph on any processor; returns ONNX Runtime's version."""
    ort = require("onnxruntime", "ort")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise Unsupported(path.name, expected="a graph that ONNX Runtime loads", found=str(error).partition("\n")[0]) from error
    return str(ort.__version__)
