"""Closed-loop return of the artifact itself, on the same seeds as its reference policy."""

from __future__ import annotations

import dataclasses
import os
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import BadInput
from ..figure import Figure, Source
from ..policy.bundle import Policy
from ..policy.environment import check_env, control_hz
from ..policy.latency import Latency
from ..policy.scene import Scene, scene_of
from ..targets import host
from .artifact import Artifact
from .behind_guard import guard_of
from .flight import MEASURED, delays, take_off, world_of
from .frequency import STEPS, curve, frequency_figures
from .gate import checked_gate, compare, passes
from .place import Progress, is_remote, source_of
from .play import play
from .reference_returns import returns_in
from .results import device_of, result
from .slowest import slowest
from .statistics import SPREAD, Interval

if TYPE_CHECKING:
    import gymnasium

MAX_EPISODES = 100_000


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
    here: bool | None = None,
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
    the device's latency costs; it is read from the result that lies here. ``here``: make decisions in this process, see
    :func:`pilotfish.runtime.flight.take_off`. ``late``: a decision that misses its deadline is obeyed when it comes, or dropped.
    With ``fas`` and a ``gate``, ``slowest`` says down to which rate the return is kept. An artifact with a guard flies behind it.
    ``cache``: a folder that keeps the reference's returns between processes. Stores and returns the result.
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
    late_by = delays(observation_delay, latency, artifact, late)
    its_delays = late_by | {"drop_late": False} | ({"latency": None} if latency == MEASURED else {})
    scene = scene_of(contract, env_id, **late_by)
    its_scene = scene_of(policy.contract, env_id, **its_delays)
    total = (2 + len(STEPS) * fas) * episodes
    with ExitStack() as stack:
        world = world_of(scene, contract, stack)
        its_world = world if its_scene == scene else world_of(its_scene, policy.contract, stack)
        check_env(policy.contract, its_world)
        returns, lengths = [], []
        table: np.ndarray | None = None

        def flown(before: int, done: int) -> None:
            if progress:
                progress(before + done, total)

        linked = is_remote(artifact)
        artifact, session = take_off(artifact, trust=trust, latency=latency, here=here)
        with closing(session):
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
                    return world_of(scene, contract, stack)

                table = curve(scene, make, fly, seeds, lambda done: flown(episodes, done))
        reference_returns, _ = returns_in(
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
    elif linked:
        what = "environment and decisions here, delays as the bench on the device stored them"

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
    if guard := guard_of(session):
        extra["guard"] = guard.counters
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
