"""On-policy distillation: the student acts, the teacher labels, all labels are kept (DAgger, arXiv 1011.0686).

What a student learns is the teacher's *action*: the squash, scale and clip that follow the network are part of the
loss, so no capacity is spent on differences that the actuator never sees.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np

from ..errors import BadInput
from ..policy.bundle import Policy
from ..policy.contract import Contract
from ..policy.record import record_golden
from .config import DistillConfig
from .demonstrations import Collector, joined, without_environment
from .device import one_thread, resolve_device
from .evaluation import ClosedLoop, held_out_seeds
from .progress import Bar
from .pupil import Masks, Pupil
from .teachers import Blend, check_teacher, classrooms

NEXT_ROOM = 1_000_003
"""Added to the seed for every further place of teaching, so that no two see the same episodes."""


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
    others: Sequence[Policy] = (),
    blend: Blend = "mean",
) -> Policy:
    """Teach ``student`` (its layers, first weights and contract) to act like ``teacher``.

    The environment is ``env``, else the one in the teacher's provenance. Where there is neither, the student learns
    from the teacher's recorded rollout or from random observations, and the provenance's notes say so. Quantized layers are
    trained straight through their grid; entries outside ``masks`` (matrix name -> bool [out, in]) are zero from the first
    moment on; ``make_pupil`` makes the student that learns, if it shall learn in another way. Returned is the student of the
    round with the best closed-loop return on held-out seeds, with its own golden rollout.

    ``others`` teach, too, as ``blend`` says (:mod:`pilotfish.train.teachers`): the mean of all their actions, or each alone in
    its share of the copies, and there in its own environment; the return is then the mean over all environments' episodes.
    Raises BadInput if the policies do not fit each other.
    """
    teachers = (teacher, *others)
    for one in teachers:
        check_teacher(one, student, colleague=None if one is teacher else teacher)
    where = resolve_device(device)
    env_id = env or teacher.contract.provenance.env
    with one_thread(), ExitStack() as stack:
        bar = stack.enter_context(Bar(f"distill {student.name}", config.iterations, "rounds", progress))
        pupil = make_pupil(student, config, where, masks)
        if env_id is None:
            if blend == "episode" and others:
                raise BadInput(f"distillation of {student.name}", expected='an environment for blend = "episode"', found="none")
            pupil.learn(without_environment(teachers, pupil.acting(), config.steps, config.seed), last=True)
            result = pupil.policy()
        else:
            collectors, judges = [], []
            rooms = classrooms(teachers, env_id, blend, config.n_envs)
            for index, room in enumerate(rooms):
                seed = config.seed + NEXT_ROOM * index
                collector = Collector(room.teachers, room.scene, room.copies, config.restart_share, seed, config.noise)
                stack.callback(collector.close)
                collectors.append(collector)
            for scene in dict.fromkeys(room.scene for room in rooms):
                judge = ClosedLoop(scene, held_out_seeds(config.seed, config.eval_episodes))
                stack.callback(judge.close)
                judges.append(judge)
            result = _rounds(pupil, collectors, judges, config, bar)
    result = result.replace(contract=taught_contract(teachers, student, env_id))
    return result.replace(golden=record_golden(result, env_id, seed=config.seed))


def _rounds(
    pupil: Pupil, collectors: Sequence[Collector], judges: Sequence[ClosedLoop], config: DistillConfig, bar: Bar
) -> Policy:
    """Collect, fit, evaluate, until the steps or the patience are spent; then a last, longer round -> the best student."""
    best, best_return, waiting = pupil.policy(), -math.inf, 0
    horizon = max(1, math.ceil(config.steps / config.iterations / config.n_envs))
    for index in range(config.iterations):
        # Out of patience: the long last round comes now, since it is the one that settles.
        last = index == config.iterations - 1 or waiting >= config.patience
        share = config.teacher_share * 0.5**index if not last or config.iterations == 1 else 0.0
        acting = pupil.acting()
        data = joined([collector.collect(acting, horizon, share) for collector in collectors])
        loss = pupil.learn(data, last=last)
        if share > 0.25 and not last:  # the teacher has driven most of it: too early to judge
            bar.update(index + 1, f"loss {loss:.2g}")
            continue
        candidate = pupil.policy()
        mean = float(np.mean([judge.returns(candidate) for judge in judges]))
        waiting = 0 if mean >= best_return else waiting + 1
        if mean >= best_return:
            best, best_return = candidate, mean
        bar.update(index + 1, f"return {mean:,.1f} (best {best_return:,.1f})  loss {loss:.2g}")
        if last:
            break
    bar.say(f"{bar.title}: return {best_return:,.1f} over {config.eval_episodes} held-out episodes")
    return best


def taught_contract(teachers: Sequence[Policy], student: Policy, env_id: str | None) -> Contract:
    """The student's contract, with the teachers among its parents."""
    teacher, provenance = teachers[0], student.contract.provenance
    notes = provenance.notes
    if env_id is None:
        seen = "its recorded rollout" if teacher.golden and teacher.golden.source == "environment" else "random observations"
        notes += (f"distilled without an environment, from the teacher's answers to {seen}: no return was measured",)
    parents = tuple(dict.fromkeys((*provenance.parents, *(one.digest for one in teachers))))
    return dataclasses.replace(
        student.contract, provenance=dataclasses.replace(provenance, parents=parents, notes=notes, env=env_id)
    )
