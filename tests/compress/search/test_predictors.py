"""Predictors: they learn what can be learned, and are not used where they know less than the mean."""

import random

import numpy as np

from pilotfish.compress.search.genome import Genome
from pilotfish.compress.search.limits import Limits
from pilotfish.compress.search.predictors import FEWEST, Predictor
from pilotfish.compress.search.propose import Proposer
from pilotfish.compress.search.space import Space, fitted
from pilotfish.compress.search.trial import Outcome
from pilotfish.targets import load_target

ENDS = (17, 6)


def _genomes(count, seed=0):
    draw = random.Random(seed)
    widths = (4, 8, 12, 16, 24, 32, 48, 64)
    made = []
    for _ in range(count):
        hidden = tuple(draw.choice(widths) for _ in range(draw.randint(1, 3)))
        bits = draw.choice((32, 8))
        made.append(
            Genome(hidden, draw.choice(("tanh", "relu")), draw.choice((0.0, 0.5)), 1.0, (bits,) * (len(hidden) + 1), "int8", "c")
        )
    return made


def test_a_cost_that_follows_from_the_genome_is_learned():
    genomes = _genomes(30)
    predictor = Predictor(ENDS)
    predictor.fit(genomes, [np.log10(genome.multiplications(ENDS)) for genome in genomes])
    assert predictor.ready and predictor.trust.spearman > 0.95 and predictor.trust.mae < 0.3 * predictor.trust.mean_mae
    fresh = _genomes(20, seed=9)
    expected, spread = predictor.predict(fresh)
    wanted = np.log10([genome.multiplications(ENDS) for genome in fresh])
    assert np.abs(expected - wanted).mean() < 0.15
    assert (spread >= 0).all()


def test_noise_is_not_predicted():
    used = 0
    for seed in range(6):
        predictor = Predictor(ENDS)
        predictor.fit(_genomes(12, seed), np.random.default_rng(seed).normal(size=12).tolist())
        used += predictor.ready and predictor.trust.mae < 0.8 * predictor.trust.mean_mae
    assert used == 0


def test_too_few_candidates_say_nothing():
    predictor = Predictor(ENDS)
    predictor.fit(_genomes(FEWEST - 1), [0.0] * (FEWEST - 1))
    assert not predictor.ready and predictor.trust is None


def test_candidates_that_are_all_alike_break_nothing():
    predictor = Predictor(ENDS)
    predictor.fit(_genomes(10), [1.0] * 10)
    assert not predictor.ready


class _Seen:
    """As much of a study as a proposer's predictors look at."""

    seed = 0

    def __init__(self, outcomes):
        self._outcomes = outcomes

    def outcomes(self, _):
        return self._outcomes


def _measured(genome, limit):
    flash = 1000 + 2 * genome.multiplications(ENDS)
    figures = {"latency_us": genome.multiplications(ENDS) / 100, "flash_bytes": flash, "ram_bytes": 200 + 4 * sum(genome.hidden)}
    return Outcome(
        genome, kept=0.9, rungs=[0.9], costs={name: {"value": value} for name, value in figures.items()},
        excess=[flash / limit - 1, -1.0, -1.0],
    )  # fmt: skip


def test_memory_is_predicted_for_the_report_and_for_proposals_once_it_has_been_exceeded(teacher):
    space = fitted(Space(), teacher, load_target("crazyflie"))
    for limit, fitted_then in ((10**6, False), (3000, True)):
        seen = _Seen([_measured(genome, limit) for genome in _genomes(30)])
        proposer = Proposer(seen, "search", space, teacher, 0.5, Limits(flash_bytes=limit))
        proposer.ends = ENDS
        proposer.predictors = {name: Predictor(ENDS) for name in proposer.predictors}
        proposer.learn()
        assert proposer.predictors["cost"].ready and proposer.predictors["flash"].ready == fitted_then
    proposer.learn(everything=True)
    for name in ("cost", "flash", "RAM"):
        trust = proposer.predictors[name].trust
        assert trust.used and trust.spearman > 0.8 and trust.mae < 0.6 * trust.mean_mae, name
    # What all keep alike is not predicted: only the limit decides here.
    proposer.predictors["kept"] = Predictor(ENDS)
    proposer.predictors["kept"].fit(_genomes(30), [0.5 + sum(one.hidden) / 400 for one in _genomes(30)])
    small, large = (Genome((width,) * 2, "tanh", 0.0, 1.0, (32,) * 3, "float", "c") for width in (6, 64))
    scores = proposer._scores([small, large])
    assert scores[0] > scores[1] and scores[1][0] < 0
