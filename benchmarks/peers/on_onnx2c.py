"""onnx2c (github.com/kraiskil/onnx2c): C printed from the same ONNX file that our own generator reads."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx

from pilotfish.export.c.toolchain import CompileError, host_compiler

from .contestant import Contestant, Missing, NotOffered
from .native import compile_library, from_c
from .on_hand import FLAGS
from .subject import Subject


def versions() -> dict[str, str]:
    done = subprocess.run([_program(), "--version"], capture_output=True, text=True, check=False)
    said = (done.stdout or done.stderr).strip().splitlines()
    return {"onnx2c": said[0] if said else "unknown", "compiler": host_compiler().version, "flags": " ".join(FLAGS)}


def prepare(subject: Subject, scratch: Path) -> list[Contestant]:
    model = scratch / "policy.onnx"
    onnx.save(_with_split_sizes(onnx.load(str(subject.onnx))), str(model))
    done = subprocess.run([_program(), model], capture_output=True, text=True, timeout=120, check=False)
    entry = re.search(r"void entry\((.*?)\)\s*\{", done.stdout, re.DOTALL)
    if done.returncode or entry is None:
        raise NotOffered((done.stderr or done.stdout).strip()[-200:] or "onnx2c printed nothing")
    (scratch / "policy.c").write_text(done.stdout + _step(entry.group(1), subject))
    try:
        library = compile_library(scratch, "onnx2c", ["policy.c"], FLAGS)
    except CompileError as error:
        raise NotOffered(str(error).splitlines()[-1]) from error
    return [from_c("onnx2c", "entry(), with its state copied behind it", library.onnx2c_step, subject, scratch)]


def _step(parameters: str, subject: Subject) -> str:
    """onnx2c_step(obs, state, action) around ``entry``, which has one parameter per graph input and output, in their order."""
    arguments, ahead, behind = [], [], []
    starts = dict(zip((name for name, _ in subject.state), np.cumsum([0, *(s for _, s in subject.state)]), strict=False))
    for parameter in parameters.split(","):
        name = re.findall(r"(\w+)\[", parameter)[0]
        cast = "(void *)"
        if name.endswith("obs"):
            arguments.append(f"{cast}obs")
        elif name.endswith("action"):
            arguments.append(f"{cast}action")
        else:
            state, size = next((n, s) for n, s in subject.state if name.endswith(n))
            if "state_in_" in name:
                arguments.append(f"{cast}(state + {starts[state]})")
                continue
            ahead.append(f"  float next_{state}[{size}];")
            arguments.append(f"{cast}next_{state}")
            behind.append(f"  memcpy(state + {starts[state]}, next_{state}, sizeof next_{state});")
    lines = ["\nvoid onnx2c_step(const float *obs, float *state, float *action) {", "  (void)state;", *ahead]
    return "\n".join([*lines, f"  entry({', '.join(arguments)});", *behind, "}", ""])


def _with_split_sizes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Split nodes with their sizes written out (equal parts), because onnx2c asks for them."""
    inferred = onnx.shape_inference.infer_shapes(model)
    widths = {value.name: value.type.tensor_type.shape.dim[-1].dim_value for value in inferred.graph.value_info}
    for node in model.graph.node:
        if node.op_type == "Split" and len(node.input) == 1:
            size = widths[node.input[0]] // len(node.output)
            name = f"{node.name}_sizes"
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.full(len(node.output), size, np.int64), name))
            node.input.append(name)
    return model


def _program() -> str:
    found = shutil.which(os.environ.get("BENCH_ONNX2C") or "onnx2c")
    if found is None:
        raise Missing("the program onnx2c (say where with --onnx2c)")
    return found
