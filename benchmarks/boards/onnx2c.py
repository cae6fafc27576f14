"""onnx2c (github.com/kraiskil/onnx2c): C printed from the same ONNX file that our own generator reads."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from pilotfish.errors import BadInput
from pilotfish.export.onnx import to_onnx

from .foreign import Foreign
from .networks import Mlp
from .rational_tanh import TANHF


def program(mlp: Mlp, executable: Path) -> Foreign:
    """What the program onnx2c makes of a float32 network."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "policy.onnx"
        model.write_bytes(to_onnx(mlp.policy()).SerializeToString())
        done = subprocess.run([executable, model], capture_output=True, text=True, timeout=60, check=False)
    entry = re.search(r"void entry\(const float (\w+)\[1\]\[\d+\], float (\w+)\[1\]\[\d+\]\)", done.stdout)
    if done.returncode or entry is None:
        said = (done.stderr or done.stdout).strip()[-200:]
        raise BadInput(executable, expected="C with one entry(observation, action)", found=said or "nothing")
    call = f"""
void foreign_step(const float *obs, float *state, float *action);
void foreign_step(const float *obs, float *state, float *action) {{
  (void)state;
  entry((const float (*)[{mlp.sizes[0]}])obs, (float (*)[{mlp.sizes[-1]}])action);
}}
{TANHF}"""
    return Foreign({"onnx2c.c": done.stdout + call}, mlp.sizes[0], mlp.sizes[-1], c_standard="gnu99")
