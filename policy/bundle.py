"""The policy and its bundle, NAME.policy/: policy.json, weights.safetensors, golden.npz, all hashed."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from .. import sealed
from ..errors import BadInput
from .contract import Contract
from .golden import Golden
from .layers import LAYERS, Layers, Weights, matrix_bits, state_of
from .soundness import check_network

SCHEMA_VERSION = 1
MAX_WEIGHT_BYTES = 1 << 30
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
_CONTRACT: TypeAdapter[Contract] = TypeAdapter(Contract)


@dataclass(frozen=True, eq=False)
class Policy:
    """A network with its contract; immutable: a pass returns a new one."""

    name: str
    """Short file-name-safe name."""
    contract: Contract
    """What it expects and promises."""
    layers: Layers
    """The network, from the normalized observation to y (before the action transform)."""
    weights: Weights
    """Tensors by name; see :mod:`pilotfish.policy.layers`."""
    golden: Golden | None = None
    """A recorded rollout of this very policy."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            # Names become file names: one that leads elsewhere must not even exist.
            raise BadInput(
                "policy name",
                expected="1 to 120 letters, digits, '.', '_' or '-', starting with a letter or digit",
                found=repr(self.name[:60]),
                repair="Choose another name",
            )
        check_network(self.name, self.layers, self.weights, self.contract.observation.size, self.contract.action.size)
        if self.contract.state != state_of(self.layers):
            object.__setattr__(self, "contract", dataclasses.replace(self.contract, state=state_of(self.layers)))

    @property
    def parameters(self) -> int:
        """How many numbers the network has, zeros included, quantization scales excluded."""
        return sum(t.size for n, t in self.weights.items() if not n.endswith("_scale"))

    @property
    def nonzero_parameters(self) -> int:
        """How many of them are not zero."""
        return sum(int(np.count_nonzero(t)) for n, t in self.weights.items() if not n.endswith("_scale"))

    @property
    def weight_bytes(self) -> int:
        """Bytes of all tensors as a device may store them, scales included: weights of fewer than 8 bits packed without gaps.

        The C back-end packs them on processors without vector registers; every other back-end stores ``tensor_bytes``.
        """
        bits = {name: bits for layer in self.layers for name, bits in matrix_bits(layer).items()}
        return sum(-(-t.size * min(bits.get(name, 32), 8 * t.itemsize) // 8) for name, t in self.weights.items())

    @property
    def tensor_bytes(self) -> int:
        """Bytes of all tensors as the bundle and ONNX hold them: weights of 8 bits and fewer in a byte each."""
        return sum(t.nbytes for t in self.weights.values())

    @property
    def precision(self) -> str:
        """The arithmetic that it needs: "int8" if any weight is an integer, of 8 bits or fewer, else "fp32"."""
        return "int8" if any(getattr(layer, "weight_bits", 32) <= 8 for layer in self.layers) else "fp32"

    @cached_property
    def digest(self) -> str:
        """sha256 over contract, layers and weights: what the policy computes and where it comes from."""
        state = hashlib.sha256(sealed.canonical_json(self._description()).encode())
        for name in sorted(self.weights):
            tensor = np.ascontiguousarray(self.weights[name])
            state.update(f"{name} {tensor.dtype.str} {tensor.shape}".encode() + tensor.tobytes())
        return state.hexdigest()

    def replace(self, **changes: Any) -> Policy:
        """A copy with other fields."""
        return dataclasses.replace(self, **changes)

    def _description(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "contract": _CONTRACT.dump_python(self.contract, mode="json"),
            "layers": LAYERS.dump_python(self.layers, mode="json"),
        }

    def _weight_bytes(self) -> bytes:
        return save({name: np.ascontiguousarray(self.weights[name]) for name in sorted(self.weights)})

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bundle to ``path`` (a folder, conventionally NAME.policy) in one piece."""
        target = Path(path)
        with sealed.replacing_folder(target) as folder:
            (folder / "weights.safetensors").write_bytes(self._weight_bytes())
            if self.golden is not None:
                (folder / "golden.npz").write_bytes(self.golden.to_bytes())
            description = self._description() | {"files": sealed.manifest(folder), "digest": self.digest}
            (folder / "policy.json").write_text(sealed.canonical_json(description), encoding="utf-8")
        return target

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Policy:
        """Read a bundle, checking hashes, schema, shapes and finiteness; executes nothing from it."""
        folder = Path(path)
        sealed.recover_folder(folder)
        if not folder.is_dir():
            raise BadInput(
                folder,
                expected="a policy bundle (a folder such as NAME.policy)",
                found="a file" if folder.exists() else "nothing there",
                repair="Make one with: pilotfish train or pilotfish adopt",
            )
        data = sealed.read_json(folder / "policy.json", "the policy.json of a bundle")
        if not isinstance(data, dict) or data.get("schema_version") != SCHEMA_VERSION:
            found = data.get("schema_version") if isinstance(data, dict) else type(data).__name__
            raise BadInput(folder / "policy.json", expected=f"schema version {SCHEMA_VERSION}", found=repr(found))
        if unknown := sorted(set(data) - {"schema_version", "name", "contract", "layers", "files", "digest"}):
            raise BadInput(folder / "policy.json", expected="name, contract, layers and files", found=f"the key {unknown[0]!r}")
        try:
            files, digest = {str(k): str(v) for k, v in data["files"].items()}, str(data["digest"])
            name, contract, layers = (
                str(data["name"]),
                _CONTRACT.validate_python(data["contract"]),
                LAYERS.validate_python(data["layers"]),
            )
        except (KeyError, AttributeError) as error:
            raise BadInput(folder / "policy.json", expected="name, contract, layers and files", found=f"no {error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            raise BadInput(
                folder / "policy.json",
                expected="a valid contract and layers",
                found=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            ) from error
        if "weights.safetensors" not in files:
            raise BadInput(folder / "policy.json", expected="weights.safetensors among its files", found="none")
        sealed.verify_manifest(folder, files)
        weights_path = folder / "weights.safetensors"
        if weights_path.stat().st_size > MAX_WEIGHT_BYTES:
            raise BadInput(
                weights_path,
                expected=f"at most {MAX_WEIGHT_BYTES >> 20} MiB",
                found=f"{weights_path.stat().st_size >> 20} MiB",
            )
        try:
            weights = load_file(weights_path)
        except (SafetensorError, KeyError, ValueError) as error:
            raise BadInput(weights_path, expected="a safetensors file", found=str(error)) from error
        golden = Golden.read(folder / "golden.npz") if "golden.npz" in files else None
        sizes = contract.observation.size, 1 if contract.action.kind == "discrete" else contract.action.size
        if golden is not None and (golden.obs.shape[1], golden.action.shape[1]) != sizes:
            raise BadInput(
                folder / "golden.npz",
                expected=f"observations of {sizes[0]} and actions of {sizes[1]} values, as the contract says",
                found=f"{golden.obs.shape[1]} and {golden.action.shape[1]}",
            )
        policy = Policy(name, contract, layers, weights, golden)
        if policy.digest != digest:
            raise BadInput(
                folder / "policy.json",
                expected=f"the digest {digest[:12]}…, which covers contract, layers and weights",
                found=f"{policy.digest[:12]}…",
                repair="The file changed since it was written: make or copy the bundle again",
            )
        return policy
