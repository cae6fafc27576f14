"""The ``data`` member of a Stable-Baselines3 zip: spaces, policy class and arguments, without executing its pickles.

Every field is JSON; what JSON cannot hold lies base64-coded in ":serialized:" as a (cloud)pickle. The readable
copy beside it is lossy (arrays are printed with "..."), so spaces come from the pickle.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...errors import BadInput, Unsupported
from .numpy_records import array_of, is_numpy_name, scalar_of
from .unpickler import Global, Record, read_pickle
from .vecnormalize import allowed as is_space_name

_LIBRARIES = ("torch.nn.modules.", "torch.optim.", "stable_baselines3.", "sb3_contrib.")


def allowed(module: str, name: str) -> bool:
    """Names that the fields read here may mention."""
    library = name.isidentifier() and f"{module}.".startswith(_LIBRARIES)
    return library or is_numpy_name(module, name) or is_space_name(module, name)


@dataclass(frozen=True)
class ActionSpace:
    """The action side of a checkpoint."""

    kind: Literal["continuous", "discrete"]
    """Box or Discrete."""
    size: int
    """Entries, or choices."""
    low: np.ndarray
    """float64 [size], may hold -inf; empty if discrete."""
    high: np.ndarray
    """float64 [size], may hold inf; empty if discrete."""


class Sb3Data:
    """The fields of one ``data`` member."""

    def __init__(self, fields: Any, where: str) -> None:
        if not isinstance(fields, dict):
            raise BadInput(where, expected="a JSON object in data", found=f"a {type(fields).__name__}")
        self.fields, self.where = fields, where

    def integer(self, name: str) -> int | None:
        """A plain integer field; None where it is missing or something else."""
        value = self.fields.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def unpickled(self, name: str) -> Any:
        """A field as plain data: its pickle read inertly, or the JSON value where there is no pickle."""
        field = self.fields.get(name)
        if not isinstance(field, dict) or ":serialized:" not in field:
            return field
        try:
            raw = base64.b64decode(field[":serialized:"], validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise BadInput(self.where, expected=f"{name} in base64", found=f"{error}") from error
        return read_pickle(raw, f"{self.where}: {name}", allowed, f"the field {name} of Stable-Baselines3")

    def policy_class(self) -> Global:
        """The class of the policy, by name."""
        value = self.unpickled("policy_class")
        if not isinstance(value, Global):
            raise BadInput(self.where, expected="a policy class of Stable-Baselines3", found=f"{value!r}"[:80])
        return value

    def policy_arguments(self) -> dict[str, Any]:
        """policy_kwargs: architecture, activation and so on; classes as :class:`Global`."""
        value = self.unpickled("policy_kwargs")
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise BadInput(self.where, expected="policy_kwargs as a dict", found=f"{value!r}"[:80])
        return value

    def _space(self, name: str) -> Record:
        value = self.unpickled(name)
        if not isinstance(value, Record) or not isinstance(value.state, dict) or ".spaces." not in value.path:
            raise BadInput(self.where, expected=f"a space in {name}", found=f"{value!r}"[:80])
        return value

    def observation_size(self) -> int:
        """Length of the flattened observation; only Box vectors (and matrices that Stable-Baselines3 flattens)."""
        space = self._space("observation_space")
        if space.maker.name != "Box":
            raise Unsupported(self.where, expected="a Box observation space", found=f"a {space.maker.name} space")
        low = array_of(space.field("low"), self.where)
        if low.ndim >= 3:
            raise Unsupported(self.where, expected="an observation vector", found=f"images of shape {low.shape}")
        if not low.size:
            raise BadInput(self.where, expected="an observation of at least one entry", found=f"shape {low.shape}")
        return int(low.size)

    def observation_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """(low, high) of the observation's Box, in its shape and dtype."""
        space = self._space("observation_space")
        if space.maker.name != "Box":
            raise Unsupported(self.where, expected="a Box observation space", found=f"a {space.maker.name} space")
        low, high = (array_of(space.field(side), self.where) for side in ("low", "high"))
        if low.shape != high.shape or not low.size:
            raise BadInput(self.where, expected="bounds of one shape", found=f"{low.shape} and {high.shape}")
        return low, high

    def action_space(self) -> ActionSpace:
        """The action space: a one-dimensional Box, or Discrete."""
        space = self._space("action_space")
        if space.maker.name == "Discrete":
            count = scalar_of(space.field("n"), self.where)
            if not isinstance(count, int) or not 0 < count <= 100_000:
                raise BadInput(self.where, expected="a number of choices", found=f"{count!r}"[:60])
            return ActionSpace("discrete", count, np.zeros(0), np.zeros(0))
        if space.maker.name != "Box":
            raise Unsupported(self.where, expected="a Box or Discrete action space", found=f"a {space.maker.name} space")
        low, high = (array_of(space.field(side), self.where).astype(np.float64) for side in ("low", "high"))
        if low.ndim != 1 or low.shape != high.shape or not low.size:
            raise Unsupported(self.where, expected="a one-dimensional Box action", found=f"shape {low.shape}")
        if np.isnan(low).any() or np.isnan(high).any() or (low > high).any():
            raise BadInput(self.where, expected="action bounds with low <= high", found="others")
        return ActionSpace("continuous", low.size, low, high)
