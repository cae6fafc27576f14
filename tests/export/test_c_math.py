"""Law: the C back-end's own math keeps the error bounds that its comments state, against float64 numpy."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

pytest.importorskip("onnx")

from pilotfish.export.c.source import MATH, template

UNARY = ("tanh", "exp", "sigmoid", "inverse_sqrt", "abs")
VECTOR = "void all_{0}(const float *x, float *y, int n) {{ for (int i = 0; i < n; ++i) y[i] = policy_{0}(x[i]{1}); }}\n"


@pytest.fixture(scope="module")
def functions(compile_functions):
    text = "#include <stdint.h>\n" + "".join(template(f"math_{name}.c") for name in MATH)
    text += "".join(VECTOR.format(name, "") for name in UNARY) + VECTOR.format("elu", ", 1.0f")
    text += "float total(const float *x, int n) { return policy_sum(x, n); }\n"
    text += "float squares(const float *x, float m, int n) { return policy_sum_of_squares(x, m, n); }\n"
    library = compile_functions(text)
    library.total.restype = library.squares.restype = ctypes.c_float

    def call(name, x):
        x = np.ascontiguousarray(x, np.float32)
        y = np.empty_like(x)
        getattr(library, f"all_{name}")(*(a.ctypes.data_as(ctypes.c_void_p) for a in (x, y)), ctypes.c_int(x.size))
        return y

    call.library = library
    return call


def dense_sample(limit):
    """Both signs, from denormal-small to ``limit``: every binade, and a fine grid."""
    small = np.geomspace(1e-40, limit, 400_000)
    return np.concatenate([small, -small, np.linspace(-limit, limit, 600_000), [0.0, -0.0]]).astype(np.float32)


def test_tanh_absolute_error(functions):
    x = dense_sample(30)
    assert np.abs(functions("tanh", x) - np.tanh(x.astype(np.float64))).max() <= 5e-7


def test_tanh_never_leaves_its_range(functions):
    assert np.abs(functions("tanh", dense_sample(1e30))).max() <= 1.0


def test_exp_relative_error(functions):
    x = dense_sample(86)
    truth = np.exp(x.astype(np.float64))
    assert (np.abs(functions("exp", x) - truth) / truth).max() <= 4e-7


def test_sigmoid_relative_error(functions):
    x = dense_sample(86)
    truth = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert (np.abs(functions("sigmoid", x) - truth) / truth).max() <= 3e-7


def test_elu_error_is_relative_near_zero(functions):
    x = -np.abs(dense_sample(200))
    truth = np.expm1(x.astype(np.float64))
    assert np.abs(functions("elu", x) - truth).max() <= 2e-7
    near = (x > -0.3) & (x < -1e-30)
    assert (np.abs(functions("elu", x) - truth)[near] / np.abs(truth[near])).max() <= 4e-7


def test_inverse_sqrt_relative_error(functions):
    x = np.geomspace(1.2e-38, 3e38, 800_000).astype(np.float32)
    truth = 1 / np.sqrt(x.astype(np.float64))
    assert (np.abs(functions("inverse_sqrt", x) - truth) / truth).max() <= 3e-7


def test_extremes_are_sane(functions):
    x = np.array([np.inf, -np.inf, np.nan, 3e38, -3e38], np.float32)
    np.testing.assert_array_equal(functions("exp", x), [np.inf, 0, np.nan, np.inf, 0])
    np.testing.assert_allclose(functions("sigmoid", x), [1, 0, np.nan, 1, 0], atol=2e-38)
    np.testing.assert_allclose(functions("tanh", x), [1, -1, np.nan, 1, -1], atol=5e-7)
    np.testing.assert_array_equal(functions("elu", x), np.array([np.inf, -1, np.nan, 3e38, -1], np.float32))


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 31, 64, 1000])
def test_sums(functions, size):
    x = np.random.default_rng(size).normal(size=size).astype(np.float32)
    pointer = x.ctypes.data_as(ctypes.c_void_p)
    mean = np.float32(0.25)
    wide = x.astype(np.float64)
    assert functions.library.total(pointer, size) == pytest.approx(wide.sum(), abs=1e-6 * np.abs(wide).sum())
    squares = functions.library.squares(pointer, ctypes.c_float(mean), size)
    assert squares == pytest.approx(((wide - mean) ** 2).sum(), rel=2e-6)
