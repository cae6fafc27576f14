"""A school: what it teaches is what distillation teaches, and every student finds it as the first one did."""

import dataclasses

import numpy as np
import pytest
import torch

from pilotfish.errors import BadInput
from pilotfish.policy import Action, Contract, Observation, Policy, Provenance
from pilotfish.policy.layers import Linear
from pilotfish.policy.network import Network
from pilotfish.train import network_layers
from pilotfish.train.actor import initialize
from pilotfish.train.config import DistillConfig
from pilotfish.train.evaluation import ClosedLoop
from pilotfish.train.school import School

LESSON = DistillConfig(steps=640, iterations=2, n_envs=8, epochs=20, restart_share=0.25)


@pytest.fixture(scope="module")
def pilot():
    """Pushes the pole to where it falls."""
    contract = Contract(Observation(4), Action(kind="discrete", size=2), provenance=Provenance(env="CartPole-v1"))
    weights = {"out.weight": np.array([[0.0] * 4, [0.1, 0.4, 4.0, 1.2]], np.float32), "out.bias": np.zeros(2, np.float32)}
    return Policy("pilot", contract, (Linear("out", 4, 2),), weights)


@pytest.fixture
def school(pilot):
    made = School(pilot, "CartPole-v1", "CartPole-v1", 8, 400, seed=0)
    yield made
    made.close()


def _pupil(teacher, seed=0):
    layers = network_layers(4, (8,), "tanh", False, 2)
    weights = initialize(Network(layers), torch.Generator().manual_seed(seed), 0.1).to_weights()
    return teacher.replace(name="pupil", layers=layers, weights=weights)


def _balances(student):
    loop = ClosedLoop("CartPole-v1", list(range(900, 905)))
    try:
        return float(loop.returns(student).mean())
    finally:
        loop.close()


def test_a_student_learns_to_act_like_its_teacher(pilot, school):
    taught = school.teach(_pupil(pilot), LESSON)
    taught = school.teach(taught, dataclasses.replace(LESSON, teacher_share=0.0))
    assert _balances(pilot) == 500 and _balances(_pupil(pilot)) < 100 < 400 < _balances(taught)
    assert pilot.digest in taught.contract.provenance.parents and taught.contract.provenance.env == "CartPole-v1"


def test_what_a_student_met_in_one_lesson_is_with_it_in_the_next_and_not_with_the_next_student(pilot, school):
    first = school.teach(_pupil(pilot), LESSON)
    assert len(school.met) == 1  # the first of the two rounds was the teacher's
    school.teach(first, DistillConfig(steps=160, iterations=1, n_envs=8, epochs=1, teacher_share=0.0))
    assert [part.obs.shape[:2] for part in school.met] == [(40, 8), (20, 8)]
    school.welcome(0)
    assert school.met == [] and school.steps == 400


def test_the_same_seed_teaches_the_same_whoever_was_there_before(pilot, school):
    school.welcome(3)
    alone = school.teach(_pupil(pilot), LESSON)
    school.welcome(4)
    other = school.teach(_pupil(pilot), LESSON)
    school.welcome(3)
    again = school.teach(_pupil(pilot), LESSON)
    assert alone.digest == again.digest != other.digest


def test_masked_weights_stay_zero(pilot, school):
    student = _pupil(pilot)
    name = "hidden0.weight"
    mask = np.arange(student.weights[name].size).reshape(student.weights[name].shape) % 2 == 0
    taught = school.teach(student, LESSON, {name: mask})
    assert (taught.weights[name][~mask] == 0).all() and (taught.weights[name][mask] != 0).any()


def test_a_student_of_another_observation_is_refused(pilot, school):
    layers = network_layers(5, (8,), "tanh", False, 2)
    stranger = Policy("s", Contract(Observation(5), pilot.contract.action), layers, Network(layers).to_weights())
    with pytest.raises(BadInput, match="observation"):
        school.teach(stranger, LESSON)
