"""On-policy distillation: the student acts, the teacher labels, all labels are kept (DAgger, arXiv 1011.0686).

What a student learns is the teacher's *action*: the squash, scale and clip that follow the network are part of the
loss, so no capacity is spent on differences that the actuator never sees.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import BadInput
from ..policy.bundle import Policy
from ..policy.contract import Action, Contract
from ..policy.network import Network, TorchPolicy, transform_action
from ..policy.record import record_golden
from ..policy.scene import scene_of
from .config import DistillConfig
from .demonstrations import Collector, Demonstrations, without_environment
from .device import one_thread, resolve_device
from .evaluation import ClosedLoop, held_out_seeds
from .progress import Bar

AfterStep = Callable[[Network], None]


def distill(
    teacher: Policy,
    student: Policy,
    config: DistillConfig,
    *,
    device: str = "auto",
    progress: bool = True,
    after_step: AfterStep | None = None,
    env: str | None = None,
) -> Policy:
    """Teach ``student`` (its layers, first weights and contract) to act like ``teacher``.

    The environment is ``env``, else the one in the teacher's provenance. Where there is neither, the student learns
    from the teacher's recorded rollout or from random observations, and the provenance's notes say so. int8 layers are trained
    straight through their grid; ``after_step`` is called with the network before the first and after every gradient
    step (to put pruned weights back to zero). Returned is the student of the round with the best closed-loop return
    on held-out seeds, with its own golden rollout. Raises BadInput if the two policies do not fit each other.
    """
    _check_pair(teacher, student)
    where = resolve_device(device)
    env_id = env or teacher.contract.provenance.env
    with one_thread(), ExitStack() as stack:
        bar = stack.enter_context(Bar(f"distill {student.name}", config.iterations, "rounds", progress))
        pupil = _Pupil(student, config, where, after_step)
        if env_id is None:
            pupil.learn(without_environment(teacher, pupil.acting(), config.steps, config.seed), last=True)
            result = pupil.policy()
        else:
            scene = scene_of(teacher.contract, env_id)
            collector = Collector(teacher, scene, config.n_envs, config.restart_share, config.seed)
            stack.callback(collector.close)
            judge = ClosedLoop(scene, held_out_seeds(config.seed, config.eval_episodes))
            stack.callback(judge.close)
            result = _rounds(pupil, collector, judge, config, bar)
    result = result.replace(contract=_contract(teacher, student, env_id))
    return result.replace(golden=record_golden(result, env_id, seed=config.seed))


def _rounds(pupil: _Pupil, collector: Collector, judge: ClosedLoop, config: DistillConfig, bar: Bar) -> Policy:
    """Collect, fit, evaluate, until the steps or the patience are spent -> the best student."""
    best, best_return, waiting = pupil.policy(), -math.inf, 0
    horizon = max(1, math.ceil(config.steps / config.iterations / config.n_envs))
    for index in range(config.iterations):
        last = index == config.iterations - 1
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
        if waiting >= config.patience:
            break
    bar.say(f"{bar.title}: return {best_return:,.1f} over {config.eval_episodes} held-out episodes")
    return best


class _Pupil:
    """The student's network while it learns, and all that it was ever shown."""

    def __init__(self, student: Policy, config: DistillConfig, device: torch.device, after_step: AfterStep | None) -> None:
        self.student, self.config, self.device, self.after_step = student, config, device, after_step
        self.model = TorchPolicy(student).to(device)
        self.seen: list[Demonstrations] = []
        self.random = np.random.default_rng([config.seed, 4])
        self.unit: Tensor | None = None
        if after_step:
            after_step(self.model.network)

    def policy(self) -> Policy:
        """The student as it stands."""
        return self.student.replace(weights=self.model.network.to_weights(), golden=None)

    def acting(self) -> TorchPolicy:
        """A copy on the CPU, where the environments are."""
        return TorchPolicy(self.policy()).eval()

    def learn(self, data: Demonstrations, last: bool) -> float:
        """Fit everything seen so far; the ``last`` round takes three times as many epochs -> mean loss of the last epoch."""
        self.seen.append(data.to(self.device))
        action = self.student.contract.action
        if self.unit is None and action.kind == "continuous":
            self.unit = _unit(action, data.answer).to(self.device)
        epochs = self.config.epochs * (3 if last else 1)
        network = self.model.network
        optimizer = torch.optim.Adam(network.parameters(), lr=self.config.learning_rate, fused=True)
        losses: list[Tensor] = []
        for epoch in range(epochs):
            # A cosine to a hundredth: the large steps explore, the small ones settle.
            share = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
            optimizer.param_groups[0]["lr"] = self.config.learning_rate * share
            losses = []
            for y, answer in self._batches():
                loss = imitation_loss(action, y, answer, self.unit)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                if self.after_step:
                    self.after_step(network)
                losses.append(loss.detach())
        final = float(torch.stack(losses).mean())
        if not math.isfinite(final):
            raise BadInput(
                f"distillation of {self.student.name}",
                expected="a finite loss",
                found=f"{final}",
                repair="Lower learning_rate, or check the teacher's weights and normalizer",
            )
        return final

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(student's output y [B, m], teacher's answer [B, m]) for every minibatch of one epoch, shuffled."""
        return self._windows() if self.student.contract.state else self._points()

    def _points(self) -> Iterator[tuple[Tensor, Tensor]]:
        obs = torch.cat([data.obs.flatten(0, 1) for data in self.seen])
        answer = torch.cat([data.answer.flatten(0, 1) for data in self.seen])
        order = torch.from_numpy(self.random.permutation(len(obs))).to(self.device)
        inputs, answer = self.model.normalize(obs[order]), answer[order]
        for begin in range(0, len(order), self.config.batch_size):
            rows = slice(begin, begin + self.config.batch_size)
            yield self.model.network(inputs[rows])[0], answer[rows]

    def _windows(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Back-propagation through ``window`` steps, from the memory that the student had there when it acted."""
        length = min(self.config.window, *(len(data.obs) for data in self.seen))
        places = np.array(
            [
                (index, begin, column)
                for index, data in enumerate(self.seen)
                for begin in range(0, len(data.obs) - length + 1, length)
                for column in range(data.obs.shape[1])
            ]
        )
        self.random.shuffle(places)
        count = max(32, self.config.batch_size // length)  # a step through time costs the same for 1 window and for 32
        for first in range(0, len(places), count):
            picked = [(self.seen[i], slice(b, b + length), c) for i, b, c in places[first : first + count].tolist()]
            obs = torch.stack([data.obs[rows, c] for data, rows, c in picked], dim=1)
            answer = torch.stack([data.answer[rows, c] for data, rows, c in picked], dim=1)
            going = 1 - torch.stack([data.start[rows, c] for data, rows, c in picked], dim=1)[..., None]
            state = tuple(
                torch.stack([data.memory[k][rows.start, c] for data, rows, c in picked])
                for k in range(len(self.student.contract.state))
            )
            inputs, outputs = self.model.normalize(obs), []
            for t in range(length):
                y, state = self.model.network(inputs[t], tuple(tensor * going[t] for tensor in state))
                outputs.append(y)
            yield torch.cat(outputs), answer.flatten(0, 1)


def imitation_loss(action: Action, y: Tensor, answer: Tensor, unit: Tensor | None) -> Tensor:
    """How far the student's output y [B, m] is from the teacher's answer [B, m].

    Continuous: mean square of (action - answer) / unit. The clip passes gradients straight through: a student beyond
    a bound is pulled back if the teacher is inside, and left alone if the teacher is beyond it, too.
    Discrete: KL(teacher || student) plus the cross-entropy of the teacher's choice, which is what will be executed.
    """
    if action.kind == "discrete":
        log_p = torch.log_softmax(y, dim=-1)
        divergence = F.kl_div(log_p, torch.log_softmax(answer, dim=-1), log_target=True, reduction="batchmean")
        return divergence + F.nll_loss(log_p, answer.argmax(dim=-1))
    assert unit is not None  # continuous answers always have one
    free = transform_action(dataclasses.replace(action, low=(), high=()), y)
    if action.low:
        free = free + (transform_action(action, y.detach()) - free).detach()
    return ((free - answer) / unit).square().mean()


def _unit(action: Action, answer: Tensor) -> Tensor:
    """What counts as one, per action entry [m]: half the range where it is bounded, else the spread of the answers."""
    if action.low:
        return (torch.tensor(action.high) - torch.tensor(action.low)).clamp_min(1e-6) / 2
    if action.squash == "tanh":
        return torch.tensor(action.scale or (1.0,) * action.size).abs().clamp_min(1e-6)
    return answer.flatten(0, 1).std(dim=0, correction=0).clamp_min(1e-3)


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
