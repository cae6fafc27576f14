"""The command line: each verb parses, calls a room, prints. No logic lives here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import __version__, doctor, tables, terminal
from .errors import BadInput, Unreachable

app = typer.Typer(
    name="pilotfish",
    help="Train a control policy, shrink it, export it to a small computer, and prove there that it still flies.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
targets_app = typer.Typer(
    help="Device profiles: what there is, what one says, whether it can be used here.", no_args_is_help=True
)
app.add_typer(targets_app, name="targets")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines on standard output.")]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Show the traceback of an error.", callback=terminal.set_verbose, is_eager=True)
]
Trust = Annotated[bool, typer.Option("--trust", help="Run native code in the artifact although it was not built here.")]
Device = Annotated[str, typer.Option(envvar="PILOTFISH_DEVICE", help="auto, cpu or cuda.")]
Seed = Annotated[int, typer.Option(envvar="PILOTFISH_SEED", help="Random seed.")]
Env = Annotated[
    str | None, typer.Option("--env", envvar="PILOTFISH_ENV", help="Gymnasium id, such as HalfCheetah-v5, or your module:Class.")
]
TrustEnv = Annotated[
    list[str] | None,
    typer.Option("--trust-env", metavar="MODULE:CLASS", help="Environment that the job may import from a module; repeatable."),
]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Where to write.")]
PolicyPath = Annotated[Path, typer.Argument(metavar="POLICY", help="A policy bundle, NAME.policy.")]
ArtifactPath = Annotated[Path, typer.Argument(metavar="ARTIFACT", help="An artifact folder, NAME@TARGET.BACKEND.")]
TargetOption = Annotated[list[str], typer.Option("-t", "--target", help="A target's name or the path of a profile; repeatable.")]


def example(*lines: str) -> str:
    """The epilog of a verb's help."""
    return "[bold]Example:[/bold] " + " ".join(f"[cyan]{line}[/cyan]" for line in lines)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Verbose = False,
) -> None:
    if version:
        terminal.say(f"pilotfish {__version__}")
        raise typer.Exit


