"""export/onnxruntime: the ONNX file as it is; ONNX Runtime optimizes it when the session opens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import require
from ...policy.bundle import Policy
from ...targets.profile import Target

if TYPE_CHECKING:
    import onnx


def build(policy: Policy, model: onnx.ModelProto, target: Target, folder: Path) -> dict[str, Any]:
    """Write policy.onnx into ``folder`` and return the manifest fields; the file runs on any machine."""
    onnx = require("onnx", "export")
    data = model.SerializeToString(deterministic=True)
    (folder / "policy.onnx").write_bytes(data)
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
