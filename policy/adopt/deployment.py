"""A deployment file beside an exported robot policy: flat YAML such as unitree_rl_gym's h1.yaml."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import BadInput

MAX_BYTES = 1 << 20
_ACTION_KEYS = ("action_scale", "default_angles", "kps", "kds")
_OBSERVATION_KEYS = ("ang_vel_scale", "dof_pos_scale", "dof_vel_scale", "cmd_scale")
Value = float | tuple[float, ...] | str


@dataclass(frozen=True)
class Deployment:
    """What the robot's software must know, and the contract should say."""

    path: Path
    """The file."""
    values: dict[str, Value] = field(default_factory=dict)
    """Every key at the top level: a number, a list of numbers, or text."""

    def number(self, name: str) -> float | None:
        """A number, or None where the key is missing."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, float):
            raise BadInput(self.path, expected=f"{name} as a number", found=f"{value!r}"[:60])
        return value

    @property
    def control_hz(self) -> float | None:
        """1 / (simulation_dt * control_decimation)."""
        step, decimation = self.number("simulation_dt"), self.number("control_decimation")
        if step is None or decimation is None:
            return None
        if not step * decimation > 0:
            raise BadInput(self.path, expected="simulation_dt and control_decimation above 0", found=f"{step}, {decimation}")
        return round(1 / (step * decimation), 6)

    @property
    def action_units(self) -> str:
        """What the receiver does with the action, in words."""
        known = self._text(_ACTION_KEYS)
        law = "joint target = default_angles + action_scale * action; " if "action_scale" in self.values else ""
        return f"{law}{known}" if known else ""

    @property
    def observation_units(self) -> str:
        """How the caller scales the observation, in words."""
        known = self._text(_OBSERVATION_KEYS)
        return f"scaled by the caller before it is observed: {known}" if known else ""

    def _text(self, keys: tuple[str, ...]) -> str:
        found = {key: self.values[key] for key in keys if key in self.values}
        return "; ".join(f"{k} = {list(v) if isinstance(v, tuple) else v}" for k, v in found.items())

    def check(self, name: str, actual: int) -> None:
        """Refuse a policy whose width is not the one that the file names."""
        value = self.number(name)
        if value is not None and value != actual:
            raise BadInput(
                self.path,
                expected=f"{name}: {actual}, as the policy has",
                found=f"{value:g}",
                repair="Pass the policy's own file",
            )


def read_deployment(path: Path) -> Deployment:
    """Read "key: value" lines; lists may run over several lines; nested mappings are skipped."""
    if not path.is_file():
        raise BadInput(path, expected="a deployment file (flat YAML)", found="no such file")
    if path.stat().st_size > MAX_BYTES:
        raise BadInput(path, expected=f"a deployment file of at most {MAX_BYTES} bytes", found=f"{path.stat().st_size}")
    text = re.sub(r"(^|\s)#.*", "", path.read_text(encoding="utf-8", errors="replace"))
    values: dict[str, Value] = {}
    for match in re.finditer(r"^([A-Za-z_]\w*)[ \t]*:[ \t]*(\[[^\]]*\]|[^\n\[]*)$", text, re.MULTILINE):
        value = _value(match[2].strip())
        if value is not None:
            values[match[1]] = value
    if not values:
        raise BadInput(path, expected="a deployment file of key: value lines", found="none")
    return Deployment(path, values)


def _value(text: str) -> Value | None:
    if not text:
        return None
    if text.startswith("["):
        parts = [part.strip() for part in text[1:-1].replace("\n", " ").split(",") if part.strip()]
        try:
            return tuple(float(part) for part in parts)
        except ValueError:
            return text[:2000]
    try:
        return float(text)
    except ValueError:
        return text.strip("'\"")[:2000]
