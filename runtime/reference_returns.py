"""What the float32 reference returns on given seeds: flown once per process, or once per cache folder."""

from __future__ import annotations

import json
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from .. import sealed
from ..errors import BadInput
from ..policy.bundle import Policy
from ..policy.own_environment import is_own
from ..policy.reference import Reference
from ..policy.scene import Scene, scene_of
from .flight import world_of
from .place import Progress
from .play import play

if TYPE_CHECKING:
    import gymnasium

_played: dict[tuple[str, str | Scene, int], tuple[float, int]] = {}
"""(policy digest, scene, seed) -> (return, length) of references in this process."""


def reference_returns(
    policy: Policy, env_id: str, seeds: list[int], *, cache: Path | None = None, progress: Progress | None = None
) -> tuple[list[float], list[int]]:
    """(returns, lengths) of the float32 reference, one per seed; an episode is flown once per process, or once per ``cache``."""
    with ExitStack() as stack:
        scene = scene_of(policy.contract, env_id)
        return returns_in(policy, world_of(scene, policy.contract, stack), scene, seeds, cache, progress)


def returns_in(
    policy: Policy, world: gymnasium.Env, scene: str | Scene, seeds: list[int], cache: Path | None, progress: Progress | None
) -> tuple[list[float], list[int]]:
    """The same in an environment that is open already, which must be the one of ``scene``."""
    own = is_own(scene if isinstance(scene, str) else scene.env)  # whose next edit no cache would notice
    path = _cache_path(cache, policy, scene) if cache and not own else None
    kept = _read_cache(path) if path else {}
    session, fresh = Reference(policy), False
    flown: list[tuple[float, int]] = []
    for done, seed in enumerate(seeds, start=1):
        key = (policy.digest, scene, seed)
        if key not in _played:
            _played[key] = kept.get(seed) or play(session, world, policy.contract, seed)
        fresh = fresh or seed not in kept
        kept[seed] = _played[key]
        flown.append(_played[key])
        if progress:
            progress(done, len(seeds))
    if path and fresh:
        sealed.write_atomic(path, sealed.canonical_json({str(seed): list(episode) for seed, episode in kept.items()}))
    return [total for total, _ in flown], [length for _, length in flown]


def _cache_path(folder: Path, policy: Policy, scene: str | Scene) -> Path:
    """One file per policy, scene and simulator version: another MuJoCo gives other returns."""
    versions = []
    for package in ("gymnasium", "mujoco"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    key = sealed.sha256_bytes(json.dumps([policy.digest, scene if isinstance(scene, str) else repr(scene), versions]).encode())
    return Path(folder) / f"reference-{key[:32]}.json"


def _read_cache(path: Path) -> dict[int, tuple[float, int]]:
    """Kept episodes by seed; a cache that is not one counts as empty, since it can be flown again."""
    if not path.is_file():
        return {}
    try:
        data = sealed.read_json(path, "kept reference returns")
        return {int(seed): (float(total), int(length)) for seed, (total, length) in data.items()}
    except (BadInput, AttributeError, TypeError, ValueError):
        return {}
