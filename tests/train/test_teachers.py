"""Laws of teaching: several teachers answer as they say they do, and a student never hears what it may not see."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium", reason="gymnasium is not installed")

from pilotfish.compress import compress, parse_recipe
from pilotfish.compress.teachers import bundles_of
from pilotfish.errors import BadInput
from pilotfish.policy import Action, Contract, Normalizer, Observation, Policy, Provenance
from pilotfish.policy.cells import LSTM
from pilotfish.policy.layers import Linear
from pilotfish.policy.torch_policy import TorchPolicy
from pilotfish.train import DistillConfig
from pilotfish.train.actor import initialize
from pilotfish.train.demonstrations import Collector, joined
from pilotfish.train.distill import distill
from pilotfish.train.teachers import Faculty, classrooms

POLE = "CartPole-v1"
NAMES = ("position", "velocity", "angle", "angular velocity")
QUICK = {"steps": 600, "iterations": 2, "epochs": 3, "batch_size": 128}


def balancer(gains: tuple[float, ...] = (0.1, 0.4, 4.0, 1.2), name: str = "balancer", spread: float = 0.25) -> Policy:
    """Pushes right against left by a linear rule, which balances with the gains above; ``spread``: its normalizer's variance."""
    observation = Observation(4, names=NAMES, normalizer=Normalizer((0.0,) * 4, (spread,) * 4, clip=10.0))
    contract = Contract(observation, Action("discrete", 2), provenance=Provenance(env=POLE))
    weights = {
        "out.weight": np.array([(0.0,) * 4, gains], np.float32) * np.float32(np.sqrt(spread)),
        "out.bias": np.zeros(2, np.float32),
    }
    return Policy(name, contract, (Linear("out", 4, 2),), weights)


def mover(gain: float, env: str | None = "Pendulum-v1", *, high: float = 2.0) -> Policy:
    """A continuous one: a torque against the angular velocity."""
    action = Action("continuous", 1, low=(-high,), high=(high,))
    contract = Contract(Observation(3), action, provenance=Provenance(env=env))
    weights = {"out.weight": np.array([[0.3, -0.2, gain]], np.float32), "out.bias": np.zeros(1, np.float32)}
    return Policy("mover", contract, (Linear("out", 3, 1),), weights)


def remembering(seed: int) -> Policy:
    """A recurrent one of random weights."""
    from pilotfish.policy.network import Network

    layers = (LSTM("lstm", 4, 3), Linear("out", 3, 2))
    weights = initialize(Network(layers), torch.Generator().manual_seed(seed), 1.0).to_weights()
    return balancer().replace(name=f"remembering{seed}", layers=layers, weights=weights)


def saved(folder: Path) -> Callable[[Policy, str], str]:
    return lambda policy, name: str(policy.save(folder / f"{name}.policy"))


def test_the_mean_of_torques_is_learned() -> None:
    obs = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    both = (mover(1.0), mover(-0.5))
    answer, action, _ = Faculty(both).answer(obs, ())
    wanted = torch.stack([TorchPolicy(policy)(obs, ())[0] for policy in both]).mean(dim=0)
    torch.testing.assert_close(answer, wanted)
    torch.testing.assert_close(action, wanted)


def test_choices_are_blended_in_log_probability_and_memories_stay_apart() -> None:
    both = (remembering(1), balancer(), remembering(2))
    faculty, obs = Faculty(both), torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(1))
    state, own = faculty.initial_state(5), [TorchPolicy(policy).network.initial_state(5) for policy in both]
    for row in obs:
        answer, action, state = faculty.answer(row, state)
        logs = []
        for index, policy in enumerate(map(TorchPolicy, both)):
            y, own[index] = policy.network(policy.normalize(row), own[index])
            logs.append(torch.log_softmax(y, dim=-1))
        torch.testing.assert_close(answer, sum(logs) / 3)
        assert torch.equal(action[:, 0].long(), answer.argmax(dim=-1))


def test_every_copy_has_one_teacher_in_the_teachers_own_environment() -> None:
    here, there, homeless = mover(1.0), mover(-0.5, "Acrobot-v1"), mover(2.0, None)
    rooms = classrooms((here, there, homeless), "Pendulum-v1", "episode", 8)
    assert [(room.teachers[0], room.scene, room.copies) for room in rooms] == [
        (here, "Pendulum-v1", 3),
        (there, "Acrobot-v1", 3),
        (homeless, "Pendulum-v1", 2),
    ]
    together = classrooms((here, there), "Pendulum-v1", "mean", 8)
    assert [(room.scene, room.copies, len(room.teachers)) for room in together] == [("Pendulum-v1", 8, 2)]
    with pytest.raises(BadInput, match="a copy of the environment per teacher: 3"):
        classrooms((here, there, homeless), "Pendulum-v1", "episode", 2)


def test_a_faculty_drives_as_its_mean() -> None:
    """What the collector writes down is the mean of the answers to the states it was in."""
    one, two = balancer(), balancer((0.0, 0.1, 1.0, 0.4), "gentle", spread=4.0)
    collector = Collector((one, two), POLE, 4, 0.5, seed=0)
    data = collector.collect(TorchPolicy(balancer()), 20, 1.0)
    collector.close()
    wanted = Faculty((one, two)).answer(data.obs.flatten(0, 1), ())[0]
    torch.testing.assert_close(data.answer.flatten(0, 1), wanted)


