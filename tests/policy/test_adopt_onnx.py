"""A recovered ONNX policy acts as ONNX Runtime does with the original file; what is no chain of layers is named."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pilotfish.errors import BadInput, Unsupported
from pilotfish.policy.adopt import adopt
from pilotfish.policy.reference import Reference

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

nn = torch.nn
RNG = np.random.default_rng(0)


def graph(
    nodes: list,
    constants: dict[str, np.ndarray],
    obs: tuple = (1, 4),
    outputs: tuple[str, ...] = ("action",),
    inputs: tuple = (),
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model from nodes, with outputs of unknown shape."""
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("obs", TensorProto.FLOAT, obs), *inputs],
            [helper.make_tensor_value_info(o, kind, None) for o in outputs],
            [numpy_helper.from_array(v, k) for k, v in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


def matrix(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) / 2).astype(np.float32)


def saved(model: onnx.ModelProto, tmp_path: Path) -> Path:
    path = tmp_path / "policy.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def exported(
    module: nn.Module, args: tuple, tmp_path: Path, inputs: list[str], outputs: list[str], opset: int = 17, **more
) -> Path:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), args, buffer, dynamo=False, opset_version=opset, input_names=inputs, output_names=outputs, **more
        )
    path = tmp_path / "policy.onnx"
    path.write_bytes(buffer.getvalue())
    return path


def assert_same(path: Path, size: int, states: dict[str, str] | None = None, steps: int = 60) -> None:
    """Both act alike over one episode of random observations, states fed back."""
    policy = adopt(path, golden_steps=3)
    session, reference = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]), Reference(policy)
    feeds = {i.name: np.zeros([d if isinstance(d, int) else 1 for d in i.shape], np.float32) for i in session.get_inputs()}
    first = next(name for name in feeds if name not in (states or {}))
    for obs in RNG.standard_normal((steps, size)).astype(np.float32):
        feeds[first] = obs.reshape(feeds[first].shape)
        wanted, *following = session.run([session.get_outputs()[0].name, *(states or {}).values()], feeds)
        feeds |= dict(zip(states or {}, following, strict=True))
        np.testing.assert_allclose(reference.act(obs), wanted.reshape(-1), atol=2e-5)


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("dynamic", [False, True])
def test_sequential_with_every_activation(opset: int, dynamic: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    activations = [nn.Tanh(), nn.ReLU(), nn.ELU(0.7), nn.SiLU(), nn.Sigmoid(), nn.LeakyReLU(0.2), nn.Softsign(), nn.LayerNorm(8)]
    layers = [nn.Flatten(), nn.Linear(4, 8)]
    for activation in activations:
        layers += [activation, nn.Linear(8, 8, bias=activation is not activations[2])]
    module = nn.Sequential(*layers, nn.Dropout(0.3), nn.Identity(), nn.Linear(8, 3), nn.Hardtanh(-0.8, 0.9))
    more = {"dynamic_axes": {"obs": {0: "batch"}, "actions": {0: "batch"}}} if dynamic else {}
    assert_same(exported(module, (torch.zeros(1, 4),), tmp_path, ["obs"], ["actions"], opset, **more), 4)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module], layers: int, bias: bool) -> None:
        super().__init__()
        self.rnn, self.actor = kind(4, 6, layers, bias=bias), nn.Sequential(nn.Linear(6, 5), nn.ELU(), nn.Linear(5, 2))

    def forward(self, x: torch.Tensor, *states: torch.Tensor) -> tuple:
        y, following = self.rnn(x.unsqueeze(0), states if len(states) > 1 else states[0])
        return self.actor(y.squeeze(0)), *(following if len(states) > 1 else [following])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU], ids=["lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_recurrent_states_become_explicit(kind: type[nn.Module], layers: int, bias: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    names = ["h", "c"] if kind is nn.LSTM else ["h"]
    states = {f"{n}_in": f"{n}_out" for n in names}
    args = (torch.zeros(1, 4), *(torch.zeros(layers, 1, 6) for _ in names))
    path = exported(Recurrent(kind, layers, bias), args, tmp_path, ["obs", *states], ["actions", *states.values()])
    assert_same(path, 4, states)
    assert [s.size for s in adopt(path, golden_steps=3).contract.state] == [6] * layers * len(names)


def test_normalizer_squash_and_scale_go_to_the_contract(tmp_path: Path) -> None:
    constants = {"m": matrix(4), "s": np.abs(matrix(4)) + 0.5, "w": matrix(4, 3), "b": matrix(3), "o": matrix(3)}
    constants |= {"k": np.float32([2, 3, 4]), "lo": np.float32(-1.5), "hi": np.float32(1.5)}
    constants |= {"five": np.float32(5), "mfive": np.float32(-5)}
    nodes = [
        helper.make_node("Sub", ["obs", "m"], ["a"]),
        helper.make_node("Div", ["a", "s"], ["b0"]),
        helper.make_node("Clip", ["b0", "mfive", "five"], ["c"]),
        helper.make_node("MatMul", ["c", "w"], ["d"]),
        helper.make_node("Add", ["d", "b"], ["e"]),
        helper.make_node("Tanh", ["e"], ["f"]),
        helper.make_node("Mul", ["k", "f"], ["g"]),
        helper.make_node("Add", ["g", "o"], ["h"]),
        helper.make_node("Clip", ["h", "lo", "hi"], ["action"]),
    ]
    path = saved(graph(nodes, constants), tmp_path)
    assert_same(path, 4)
    contract = adopt(path, golden_steps=3).contract
    assert contract.observation.normalizer is not None and contract.observation.normalizer.clip == 5
    np.testing.assert_allclose(contract.observation.normalizer.mean, constants["m"], rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(contract.observation.normalizer.variance), constants["s"], rtol=1e-6)
    assert (contract.action.squash, contract.action.scale) == ("tanh", (2.0, 3.0, 4.0))
    assert contract.action.low == (-1.5,) * 3


@pytest.mark.parametrize("with_softmax", [False, True])
def test_argmax_is_a_discrete_policy(with_softmax: bool, tmp_path: Path) -> None:
    middle = [helper.make_node("Softmax", ["y"], ["p"])] if with_softmax else [helper.make_node("Identity", ["y"], ["p"])]
    nodes = [helper.make_node("Gemm", ["obs", "w"], ["y"]), *middle, helper.make_node("ArgMax", ["p"], ["action"], axis=1)]
    policy = adopt(saved(graph(nodes, {"w": matrix(4, 3)}, kind=TensorProto.INT64), tmp_path), golden_steps=20)
    assert (policy.contract.action.kind, policy.contract.action.size) == ("discrete", 3)
    assert policy.golden is not None and policy.golden.action.dtype == np.int64


def test_gemm_alpha_beta_and_constant_nodes(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(matrix(3, 4))),
        helper.make_node("Constant", [], ["two"], value_float=2.0),
        helper.make_node("Mul", ["two", "b"], ["b2"]),
        helper.make_node("Gemm", ["obs", "w", "b2"], ["y"], alpha=0.5, beta=3.0, transB=1),
        helper.make_node("Neg", ["y"], ["action"]),
    ]
    assert_same(saved(graph(nodes, {"b": matrix(3)}), tmp_path), 4)


