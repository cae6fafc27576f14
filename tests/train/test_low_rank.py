"""Laws of the low-rank integrator: exact where the rank allows, never beyond its bounds, downhill."""

from __future__ import annotations

import itertools

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from pilotfish.policy.layers import Linear  # noqa: E402
from pilotfish.policy.network import Network  # noqa: E402
from pilotfish.train.low_rank import Integrator, factored, rank_within, stepped  # noqa: E402

shapes = st.tuples(st.integers(2, 14), st.integers(2, 14))


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=20, deadline=None)
@given(shape=shapes, seed=st.integers(0, 999))
def test_at_full_rank_and_without_tolerance_a_step_is_the_dense_step(shape, seed):
    weight, step = random(*shape, seed=seed), 0.3 * random(*shape, seed=seed + 1)
    start = factored(weight, 0.0, min(shape))
    torch.testing.assert_close(start.product(), weight)
    torch.testing.assert_close(stepped(start, weight + step, 0.0, min(shape)).product(), weight + step)


@settings(max_examples=20, deadline=None)
@given(shape=shapes, rank=st.integers(1, 14), seed=st.integers(0, 999))
def test_a_path_of_that_rank_is_followed_exactly(shape, rank, seed):
    """The exactness property (Ceruti and Lubich 2022): what has the rank all the way is not approximated."""
    rank = min(rank, *shape)
    left, right = random(shape[0], rank, seed=seed), random(rank, shape[1], seed=seed + 1)
    turned = left + 0.1 * random(shape[0], rank, seed=seed + 2), right + 0.1 * random(rank, shape[1], seed=seed + 3)
    found = stepped(factored(left @ right, 0.0, rank), turned[0] @ turned[1], 0.0, rank)
    assert found.rank <= rank
    torch.testing.assert_close(found.product(), turned[0] @ turned[1], rtol=1e-6, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(shape=shapes, largest=st.integers(1, 14), theta=st.floats(0, 0.9), seed=st.integers(0, 999))
def test_bounds_bases_and_what_is_left_out(shape, largest, theta, seed):
    weight = random(*shape, seed=seed)
    now = factored(weight, theta, largest)
    found = stepped(now, weight + random(*shape, seed=seed + 1), theta, largest)
    for part in (now, found):
        assert 1 <= part.rank <= min(largest, *shape)
        for basis in (part.u, part.v):
            torch.testing.assert_close(basis.T @ basis, torch.eye(part.rank, dtype=basis.dtype))
    if now.rank < largest:
        assert torch.linalg.norm(weight - now.product()) <= theta * torch.linalg.norm(weight) + 1e-9
    assert found.rank <= 2 * now.rank


def test_the_rank_is_the_smallest_that_the_tolerance_allows():
    values = torch.tensor([3.0, 0.0, 0.0])
    assert rank_within(values, 0.0, 3) == 1
    values = torch.tensor([4.0, 3.0, 0.0])  # without the second, 3/5 of the norm is missing
    assert [rank_within(values, theta, 3) for theta in (0.0, 0.59, 0.6, 0.9)] == [2, 2, 1, 1]
    assert rank_within(torch.zeros(3), 0.0, 3) == 1


def test_downhill_at_small_steps_and_to_the_best_of_its_rank():
    """Least squares towards a matrix of higher rank: the loss falls at every step, to what the SVD allows."""
    wanted = random(12, 9, seed=3)
    now = factored(random(12, 9, seed=4), 0.0, 3)
    losses = []
    for _ in range(400):
        weight = now.product()
        losses.append(float((weight - wanted).square().sum() / 2))
        now = stepped(now, weight - 0.1 * (weight - wanted), 0.0, 3)
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(losses))
    best = float(torch.linalg.svdvals(wanted)[3:].square().sum() / 2)
    assert losses[-1] == pytest.approx(best, rel=1e-3)


def test_a_first_step_falls_as_the_projected_gradient_says():
    """Descent: the loss falls by the step times the squared gradient in the augmented bases, to first order."""
    wanted, start = random(10, 8, seed=5), factored(random(10, 8, seed=6), 0.0, 2)
    weight, rate = start.product(), 1e-4
    gradient = weight - wanted
    found = stepped(start, weight - rate * gradient, 0.0, 8).product()
    fell = float(((weight - wanted).square().sum() - (found - wanted).square().sum()) / 2)
    u, v = start.u, start.v
    tangent = u @ u.T @ gradient + gradient @ v @ v.T - u @ u.T @ gradient @ v @ v.T
    assert fell >= 0.99 * rate * float(tangent.square().sum())


def test_the_integrator_adapts_ranks_while_a_network_learns():
    torch.manual_seed(0)
    network = Network((Linear("a", 20, 18), Linear("b", 18, 3)))
    truth = torch.randn(20, 2) @ torch.randn(2, 18)
    integrator = Integrator({"a.weight": 9}, theta=0.1)
    integrator.step({"a.weight": network.a__weight})
    optimizer = torch.optim.Adam(network.parameters(), 5e-2)
    losses = []
    for _ in range(200):
        x = torch.randn(64, 20)
        loss = (network.through(network.layers[0], x, ())[0] - x @ truth).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        integrator.step({"a.weight": network.a__weight})
        losses.append(float(loss.detach()))
        assert torch.linalg.matrix_rank(network.a__weight.detach(), rtol=1e-4) <= integrator.now["a.weight"].rank
    assert losses[-1] < 0.05 * losses[0]
    ranks = [ranks["a.weight"] for ranks in integrator.ranks]
    assert max(ranks) <= 9
    assert ranks[-1] < ranks[0] == 9


def test_several_gradient_steps_may_make_one_step_of_the_integrator():
    integrator = Integrator({}, 0.1, every=3)
    assert [integrator.due() for _ in range(7)] == [True, False, False, True, False, False, True]
