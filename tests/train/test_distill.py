"""Distillation: a small student learns what the teacher does, in closed loop, masks, grids and memory included."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("mujoco", reason="mujoco is not installed")

from pilotfish.errors import BadInput
from pilotfish.policy import Action, Contract, Normalizer, Observation, Policy, Provenance
from pilotfish.policy.cells import LSTM
from pilotfish.policy.layers import Activation, Linear
from pilotfish.policy.network import Network
from pilotfish.policy.torch_policy import transform_action
from pilotfish.train import DistillConfig, network_layers
from pilotfish.train.actor import initialize
from pilotfish.train.demonstrations import Collector
from pilotfish.train.distill import distill
from pilotfish.train.evaluation import ClosedLoop
from pilotfish.train.imitation_loss import imitation_gradient, imitation_loss

SHORT = DistillConfig(steps=4_000, iterations=4, n_envs=8, epochs=10, batch_size=128, eval_episodes=2)


def _teacher(env: str) -> Policy:
    """A linear controller known to balance, as a policy with a normalizer."""
    if env == "InvertedPendulum-v5":  # position, angle, velocity, angular velocity -> force
        gains, action = [[0.3, 4.0, 0.4, 0.7]], Action(kind="continuous", size=1, low=(-3.0,), high=(3.0,))
    else:  # CartPole-v1: position, velocity, angle, angular velocity -> push right against push left
        gains, action = [[0.0] * 4, [0.1, 0.4, 4.0, 1.2]], Action(kind="discrete", size=2)
    normalizer = Normalizer(mean=(0.0,) * 4, variance=(0.25,) * 4, clip=10.0)
    contract = Contract(Observation(4, normalizer=normalizer), action, provenance=Provenance(env=env))
    weights = {"out.weight": np.array(gains, np.float32) / 2, "out.bias": np.zeros(len(gains), np.float32)}
    return Policy("teacher", contract, (Linear("out", 4, len(gains)),), weights)


def _student(teacher: Policy, layers, seed: int = 0) -> Policy:
    weights = initialize(Network(layers), torch.Generator().manual_seed(seed), 0.1).to_weights()
    return teacher.replace(name="student", layers=layers, weights=weights)


def _mean_return(policy: Policy, env: str) -> float:
    loop = ClosedLoop(env, list(range(900, 905)))
    try:
        return float(loop.returns(policy).mean())
    finally:
        loop.close()


@pytest.mark.parametrize("env", ["InvertedPendulum-v5", "CartPole-v1"])
def test_a_student_balances_like_its_teacher(env: str) -> None:
    teacher = _teacher(env)
    best = 1000 if env == "InvertedPendulum-v5" else 500
    assert _mean_return(teacher, env) == best
    student = _student(teacher, network_layers(4, (6,), "tanh", False, teacher.contract.action.size), seed=1)
    assert _mean_return(student, env) < best / 2
    taught = distill(teacher, student, SHORT, device="cpu", progress=False)
    assert _mean_return(taught, env) >= 0.97 * best
    assert taught.contract.provenance.parents == (teacher.digest,)
    assert taught.contract.observation == teacher.contract.observation
    assert taught.golden is not None and taught.golden.source == "environment"


def test_the_same_seed_gives_the_same_student() -> None:
    teacher = _teacher("CartPole-v1")
    student = _student(teacher, network_layers(4, (4,), "relu", False, 2))
    config = dataclasses.replace(SHORT, steps=500, iterations=2, epochs=3)
    one, two = (distill(teacher, student, config, device="cpu", progress=False) for _ in range(2))
    assert one.digest == two.digest


def test_masks_and_int8_grids_hold() -> None:
    teacher = _teacher("InvertedPendulum-v5")
    layers = (Linear("a", 4, 8, weight_bits=8), Activation("tanh"), Linear("out", 8, 1))
    student = _student(teacher, layers)
    mask = np.ones((1, 8), bool)
    mask[0, ::2] = False
    taught = distill(teacher, student, SHORT, device="cpu", progress=False, masks={"out.weight": mask})
    assert np.count_nonzero(taught.weights["out.weight"][0, ::2]) == 0
    assert np.count_nonzero(taught.weights["out.weight"][0, 1::2]) == 4
    assert taught.weights["a.weight"].dtype == np.int8 and taught.weights["a.weight_scale"].shape == (8,)
    assert _mean_return(taught, "InvertedPendulum-v5") >= 950


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_recurrent_student_learns(cell: str) -> None:
    teacher = _teacher("CartPole-v1")
    student = _student(teacher, network_layers(4, (), "tanh", False, 2, (cell, 8)), seed=1)
    assert _mean_return(student, "CartPole-v1") < 250
    config = dataclasses.replace(SHORT, steps=3_000, window=16, epochs=6)
    taught = distill(teacher, student, config, device="cpu", progress=False)
    assert _mean_return(taught, "CartPole-v1") >= 450
    assert taught.golden is not None and taught.golden.state.shape[1] == (8 if cell == "gru" else 16)


def test_a_recurrent_teachers_memory_starts_with_each_episode() -> None:
    teacher = _student(_teacher("CartPole-v1"), (LSTM("lstm", 4, 3), Linear("out", 3, 2)), seed=1)
    student = _student(teacher, network_layers(4, (4,), "tanh", False, 2))
    collector = Collector(teacher, "CartPole-v1", 2, 0.5, seed=0)
    from pilotfish.policy.torch_policy import TorchPolicy

    data = collector.collect(TorchPolicy(student), 150, 0.5)
    again = collector.collect(TorchPolicy(student), 40, 0.0)
    collector.close()
    assert data.start.sum() > 4 and 1 <= again.start[0].sum() < 2  # half of the copies begin anew
    network = TorchPolicy(teacher)
    for column in range(2):
        state = network.network.initial_state(1)
        for t in range(150):
            if data.start[t, column]:
                state = network.network.initial_state(1)
            y, state = network.network(network.normalize(data.obs[t, column][None]), state)
            torch.testing.assert_close(y[0], data.answer[t, column])


def test_without_an_environment_it_says_so() -> None:
    teacher = _teacher("InvertedPendulum-v5")
    homeless = teacher.replace(contract=dataclasses.replace(teacher.contract, provenance=Provenance()))
    student = _student(homeless, network_layers(4, (6,), "tanh", False, 1))
    taught = distill(homeless, student, dataclasses.replace(SHORT, steps=1_000), device="cpu", progress=False)
    assert "random observations" in taught.contract.provenance.notes[-1]
    assert taught.golden is not None and taught.golden.source == "random observations"


@pytest.mark.parametrize("layers", [network_layers(4, (6, 5), "relu", False, 1), network_layers(4, (6, 5), "elu", False, 1)])
def test_masked_weights_are_zero_however_the_student_learns(layers) -> None:
    teacher = _teacher("InvertedPendulum-v5")
    masks = {"hidden0.weight": np.arange(24).reshape(6, 4) % 3 > 0, "hidden1.weight": np.arange(30).reshape(5, 6) % 4 > 0}
    config = dataclasses.replace(SHORT, steps=400, iterations=2, epochs=2)
    taught = distill(teacher, _student(teacher, layers), config, device="cpu", progress=False, masks=masks)
    for name, mask in masks.items():
        np.testing.assert_array_equal(taught.weights[name] != 0, mask)
    assert (taught.weights["out.weight"] != 0).all()


@pytest.mark.parametrize("squash", ["none", "tanh"])
@pytest.mark.parametrize("bounded", [True, False])
def test_the_gradient_by_hand_is_the_one_of_the_loss(squash: str, bounded: bool) -> None:
    limits = {"low": (-1.0, -0.5), "high": (1.0, 0.25)} if bounded else {}
    action = Action(kind="continuous", size=2, squash=squash, scale=(0.8, 2.0), offset=(0.1, -0.2), **limits)
    generator = torch.Generator().manual_seed(0)
    y, answer = torch.randn(50, 2, generator=generator), torch.randn(50, 2, generator=generator)
    leaf, unit = y.clone().requires_grad_(), torch.tensor([0.7, 1.3])
    wanted = imitation_loss(action, leaf, answer, unit)
    wanted.backward()
    error, dy = imitation_gradient(action, y, answer, unit)
    torch.testing.assert_close(dy, leaf.grad)
    torch.testing.assert_close(error, ((transform_action(action, y) - answer) / unit).square().mean())


def test_the_loss_is_zero_where_student_and_teacher_agree_and_a_firmly_wrong_one_still_learns() -> None:
    action = Action(kind="continuous", size=1, squash="tanh", scale=(2.0,), offset=(0.5,))
    y = torch.linspace(-3, 3, 13)[:, None]
    loss = imitation_loss(action, y, transform_action(action, y), torch.ones(1))
    assert 0 <= loss < 1e-6
    _, dy = imitation_gradient(action, torch.tensor([[8.0]]), torch.tensor([[-1.5]]), torch.ones(1))
    assert dy > 1  # the square's gradient is 1e-6 there


@given(st.floats(-9, 9), st.floats(-0.999, 0.999))
def test_the_matching_loss_is_never_negative(y: float, t: float) -> None:
    action = Action(kind="continuous", size=1, squash="tanh")
    assert imitation_loss(action, torch.tensor([[y]]), torch.tensor([[t]]), torch.ones(1)) >= -1e-6


def test_the_clip_lets_gradients_through_only_where_the_action_differs() -> None:
    action = Action(kind="continuous", size=1, low=(-1.0,), high=(1.0,))
    y = torch.tensor([[3.0], [3.0], [0.5]], requires_grad=True)
    imitation_loss(action, y, torch.tensor([[1.0], [0.0], [0.5]]), torch.ones(1)).backward()
    assert y.grad is not None
    assert y.grad[0] == 0 and y.grad[1] > 0 and y.grad[2] == 0


def test_policies_that_do_not_fit_are_refused_in_words() -> None:
    with pytest.raises(BadInput, match="the teacher's action of kind continuous"):
        distill(_teacher("InvertedPendulum-v5"), _teacher("CartPole-v1"), SHORT, progress=False)