def test_a_half_of_the_output_is_folded_into_the_last_layer(tmp_path: Path) -> None:
    constants = {"w": matrix(4, 6), "b": matrix(6), "sizes": np.array([2, 4])}
    nodes = [
        helper.make_node("Gemm", ["obs", "w", "b"], ["y"]),
        helper.make_node("Split", ["y", "sizes"], ["mean", "rest"], axis=-1),
        helper.make_node("Exp", ["rest"], ["std"]),
        helper.make_node("Tanh", ["mean"], ["action"]),
    ]
    path = saved(graph(nodes, constants), tmp_path)
    assert_same(path, 4)
    assert adopt(path, golden_steps=3).weights["output.weight"].shape == (2, 4)


def test_a_value_head_beside_the_action_is_ignored(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gemm", ["obs", "w"], ["actions"]),
        helper.make_node("Gemm", ["obs", "v"], ["h"]),
        helper.make_node("Erf", ["h"], ["value"]),
    ]
    assert_same(saved(graph(nodes, {"w": matrix(4, 2), "v": matrix(4, 1)}, outputs=("actions", "value")), tmp_path), 4)


GEMM = helper.make_node("Gemm", ["obs", "w"], ["y"])
REFUSED = {
    "unknown operator": ([GEMM, helper.make_node("Erf", ["y"], ["action"])], {}, "Erf.*obs -> linear 3"),
    "foreign domain": ([GEMM, helper.make_node("Gelu", ["y"], ["action"], domain="com.microsoft")], {}, "com.microsoft"),
    "residual": ([GEMM, helper.make_node("Add", ["y", "y"], ["action"])], {}, "residual"),
    "product": ([GEMM, helper.make_node("Mul", ["y", "y"], ["action"])], {}, "no silu"),
    "outer product": (
        [helper.make_node("Mul", ["obs", "column"], ["action"])],
        {"column": matrix(4, 1)},
        "spreads",
    ),
    "wrong width": ([helper.make_node("Gemm", ["obs", "bad"], ["action"])], {"bad": matrix(5, 3)}, "5 inputs behind 4"),
    "two actions": (
        [GEMM, helper.make_node("Relu", ["y"], ["a1"]), helper.make_node("Tanh", ["y"], ["a2"])],
        {},
        "one action output",
    ),
    "constant": ([helper.make_node("Identity", ["w"], ["action"])], {}, "no observation"),
    "unmade input": ([helper.make_node("Relu", ["nothing"], ["action"])], {}, "nothing makes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_chain_of_layers_is_refused_by_name(name: str, tmp_path: Path) -> None:
    nodes, constants, said = REFUSED[name]
    outputs = ("a1", "a2") if name == "two actions" else ("action",)
    with pytest.raises(BadInput, match=said):
        adopt(saved(graph(nodes, {"w": matrix(4, 3)} | constants, outputs=outputs), tmp_path))


@pytest.mark.parametrize(
    ("obs", "said"),
    [(("batch", "length"), "dimension 1 is dynamic"), ((4, 4), "batch 4"), ((1, 0), "dynamic"), ((1, 2_000_000), "1000000")],
)
def test_dynamic_and_batched_observations(obs: tuple, said: str, tmp_path: Path) -> None:
    nodes = [helper.make_node("Gemm", ["obs", "w"], ["action"])]
    with pytest.raises(BadInput, match=said):
        adopt(saved(graph(nodes, {"w": matrix(4, 3)}, obs=obs), tmp_path))


def test_two_observations_are_refused(tmp_path: Path) -> None:
    other = helper.make_tensor_value_info("time_step", TensorProto.FLOAT, [1, 1])
    with pytest.raises(BadInput, match="time_step"):
        adopt(saved(graph([helper.make_node("Gemm", ["obs", "w"], ["action"])], {"w": matrix(4, 3)}, inputs=(other,)), tmp_path))


def test_nan_external_data_and_truncation(tmp_path: Path) -> None:
    weight = matrix(4, 3)
    weight[1, 1] = np.nan
    nodes = [helper.make_node("Gemm", ["obs", "w"], ["action"])]
    with pytest.raises(BadInput, match="NaN"):
        adopt(saved(graph(nodes, {"w": weight}), tmp_path))
    model = graph(nodes, {"w": matrix(4, 3)})
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")
    with pytest.raises(BadInput, match="external data"):
        adopt(saved(model, tmp_path))
    data = graph(nodes, {"w": matrix(4, 3)}).SerializeToString()
    (tmp_path / "cut.onnx").write_bytes(data[: len(data) - 20])
    with pytest.raises(BadInput, match="truncated"):
        adopt(tmp_path / "cut.onnx")


def test_a_tensor_smaller_than_it_says_is_refused(tmp_path: Path) -> None:
    model = graph([helper.make_node("Gemm", ["obs", "w"], ["action"])], {"w": matrix(4, 3)})
    for dims in ([4, 300], [1 << 40, 1 << 20], [-4, -3]):
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)
        with pytest.raises(BadInput):
            adopt(saved(model, tmp_path))


def test_a_recurrent_layer_whose_state_is_hidden_is_refused(tmp_path: Path) -> None:
    constants = {"w": matrix(1, 18, 4), "r": matrix(1, 18, 6), "one": np.array([0])}
    nodes = [
        helper.make_node("Unsqueeze", ["obs", "one"], ["x"]),
        helper.make_node("GRU", ["x", "w", "r"], ["y", "action"], hidden_size=6, linear_before_reset=1),
    ]
    with pytest.raises(Unsupported, match="forget"):
        adopt(saved(graph(nodes, constants), tmp_path))


def test_a_normalizer_flag_is_refused(tmp_path: Path) -> None:
    path = saved(graph([helper.make_node("Gemm", ["obs", "w"], ["action"])], {"w": matrix(4, 3)}), tmp_path)
    with pytest.raises(BadInput, match="holds its own"):
        adopt(path, normalizer=tmp_path / "v.pkl")


def test_an_environment_of_choices_makes_scores_a_discrete_policy(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium")
    path = saved(graph([helper.make_node("Gemm", ["obs", "w"], ["logits"])], {"w": matrix(4, 2)}, outputs=("logits",)), tmp_path)
    assert adopt(path, env="CartPole-v1", golden_steps=20).contract.action.kind == "discrete"


def test_go1_is_the_brax_policy_that_its_graph_says(shared: Callable[[str], Path]) -> None:
    path = shared("onnx/go1_policy.onnx")
    policy = adopt(path, golden_steps=20)
    assert [(layer.in_size, layer.out_size) for layer in policy.layers if layer.kind == "linear"] == [
        (48, 512), (512, 256), (256, 128), (128, 12)]  # fmt: skip
    assert policy.contract.action.squash == "tanh" and policy.contract.observation.normalizer is not None
    assert_same(path, 48)


def test_a_flipped_byte_never_escapes_as_another_error(tmp_path: Path) -> None:
    torch.manual_seed(0)
    args = (torch.zeros(1, 4), torch.zeros(2, 1, 6), torch.zeros(2, 1, 6))
    names = ["obs", "h", "c"], ["actions", "ho", "co"]
    data = exported(Recurrent(nn.LSTM, 2, True), args, tmp_path, *names).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(data)
        for place in rng.integers(0, len(broken), 3):
            broken[place] = rng.integers(256)
        (tmp_path / "broken.onnx").write_bytes(broken)
        try:
            adopt(tmp_path / "broken.onnx", golden_steps=1)
        except BadInput as error:
            assert "expected" in str(error)
