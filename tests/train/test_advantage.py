"""Generalized advantage estimation equals the definition, written out."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.train.advantage import advantages


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(0, 1), st.floats(0, 1))
def test_equals_the_sum_of_discounted_errors(seed: int, horizon: int, gamma: float, lam: float) -> None:
    random = np.random.default_rng(seed)
    reward, value, following = (random.normal(size=(horizon, 3)) for _ in range(3))
    ended = random.random((horizon, 3)) < 0.3
    expected = np.zeros((horizon, 3))
    for env in range(3):
        for t in range(horizon):
            weight = 1.0
            for k in range(t, horizon):
                delta = reward[k, env] + gamma * following[k, env] - value[k, env]
                expected[t, env] += weight * delta
                if ended[k, env]:
                    break
                weight *= gamma * lam
    given = advantages(*(torch.from_numpy(array) for array in (reward, value, following, ended)), gamma, lam)
    np.testing.assert_allclose(given.numpy(), expected, rtol=1e-9, atol=1e-9)
