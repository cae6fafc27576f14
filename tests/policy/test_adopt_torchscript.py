"""A recovered TorchScript policy acts as the scripted module does, step by step, its hidden state included."""

from __future__ import annotations

import itertools
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pilotfish.errors import BadInput, Unsupported
from pilotfish.policy.adopt import adopt
from pilotfish.policy.reference import Reference

torch = pytest.importorskip("torch")
nn = torch.nn
SHARED = Path(os.environ.get("PILOTFISH_SHARED_POLICIES", Path(__file__).resolve().parents[2].parent / "shared/policies"))


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{path.name} is not there")
    return path


def mlp(sizes: list[int], activation: type[nn.Module], *tail: nn.Module) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), activation()]
    return nn.Sequential(*layers[:-1], *tail)


class EmpiricalNormalization(nn.Module):
    """As in rsl_rl: (x - mean) / (std + eps)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.eps = 1e-2
        self.register_buffer("_mean", torch.randn(1, size))
        self.register_buffer("_var", torch.rand(1, size) + 0.5)
        self.register_buffer("_std", self._var.sqrt())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self._mean) / (self._std + self.eps)


class PolicyExporter(nn.Module):
    """As in rsl_rl: normalizer, then actor."""

    def __init__(self, actor: nn.Module, normalizer: nn.Module) -> None:
        super().__init__()
        self.actor, self.normalizer = actor, normalizer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.actor(self.normalizer(x))

    @torch.jit.export
    def reset(self) -> None:
        pass


class MemoryExporter(nn.Module):
    """As in rsl_rl: an LSTM whose hidden state is a buffer."""

    def __init__(self, size: int, hidden: int, layers: int, actor: nn.Module, normalizer: nn.Module) -> None:
        super().__init__()
        self.normalizer, self.actor = normalizer, actor
        self.rnn = nn.LSTM(size, hidden, layers)
        self.register_buffer("hidden_state", torch.zeros(layers, 1, hidden))
        self.register_buffer("cell_state", torch.zeros(layers, 1, hidden))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.normalizer(x)
        x, (h, c) = self.rnn(x.unsqueeze(0), (self.hidden_state, self.cell_state))
        self.hidden_state[:] = h
        self.cell_state[:] = c
        return self.actor(x.squeeze(0))

    @torch.jit.export
    def reset(self) -> None:
        self.hidden_state[:] = 0.0
        self.cell_state[:] = 0.0


class GruExporter(nn.Module):
    """A GRU whose new state is copied into the buffer."""

    def __init__(self, size: int, hidden: int, layers: int, actor: nn.Module) -> None:
        super().__init__()
        self.actor, self.rnn = actor, nn.GRU(size, hidden, layers)
        self.register_buffer("hidden_state", torch.zeros(layers, 1, hidden))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, h = self.rnn(x.unsqueeze(0), self.hidden_state)
        self.hidden_state[:] = h
        return self.actor(x.squeeze(0))


class AssigningGru(GruExporter):
    """A GRU whose new state replaces the buffer, which a trace loses and a script keeps."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, h = self.rnn(x.unsqueeze(0), self.hidden_state)
        self.hidden_state = h
        return self.actor(x.squeeze(0))


