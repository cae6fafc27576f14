"""export/tvm: ONNX graph -> one function by TVM -> a library or firmware that runs without TVM."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import Unsupported, require
from ...policy.bundle import Policy
from ...targets.profile import Target
from .glue import CONSTANTS, glue_files
from .library import compile_kernels, link_firmware, link_library, tool_versions
from .network import kernels_of
from .processor import processor_for
from .program import one_function
from .schedule import Scheduled, scheduled
from .tuning import database_folder, fastest, searched

if TYPE_CHECKING:
    import onnx

__all__ = ["build"]


def build(policy: Policy, model: onnx.ModelProto, target: Target, folder: Path) -> dict[str, Any]:
    """Write library and sources into ``folder``; returns the back-end's fields of the manifest.

    ``sizes`` in bytes: weights (constants), arena (intermediate results), library; flash and ram for a virtual board.
    Raises Unsupported for an operator or target that TVM does not take, MissingTool without TVM or a linker.
    """
    require("tvm", "tvm")
    if target.link.kind not in ("local", "virtual"):
        raise Unsupported(f"target {target.name}, link", expected="local or virtual", found=target.link.kind)
    processor = processor_for(target)
    how: dict[str, str] = {}

    trials = target.tvm.tune_trials if target.tvm else 0
    module = kernels_of(model)
    found = searched(module, processor, trials) if trials else {}

    def choose(name: Any, function: Any, constant: tuple[bool, ...]) -> Scheduled:
        if trials:
            kernel = fastest(function, found.get(name.name_hint), processor, constant)
        else:
            kernel = scheduled(function, processor.vector_floats, constant)
        how[name.name_hint] = kernel.how
        return kernel

    program = one_function(module, choose)
    compile_kernels(program, processor, folder)
    for name, data in glue_files(policy, program).items():
        (folder / name).write_bytes(data)
    virtual = target.link.kind == "virtual"
    sizes = {"weights": (folder / CONSTANTS).stat().st_size, "arena": program.workspace_bytes}
    if virtual:
        tools, measured = link_firmware(folder, target)
        sizes |= measured
    else:
        tools = link_library(folder, processor)
        sizes["library"] = (folder / "policy.so").stat().st_size
    if trials:
        # What was found goes with the artifact: a database of TVM's, two files of one JSON value a line.
        shutil.copytree(database_folder(processor), folder / "tuning", ignore=shutil.ignore_patterns("logs"))
    tools |= tool_versions() | {"target": str(processor.llvm), "schedule": "; ".join(f"{k}: {v}" for k, v in how.items())}
    tools["tune_trials"] = str(trials)
    return {
        "target": target,
        "backend": "tvm",
        "precision": policy.precision,
        "entry": "firmware.elf" if virtual else "policy.so",
        "native": not virtual,
        "machine": "any" if virtual else processor.machine,
        "tools": tools,
        "sizes": sizes,
    }
