"""Many generated programs in one C file: <immintrin.h> and a compiler's start cost more than a small policy."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

OURS = re.compile(r"\b(?:policy|POLICY|k)_(?=\w)")
Act = Callable[[np.ndarray], np.ndarray]


def renamed(text: str, index: int) -> str:
    """Every name of ours gets a number, so that programs can stand side by side."""
    lines = text.splitlines(keepends=True)  # those of weights, by far the longest, hold no names
    return "".join(OURS.sub(lambda name: f"{name[0][:-1]}{index}_", line) if "_" in line else line for line in lines)


def one_text(files: dict[str, str]) -> str:
    """policy.h and policy.c of a program as one text."""
    return files["policy.h"] + files["policy.c"].replace('#include "policy.h"', "")


def loaded_together(compiler: str, flags: Sequence[str], sources: Sequence[Any], folder: Path) -> list[Act]:
    """obs [n] -> action [m] of each of these generated programs, its state carried from call to call; one library holds all."""
    texts = [renamed(one_text(source.files), index) for index, source in enumerate(sources)]
    (folder / "all.c").write_text("\n".join(texts))
    subprocess.run([compiler, *flags, "-fPIC", "-shared", "all.c", "-o", "all.so"], cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "all.so"))
    return [_act(library, index, source) for index, source in enumerate(sources)]


def _act(library: ctypes.CDLL, index: int, source: Any) -> Act:
    state = np.zeros(max(1, source.state), np.float32)
    getattr(library, f"policy{index}_reset")(state.ctypes.data_as(ctypes.c_void_p))
    step = getattr(library, f"policy{index}_step")

    def act(obs: np.ndarray) -> np.ndarray:
        row, action = np.ascontiguousarray(obs, np.float32), np.zeros(source.count, np.int32 if source.discrete else np.float32)
        step(*(array.ctypes.data_as(ctypes.c_void_p) for array in (row, state, action)))
        return action

    return act
