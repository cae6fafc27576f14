"""Closed-loop return of the artifact itself, on the same seeds as its reference policy."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from contextlib import ExitStack, closing
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .. import sealed
from ..errors import BadInput, Unsupported
from ..figure import Figure, Source
from ..policy.bundle import Policy
from ..policy.contract import MAX_DELAY, Contract
from ..policy.environment import check_env, control_hz, make_env, to_env_action
from ..policy.guard_table import read_guard
from ..policy.latency import MAX_US, Latency
from ..policy.own_environment import is_own
from ..policy.reference import Reference
from ..policy.scene import Scene, scene_of
from ..targets import host
from .artifact import Artifact
from .frequency import STEPS, curve, frequency_figures
from .gate import checked_gate, compare, passes
from .guarded_session import GuardedSession
from .open import open_session
from .place import Progress, is_remote, source_of
from .results import device_of, result
from .session import Session
from .slowest import slowest
from .statistics import SPREAD, Interval

if TYPE_CHECKING:
    import gymnasium

MAX_STEPS = 100_000
"""An episode that has not ended by then is an error: its return would depend on our patience."""
MAX_EPISODES = 100_000
MEASURED = "measured"
"""As a latency: what this artifact's own bench stored."""

_played: dict[tuple[str, str | Scene, int], tuple[float, int]] = {}
"""(policy digest, scene, seed) -> (return, length) of references in this process."""


def play(session: Session, env: gymnasium.Env, contract: Contract, seed: int, max_steps: int = MAX_STEPS) -> tuple[float, int]:
    """Fly one episode from ``env.reset(seed=seed)``: (undiscounted return, decisions).

    Raises BadInput if an action is not finite, Unsupported if the episode outlasts ``max_steps``.
    """
    obs, _ = env.reset(seed=seed)
    session.reset()
    total = 0.0
    for step in range(1, max_steps + 1):
        action = session.act(np.asarray(obs, np.float32).reshape(-1))
        if not np.isfinite(action).all():
            raise BadInput(
                f"decision {step} of the episode with seed {seed}",
                expected="finite actions",
                found=f"{action}",
                repair="pilotfish verify shows where the artifact leaves its reference",
            )
        obs, reward, terminated, truncated, _ = env.step(to_env_action(contract, env, action))
        total += float(reward)
        if terminated or truncated:
            if not math.isfinite(total):
                raise BadInput(f"the episode with seed {seed}", expected="a finite return", found=f"{total} from the environment")
            return total, step
    raise Unsupported(
        env.spec.id if env.spec else "environment",
        expected=f"episodes that end within {max_steps:,} decisions",
        found=f"one that goes on (seed {seed})",
        repair="Register it with max_episode_steps",
    )


