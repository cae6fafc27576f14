"""export/onnxruntime: the ONNX file as it is; ONNX Runtime optimizes it when the session opens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import require
from ...policy.bundle import Policy
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
    """Write policy.onnx into ``folder`` and return the manifest fields; the file runs on any machine."""
    onnx = require("onnx", "export")
    data = model.SerializeToString(deterministic=True)
    (folder / "policy.onnx").write_bytes(data)
    (folder / "README.txt").write_text(_readme(policy, model), encoding="utf-8")
    return {
        "target": target,
        "backend": "onnxruntime",
        "precision": policy.precision,
        "entry": "policy.onnx",
        "native": False,
        "machine": "any",
        "tools": {"onnx": onnx.__version__, "opset": str(model.opset_import[0].version)},
        "sizes": {"weights": policy.weight_bytes, "file": len(data)},
    }
