"""Tucker and CP of kernels: exact where nothing is cut, never worse than their beginnings, and chains that compute the same."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

from pilotfish.compress import PASSES, Context, apply, parse_recipe, summary
from pilotfish.compress.allotment import Option, allot
from pilotfish.compress.cp import Cp
from pilotfish.compress.cp import Decomposition as CpParts
from pilotfish.compress.multiway import views, with_chains
from pilotfish.compress.order import check_order
from pilotfish.compress.tensors import decompose_cp, decompose_tucker, truncation_errors
from pilotfish.compress.tucker import Decomposition as TuckerParts
from pilotfish.compress.tucker import Tucker
from pilotfish.errors import BadInput
from pilotfish.policy import Policy
from pilotfish.policy.conv import Conv2d
from pilotfish.policy.layers import Activation, Linear
from pilotfish.policy.reference import Reference

_spec = importlib.util.spec_from_file_location("eyes", Path(__file__).with_name("eyes.py"))
eyes = importlib.util.module_from_spec(_spec)
sys.modules["eyes"] = eyes
_spec.loader.exec_module(eyes)
eye, image_policy = eyes.eye, eyes.image_policy


def acted(policy: Policy, like: Policy) -> np.ndarray:
    return np.array([Reference(policy, np.float64).act(row) for row in like.golden.obs])


SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 6))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(SHAPES, st.integers(0, 99), st.data())
def test_tucker_is_exact_at_full_ranks_and_at_the_ranks_of_a_kernel(shape, seed, data) -> None:
    rng = np.random.default_rng(seed)
    out, area, channels = shape
    kernel = rng.normal(size=shape)
    np.testing.assert_allclose(decompose_tucker(kernel, out, channels).whole(), kernel, atol=1e-9)
    root = np.linalg.cholesky(np.eye(channels) + 0.3 * np.ones((channels, channels)))
    np.testing.assert_allclose(decompose_tucker(kernel, out, channels, root).whole(), kernel, atol=1e-9)
    r_out, r_in = data.draw(st.integers(1, out)), data.draw(st.integers(1, channels))
    low = np.einsum(
        "op,paq,qi->oai", rng.normal(size=(out, r_out)), rng.normal(size=(r_out, area, r_in)), rng.normal(size=(r_in, channels))
    )
    np.testing.assert_allclose(decompose_tucker(low, r_out, r_in).whole(), low, atol=1e-8 * max(1.0, np.abs(low).max()))


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.integers(0, 99), st.integers(1, 3))
def test_cp_finds_a_kernel_that_has_so_many_components(seed: int, rank: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=(size, rank)) for size in (6, 3, 3, 5)]
    kernel = np.einsum("or,yr,xr,ir->oyxi", *parts)
    error = np.linalg.norm(decompose_cp(kernel, rank, 6, 0).whole() - kernel) / np.linalg.norm(kernel)
    assert error < 0.05  # alternation may end in a place of its own; most of the kernel it always finds


def test_more_components_never_err_more() -> None:
    kernel = np.random.default_rng(1).normal(size=(8, 3, 3, 6))
    errors = [np.linalg.norm(decompose_cp(kernel, rank, 2, 0).whole() - kernel) for rank in (1, 4, 12, 40)]
    assert errors == sorted(errors, reverse=True)
    errors = [
        np.linalg.norm(decompose_tucker(kernel.reshape(8, 9, 6), r, r).whole() - kernel.reshape(8, 9, 6)) for r in range(1, 7)
    ]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("reads", ["hwc", "chw"])
def test_a_chain_computes_what_its_factors_say(reads: str) -> None:
    """Tucker at every pair of ranks, CP at several: the policy with the chain acts like the policy with the product."""
    policy = eye(reads=reads)
    found = views(policy.layers)
    assert list(found) == ["a", "b", "c"] and found["c"].shape == (20, 3, 5, 10)
    for name, view in found.items():
        for made in _cut(policy, view):
            product, chain = made
            weights = policy.weights | {f"{name}.weight": product.reshape(len(product), -1).astype(np.float32)}
            smaller = with_chains(policy, {name: chain})
            np.testing.assert_allclose(acted(smaller, policy), acted(policy.replace(weights=weights), policy), atol=1e-5)


def _cut(policy: Policy, view):
    """(kernel, chain) of several decompositions of one layer."""
    out, _, _, channels = view.shape
    parts = TuckerParts(view, policy.weights, None)
    for ranks in ((1, 1), (channels, out), (channels, 2), (2, out), (2, 3)):
        factors = parts.factors(ranks)
        yield factors.whole(), parts.chain(policy, factors)
    components = CpParts(view, policy.weights, None, 1, 0)
    for rank in (1, 5):
        factors = components.factors(rank)
        yield factors.whole(), components.chain(policy, factors)


@pytest.mark.parametrize("config", [Tucker(keep=0.5), Cp(keep=0.4), Tucker(tolerance=0.8), Tucker(energy=0.8), Cp(tolerance=0.8)])
def test_a_pass_makes_what_it_says(config) -> None:
    policy = eye()
    result = apply(policy, PASSES[config.kind], config, Context(policy))
    record = result.contract.provenance.passes[-1]
    assert result.parameters < policy.parameters and record.changed["layers"]
    assert summary(record)
    saved = sum(before - after for entry in record.changed["layers"].values() for before, after in [entry["weights"]])
    assert saved == policy.parameters - result.parameters
    for entry in record.changed["layers"].values():
        assert 0 <= entry["relative_error"] < 1.01
    if config.keep:
        every = sum(policy.weights[f"{name}.weight"].size for name in views(policy.layers))
        assert result.parameters <= policy.parameters - (1 - config.keep) * every
    if config.tolerance:
        assert record.changed["action_error"] <= config.tolerance


def test_weights_go_where_they_are_needed() -> None:
    options = {
        "small": [Option(100, 0.0, "whole"), Option(50, 0.3, "half"), Option(10, 0.9, "least")],
        "large": [Option(1000, 0.0, "whole"), Option(300, 0.01, "third"), Option(100, 0.2, "tenth"), Option(10, 0.9, "least")],
    }
    assert {name: option.value for name, option in allot(options, 1100).items()} == {"small": "whole", "large": "whole"}
    assert {name: option.value for name, option in allot(options, 400).items()} == {"small": "whole", "large": "third"}
    assert {name: option.value for name, option in allot(options, 210).items()} == {"small": "whole", "large": "tenth"}
    assert {name: option.value for name, option in allot(options, 20).items()} == {"small": "least", "large": "least"}
    assert allot(options, 19) is None


def test_fitting_to_the_outputs_errs_less_there() -> None:
    policy = eye(seed=3)
    for make in (lambda criterion: Tucker(keep=0.4, criterion=criterion), lambda criterion: Cp(keep=0.4, criterion=criterion)):
        errors = {}
        for criterion in ("weights", "outputs"):
            config = make(criterion)
            result = apply(policy, PASSES[config.kind], config, Context(policy))
            errors[criterion] = np.sqrt(np.mean((acted(result, policy) - acted(policy, policy)) ** 2))
        assert errors["outputs"] < errors["weights"]


def test_a_history_of_vectors_is_an_image_of_height_one() -> None:
    """A convolution in one dimension: CP needs no kernel down the rows."""
    conv = Conv2d("time", 6, 16, 1, 20, (1, 5), (1, 2))
    policy = image_policy([conv, Activation("relu"), Linear("end", conv.out_size, 3)], conv.in_size, 3)
    result = apply(policy, PASSES["cp"], Cp(keep=0.5), Context(policy))
    assert [layer.name for layer in result.layers if hasattr(layer, "name")] == [
        "time_in", "time_across", "time_out", "end_in", "end_across", "end_out",
    ]  # fmt: skip


def test_refusals(make: Callable[..., Policy]) -> None:
    policy = eye()
    for config, words in (
        (Tucker(ranks=(3, 12)), "fewer than its 324 weights"),
        (Tucker(ranks=(13, 1)), "at most"),
        (Cp(rank=1000), "break-even"),
        (Tucker(keep=0.5, layers=("d",)), "'d'"),
    ):
        with pytest.raises(BadInput, match=words):
            apply(policy, PASSES[config.kind], config, Context(policy))
    with pytest.raises(BadInput, match="factorize"):
        apply(make(), PASSES["tucker"], Tucker(keep=0.5), Context(make()))
    with pytest.raises(BadInput, match="quantize"):
        check_order(parse_recipe([{"pass": "quantize"}, {"pass": "tucker", "keep": 0.5}]), "r")


@settings(max_examples=20, deadline=None, derandomize=True)
@given(SHAPES, st.integers(0, 99), st.data())
def test_the_errors_that_ranks_are_chosen_by_are_those_of_the_truncation_and_the_iteration_beats_them(shape, seed, data):
    kernel = np.random.default_rng(seed).normal(size=shape)
    errors, whole = truncation_errors(kernel), (kernel**2).sum()
    assert errors.shape == (shape[0], shape[2]) and errors[-1, -1] < 1e-12
    assert (np.diff(errors, axis=0) <= 1e-12).all() and (np.diff(errors, axis=1) <= 1e-12).all()
    r_out, r_in = data.draw(st.integers(1, shape[0])), data.draw(st.integers(1, shape[2]))
    left = np.linalg.svd(kernel.reshape(shape[0], -1))[0][:, :r_out]
    right = np.linalg.svd(np.moveaxis(kernel, 2, 0).reshape(shape[2], -1))[0][:, :r_in]
    cut = np.einsum("op,pai,ir,jr->oaj", left, np.einsum("op,oai->pai", left, kernel), right, right)
    assert errors[r_out - 1, r_in - 1] == pytest.approx(((kernel - cut) ** 2).sum() / whole, abs=1e-9)
    found = decompose_tucker(kernel, r_out, r_in).whole()
    assert ((kernel - found) ** 2).sum() / whole <= errors[r_out - 1, r_in - 1] + 1e-9