def evaluate(
    artifact: Artifact,
    *,
    env: str | None = None,
    episodes: int = 10,
    seed: int = 0,
    gate: float | None = None,
    reference: Policy | str | os.PathLike[str] | None = None,
    trust: bool = False,
    fas: bool = False,
    observation_delay: int | tuple[int, int] | None = None,
    latency: Latency | float | str | os.PathLike[str] | None = None,
    late: Literal["obey", "drop"] = "obey",
    progress: Progress | None = None,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Fly ``episodes`` episodes with seeds ``seed``, ``seed`` + 1, … and compare, paired, with the float32 ``reference``.

    ``env``: default, the one in the contract's provenance. ``reference``: a policy or its bundle; default, the source
    bundle inside the artifact (pass the policy before compression to judge the compression). ``gate``: see
    :func:`pilotfish.runtime.gate.passes`; without one, ``passed`` is True. ``fas``: fly all seeds at all decision frequencies of
    :mod:`pilotfish.runtime.frequency`, too. ``observation_delay`` (steps, or fewest and most) and ``latency`` (microseconds, or a
    bench result): other delays than those that each policy was trained with, for the artifact and its reference. ``latency``
    "measured": what this artifact's own bench measured, for the artifact alone, so that the difference to its reference is what
    the device's latency costs. ``late``: a decision that misses its deadline is obeyed when it comes, or dropped. With ``fas``
    and a ``gate``, ``slowest`` says down to which rate the return is kept. An artifact with a guard flies behind it. ``cache``:
    a folder that keeps the reference's returns between processes. Stores and returns the result.
    """
    checked_gate(gate)
    if not 1 <= episodes <= MAX_EPISODES:
        raise BadInput("episodes", expected=f"1 to {MAX_EPISODES:,}", found=f"{episodes}")
    if seed < 0 or seed + episodes > 2**32:
        raise BadInput("seed", expected="0 or more, below 2^32", found=f"{seed}")
    contract = artifact.manifest.contract
    env_id = env or contract.provenance.env
    if env_id is None:
        raise BadInput(
            artifact.path, expected="an environment to fly in", found="none in its contract", repair="Name one with --env"
        )
    policy = artifact.policy if reference is None else reference if isinstance(reference, Policy) else Policy.load(reference)
    seeds = list(range(seed, seed + episodes))
    if late not in ("obey", "drop"):
        raise BadInput("late", expected="obey or drop", found=repr(late))
    delays = _delays(observation_delay, latency, artifact)
    its_delays = delays | {"latency": None} if latency == MEASURED else delays
    scene = scene_of(contract, env_id, **delays, drop_late=late == "drop")
    its_scene = scene_of(policy.contract, env_id, **its_delays)
    total = (2 + len(STEPS) * fas) * episodes
    with ExitStack() as stack:
        world = _world(scene, contract, stack)
        its_world = world if its_scene == scene else _world(its_scene, policy.contract, stack)
        check_env(policy.contract, its_world)
        returns, lengths = [], []
        table: np.ndarray | None = None

        def flown(before: int, done: int) -> None:
            if progress:
                progress(before + done, total)

        with closing(_opened(artifact, trust)) as session:
            for done, episode_seed in enumerate(seeds, start=1):
                earned, length = play(session, world, contract, episode_seed)
                returns.append(earned)
                lengths.append(length)
                flown(0, done)
            flown_by = getattr(session, "inner", session)
            way = flown_by.told() if is_remote(artifact) and hasattr(flown_by, "told") else None
            if fas:

                def fly(env: gymnasium.Env, seed: int) -> float:
                    return play(session, env, contract, seed)[0]

                def make(scene: Scene, stack: ExitStack) -> gymnasium.Env:
                    return _world(scene, contract, stack)

                table = curve(scene, make, fly, seeds, lambda done: flown(episodes, done))
        reference_returns, _ = _reference_returns(
            policy, its_world, its_scene, seeds, cache, lambda done, _: flown(total - episodes, done)
        )
        hz = control_hz(world)
    comparison = compare(np.array(returns), np.array(reference_returns))
    source, device = source_of(artifact), device_of(artifact)
    what = (
        "decisions from the firmware in the emulator, environment simulated" if source == "emulated" else "environment simulated"
    )
    if is_remote(artifact):
        what = "decisions on the device, over its link, environment simulated here"

    def figure(interval: Interval, unit: str, origin: Source, note: str = "", device: str = device) -> Figure:
        spread = SPREAD if interval.low is not None else ""
        notes = "; ".join(filter(None, (note, interval.note)))
        return Figure(interval.value, unit, origin, episodes, interval.low, interval.high, spread, device, notes)

    if comparison.retained is None:
        retained = Figure(None, "fraction", source, episodes, device=device, note=comparison.no_ratio)
    else:
        retained = figure(comparison.retained, "fraction", source, "ratio of the mean returns")
    figures = {
        "return": figure(comparison.mean, "return", source, what),
        "reference_return": figure(comparison.reference, "return", "measured", "float32 reference in numpy", host.device_name()),
        "difference": figure(comparison.difference, "return", source, "paired by seed"),
        "retained": retained,
    }
    extra: dict[str, Any] = {} if isinstance(scene, str) else {"scene": str(scene)}
    if isinstance(session, GuardedSession):
        extra["guard"] = session.counters
    if table is not None:
        more, extra["frequencies"] = frequency_figures(table, env_id, hz, source=source, device=device)
        figures |= more
        if gate is not None:
            found = slowest(table, np.array(reference_returns), gate, hz)
            extra["slowest"] = dataclasses.asdict(found)
            figures["slowest_hz"] = found.figure(source, device)
    if way is not None:
        extra["link"] = way
    data = result(
        artifact,
        figures,
        **extra,
        env=env_id,
        episodes=episodes,
        seeds=seeds,
        returns=returns,
        reference_returns=reference_returns,
        lengths=lengths,
        reference=policy.name,
        reference_digest=policy.digest,
        gate=gate,
        passed=passes(comparison, gate),
    )
    artifact.store_result("evaluate", data)
    return data


def _opened(artifact: Artifact, trust: bool) -> Session:
    """The artifact's session, behind its guard where it was exported with one: that is what would fly."""
    session = open_session(artifact, trust=trust)
    table = read_guard(artifact.path)
    return session if table is None else GuardedSession(session, table)


def _delays(
    observation_delay: int | tuple[int, int] | None,
    latency: Latency | float | str | os.PathLike[str] | None,
    artifact: Artifact | None = None,
) -> dict[str, Any]:
    """The two settings as :func:`scene_of` takes them; BadInput for a delay that cannot be."""
    delay = (observation_delay, observation_delay) if isinstance(observation_delay, int) else observation_delay
    if delay is not None:
        delay = (delay[0], delay[1])
        if not 0 <= delay[0] <= delay[1] <= MAX_DELAY:
            raise BadInput("observation_delay", expected=f"0 <= fewest <= most <= {MAX_DELAY} steps", found=f"{delay}")
    if isinstance(latency, int | float):
        if not 0 <= latency <= MAX_US:
            raise BadInput("latency", expected=f"0 to {MAX_US:,.0f} us", found=f"{latency}")
        latency = Latency.fixed(latency)
    elif latency == MEASURED and artifact is not None:
        if artifact.result("bench") is None:
            repair = f"Run pilotfish bench {artifact.path} first"
            raise BadInput("latency", expected="a bench of this very artifact", found="none", repair=repair)
        latency = Latency.read(artifact.path)
    elif latency is not None and not isinstance(latency, Latency):
        latency = Latency.read(latency)
    return {"observation_delay": delay, "latency": latency}


def reference_returns(
    policy: Policy, env_id: str, seeds: list[int], *, cache: Path | None = None, progress: Progress | None = None
) -> tuple[list[float], list[int]]:
    """(returns, lengths) of the float32 reference, one per seed; an episode is flown once per process, or once per ``cache``."""
    with ExitStack() as stack:
        scene = scene_of(policy.contract, env_id)
        return _reference_returns(policy, _world(scene, policy.contract, stack), scene, seeds, cache, progress)


def _world(scene: str | Scene, contract: Contract, stack: ExitStack) -> gymnasium.Env:
    """The environment, closed with ``stack``; BadInput where it is not the contract's."""
    world = make_env(scene, disable_env_checker=True)
    stack.callback(world.close)
    check_env(contract, world)
    return world


def _reference_returns(
    policy: Policy, world: gymnasium.Env, scene: str | Scene, seeds: list[int], cache: Path | None, progress: Progress | None
) -> tuple[list[float], list[int]]:
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
