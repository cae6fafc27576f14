"""A policy as any runtime can read it: a folder of numpy arrays, a list of layers and an ONNX file. Needs numpy alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROWS = 64
"""Observations of a subject; the timed calls go round them."""


@dataclass(frozen=True, eq=False)
class Subject:
    """One policy of the benchmark."""

    name: str
    """Its letter, such as "A"."""
    title: str
    """Its shape in words."""
    folder: Path
    """Holds subject.json, arrays.npz, policy.onnx and the bundle subject.policy."""
    layers: tuple[dict[str, Any], ...]
    """The layers as in the bundle's policy.json, in order of data flow."""
    weights: dict[str, np.ndarray]
    """Tensors by full name; float32, or int8 with a float32 ``NAME_scale`` per row."""
    state: tuple[tuple[str, int], ...]
    """Recurrent tensors: (name, size)."""
    observations: np.ndarray
    """float32 [ROWS, n]."""
    expected: np.ndarray
    """float64 [ROWS, m]: what the float64 reference answers to them in order, from a reset."""
    tolerance: float
    """Largest deviation from ``expected`` that counts as right."""
    float_twin: str = ""
    """Of an int8 subject: the float32 subject it was made from, for runtimes that quantize by their own tools."""

    @property
    def onnx(self) -> Path:
        """The policy as ONNX, opset 17, cells written out."""
        return self.folder / "policy.onnx"

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(observation, state, action) values."""
        return self.observations.shape[1], sum(size for _, size in self.state), self.expected.shape[1]

    def matrix(self, name: str) -> np.ndarray:
        """A tensor as float32, dequantized if it is int8."""
        value = self.weights[name]
        scale = self.weights.get(f"{name}_scale")
        return value if scale is None else value.astype(np.float32) * scale[:, None]

    def twin(self) -> Subject:
        """The float32 subject behind an int8 one."""
        return Subject.load(self.folder.parent / self.float_twin)

    @property
    def quantized(self) -> bool:
        """True where activations are rounded to int8."""
        return any(layer["kind"] == "quantize" for layer in self.layers)

    @property
    def density(self) -> float:
        """Share of the matrix entries that are not zero."""
        matrices = [value for value in self.weights.values() if value.ndim == 2]
        return sum(int(np.count_nonzero(m)) for m in matrices) / sum(m.size for m in matrices)

    def save(self) -> None:
        """Write subject.json and arrays.npz into ``folder``."""
        fields = ("name", "title", "layers", "state", "tolerance", "float_twin")
        (self.folder / "subject.json").write_text(json.dumps({field: getattr(self, field) for field in fields}, indent=1))
        arrays: dict[str, Any] = {f"w:{name}": value for name, value in self.weights.items()}
        arrays |= {"observations": self.observations, "expected": self.expected}
        np.savez(self.folder / "arrays.npz", **arrays)

    @staticmethod
    def load(folder: Path) -> Subject:
        """Read what :meth:`save` wrote."""
        fields = json.loads((folder / "subject.json").read_text())
        with np.load(folder / "arrays.npz", allow_pickle=False) as data:
            weights = {key[2:]: data[key] for key in data.files if key.startswith("w:")}
            observations, expected = data["observations"], data["expected"]
        return Subject(
            name=fields["name"],
            title=fields["title"],
            folder=folder,
            layers=tuple(fields["layers"]),
            weights=weights,
            state=tuple((name, size) for name, size in fields["state"]),
            observations=observations,
            expected=expected,
            tolerance=fields["tolerance"],
            float_twin=fields["float_twin"],
        )
