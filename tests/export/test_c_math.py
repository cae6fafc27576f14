"""Law: the C back-end's own math keeps the error bounds that its comments state, against float64 numpy.

Dense samples of every binade, compiled with -O3 for this machine and with -O0; the same code also runs on the virtual
Cortex-M4F. ``python tests/export/exhaustive_math.py`` tries all 2^32 floats (a minute per function).
"""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

pytest.importorskip("onnx")

from pilotfish.export.c.functions import FAST, definitions, template

ARGUMENTS = {"elu": ", 1.0f", "hard_sigmoid": ", 0.2f, 0.5f"}
UNARY = ("tanh", "exp", "sigmoid", "silu", "elu", "softplus", "mish", "hard_sigmoid", "inverse_sqrt", "abs")
VECTOR = "void all_{0}(const float *x, float *y, int n) {{ for (int i = 0; i < n; ++i) y[i] = policy_{0}(x[i]{1}); }}\n"
CALLS = {"exact": UNARY, "fast": tuple(FAST)}


def program(accuracy):
    text = "#include <stdint.h>\n" + definitions([*CALLS[accuracy], "sum", "sum_of_squares"], accuracy)
    text += "".join(VECTOR.format(name, ARGUMENTS.get(name, "")) for name in CALLS[accuracy])
    text += "float total(const float *x, int n) { return policy_sum(x, n); }\n"
    return text + "float squares(const float *x, float m, int n) { return policy_sum_of_squares(x, m, n); }\n"


@pytest.fixture(scope="module", params=["optimized", "plain"])
def build(request, compile_functions):
    """accuracy -> call(name, x), compiled once."""
    known = {}

    def make(accuracy):
        if accuracy not in known:
            known[accuracy] = compile_functions(program(accuracy), *(("-O0",) if request.param == "plain" else ()))
        library = known[accuracy]
        library.total.restype = library.squares.restype = ctypes.c_float

        def call(name, x):
            x = np.ascontiguousarray(x, np.float32)
            y = np.empty_like(x)
            getattr(library, f"all_{name}")(*(a.ctypes.data_as(ctypes.c_void_p) for a in (x, y)), ctypes.c_int(x.size))
            return y

        call.library = library
        return call

    return make


@pytest.fixture
def functions(build):
    return build("exact")


def dense_sample(limit):
    """Both signs, from denormal-small to ``limit``: every binade, and a fine grid."""
    small = np.geomspace(1e-45, limit, 300_000)
    return np.concatenate([small, -small, np.linspace(-limit, limit, 400_001), [0.0, -0.0]]).astype(np.float32)


EVERYWHERE = np.arange(0, 1 << 32, 9973, dtype=np.uint64).astype(np.uint32).view(np.float32)
EVERYWHERE = np.concatenate([EVERYWHERE[np.isfinite(EVERYWHERE)], dense_sample(100)])
"""430 000 floats evenly over all bit patterns, and a dense sample of the range that networks use."""


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


def gated(x):
    return x * sigmoid(x)


TRUTH = {
    "tanh": np.tanh,
    "exp": np.exp,
    "sigmoid": sigmoid,
    "silu": gated,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "softplus": lambda x: np.logaddexp(0, x),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "hard_sigmoid": lambda x: np.clip(np.float64(np.float32(0.2)) * x + 0.5, 0, 1),
}
"""In float64."""
BOUNDS = {
    ("tanh", "exact"): 5e-7,
    ("sigmoid", "exact"): 3e-7,
    ("silu", "exact"): 4e-7,
    ("elu", "exact"): 2e-7,
    ("softplus", "exact"): 3e-7,
    ("mish", "exact"): 8e-7,
    ("hard_sigmoid", "exact"): 2e-7,
    ("tanh", "fast"): 1.2e-3,
    ("sigmoid", "fast"): 8e-4,
    ("silu", "fast"): 8e-4,
    ("elu", "fast"): 4e-4,
}
"""Absolute error, per max(1, |x|) where the function grows; what templates/math_NAME.c promises."""


@pytest.mark.parametrize(("name", "accuracy"), BOUNDS)
def test_absolute_error_over_all_floats(name, accuracy, build):
    wide = EVERYWHERE.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        truth = TRUTH[name](wide)
    slack = 1.0 if name in ("tanh", "sigmoid", "hard_sigmoid") or accuracy == "fast" else np.maximum(1, np.abs(wide))
    rounding = np.spacing(np.abs(wide).astype(np.float32)).astype(np.float64) if accuracy == "fast" else 0.0
    error = np.abs(build(accuracy)(name, EVERYWHERE) - truth)
    worst = int(np.argmax(error - rounding))
    assert (error <= BOUNDS[name, accuracy] * slack + rounding).all(), (EVERYWHERE[worst], error[worst])


