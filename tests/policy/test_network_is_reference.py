"""The torch network, the numpy reference and torch's own modules compute the same, for any list of layers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.policy import Action, Contract, Normalizer, Observation, Policy
from pilotfish.policy.cells import GRU, LSTM, CfC
from pilotfish.policy.grid import Quantize
from pilotfish.policy.layers import (
    Activation,
    Affine,
    Clip,
    History,
    Layer,
    LayerNorm,
    Linear,
    largest_integer,
    matrix_bits,
    tensor_shapes,
)
from pilotfish.policy.reference import Reference

torch = pytest.importorskip("torch")
from pilotfish.policy.network import Network  # noqa: E402
from pilotfish.policy.torch_policy import TorchPolicy  # noqa: E402

FUNCTIONS = ["tanh", "relu", "elu", "silu", "sigmoid", "softsign", "leaky_relu"]
FUNCTIONS += ["gelu", "selu", "softplus", "mish", "hardswish"]
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True)


def random_weights(layers: tuple[Layer, ...], seed: int) -> dict[str, np.ndarray]:
    """Weights of a sane size for every tensor that the layers need."""
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}
    for layer in layers:
        for name, (shape, dtype) in tensor_shapes(layer).items():
            if dtype == np.int8:
                most = largest_integer(matrix_bits(layer)[name])
                q = rng.integers(-most, most + 1, shape).astype(np.int8)
                q[:, 0] = most  # the largest entry of a row is what its scale was made from
                weights[name] = q
            elif name.endswith("_scale"):
                weights[name] = (rng.uniform(0.2, 1.0, shape) / 127).astype(np.float32)
            else:
                weights[name] = (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(dtype)
    return weights


@st.composite
def policies(draw: st.DrawFn, quantized: bool = False) -> Policy:
    """Any chain of layers with any contract around it."""
    size = width = draw(st.integers(1, 6))
    used: set[str] = set()
    layers: list[Layer] = []

    def name() -> str:
        found = draw(NAMES.filter(lambda n: n not in used))
        used.add(found)
        return found

    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["linear", "activation", "layer_norm", "affine", "clip", "gru", "lstm", "cfc", "history"]))
        out, bits = draw(st.integers(1, 6)), draw(st.sampled_from([2, 3, 4, 8, 16, 32]))
        if kind == "linear":
            layers.append(Linear(name(), width, out, bias=draw(st.booleans()), weight_bits=bits))
            width = out
        elif kind == "activation":
            layers.append(Activation(draw(st.sampled_from(FUNCTIONS)), draw(st.floats(0.05, 2))))
        elif kind == "layer_norm" and width > 1:
            layers.append(LayerNorm(name(), width, epsilon=1e-3))
        elif kind == "affine":
            layers.append(Affine(name(), width))
        elif kind == "clip":
            layers.append(Clip(-draw(st.floats(0.1, 3)), draw(st.floats(0.1, 3))))
        elif kind in ("gru", "lstm"):
            ranks = st.sampled_from([None, 1, 2])
            cell = GRU if kind == "gru" else LSTM
            layers.append(cell(name(), width, out, weight_bits=bits, rank_ih=draw(ranks), rank_hh=draw(ranks)))
            width = out
        elif kind == "cfc":
            layers.append(CfC(name(), width, out, draw(st.sampled_from([(), (4,), (3, 5)])), draw(st.floats(0.01, 2))))
            width = out
        elif kind == "history" and width < 20:
            layers.append(History(name(), width, out + 1))
            width *= out + 1
    if quantized:
        layers.append(Quantize(draw(st.floats(0.01, 0.2)), draw(st.integers(-20, 20))))
    vector = st.lists(st.floats(-2, 2), min_size=width, max_size=width).map(tuple)
    action = Action(
        draw(st.sampled_from(["continuous", "continuous", "discrete"])) if not quantized else "continuous",
        width,
        squash=draw(st.sampled_from(["none", "tanh"])),
        scale=draw(st.one_of(st.just(()), vector)),
        offset=draw(st.one_of(st.just(()), vector)),
        **draw(st.sampled_from([{}, {"low": (-1.0,) * width, "high": (0.5,) * width}])),
    )
    normalizer = None
    if draw(st.booleans()):
        normalizer = Normalizer(
            tuple(draw(st.lists(st.floats(-3, 3), min_size=size, max_size=size))),
            tuple(draw(st.lists(st.floats(0.01, 9), min_size=size, max_size=size))),
            epsilon=draw(st.sampled_from([0.0, 1e-8, 1e-2])),
            epsilon_inside_sqrt=draw(st.booleans()),
            clip=draw(st.sampled_from([None, 1.0, 10.0])),
        )
    contract = Contract(Observation(size, normalizer=normalizer), action)
    return Policy("random", contract, tuple(layers), random_weights(tuple(layers), draw(st.integers(0, 1000))))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(policies(), st.integers(0, 1000))
def test_torch_and_numpy_agree_over_an_episode(policy: Policy, seed: int) -> None:
    reference, network = Reference(policy), TorchPolicy(policy)
    exact = Reference(policy, np.float64)
    state = network.network.initial_state(1)
    for obs in np.random.default_rng(seed).standard_normal((6, policy.contract.observation.size)).astype(np.float32):
        with torch.no_grad():
            action, state = network(torch.from_numpy(obs)[None], state)
        ours, truth = reference.act(obs), exact.act(obs)
        if policy.contract.action.kind == "discrete":
            assert ours.shape == tuple(action.shape[1:]) == (1,) and ours.dtype == np.int64
        else:
            scale = max(1.0, float(np.abs(truth).max()))
            np.testing.assert_allclose(action[0].numpy(), ours, atol=1e-5 * scale)
            np.testing.assert_allclose(truth, ours, atol=1e-5 * scale)
        flat = torch.cat(state, -1)[0].numpy() if state else np.zeros(0)
        np.testing.assert_allclose(reference.state, flat, atol=1e-5)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(policies(quantized=True), st.integers(0, 1000))
def test_quantized_activations_agree_to_one_step_of_the_grid(policy: Policy, seed: int) -> None:
    layers = policy.layers
    step = np.float32(layers[-1].scale)
    plain = policy.replace(
        contract=Contract(policy.contract.observation, Action("continuous", policy.contract.action.size)),
    )
    network = TorchPolicy(plain)
    obs = np.random.default_rng(seed).standard_normal(policy.contract.observation.size).astype(np.float32)
    with torch.no_grad():
        found = network(torch.from_numpy(obs)[None], network.network.initial_state(1))[0][0].numpy()
    wanted = Reference(plain).act(obs)
    assert np.abs(found - wanted).max() <= step * 1.001  # a tie of rounding may fall either way
    np.testing.assert_allclose(wanted / step, np.round(wanted / step), atol=1e-4)
    assert (np.abs(np.round(wanted / step) + layers[-1].zero_point) <= 128).all()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(policies())
def test_weights_survive_the_way_through_torch(policy: Policy) -> None:
    returned = Network(policy.layers, policy.weights).to_weights()
    assert returned.keys() == policy.weights.keys()
    for name, tensor in policy.weights.items():
        assert returned[name].dtype == tensor.dtype
        np.testing.assert_allclose(returned[name], tensor, rtol=1e-6)


@pytest.mark.parametrize(("ours", "theirs"), [(GRU, "GRUCell"), (LSTM, "LSTMCell")])
def test_recurrent_layers_are_those_of_torch(ours: type, theirs: str) -> None:
    torch.manual_seed(0)
    cell = getattr(torch.nn, theirs)(3, 5)
    layer = ours("m", 3, 5)
    policy = Policy(
        "r", Contract(Observation(3), Action("continuous", 5)), (layer,),
        {f"m.{n}": p.detach().numpy() for n, p in cell.named_parameters()},
    )  # fmt: skip
    reference, state = Reference(policy), None
    for obs in np.random.default_rng(0).standard_normal((30, 3)).astype(np.float32):
        with torch.no_grad():
            state = cell(torch.from_numpy(obs)[None], state)
        h = state[0] if ours is LSTM else state
        np.testing.assert_allclose(reference.act(obs), h[0].numpy(), atol=1e-6)
    reference.reset()
    assert not reference.state.any()


def test_state_may_be_set_and_read_back() -> None:
    layers = (GRU("a", 2, 3), LSTM("b", 3, 2))
    policy = Policy("r", Contract(Observation(2), Action("continuous", 2)), layers, random_weights(layers, 0))
    reference = Reference(policy)
    assert [s.name for s in policy.contract.state] == ["a_h", "b_h", "b_c"]
    first = [reference.act(np.ones(2, np.float32)) for _ in range(3)]
    kept = reference.state
    after = reference.act(np.zeros(2, np.float32))
    reference.state = kept
    np.testing.assert_array_equal(reference.act(np.zeros(2, np.float32)), after)
    assert kept.shape == (7,) and len(first) == 3
