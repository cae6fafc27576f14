"""``pilotfish search``: many policies, the best under a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import tables, terminal
from .app import app, example
from .options import Env, Json, Output, Seed, Verbose


@app.command(epilog=example("pilotfish search cheetah.policy -t crazyflie --min-return 0.97 --budget 15m -o cheetah-search"))
def search(
    policy: Annotated[
        str, typer.Argument(metavar="POLICY|ENV", help="A policy bundle; or an environment, to train a family of policies in.")
    ],
    target: Annotated[str, typer.Option("-t", "--target", help="The target's name or the path of its profile.")],
    budget: Annotated[str, typer.Option(help='Time in which candidates are begun, or how many: 15m, 2h, "200 trials".')] = "15m",
    min_return: Annotated[float, typer.Option(min=0, max=1, help="Share of the policy's return that must stay.")] = 0.95,
    control_hz: Annotated[
        float | None, typer.Option(help="Decisions per second to keep; default: the policy's, else the target's.")
    ] = None,
    flash: Annotated[int | None, typer.Option(min=1, help="Bytes of flash to fit; default: the target's.")] = None,
    ram: Annotated[int | None, typer.Option(min=1, help="Bytes of RAM to fit; default: the target's.")] = None,
    space: Annotated[
        Path | None,
        typer.Option(
            help="A TOML file: depth, widths, activations, sparsity, rank, bits, reads, backends, decide_every, studies, cells."
        ),
    ] = None,
    sampler: Annotated[str, typer.Option(help="tpe, nsga2, nsga3, cma, lanas or random.")] = "tpe",
    steps: Annotated[
        int | None,
        typer.Option(
            min=100, help="Environment steps that teach a candidate (default: 30,000), or of a family's training (1 M)."
        ),
    ] = None,
    episodes: Annotated[int, typer.Option(min=2, help="Episodes behind each return that decides, and behind each proof.")] = 20,
    engine: Annotated[str, typer.Option(help="local: processes here. ray: tasks of a Ray cluster (RAY_ADDRESS).")] = "local",
    jobs: Annotated[int, typer.Option(min=0, help="Candidates at once; 0: one per core.")] = 0,
    members: Annotated[int, typer.Option(min=1, help="ENV: architectures of the family that are flown.")] = 128,
    check: Annotated[
        int, typer.Option(min=0, help="ENV: so many are also trained alone, to see how far the order can be trusted.")
    ] = 0,
    check_seeds: Annotated[int, typer.Option(min=1, help="ENV: how often each of these is trained, with another seed.")] = 1,
    heal: Annotated[int, typer.Option(min=0, help="ENV: steps by which each policy of the front learns from the leader.")] = 0,
    setting: Annotated[list[str] | None, typer.Option("--set", help="ENV: KEY=VALUE of the trainer; repeatable.")] = None,
    env: Env = None,
    output: Output = None,
    seed: Seed = 0,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Search policies that act like this one and cost less on a target: a Pareto set, every point built and proven there.

    Half of the time goes to random candidates, which are shown beside the search. The same command again goes on. With an
    environment instead of a policy, one training yields a family of policies, of which the best are proven (docs/one-shot.md).
    """
    from ..compress.search import Effort, budget_of, load_space
    from ..compress.search import search as search_policies
    from ..policy import Policy, trust_env
    from ..targets import load_target

    if not policy.endswith(".policy") and not Path(policy).exists():
        from ..compress.search.one_shot.family_search import search_family
        from ..compress.search.one_shot.settings import family_config

        trust_env(policy)
        config = family_config(policy, steps, seed, space, terminal.key_values(setting or []))
        place = load_target(target)
        folder = output or Path("dist") / f"{terminal.file_safe(policy)}@{place.name}-search"
        yielded = search_family(
            config, place, folder, members=members, check=check, check_seeds=check_seeds, heal=heal,
            episodes=max(2, episodes // 2), prove_episodes=episodes, min_return=min_return, control_hz=control_hz,
            flash_bytes=flash, ram_bytes=ram, progress=terminal.interactive(), say=terminal.note,
            told=terminal.note if terminal.interactive() else lambda _: None,
        )  # fmt: skip
        tables.family_searched(yielded, folder, as_json)
        return
    trust_env(env)
    original = Policy.load(Path(policy))
    place = load_target(target)
    folder = output or Path("dist") / f"{original.name}@{place.name}-search"
    found = search_policies(
        original, place, folder, env=env, budget=budget_of(budget), space=load_space(space) if space else None,
        min_return=min_return, control_hz=control_hz, flash_bytes=flash, ram_bytes=ram, sampler=sampler, engine=engine,
        jobs=jobs, seed=seed,
        effort=Effort(steps=steps or 30_000, episodes=episodes), prove_episodes=episodes, say=terminal.note,
        told=terminal.note if terminal.interactive() else lambda _: None,
    )  # fmt: skip
    tables.searched(found, folder, as_json)