@pytest.mark.parametrize(("name", "accuracy"), BOUNDS)
def test_the_comment_states_the_bound(name, accuracy):
    """The text that is printed into policy.c is what is tested."""
    text = " ".join(template(f"math_{name}{'_fast' if accuracy == 'fast' else ''}.c").split())
    bound = {f"{BOUNDS[name, accuracy]:.{digits}e}".replace("e-0", "e-") for digits in (0, 1)}
    assert name == "hard_sigmoid" or any(written in text for written in bound)
    if name in FAST:
        assert f"{accuracy} variant" in text


@pytest.mark.parametrize("accuracy", CALLS)
def test_special_values(accuracy, build):
    """Infinities give the limits, NaN stays NaN, zero and the smallest floats are handled as any other number."""
    call = build(accuracy)
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38], np.float32)
    tiny = 1e-5 if accuracy == "fast" else 1e-37
    off = {name: BOUNDS.get((name, accuracy), 0.0) for name in UNARY}
    limits = {
        "tanh": [1, -1, np.nan, 0, 0, 0, 0, 1, -1],
        "sigmoid": [1, 0, np.nan, 0.5, 0.5, 0.5, 0.5, 1, 0],
        "elu": [np.inf, -1, np.nan, 0, 0, 0, 0, 3.4e38, -1],
    }
    if accuracy == "exact":
        limits |= {"softplus": [np.inf, 0, np.nan, *[np.log(2)] * 4, 3.4e38, 0]}
        limits |= {"hard_sigmoid": [1, 0, np.nan, 0.5, 0.5, 0.5, 0.5, 1, 0]}
        limits |= {"exp": [np.inf, 0, np.nan, 1, 1, 1, 1, np.inf, 0]}
    for name, wanted in limits.items():
        np.testing.assert_allclose(call(name, x), np.array(wanted, np.float32), rtol=1e-6, atol=off[name] + tiny, err_msg=name)
    for name in CALLS[accuracy]:
        if name not in ("inverse_sqrt", "abs"):
            assert np.isnan(call(name, x[2:3])).all(), name


@pytest.mark.parametrize("accuracy", CALLS)
def test_ranges_and_symmetry(accuracy, build):
    call = build(accuracy)
    assert np.abs(call("tanh", EVERYWHERE)).max() <= 1.0
    np.testing.assert_array_equal(call("tanh", -EVERYWHERE), -call("tanh", EVERYWHERE))
    low = -2e-6 if accuracy == "fast" else 0.0
    assert call("sigmoid", EVERYWHERE).min() >= low and call("sigmoid", EVERYWHERE).max() <= 1.0 - low
    assert call("exp", EVERYWHERE).min() >= 0.0


def test_the_piecewise_ones_are_monotonic(functions):
    x = np.sort(EVERYWHERE)
    for name in ("hard_sigmoid",):
        assert (np.diff(functions(name, x)) >= 0).all()
    np.testing.assert_array_equal(functions("abs", x), np.abs(x))


@pytest.mark.parametrize("accuracy", CALLS)
def test_the_smooth_ones_are_monotonic_but_for_their_error(accuracy, build):
    for name in ("tanh", "sigmoid"):
        y = build(accuracy)(name, np.linspace(-12, 12, 40_001, dtype=np.float32))
        assert (np.diff(y) >= -(2.4e-3 if accuracy == "fast" else 1e-6)).all()


def test_relative_errors(functions):
    x = dense_sample(86)
    wide = x.astype(np.float64)
    for name, bound in (("exp", 4e-7), ("sigmoid", 3e-7)):
        truth = TRUTH[name](wide)
        assert (np.abs(functions(name, x) - truth) / truth).max() <= bound
    near = x[(x > -0.3) & (x < -1e-30)]
    truth = np.expm1(near.astype(np.float64))
    assert (np.abs(functions("elu", near) - truth) / np.abs(truth)).max() <= 4e-7
    some = x[(x > -80) & (np.abs(x) > 1e-30)]
    truth = TRUTH["mish"](some.astype(np.float64))
    assert (np.abs(functions("mish", some) - truth) / np.abs(truth)).max() <= 8e-7


def test_fast_exp_is_relative_too(build):
    x = dense_sample(87)
    truth = np.exp(x.astype(np.float64))
    assert (np.abs(build("fast")("exp", x) - truth) / truth).max() <= 1.2e-4


def test_inverse_sqrt_relative_error(functions):
    x = np.geomspace(1.2e-38, 3e38, 800_000).astype(np.float32)
    truth = 1 / np.sqrt(x.astype(np.float64))
    assert (np.abs(functions("inverse_sqrt", x) - truth) / truth).max() <= 3e-7


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 31, 64, 1000])
def test_sums(functions, size):
    x = np.random.default_rng(size).normal(size=size).astype(np.float32)
    pointer = x.ctypes.data_as(ctypes.c_void_p)
    mean = np.float32(0.25)
    wide = x.astype(np.float64)
    assert functions.library.total(pointer, size) == pytest.approx(wide.sum(), abs=1e-6 * np.abs(wide).sum())
    squares = functions.library.squares(pointer, ctypes.c_float(mean), size)
    assert squares == pytest.approx(((wide - mean) ** 2).sum(), rel=2e-6)
