"""Law: tanh of many values at once keeps the bound of tanh of one."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from pilotfish.export.c.functions import definitions

BOUND = 5e-7


@pytest.fixture(scope="module")
def tanh_many(compile_functions):
    text = "#include <stdint.h>\n" + definitions(["tanh_many"], "exact")
    library = compile_functions(
        text + "void run(const float *x, float *y, int n);\nvoid run(const float *x, float *y, int n) "
        "{ policy_tanh_many(x, y, n); }\n"
    )

    def run(x: np.ndarray, in_place: bool = False) -> np.ndarray:
        x = x.astype(np.float32)
        y = x if in_place else np.full_like(x, 9.0)
        library.run(x.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p), x.size)
        return y

    return run


def test_keeps_its_bound_in_every_place(tanh_many):
    every_exponent = np.ldexp(np.random.default_rng(0).uniform(1, 2, 4000), np.random.default_rng(1).integers(-126, 128, 4000))
    dense = np.linspace(-9, 9, 400_003)
    x = np.concatenate([every_exponent, -every_exponent, dense, [0.0, -0.0, np.inf, -np.inf, 7.9, -7.9, 1e-45]]).astype(
        np.float32
    )
    for shift in range(4):
        rolled = np.roll(x, shift)
        assert np.abs(tanh_many(rolled) - np.tanh(rolled.astype(np.float64))).max() <= BOUND


@pytest.mark.parametrize("size", range(1, 10))
def test_any_size_in_place(tanh_many, size):
    x = np.linspace(-3, 8, size)
    assert np.abs(tanh_many(x, in_place=True) - np.tanh(x)).max() <= BOUND


def test_nan_stays_nan_and_reaches_no_other_group(tanh_many):
    x = np.zeros(12)
    x[5] = np.nan
    y = tanh_many(x)
    assert np.isnan(y[5]) and (y[:4] == 0).all() and (y[8:] == 0).all()
