"""``pilotfish compress``: recipes of passes, and what would be worth it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import tables, terminal
from ..errors import BadInput
from .app import app, example
from .options import Device, Env, Json, Output, PolicyPath, Seed, Verbose


@app.command(epilog=example("pilotfish compress cheetah.policy --recipe examples/recipes/prune-int8.toml -o small.policy"))
def compress(
    policy: PolicyPath,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="A TOML file with a list of passes, as examples/recipes/ has.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Make the policy in eight ways, build each for --target, and say which is worth it.")
    ] = False,
    target: Annotated[
        list[str] | None,
        typer.Option("-t", "--target", help="Where costs are measured: after every pass, or of every variant; repeatable."),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="With --explain: this back-end alone; default: all of the target's.")
    ] = None,
    episodes: Annotated[
        int, typer.Option(min=0, help="Episodes behind each return that is told; 0: none. A recipe measures only if asked to.")
    ] = 10,
    keep: Annotated[float, typer.Option(min=0, max=1, help="With --explain: share of the return that must stay.")] = 0.95,
    steps: Annotated[int, typer.Option(min=1, help="With --explain: environment steps that heal a variant.")] = 20_000,
    env: Env = None,
    output: Output = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Make a policy smaller by a recipe of passes, or --explain what would be worth it on a target.

    With --target, each pass also tells what it did to the return and to latency and size there.
    """
    from ..policy import Policy, trust_env
    from ..targets import load_target

    trust_env(env)
    targets = [load_target(name) for name in target or []]
    original = Policy.load(policy)
    if explain == (recipe is not None):
        raise BadInput(
            "pilotfish compress", expected="either --recipe FILE or --explain", found="both" if explain else "neither",
            repair="examples/recipes/ has recipes; --explain -t TARGET compares what there is",
        )  # fmt: skip
    if explain:
        from ..compress.explain import explain as explain_policy

        if not targets:
            raise BadInput("pilotfish compress --explain", expected="at least one --target", found="none", repair="-t crazyflie")
        told = [
            explain_policy(
                original, place, (output or Path("dist")) / f"{original.name}-explain", backend=backend, env=env,
                episodes=episodes, keep=keep, steps=steps, seed=seed, device=device, progress=terminal.interactive(),
                say=terminal.note,
            )
            for place in targets
        ]  # fmt: skip
        tables.explanations(told, as_json)
        return
    from ..compress.recipe import compress as compress_policy
    from ..compress.recipe import load_recipe

    assert recipe is not None
    small = compress_policy(
        original, load_recipe(recipe), device=device, env=env, seed=seed, progress=terminal.interactive(), targets=targets,
        episodes=episodes if targets else 0, say=terminal.note,
    )  # fmt: skip
    path = output or policy.with_name(f"{original.name}-small.policy")
    small = small.replace(name=terminal.file_safe(path.name.removesuffix(".policy")))
    tables.pass_table(original, small)
    terminal.saved(small, path, as_json)