class Explicit(nn.Module):
    """The hidden state goes in and out."""

    def __init__(self, size: int, hidden: int, actor: nn.Module) -> None:
        super().__init__()
        self.actor, self.rnn = actor, nn.GRU(size, hidden)

    def forward(self, x: torch.Tensor, h_in: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, h = self.rnn(x.unsqueeze(0), h_in)
        return self.actor(y.squeeze(0)), h


class Functional(nn.Module):
    """Functions in place of modules, constants in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 8)
        self.norm = nn.LayerNorm(16)

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        x = torch.clamp((obs - 0.5) * 2.0, -5.0, 5.0)
        x = self.norm(torch.relu(self.first(x)))
        return 0.3 * torch.tanh(self.second(x)[:, :4]) + 0.1


def scripted(module: nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "policy.pt"
    torch.jit.script(module.eval()).save(str(path))
    return path


def traced(module: nn.Module, size: int, tmp_path: Path) -> Path:
    path = tmp_path / "policy.pt"
    with torch.no_grad():
        torch.jit.trace(module.eval(), torch.randn(1, size), check_trace=False).save(str(path))
    return path


def assert_same(path: Path, size: int, steps: int = 100, tolerance: float = 2e-5) -> None:
    """The adopted policy and the archive, run by torch, act alike over one episode of random observations."""
    policy = adopt(path, golden_steps=5)
    assert policy.contract.observation.size == size
    module, reference = torch.jit.load(str(path)), Reference(policy)
    worst = 0.0
    for name, buffer in module.named_buffers():  # tracing leaves its own call behind in the stored state
        if name in ("hidden_state", "cell_state"):
            if buffer.any():
                assert any("not zero" in note for note in policy.contract.provenance.notes)
            buffer.zero_()
    with torch.no_grad():
        for obs in np.random.default_rng(1).standard_normal((steps, size)).astype(np.float32):
            wanted = module(torch.from_numpy(obs)[None])[0].numpy()
            worst = max(worst, float(np.abs(wanted - reference.act(obs)).max()))
    assert worst < tolerance


ACTIVATIONS = [nn.ELU, nn.ReLU, nn.Tanh, nn.SiLU, nn.Sigmoid, nn.Softsign, nn.LeakyReLU]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.__name__)
@pytest.mark.parametrize("export", ["script", "trace"])
def test_plain_sequential(activation: type[nn.Module], export: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    actor = mlp([9, 16, 12, 3], activation)
    assert_same(scripted(actor, tmp_path) if export == "script" else traced(actor, 9, tmp_path), 9)


def test_parameters_of_activations_are_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    actor = nn.Sequential(nn.Linear(4, 8), nn.ELU(0.3), nn.LayerNorm(8), nn.Linear(8, 8), nn.LeakyReLU(0.2), nn.Dropout(0.5),
                          nn.Identity(), nn.Linear(8, 2, bias=False), nn.Hardtanh(-0.7, 0.4))  # fmt: skip
    for path in (scripted(actor, tmp_path), traced(actor, 4, tmp_path)):
        assert_same(path, 4)


@pytest.mark.parametrize("export", ["script", "trace"])
def test_empirical_normalization(export: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = PolicyExporter(mlp([7, 16, 2], nn.ELU), EmpiricalNormalization(7))
    path = scripted(module, tmp_path) if export == "script" else traced(module, 7, tmp_path)
    assert_same(path, 7)
    normalizer = adopt(path, golden_steps=1).contract.observation.normalizer
    assert normalizer is not None
    np.testing.assert_allclose(normalizer.mean, module.normalizer._mean[0].numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("normalizer", [nn.Identity(), EmpiricalNormalization(5)], ids=["plain", "normalized"])
def test_lstm_state_in_buffers_becomes_explicit(layers: int, normalizer: nn.Module, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = scripted(MemoryExporter(5, 12, layers, mlp([12, 8, 3], nn.ELU), normalizer), tmp_path)
    assert_same(path, 5)
    policy = adopt(path, golden_steps=30)
    assert [s.size for s in policy.contract.state] == [12] * 2 * layers
    assert policy.golden is not None and policy.golden.start.sum() == 1 and np.abs(policy.golden.state[-1]).max() > 0


@pytest.mark.parametrize("export", ["script", "trace"])
def test_gru_state_in_buffers(export: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = GruExporter(5, 12, 2, mlp([12, 8, 3], nn.Tanh))
    assert_same(scripted(module, tmp_path) if export == "script" else traced(module, 5, tmp_path), 5)


def test_an_assigned_state_is_kept_by_a_script_and_lost_by_a_trace(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = AssigningGru(5, 12, 1, mlp([12, 8, 3], nn.Tanh))
    lost = traced(module, 5, tmp_path)
    with pytest.raises(Unsupported, match="not written back"):
        adopt(lost)
    module.hidden_state = torch.zeros(1, 1, 12)
    assert_same(scripted(module, tmp_path), 5)


def test_state_as_argument(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = scripted(Explicit(5, 12, mlp([12, 8, 3], nn.Tanh)), tmp_path)
    policy = adopt(path, golden_steps=5)
    module, reference, state = torch.jit.load(str(path)), Reference(policy), torch.zeros(1, 1, 12)
    with torch.no_grad():
        for obs in np.random.default_rng(1).standard_normal((50, 5)).astype(np.float32):
            wanted, state = module(torch.from_numpy(obs)[None], state)
            np.testing.assert_allclose(reference.act(obs), wanted[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("export", ["script", "trace"])
def test_functional_code(export: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    assert_same(scripted(Functional(), tmp_path) if export == "script" else traced(Functional(), 6, tmp_path), 6)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(x + self.a(x))


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count[:] = self.count + 1
        return self.a(x) * self.count


class Forgetful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rnn(x.unsqueeze(0))[0].squeeze(0)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() > 0):
            return self.a(x)
        return self.b(x)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Residual(), "residual"),
        (Counter(), "count"),
        (Forgetful(), "forget"),
        (Branching(), "sum"),
        (nn.Sequential(nn.Linear(4, 4), nn.GELU()), "gelu"),
        (nn.Sequential(nn.Linear(4, 4), nn.Softmax(-1)), "softmax"),
        (nn.Identity(), "observation itself"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else value,
)
def test_what_is_no_chain_of_layers_is_refused_by_name(module: nn.Module, said: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=said):
        adopt(scripted(module, tmp_path))


def test_nan_weights_are_refused(tmp_path: Path) -> None:
    actor = mlp([4, 8, 2], nn.ReLU)
    with torch.no_grad():
        actor[0].weight[0, 0] = float("nan")
    with pytest.raises(BadInput, match="NaN"):
        adopt(scripted(actor, tmp_path))


def test_h1_motion_is_the_lstm_that_its_code_says() -> None:
    path, config = shared("torchscript/h1_motion.pt"), shared("torchscript/h1.yaml")
    policy = adopt(path, config=config, golden_steps=50)
    assert (policy.contract.observation.size, policy.contract.action.size) == (41, 10)
    assert policy.contract.timing.control_hz == 50.0
    assert "action_scale = 0.25" in policy.contract.action.units
    assert [s.size for s in policy.contract.state] == [64, 64]
    assert any("random observations" in note for note in policy.contract.provenance.notes)
    assert_same(path, 41)


def test_a_deployment_file_of_another_robot_is_refused(tmp_path: Path) -> None:
    path = scripted(mlp([4, 8, 2], nn.ReLU), tmp_path)
    config = tmp_path / "robot.yaml"
    config.write_text("num_obs: 5\nnum_actions: 2\n")
    with pytest.raises(BadInput, match="num_obs"):
        adopt(path, config=config)


class Halves(nn.Module):
    """Mean and logarithm of the deviation come out of one layer."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.layer, self.way = nn.Linear(4, 6), way

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.way == "chunk":
            mean, _ = torch.chunk(self.layer(x), 2, dim=-1)
        else:
            mean, _ = self.layer(x).split([3, 3], dim=-1)
        return torch.tanh(mean)


@pytest.mark.parametrize("way", ["chunk", "split"])
def test_the_half_that_acts_is_folded_into_its_layer(way: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    for path in (scripted(Halves(way), tmp_path), traced(Halves(way), 4, tmp_path)):
        assert_same(path, 4)
        assert adopt(path, golden_steps=1).weights["output.weight"].shape == (3, 4)


class Greedy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 8), nn.Linear(8, 5)])

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        if obs.dim() == 1:
            obs = obs.unsqueeze(0)
        for layer in self.layers:
            obs = torch.tanh(layer(obs))
        return torch.argmax(obs, dim=-1)