def test_with_episodes_the_student_learns_each_teachers_answer_in_its_own_copies(monkeypatch) -> None:
    """Two teachers, one of them in another pendulum: all that the student was shown is looked at."""
    from pilotfish.train import distill as trainer

    shown = []
    monkeypatch.setattr(trainer, "joined", lambda parts: shown.append(parts) or joined(parts))
    one, two = mover(1.0), mover(-0.5)
    config = DistillConfig(steps=240, iterations=2, n_envs=6, epochs=2, eval_episodes=1)
    student = mover(0.0).replace(name="student")
    taught = distill(one, student, config, device="cpu", progress=False, others=(two,), blend="episode")
    assert len(shown) == 2
    for parts in shown:
        assert [part.obs.shape for part in parts] == [(20, 3, 3), (20, 3, 3)]
        for part, teacher in zip(parts, (one, two), strict=True):
            wanted, _ = TorchPolicy(teacher)(part.obs.flatten(0, 1), ())
            torch.testing.assert_close(part.answer.flatten(0, 1), wanted)
    assert not torch.equal(shown[0][0].obs, shown[0][1].obs)  # other episodes, not the same ones twice
    assert taught.contract.provenance.parents == (one.digest, two.digest)


def test_a_student_of_two_opposed_teachers_does_what_is_between_them() -> None:
    one, two = mover(0.2), mover(-0.1)  # within the bounds nearly everywhere, so their mean is linear
    config = DistillConfig(steps=600, iterations=1, n_envs=6, epochs=40, eval_episodes=1, learning_rate=1e-2)
    student = mover(0.0).replace(name="student")
    taught = distill(one, student, config, device="cpu", progress=False, others=(two,))
    reference = Faculty((one, two))
    obs = torch.from_numpy(np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32))
    between, alone = reference.answer(obs, ())[0], TorchPolicy(one)(obs, ())[0]
    found = TorchPolicy(taught)(obs, ())[0].detach()
    assert (found - between).abs().mean() < 0.1 * (alone - between).abs().mean()


def test_a_recipe_reads_its_teachers_records_them_and_heals_by_them(tmp_path, monkeypatch) -> None:
    policy, other = balancer(), balancer((0.0, 0.2, 3.0, 1.0), "other")
    path = saved(tmp_path)(other, "other")
    from pilotfish.train import distill as trainer

    asked = []
    original = trainer.distill
    monkeypatch.setattr(trainer, "distill", lambda *a, **k: asked.append((k["others"], k["blend"])) or original(*a, **k))
    steps = [{"pass": "distill", "hidden": [6], "teachers": [path], **QUICK}, {"pass": "heal", **QUICK, "episodes": 0}]
    recipe = parse_recipe(steps)
    assert bundles_of(recipe) == [path]
    small = compress(policy, recipe, device="cpu")
    assert [[one.digest for one in others] for others, _ in asked] == [[other.digest]] * 2
    assert small.contract.provenance.parents == (policy.digest, other.digest)
    assert small.contract.provenance.passes[0].changed["teachers"] == {path: other.digest}
    small.save(tmp_path / "small.policy")
    assert Policy.load(tmp_path / "small.policy").digest == small.digest
    asked.clear()
    compress(small, parse_recipe([{"pass": "heal", **QUICK, "episodes": 0}]), device="cpu")
    assert asked == [((), "mean")]  # in another recipe, that recipe's policy is the teacher


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation": Observation(4, names=("a", "b", "c", "d"))}, "names of the observation"),
        ({"observation": Observation(5)}, "the teacher's observation of size 5"),
        ({"action": Action("discrete", 3)}, "the teacher's action of size 3"),
        ({"action": Action("continuous", 2)}, "the teacher's action of kind continuous"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_before_anything_runs(tmp_path, change, message) -> None:
    contract = dataclasses.replace(balancer().contract, **change)
    sizes = contract.observation.size, contract.action.size
    weights = {"out.weight": np.zeros(sizes[::-1], np.float32), "out.bias": np.zeros(sizes[1], np.float32)}
    path = saved(tmp_path)(Policy("other", contract, (Linear("out", *sizes),), weights), "other")
    done: list[int] = []
    recipe = parse_recipe([{"pass": "prune", "sparsity": 0.5, "schedule": "one-shot"}, {"pass": "distill", "teachers": [path]}])
    with pytest.raises(BadInput, match=message):
        compress(balancer(), recipe, device="cpu", on_pass=lambda number, _: done.append(number))
    assert done == []


def test_teachers_of_other_bounds_with_memory_missing_or_twice_are_refused(tmp_path) -> None:
    save = saved(tmp_path)
    wide, memory = save(mover(1.0, high=3.0), "wide"), save(remembering(1), "memory")
    for policy, settings, message in (
        (mover(1.0), {"teachers": [wide]}, "lower bounds of the action"),
        (balancer(), {"teachers": [memory]}, "a student with memory, as the teacher remembering1 has one"),
        (balancer(), {"teachers": [str(tmp_path / "nobody.policy")]}, "nothing there"),
        (balancer(), {"teachers": [memory, memory], "cell": "gru"}, "every teacher once"),
        (
            mover(1.0, None),
            {"teachers": [save(mover(2.0), "two")], "blend": "episode", "without_environment": True},
            "divides among",
        ),
    ):
        with pytest.raises(BadInput, match=message):
            compress(policy, parse_recipe([{"pass": "distill", **settings}]), device="cpu")
