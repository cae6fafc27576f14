"""On-policy distillation: the student acts, the teacher labels, all labels are kept (DAgger, arXiv 1011.0686).

What a student learns is the teacher's *action*: the squash, scale and clip that follow the network are part of the
loss, so no capacity is spent on differences that the actuator never sees.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from contextlib import ExitStack

from ..errors import BadInput
from ..policy.bundle import Policy
from ..policy.contract import Contract
from ..policy.record import record_golden
from ..policy.scene import scene_of
from .config import DistillConfig
from .demonstrations import Collector, without_environment
from .device import one_thread, resolve_device
from .evaluation import ClosedLoop, held_out_seeds
from .progress import Bar
from .pupil import Masks, Pupil


def distill(
    teacher: Policy,
    student: Policy,
    config: DistillConfig,
    *,
    device: str = "auto",
    progress: bool = True,
    masks: Masks | None = None,
    env: str | None = None,
    make_pupil: Callable[..., Pupil] = Pupil,
) -> Policy:
    """Teach ``student`` (its layers, first weights and contract) to act like ``teacher``.

    The environment is ``env``, else the one in the teacher's provenance. Where there is neither, the student learns
    from the teacher's recorded rollout or from random observations, and the provenance's notes say so. Quantized layers are
    trained straight through their grid; entries outside ``masks`` (matrix name -> bool [out, in]) are zero from the first
    moment on; ``make_pupil`` makes the student that learns, if it shall learn in another way. Returned is the student of the
    round with the best closed-loop return on held-out seeds, with its own golden rollout. Raises BadInput if the two policies
    do not fit each other.
    """
    _check_pair(teacher, student)
    where = resolve_device(device)
    env_id = env or teacher.contract.provenance.env
    with one_thread(), ExitStack() as stack:
        bar = stack.enter_context(Bar(f"distill {student.name}", config.iterations, "rounds", progress))
        pupil = make_pupil(student, config, where, masks)
        if env_id is None:
            pupil.learn(without_environment(teacher, pupil.acting(), config.steps, config.seed), last=True)
            result = pupil.policy()
        else:
            scene = scene_of(teacher.contract, env_id)
            collector = Collector(teacher, scene, config.n_envs, config.restart_share, config.seed, config.noise)
            stack.callback(collector.close)
            judge = ClosedLoop(scene, held_out_seeds(config.seed, config.eval_episodes))
            stack.callback(judge.close)
            result = _rounds(pupil, collector, judge, config, bar)
    result = result.replace(contract=_contract(teacher, student, env_id))
    return result.replace(golden=record_golden(result, env_id, seed=config.seed))


def _rounds(pupil: Pupil, collector: Collector, judge: ClosedLoop, config: DistillConfig, bar: Bar) -> Policy:
    """Collect, fit, evaluate, until the steps or the patience are spent; then a last, longer round -> the best student."""
    best, best_return, waiting = pupil.policy(), -math.inf, 0
    horizon = max(1, math.ceil(config.steps / config.iterations / config.n_envs))
    for index in range(config.iterations):
        # Out of patience: the long last round comes now, since it is the one that settles.
        last = index == config.iterations - 1 or waiting >= config.patience
        share = config.teacher_share * 0.5**index if not last or config.iterations == 1 else 0.0
        data = collector.collect(pupil.acting(), horizon, share)
        loss = pupil.learn(data, last=last)
        if share > 0.25 and not last:  # the teacher has driven most of it: too early to judge
            bar.update(index + 1, f"loss {loss:.2g}")
            continue
        candidate = pupil.policy()
        mean = float(judge.returns(candidate).mean())
        waiting = 0 if mean >= best_return else waiting + 1
        if mean >= best_return:
            best, best_return = candidate, mean
        bar.update(index + 1, f"return {mean:,.1f} (best {best_return:,.1f})  loss {loss:.2g}")
        if last:
            break
    bar.say(f"{bar.title}: return {best_return:,.1f} over {config.eval_episodes} held-out episodes")
    return best


def _check_pair(teacher: Policy, student: Policy) -> None:
    ours, theirs = student.contract, teacher.contract
    for what, found, expected in (
        ("observation of size", ours.observation.size, theirs.observation.size),
        ("action of kind", ours.action.kind, theirs.action.kind),
        ("action of size", ours.action.size, theirs.action.size),
    ):
        if found != expected:
            raise BadInput(f"student {student.name}", expected=f"the teacher's {what} {expected}", found=f"{found}")


def _contract(teacher: Policy, student: Policy, env_id: str | None) -> Contract:
    """The student's contract, with the teacher among its parents."""
    provenance = student.contract.provenance
    notes = provenance.notes
    if env_id is None:
        seen = "its recorded rollout" if teacher.golden and teacher.golden.source == "environment" else "random observations"
        notes += (f"distilled without an environment, from the teacher's answers to {seen}: no return was measured",)
    parents = provenance.parents if teacher.digest in provenance.parents else (*provenance.parents, teacher.digest)
    return dataclasses.replace(
        student.contract, provenance=dataclasses.replace(provenance, parents=parents, notes=notes, env=env_id)
    )