@app.command(epilog=example("pilotfish run examples/halfcheetah.toml"))
def run(
    job_file: Annotated[Path, typer.Argument(metavar="JOB", help="A job file (TOML).")],
    output: Output = None,
    seed: Annotated[int | None, typer.Option(envvar="PILOTFISH_SEED", help="Overrides the job's seed.")] = None,
    device: Annotated[str | None, typer.Option(envvar="PILOTFISH_DEVICE", help="auto, cpu or cuda.")] = None,
    trusted: TrustEnv = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train or adopt, compress, export, verify, bench, evaluate and report: all from one file, resumable.

    Each step is cached by the content it depends on: run the same command again after an interrupt and it goes on.
    """
    from .job import load_job, run_job
    from .policy import trust_env

    for name in trusted or []:
        trust_env(name)
    job = load_job(job_file, output=str(output) if output else None, seed=seed, device=device)
    result = run_job(job, listener=terminal.StepPrinter(), progress=terminal.interactive())
    summary = {
        "folder": str(result.folder),
        "report": str(result.report),
        "artifacts": [str(a.path) for a in result.artifacts],
        "failed_gates": result.failed_gates,
        "unproven": result.unproven,
    }
    if as_json:
        terminal.data(summary)
    else:
        tables.artifact_table(result.artifacts)
        terminal.say(f"Report: [bold]{result.report}[/bold]")
    terminal.end_with_gates(result.failed_gates)
    if result.unproven:
        raise Unreachable("built, and not proven on this machine: " + "; ".join(result.unproven))


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
    from .policy import trust_env
    from .train.config import train_config
    from .train.run import train as train_policy

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
        from .train.seeds import train_seeds

        several = train_seeds(config, folder, seeds=seeds, processes=processes, device=device, progress=terminal.interactive())
        tables.seeds_table(several)
        terminal.saved(several.best.policy, path, as_json, several.summary())
    else:
        policy = train_policy(config, folder, device=device, progress=terminal.interactive())
        terminal.saved(policy, path, as_json)


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
    from .policy import trust_env
    from .policy.adopt import adopt as adopt_policy

    trust_env(env)
    policy = adopt_policy(checkpoint, normalizer=normalizer, config=config, env=env, name=name, control_hz=control_hz, seed=seed)
    for note in policy.contract.provenance.notes:
        terminal.note(note)
    terminal.saved(policy, output or Path(f"{policy.name}.policy"), as_json)


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
    from .policy import Policy, trust_env
    from .targets import load_target

    trust_env(env)
    targets = [load_target(name) for name in target or []]
    original = Policy.load(policy)
    if explain == (recipe is not None):
        raise BadInput(
            "pilotfish compress", expected="either --recipe FILE or --explain", found="both" if explain else "neither",
            repair="examples/recipes/ has recipes; --explain -t TARGET compares what there is",
        )  # fmt: skip
    if explain:
        from .compress.explain import explain as explain_policy

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
    from .compress.recipe import compress as compress_policy
    from .compress.recipe import load_recipe

    assert recipe is not None
    small = compress_policy(
        original, load_recipe(recipe), device=device, env=env, seed=seed, progress=terminal.interactive(), targets=targets,
        episodes=episodes if targets else 0, say=terminal.note,
    )  # fmt: skip
    path = output or policy.with_name(f"{original.name}-small.policy")
    small = small.replace(name=terminal.file_safe(path.name.removesuffix(".policy")))
    tables.pass_table(original, small)
    terminal.saved(small, path, as_json)


@app.command(epilog=example("pilotfish search cheetah.policy -t crazyflie --min-return 0.97 --budget 15m -o cheetah-search"))
def search(
    policy: PolicyPath,
    target: Annotated[str, typer.Option("-t", "--target", help="The target's name or the path of its profile.")],
    budget: Annotated[str, typer.Option(help='Time in which candidates are begun, or how many: 15m, 2h, "200 trials".')] = "15m",
    min_return: Annotated[float, typer.Option(min=0, max=1, help="Share of the policy's return that must stay.")] = 0.95,
    control_hz: Annotated[
        float | None, typer.Option(help="Decisions per second to keep; default: the policy's, else the target's.")
    ] = None,
    flash: Annotated[int | None, typer.Option(min=1, help="Bytes of flash to fit; default: the target's.")] = None,
    ram: Annotated[int | None, typer.Option(min=1, help="Bytes of RAM to fit; default: the target's.")] = None,
    space: Annotated[
        Path | None, typer.Option(help="A TOML file: depth, widths, activations, sparsity, rank, bits, reads, backends.")
    ] = None,
    sampler: Annotated[str, typer.Option(help="Of Optuna: tpe, nsga2, nsga3 or random.")] = "tpe",
    steps: Annotated[int, typer.Option(min=100, help="Environment steps that teach a candidate; as many heal it.")] = 30_000,
    episodes: Annotated[int, typer.Option(min=2, help="Episodes behind each return that decides, and behind each proof.")] = 20,
    engine: Annotated[str, typer.Option(help="local: processes here. ray: tasks of a Ray cluster (RAY_ADDRESS).")] = "local",
    jobs: Annotated[int, typer.Option(min=0, help="Candidates at once; 0: one per core.")] = 0,
    env: Env = None,
    output: Output = None,
    seed: Seed = 0,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Search policies that act like this one and cost less on a target: a Pareto set, every point built and proven there.

    Half of the time goes to random candidates, which are shown beside the search. The same command again goes on.
    """
    from .compress.search import Effort, budget_of, load_space
    from .compress.search import search as search_policies
    from .policy import Policy, trust_env
    from .targets import load_target

    trust_env(env)
    original = Policy.load(policy)
    place = load_target(target)
    folder = output or Path("dist") / f"{original.name}@{place.name}-search"
    found = search_policies(
        original, place, folder, env=env, budget=budget_of(budget), space=load_space(space) if space else None,
        min_return=min_return, control_hz=control_hz, flash_bytes=flash, ram_bytes=ram, sampler=sampler, engine=engine,
        jobs=jobs, seed=seed,
        effort=Effort(steps=steps, episodes=episodes), prove_episodes=episodes, say=terminal.note,
        told=terminal.note if terminal.interactive() else lambda _: None,
    )  # fmt: skip
    tables.searched(found, folder, as_json)


@app.command(epilog=example("pilotfish export cheetah.policy -t host-cpu -t crazyflie"))
def export(
    policy: PolicyPath,
    target: TargetOption,
    backend: Annotated[str | None, typer.Option(help="onnxruntime, c, tensorrt or tvm; default: the target's first.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, int8: refuse any other policy. fp16, bf16: TensorRT rounds matrices.")
    ] = None,
    control_hz: Annotated[
        float | None,
        typer.Option(min=0.001, help="Rate that a virtual board must keep; default: the policy's, else the target's."),
    ] = None,
    accuracy: Annotated[
        str | None, typer.Option(help="Activation functions of the C back-end: exact (default) or fast, within about 1e-3.")
    ] = None,
    tune_trials: Annotated[
        int | None, typer.Option(min=0, help="Schedules that the tvm back-end tries out here, 384 take minutes; default: 0.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the artifacts.")] = Path("dist"),
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Build artifacts: one folder NAME@TARGET.BACKEND per target, with all it takes to run, check and rebuild it.

    A policy that does not fit a virtual board's memory, or is too slow for its control period, is refused (exit code 1).
    """
    from .export.build import export_policy
    from .policy.bundle import Policy
    from .targets import load_target, with_accuracy, with_tune_trials

    bundle, profiles = (
        Policy.load(policy),
        [with_tune_trials(with_accuracy(load_target(name), accuracy), tune_trials) for name in target],
    )
    artifacts = [
        export_policy(bundle, profile, backend, output, precision=precision, control_hz=control_hz, say=terminal.note)
        for profile in profiles
    ]
    if as_json:
        terminal.data([{"artifact": str(a.path), "sizes": a.manifest.sizes, "digest": a.digest} for a in artifacts])
    for artifact in artifacts if not as_json else []:
        sizes = ", ".join(f"{name} {size:,} B" for name, size in artifact.manifest.sizes.items())
        terminal.say(f"[green]✓[/green] {artifact.path}  ({sizes})")


@app.command(epilog=example("pilotfish verify dist/cheetah@crazyflie.c"))
def verify(
    artifact: ArtifactPath,
    tolerance: Annotated[float | None, typer.Option(min=0, help="Largest allowed deviation; default: by precision.")] = None,
    trust: Trust = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Hold an artifact against its golden rollout, on the target."""
    from .runtime.artifact import Artifact
    from .runtime.verify import verify as verify_artifact

    built = Artifact.load(artifact)
    with terminal.counting("verify") as progress:
        result = verify_artifact(built, trust=trust, tolerance=tolerance, progress=progress)
    tables.result("verify", built, result, as_json)
    terminal.end_with_gates([] if result["passed"] else [f"{built.label} does not match its golden rollout"])


@app.command(epilog=example("pilotfish bench dist/cheetah@host-cpu.c --control-hz 500"))
def bench(
    artifact: ArtifactPath,
    control_hz: Annotated[
        float | None, typer.Option(min=0.001, help="Rate to pace at; default: the policy's, else the target's.")
    ] = None,
    calls: Annotated[int, typer.Option(min=100, help="Calls of the tight loop.")] = 20_000,
    paced_seconds: Annotated[float, typer.Option(min=0.01, help="How long to run at the control rate.")] = 3.0,
    trust: Trust = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Measure latency: a tight loop, and paced at the control rate against the deadline."""
    from .runtime.artifact import Artifact
    from .runtime.bench import bench as bench_artifact

    built = Artifact.load(artifact)
    with terminal.counting("bench") as progress:
        result = bench_artifact(
            built, trust=trust, control_hz=control_hz, calls=calls, paced_seconds=paced_seconds, progress=progress
        )
    tables.result("bench", built, result, as_json)


@app.command(epilog=example("pilotfish evaluate dist/cheetah@crazyflie.c --reference cheetah.policy --episodes 20 --gate 0.95"))
def evaluate(
    artifact: ArtifactPath,
    env: Env = None,
    episodes: Annotated[int, typer.Option(min=1, envvar="PILOTFISH_EPISODES", help="Paired episodes.")] = 10,
    seed: Annotated[int, typer.Option(envvar="PILOTFISH_SEED", help="Seed of the first episode.")] = 10_000,
    gate: Annotated[float | None, typer.Option(min=0, max=1, help="Share of the reference's return that must be kept.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Policy bundle to compare with; default: the artifact's own.")] = None,
    fas: Annotated[
        bool, typer.Option("--fas", help="Also the frequency-averaged score: decisions 1, 2, 4 … 30 steps apart.")
    ] = False,
    observation_delay: Annotated[
        int | None, typer.Option(min=0, help="Steps by which observations are late; default: as in training.")
    ] = None,
    latency: Annotated[
        str | None, typer.Option(help="How late actions are: microseconds, or a bench result (path); default: as in training.")
    ] = None,
    video: Annotated[bool, typer.Option("--video", help="Film the episode with the median return, for the report.")] = False,
    trust: Trust = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Closed-loop return of the artifact itself, on the same seeds as its reference."""
    from .policy import Policy, trust_env
    from .runtime.artifact import Artifact
    from .runtime.evaluate import evaluate as evaluate_artifact
    from .runtime.film import film_or_say

    trust_env(env)
    built = Artifact.load(artifact)
    against = Policy.load(reference) if reference else None
    with terminal.counting("evaluate") as progress:
        result = evaluate_artifact(
            built,
            env=env,
            episodes=episodes,
            seed=seed,
            gate=gate,
            reference=against,
            trust=trust,
            fas=fas,
            observation_delay=observation_delay,
            latency=terminal.number_or_text(latency),
            progress=progress,
        )
    if video:
        delays: dict[str, Any] = {"observation_delay": observation_delay, "latency": terminal.number_or_text(latency)}
        film_or_say(built, terminal.note, env=env, trust=trust, **delays)
    tables.result("evaluate", built, result, as_json)
    terminal.end_with_gates([] if result["passed"] else [f"{built.label} keeps less of the return than the gate {gate} asks for"])


@app.command(epilog=example("pilotfish report dist/cheetah@host-cpu.c dist/cheetah@crazyflie.c -o report.html"))
def report(
    artifacts: Annotated[list[Path], typer.Argument(metavar="ARTIFACT...", help="Artifact folders.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The HTML page; a JSON of the same name lies beside it.")] = Path(
        "report.html"
    ),
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """One page that people look at, one JSON that machines read."""
    from .runtime.artifact import Artifact
    from .runtime.report import write_report

    summary = write_report([Artifact.load(path) for path in artifacts], output, title=title)
    if as_json:
        terminal.data(summary)
    else:
        terminal.say(f"[green]✓[/green] {output} and {output.with_suffix('.json')}")


@targets_app.command("list", epilog=example("pilotfish targets list"))
def targets_list(as_json: Json = False, verbose: Verbose = False) -> None:
    """The device profiles that come with Pilotfish."""
    from .targets import load_target, shipped_targets

    tables.target_list([load_target(name) for name in shipped_targets()], as_json)


@targets_app.command("show", epilog=example("pilotfish targets show crazyflie > my-board.toml"))
def targets_show(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Name, or path of a profile.")],
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Print a profile as the TOML file that it is: copy it, edit it, pass its path to -t."""
    from .targets import load_target, shipped_targets
    from .targets.profile import TARGET

    profile = load_target(target)
    if as_json:
        terminal.data(TARGET.dump_python(profile, mode="json"))
    else:
        terminal.plain((shipped_targets().get(target) or Path(target)).read_text(encoding="utf-8"))


@targets_app.command("check", epilog=example("pilotfish targets check crazyflie"))
def targets_check(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Name, or path of a profile.")],
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Can this machine build for the target and reach it?"""
    from .targets import load_target
    from .targets.check import check_target

    tables.findings(check_target(load_target(target)), as_json)


@app.command("doctor", epilog=example("pilotfish doctor"))
def doctor_command(as_json: Json = False, verbose: Verbose = False) -> None:
    """What is installed, what each extra would add, which compilers, GPU and runtimes were found."""
    tables.doctor_report(doctor.examine(), as_json)


def main(arguments: list[str] | None = None) -> int:
    """Run the CLI; returns the exit code (0 good, 1 a gate failed, 2 bad input, 3 a missing tool)."""
    return terminal.guarded(lambda: app(args=arguments, standalone_mode=False, prog_name="pilotfish"))


if __name__ == "__main__":
    raise SystemExit(main())
