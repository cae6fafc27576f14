"""What the RL Baselines3 Zoo leaves beside a checkpoint: its hyper-parameter file and the normalizer's pickle.

The file is YAML with tags that name Python objects. Only two questions matter here, so it is read line by
line and no tag is ever looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ...errors import BadInput

MAX_CONFIG_BYTES = 1 << 20
_FALSE = ("false", "no", "off", "null", "none", "~", "")


@dataclass(frozen=True)
class ZooConfig:
    """The answers that adoption needs from a hyper-parameter file."""

    path: Path
    """The file."""
    normalize: bool
    """Observations were normalized while training."""
    wrappers: str = ""
    """env_wrapper and frame_stack, as written; empty where there are none."""


def _value(text: str, key: str) -> str | None:
    """What follows ``key``: on its line (mapping), or on the next one (the pairs of an OrderedDict)."""
    match = re.search(rf"^[ \t-]*['\"]?{key}['\"]?[ \t]*(?::[ \t]*(?P<same>.*)|\n[ \t]*-[ \t]*(?P<next>.*))$", text, re.MULTILINE)
    if not match:
        return None
    first = match["same"] if match["same"] is not None else match["next"]
    rest = text[match.end() :].split("\n")[1:]
    indent = len(match[0].rsplit("\n", 1)[-1]) - len(match[0].rsplit("\n", 1)[-1].lstrip(" "))
    below = []  # deeper lines continue the value: a nested mapping or a folded string
    for line in rest:
        if line.strip() and len(line) - len(line.lstrip(" ")) <= indent:
            break
        below.append(line.strip())
    return re.sub(r"\s+#.*$", "", " ".join([first.strip(), *below])).strip()


def read_config(path: Path) -> ZooConfig:
    """Read config.yml of the zoo, as a mapping or as a dumped OrderedDict."""
    if not path.is_file():
        raise BadInput(path, expected="a hyper-parameter file (config.yml)", found="no such file")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise BadInput(path, expected=f"a hyper-parameter file of at most {MAX_CONFIG_BYTES} bytes", found="a larger one")
    text = path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
    answer = _value(text, "normalize") or ""
    options = f"{answer} {_value(text, 'normalize_kwargs') or ''}"
    normalize = answer.strip("'\"").lower() not in _FALSE
    if re.search(r"norm_obs['\"]?\s*[:=]\s*(false)\b", options, re.IGNORECASE):
        normalize = False
    wrappers = [
        f"{key} {value}" for key in ("env_wrapper", "frame_stack") if (value := _value(text, key)) and value.lower() not in _FALSE
    ]
    return ZooConfig(path, normalize, ", ".join(wrappers))


def find_config(checkpoint: Path) -> Path | None:
    """The hyper-parameter file that belongs to ``checkpoint``: beside it, or in the zoo's folder ENV/."""
    return _first(checkpoint, (".config.yml", ".config.yaml"), ("config.yml", "config.yaml"))


def find_normalizer(checkpoint: Path) -> Path | None:
    """The VecNormalize pickle that belongs to ``checkpoint``: beside it, or in the zoo's folder ENV/."""
    return _first(
        checkpoint,
        (".vecnormalize.pkl", ".vec_normalize.pkl"),
        ("vecnormalize.pkl", "vec_normalize.pkl", "vecnormalize_final.pkl"),
    )


def _first(checkpoint: Path, suffixes: tuple[str, ...], names: tuple[str, ...]) -> Path | None:
    folder, stem = checkpoint.parent, checkpoint.stem
    candidates = [folder / f"{stem}{suffix}" for suffix in suffixes] + [folder / stem / name for name in names]
    if stem in ("best_model", "rl_model"):  # the zoo saves these beside the folder of its environment
        candidates += [path for name in names for path in sorted(folder.glob(f"*/{name}"))]
    candidates += [folder / name for name in names]
    return next((path for path in candidates if path.is_file()), None)
