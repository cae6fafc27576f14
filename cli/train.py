"""``pilotfish train`` and ``adopt``: where policies come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import tables, terminal
from .app import app, example
from .options import Device, Env, Json, Output, Seed, Verbose


@app.command(epilog=example("pilotfish train HalfCheetah-v5 --algorithm ppo --steps 1000000 -o cheetah.policy"))
def train(
    env: Annotated[str, typer.Argument(metavar="ENV", help="Gymnasium id, or your own module:Class.")],
    algorithm: Annotated[str, typer.Option(help="ppo, sac or td3.")] = "ppo",
    steps: Annotated[int | None, typer.Option(min=1, help="Environment steps; default: the algorithm's.")] = None,
    stop_at_return: Annotated[float | None, typer.Option(help="End early at an evaluation with this mean return.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE of the trainer (TOML value); repeatable.")] = None,
    output: Output = None,
    run_folder: Annotated[Path | None, typer.Option(help="Checkpoints and TensorBoard scalars; default: runs/train-ENV.")] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Trainings, with --seed and the seeds after it; the best policy is kept.")
    ] = 1,
    tracker: Annotated[
        str | None, typer.Option(envvar="PILOTFISH_TRACKER", help="mlflow, wandb or none, beside TensorBoard.")
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Trainings at a time; default: one per core.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train a small policy from scratch. An interrupted run goes on where it was.

    With --seeds, every seed's return, their mean and interquartile mean with intervals, and the policy that did best on
    episodes other than those that are reported.
    """
    from ..policy import trust_env
    from ..train.config import train_config
    from ..train.run import train as train_policy

    settings: dict[str, Any] = {"env": env, "algorithm": algorithm, "seed": seed} | terminal.key_values(setting or [])
    if steps is not None:
        settings["steps"] = steps
    if stop_at_return is not None:
        settings["stop_at_return"] = stop_at_return
    if tracker is not None:
        settings["tracker"] = tracker
    config = train_config(settings, "train")
    trust_env(env)
    folder = run_folder or Path("runs") / f"train-{terminal.file_safe(env)}-{algorithm}-{seed}"
    path = output or Path(f"{terminal.file_safe(env)}.policy")
    if seeds > 1:
        from ..train.seeds import train_seeds

        several = train_seeds(config, folder, seeds=seeds, processes=processes, device=device, progress=terminal.interactive())
        tables.seeds_table(several)
        policy, also = several.best.policy, several.summary()
    else:
        policy, also = train_policy(config, folder, device=device, progress=terminal.interactive()), None
    if output is not None:  # as compress does: what is exported from small.policy is called small
        policy = policy.replace(name=terminal.file_safe(path.name.removesuffix(".policy")))
    terminal.saved(policy, path, as_json, also)


@app.command(epilog=example("pilotfish adopt ppo.zip --normalizer vecnormalize.pkl --env HalfCheetah-v5 -o cheetah.policy"))
def adopt(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Stable-Baselines3 zip, ONNX or TorchScript file.")],
    normalizer: Annotated[Path | None, typer.Option(help='VecNormalize pickle; "none" says that there is none.')] = None,
    config: Annotated[Path | None, typer.Option(help="The checkpoint's own configuration (YAML).")] = None,
    env: Env = None,
    control_hz: Annotated[float | None, typer.Option(min=0.001, help="Decisions per second, where nothing else says so.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the policy; default: the file's.")] = None,
    output: Output = None,
    seed: Seed = 0,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Take over a policy that was trained elsewhere, with everything it needs to act."""
    from ..policy import trust_env
    from ..policy.adopt import adopt as adopt_policy

    trust_env(env)
    policy = adopt_policy(checkpoint, normalizer=normalizer, config=config, env=env, name=name, control_hz=control_hz, seed=seed)
    for note in policy.contract.provenance.notes:
        terminal.note(note)
    terminal.saved(policy, output or Path(f"{policy.name}.policy"), as_json)
