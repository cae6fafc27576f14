"""SimBa critics: the batched network against plain torch layers, its gradients, its statistics, and an exact way back."""

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("mujoco", reason="mujoco is not installed")

from pilotfish.errors import BadInput
from pilotfish.train.algorithms import ALGORITHMS
from pilotfish.train.config import SACConfig, TD3Config, train_config
from pilotfish.train.environments import VectorEnv
from pilotfish.train.simba import RunningNorm, SimBa
from pilotfish.train.simba_critics import SimbaCritics


class Block(nn.Module):
    """One residual block as the paper draws it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.wide, self.narrow = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.narrow(torch.relu(self.wide(self.norm(x))))


def plain(module: SimBa, index: int) -> nn.Sequential:
    """One of the networks behind the normalization, of torch's own layers, with the same weights."""
    fan_in, fan_out = module.embedding_weight.shape[1], module.head_weight.shape[2]
    blocks = [Block(module.width) for _ in range(module.blocks)]
    head = nn.Linear(module.width, fan_out)
    network = nn.Sequential(nn.Linear(fan_in, module.width), *blocks, nn.LayerNorm(module.width), head)
    layers = {"embedding": network[0], "last": network[-2], "head": head}
    for number, block in enumerate(blocks):
        layers |= {f"norm{number}": block.norm, f"wide{number}": block.wide, f"narrow{number}": block.narrow}
    with torch.no_grad():
        for name, layer in layers.items():
            weight = getattr(module, f"{name}_weight")[index]
            layer.weight.copy_(weight[0] if isinstance(layer, nn.LayerNorm) else weight.T)
            layer.bias.copy_(getattr(module, f"{name}_bias")[index, 0])
    return network


def shaken(module: SimBa) -> SimBa:
    """Away from the ones and zeros of the beginning."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7))
    return module


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_each_network_is_torchs_own_layers(blocks: int) -> None:
    generator = torch.Generator().manual_seed(0)
    module = shaken(SimBa(6, 16, blocks, out_size=2, count=3, normalized=4, generator=generator))
    module.norm.learn(3 + 2 * torch.randn(100, 4, generator=generator))
    x = torch.randn(20, 6, generator=generator)
    seen = torch.cat([(x[:, :4] - module.norm.mean.float()) / module.norm.variance.float().sqrt(), x[:, 4:]], 1)
    y = module(x)
    assert y.shape == (3, 20, 2)
    for index in range(3):
        torch.testing.assert_close(y[index], plain(module, index)(seen), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(module(x, only=index)[0], y[index])


def test_the_running_norm_is_that_of_all_rows_at_once() -> None:
    rows = np.random.default_rng(0).normal(5, [1, 10, 1e-3], (103, 3)).astype(np.float32)
    norm = RunningNorm(3)
    torch.testing.assert_close(norm(torch.from_numpy(rows)), torch.from_numpy(rows))  # nothing seen, nothing changed
    for part in np.split(rows, [1, 4, 50]):
        norm.learn(torch.from_numpy(part))
    np.testing.assert_allclose(norm.mean.numpy(), rows.astype(np.float64).mean(0), rtol=1e-9)
    np.testing.assert_allclose(norm.variance.numpy(), rows.astype(np.float64).var(0), rtol=1e-9)


def test_a_step_is_autograds_gradient_and_torchs_adam() -> None:
    generator = torch.Generator().manual_seed(0)
    made = SimbaCritics((5, 2), (16, 16), 1e-3, generator, torch.device("cpu"))
    shaken(made.module)
    made.slow.value.copy_(made.flat.value)
    action, obs, wanted = (torch.randn(*shape, generator=generator) for shape in ((32, 2), (32, 5), (32,)))
    twins = [plain(made.module, index) for index in range(2)]
    optimizer = torch.optim.Adam([p for twin in twins for p in twin.parameters()], lr=1e-3)
    before = made.flat.value.clone()
    for _ in range(3):
        made.fit(action, obs, wanted, tau=0.0)
        optimizer.zero_grad()
        x = torch.cat([obs, action], 1)
        sum((twin(x)[:, 0] - wanted).square().mean() for twin in twins).backward()
        optimizer.step()
    value = torch.stack([twin(torch.cat([obs, action], 1)) for twin in twins])
    torch.testing.assert_close(made.module(torch.cat([obs, action], 1)), value, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(made.slow.value, before)
    made.fit(action, obs, wanted, tau=0.25)
    torch.testing.assert_close(made.slow.value, before.lerp(made.flat.value, 0.25))

    watched = action.clone().requires_grad_()
    q = made.module(torch.cat([obs, watched], 1))[..., 0]
    for (_, slope), value in (
        (made.smaller(action, obs), torch.minimum(q[0], q[1])), ((None, made.first(action, obs)), q[0]),
    ):  # fmt: skip
        torch.testing.assert_close(slope, torch.autograd.grad(value.sum(), watched, retain_graph=True)[0])


@pytest.mark.parametrize("kind", [SACConfig, TD3Config])
def test_a_learner_goes_on_from_its_state_bit_by_bit(kind: type) -> None:
    config = kind(
        env="Pendulum-v1", steps=400, critic="simba", critic_hidden=(16, 16), hidden=(8,), batch_size=16, learning_starts=50
    )
    learners = [ALGORITHMS[config.algorithm](config, VectorEnv(config.env, 1, 0), torch.device("cpu")) for _ in range(2)]
    for _ in range(8):
        learners[0].iterate()
    assert learners[1].restore(learners[0].state())
    for _ in range(3):
        for learner in learners:
            learner.iterate()
    first, second = (learner.critics for learner in learners)
    assert torch.equal(first.flat.value, second.flat.value) and torch.equal(first.slow.value, second.slow.value)
    assert torch.equal(learners[0].actor.flat.value, learners[1].actor.flat.value)
    assert first.module.norm.count == learners[0].steps
    assert not torch.equal(first.slow.value, first.flat.value)


def test_blocks_of_different_widths_are_refused_in_words() -> None:
    with pytest.raises(BadInput, match="one equal width per block"):
        train_config({"algorithm": "sac", "env": "Pendulum-v1", "critic": "simba", "critic_hidden": (64, 32)})
