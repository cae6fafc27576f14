"""Running statistics: merged batches equal the whole, and what runs equals what the contract says."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.policy import Observation
from pilotfish.train.normalizer import Moments, ObservationNormalizer, RewardScaler


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 40), min_size=1, max_size=6), st.floats(-1e4, 1e4))
def test_merged_batches_equal_one_pass_over_all(seed: int, sizes: list[int], shift: float) -> None:
    random = np.random.default_rng(seed)
    batches = [random.normal(shift, 3.0, (size, 4)) for size in sizes]
    moments = Moments(4)
    for batch in batches:
        moments.update(batch)
    whole = np.concatenate(batches)
    assert moments.count == len(whole)
    if len(whole):
        np.testing.assert_allclose(moments.mean, whole.mean(0), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(moments.variance, whole.var(0), rtol=1e-6, atol=1e-9)


def test_what_runs_is_what_the_contract_says() -> None:
    import torch

    from pilotfish.policy.torch_policy import Normalize

    random = np.random.default_rng(0)
    normalizer = ObservationNormalizer(5, active=True)
    normalizer.update(random.normal(3, 2, (1000, 5)).astype(np.float32))
    obs = random.normal(3, 40, (64, 5)).astype(np.float32)
    twin = Normalize(Observation(size=5, normalizer=normalizer.contract()))(torch.from_numpy(obs)).numpy()
    np.testing.assert_array_equal(normalizer(obs), twin)
    assert np.abs(twin).max() == 10.0


def test_an_inactive_normalizer_is_the_identity() -> None:
    normalizer = ObservationNormalizer(2, active=False)
    normalizer.update(np.ones((3, 2), np.float32))
    obs = np.array([[5.0, -7.0]], np.float32)
    np.testing.assert_array_equal(normalizer(obs), obs)
    assert normalizer.contract() is None


def test_rewards_are_scaled_by_the_deviation_of_the_discounted_return() -> None:
    random = np.random.default_rng(1)
    reward, ended = random.normal(2, 1, (50, 3)), random.random((50, 3)) < 0.1
    scaler = RewardScaler(3, 0.9, active=True, device=torch.device("cpu"))
    parts = [(torch.from_numpy(reward[rows]), torch.from_numpy(ended[rows])) for rows in (slice(20), slice(20, None))]
    halves = [scaler(*part).numpy() for part in parts]
    returns = np.zeros((50, 3))
    for env in range(3):
        running = 0.0
        for t in range(50):
            running = 0.9 * running + reward[t, env]
            returns[t, env] = running
            running = 0.0 if ended[t, env] else running
    np.testing.assert_allclose(halves[1], reward[20:] / returns.std(), rtol=1e-6)
    np.testing.assert_allclose(halves[0], reward[:20] / returns[:20].std(), rtol=1e-6)
