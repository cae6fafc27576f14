"""Predictors: they learn what can be learned, and are not used where they know less than the mean."""

import random

import numpy as np

from pilotfish.compress.search.genome import Genome
from pilotfish.compress.search.predictors import FEWEST, Predictor

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