def test_argmax_is_a_discrete_policy(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = scripted(Greedy(), tmp_path)
    policy = adopt(path, golden_steps=3)
    assert (policy.contract.action.kind, policy.contract.action.size) == ("discrete", 5)
    assert_same(path, 4)


def test_frozen_modules_keep_their_weights_as_constants(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = PolicyExporter(mlp([5, 8, 2], nn.ELU), EmpiricalNormalization(5)).eval()
    path = tmp_path / "frozen.pt"
    torch.jit.freeze(torch.jit.script(module)).save(str(path))
    assert_same(path, 5)


def test_damaged_code_never_escapes_as_another_error(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = zipfile.ZipFile(scripted(MemoryExporter(5, 6, 1, mlp([6, 4, 2], nn.ELU), EmpiricalNormalization(5)), tmp_path))
    names = [n for n in source.namelist() if n.endswith((".py", ".pkl"))]
    rng, outcomes = np.random.default_rng(0), set()
    for _ in range(60):
        chosen, path = names[rng.integers(len(names))], tmp_path / "damaged.pt"
        with zipfile.ZipFile(path, "w") as archive:
            for name in source.namelist():
                content = bytearray(source.read(name))
                if name == chosen and content:
                    place, length = rng.integers(len(content)), rng.integers(1, 30)
                    content[place : place + length] = content[: rng.integers(0, 30)] if rng.integers(2) else b""
                archive.writestr(name, bytes(content))
        try:
            adopt(path, golden_steps=1)
            outcomes.add("adopted")
        except BadInput as error:
            assert "expected" in str(error)
            outcomes.add("refused")
    assert outcomes == {"adopted", "refused"}
