"""The steps of a job that make a policy: trained, adopted or read, then compressed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..policy.bundle import Policy
from ..policy.environment import make_env
from ..policy.own_environment import source_of_own
from ..targets.profile import Target, near
from .cache import fingerprint
from .run import Run
from .schema import ExportSettings


def check_settings(run: Run, targets: list[tuple[ExportSettings, Target]]) -> None:
    """Settings of later steps, refused now rather than after the training."""
    for item, target in targets:
        if item.backend is not None and item.backend not in target.backends:
            raise BadInput(
                f"[[export]] backend {item.backend!r}",
                expected=f"one that {target.name} lists: {', '.join(target.backends)}",
                found=repr(item.backend),
                repair=near(item.backend, list(target.backends)),
            )
    if run.job.report.fail_on:
        from ..runtime.report.gates import parse_gate

        for text in run.job.report.fail_on:
            parse_gate(text, "[report] fail_on")
    config = _train_config(run)
    for path in _teachers(run):
        Policy.load(path)
    named = (config and config.scene, run.job.adopt and run.job.adopt.env, run.job.evaluate.env)
    for env in dict.fromkeys(filter(None, named)):
        make_env(env).close()


def source_policy(run: Run) -> Policy:
    """Train, adopt or read the policy that everything else starts from."""
    path = run.folder / "policies" / f"{run.job.name}.policy"
    if run.job.policy is not None:
        policy = Policy.load(run.job.policy)
        run.cache.run("source", {"policy": policy.digest}, [path], lambda: _save(policy, path))
    elif run.job.adopt is not None:
        settings = run.job.adopt
        files = {
            key: fingerprint(Path(value)) for key in ("checkpoint", "normalizer", "config") if (value := getattr(settings, key))
        }
        run.cache.run(
            "adopt", dataclasses.asdict(settings) | {"files": files, "name": run.job.name}, [path], lambda: _adopt(run, path)
        )
    else:
        config = _train_config(run)
        depends = {"config": dataclasses.asdict(config), "name": run.job.name, "seeds": run.job.seeds}
        depends |= source_of_own(config.env)
        run.cache.run("train", depends, [path], lambda: _train(run, config, path))
    return Policy.load(path)


def compress_policy(run: Run, original: Policy) -> Policy:
    """Run the recipe; the result is NAME-small."""
    from ..compress.passes import summary
    from ..compress.recipe import compress, dump_recipe

    path = run.folder / "policies" / f"{run.job.name}-small.policy"
    recipe = _recipe(run)
    depends = {"policy": original.digest, "recipe": dump_recipe(recipe), "seed": run.job.seed, "env": run.job.evaluate.env}
    if teachers := _teachers(run):
        depends["teachers"] = {bundle: fingerprint(Path(bundle)) for bundle in teachers}

    def action() -> str:
        small = compress(
            original,
            recipe,
            device=run.job.device,
            env=run.job.evaluate.env,
            seed=run.job.seed,
            progress=run.progress,
            on_pass=lambda _, record: run.cache.listener.said("compress", summary(record)),
        )
        return _save(small.replace(name=f"{run.job.name}-small"), path)

    run.cache.run("compress", depends, [path], action)
    return Policy.load(path)


def _train_config(run: Run) -> Any:
    if run.job.train is None:
        return None
    from ..train.config import train_config

    return train_config({"seed": run.job.seed} | run.job.train, "[train]")


def _recipe(run: Run) -> Any:
    if not run.job.compress:
        return ()
    from ..compress.recipe import parse_recipe

    return parse_recipe(list(run.job.compress), "[[compress]]")


def _teachers(run: Run) -> list[str]:
    """Bundles that the recipe reads besides its own policy."""
    if not (recipe := _recipe(run)):
        return []
    from ..compress.teachers import bundles_of

    return bundles_of(recipe)


def _adopt(run: Run, path: Path) -> str:
    from ..policy.adopt import adopt

    settings = run.job.adopt
    assert settings is not None
    policy = adopt(
        Path(settings.checkpoint),
        normalizer=Path(settings.normalizer) if settings.normalizer else None,
        config=Path(settings.config) if settings.config else None,
        env=settings.env,
        name=run.job.name,
        control_hz=settings.control_hz,
        seed=run.job.seed,
    )
    return _save(policy, path)


def _train(run: Run, config: Any, path: Path) -> str:
    if run.job.seeds == 1:
        from ..train.run import train

        policy = train(config, run.folder / "train", device=run.job.device, progress=run.progress)
    else:
        from ..train.seeds import train_seeds

        folder, several = run.folder / "train", run.job.seeds
        result = train_seeds(config, folder, seeds=several, device=run.job.device, progress=run.progress)
        policy = result.best.policy
        for note in policy.contract.provenance.notes:
            run.cache.listener.said("train", note)
    return _save(policy.replace(name=run.job.name), path)


def _save(policy: Policy, path: Path) -> str:
    policy.save(path)
    size = f"{policy.parameters:,} parameters, {policy.nonzero_parameters:,} of them not zero"
    return f"{size}, {policy.weight_bytes:,} bytes, {policy.precision}"
