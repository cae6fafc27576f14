"""Samplers of our own: they find what is there to be found, sooner than random draws do."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish.compress.search import cma, partition
from pilotfish.compress.search.encode import Code
from pilotfish.compress.search.front import front, hypervolume
from pilotfish.compress.search.samplers import PROPOSERS, sampler_of
from pilotfish.compress.search.worth import worths

WIDTHS = (4, 6, 8, 12, 16, 24, 32, 48, 64)
TRIALS, SEEDS, FLOOR, CEILING = 60, range(6), 0.5, 10_000.0


def _objective(trial):
    """(kept, cost): two layers are best, of widths as they rise; the third, wrong activations and zeros only do harm."""
    depth = trial.suggest_int("depth", 1, 3)
    widths = [trial.suggest_categorical(f"width{index}", WIDTHS) for index in range(depth)]
    activation = trial.suggest_categorical("activation", ("sigmoid", "relu", "tanh"))
    sparsity = trial.suggest_categorical("sparsity", (0.0, 0.5, 0.75, 0.9))
    bits = trial.suggest_categorical("bits", (32, 8, 4, 2))
    kept = 1 - 2.0 / min(widths) - 0.4 * sparsity - 0.1 * (activation != "relu") - 0.1 * (depth - 2) ** 2 - 0.3 * (bits < 8)
    cost = 17 * widths[0] + sum(a * b for a, b in itertools.pairwise(widths)) + 6 * widths[-1]
    return kept, cost * (1.0 if bits == 8 else 2.0)


def _best():
    """The hypervolume of the whole front: equal widths of two relu layers, 8 bits, no zeros."""
    return hypervolume([(1 - 2.0 / w, 23 * w + w * w) for w in WIDTHS], FLOOR, CEILING)


def _reached(name, seed):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler_of(name, seed, FLOOR))
    study.optimize(_objective, n_trials=TRIALS)
    return hypervolume([tuple(trial.values) for trial in study.trials], FLOOR, CEILING) / _best()


@pytest.fixture(scope="module")
def by_chance():
    return [_reached("random", seed) for seed in SEEDS]


@pytest.mark.parametrize("name", PROPOSERS)
def test_our_samplers_find_more_of_a_known_front_than_random_draws_of_the_same_number(name, by_chance):
    found = [_reached(name, seed) for seed in SEEDS]
    assert max([*found, *by_chance]) <= 1 + 1e-9
    assert np.mean(found) > np.mean(by_chance) + 0.05, (found, by_chance)


POINTS = st.lists(st.tuples(st.floats(0, 1.2), st.floats(1, 1e4)), min_size=1, max_size=12)


@given(POINTS)
def test_only_what_is_on_the_front_is_worth_anything_and_what_is_dominated_farther_off_is_worth_less(points):
    found = worths(points, [0.0] * len(points), 0.3)
    counted = [point for point in points if point[0] > 0.3]
    on_front = {counted[index] for index in front(counted)}
    for point, value in zip(points, found, strict=True):
        if point in on_front:
            assert value >= 0
        else:
            assert value <= 0
            worse = (point[0] - 0.05, point[1] * 1.5)
            assert worths([*points, worse], [0.0] * (len(points) + 1), 0.3)[-1] <= value + 1e-9


def test_beyond_a_limit_is_worth_less_than_anything_within_and_the_less_the_farther():
    found = worths([(1.0, 1.0), (-0.9, 1e6), (1.0, 1.0), None], [0.0, 0.0, 0.5, 2.0], 0.8)
    assert found == sorted(found, reverse=True) and found[1] > found[2]


@given(st.integers(0, 10_000))
def test_genes_survive_their_code(seed):
    import optuna

    space = {
        "depth": optuna.distributions.IntDistribution(1, 3),
        "width": optuna.distributions.CategoricalDistribution(WIDTHS[::-1]),
        "activation": optuna.distributions.CategoricalDistribution(("relu", "tanh", "elu")),
        "backend": optuna.distributions.CategoricalDistribution(("c",)),
        "numbers": optuna.distributions.CategoricalDistribution(("integer", "float32")),
    }
    code, random = Code(space), np.random.default_rng(seed)
    params = code.decode(random.random(code.size))
    assert code.decode(code.encode(params)) == params and len(code.steps()) == code.size == 7
    del params["width"]
    assert np.isnan(code.encode(params)).sum() == 1


def test_the_normal_distribution_finds_the_middle_of_a_bowl():
    random, goal = np.random.default_rng(1), np.array([0.2, 0.7, 0.5, 0.9])
    points, worth = np.empty((0, 4)), np.empty(0)
    for _ in range(160):
        point = cma.propose(points, worth, np.full(4, 0.01), random)
        points, worth = np.vstack([points, point]), np.append(worth, -np.sum((point - goal) ** 2))
    assert np.linalg.norm(points[-20:].mean(axis=0) - goal) < 0.12
    assert worth[-20:].mean() > worth[:20].mean() / 4


def test_a_plane_tells_good_from_poor_and_its_region_is_drawn_from():
    random = np.random.default_rng(0)
    points = random.random((40, 3))
    worth = np.where(points[:, 1] > 0.6, 1.0, 0.0)
    plane = partition.divided(points, worth)
    assert plane is not None and plane.normal.argmax() == 1 and ((plane.above(points) > 0) == (worth > 0)).mean() > 0.85
    drawn = np.array([partition.propose(points, worth, random) for _ in range(40)])
    assert (drawn[:, 1] > 0.5).mean() > 0.8 and drawn[:, 0].std() > 0.2
    assert partition.divided(points, np.ones(40)) is None
    assert math.isclose(partition.propose(points, np.ones(40), random).size, 3)
