"""SAC: its log-probabilities, targets and hand-written gradients against the formulas and autograd, and that it learns."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("mujoco", reason="mujoco is not installed")

from pilotfish.errors import Unsupported
from pilotfish.policy.network import Network
from pilotfish.train import SACConfig, stack_passes, train
from pilotfish.train.actor import network_layers
from pilotfish.train.crew import Crew
from pilotfish.train.critics import Critics
from pilotfish.train.environments import VectorEnv
from pilotfish.train.flat import Adam, Flat
from pilotfish.train.off_actor import Actor, PlainActor, make_actor
from pilotfish.train.sac import SAC
from pilotfish.train.stacked import Stack


@pytest.fixture
def learner():
    config = SACConfig(env="Reacher-v5", n_envs=2, steps=1000, critic_hidden=(16, 16), gamma=0.9, batch_size=32)
    envs = VectorEnv("Reacher-v5", 2, seed=0)
    made = SAC(config, envs, torch.device("cpu"))
    for value in (made.actor.flat.value, made.critics.targets.flat.value):  # away from the small first actions
        value += 0.2 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1))
    yield made
    envs.close()


def rows(learner: SAC, going: float = 1.0) -> torch.Tensor:
    """A minibatch of 32 made-up transitions."""
    generator = torch.Generator().manual_seed(3)
    batch = torch.randn(32, 2 * learner.sizes[0] + learner.sizes[1] + 2, generator=generator)
    batch[:, sum(learner.sizes) - learner.sizes[1] : sum(learner.sizes)].tanh_()
    batch[:, -1] = going
    return batch


def critics(stack: Stack, parameters: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The stack's formula in plain torch, from its flat parameters -> [k, n, out]."""
    tensors = stack.flat.views(parameters)
    y = x.expand(stack.count, -1, -1)
    function = torch.relu if stack.activation == "relu" else torch.tanh
    for index, weight in enumerate(tensors):
        y = torch.einsum("kni,kio->kno", y, weight[:, :-1]) + weight[:, -1:]
        y = function(y) if index < len(tensors) - 1 else y
    return y


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("out", [1, 3])
@pytest.mark.parametrize("piece", [1, 10**9])
def test_gradients_by_hand_are_autograds(
    activation: str, count: int, out: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilotfish.train.stacked.PIECE", piece)
    generator = torch.Generator().manual_seed(0)
    stack = Stack(count, (7, 24, 16, out), activation, torch.device("cpu"), Crew(2))
    stack.draw(generator)
    x, dy = torch.randn(40, 7, generator=generator), torch.randn(count, 30, out, generator=generator)
    parameters, inputs = stack.flat.value.clone().requires_grad_(), x.clone().requires_grad_()
    y = critics(stack, parameters, inputs)
    torch.testing.assert_close(stack.forward(x[:, :3], x[:, 3:]), y, rtol=1e-5, atol=1e-5)
    by_parameters, by_inputs = torch.autograd.grad((y[:, 10:] * dy).sum(), [parameters, inputs])
    stack.backward(dy, first=10)
    torch.testing.assert_close(stack.flat.gradient, by_parameters, rtol=1e-5, atol=1e-5)
    by_inputs = torch.autograd.grad(critics(stack, parameters, inputs)[:, :30].mul(dy).sum(), inputs)[0]
    stack.forward(x[:30])
    torch.testing.assert_close(stack.slope(dy, columns=4), by_inputs[:30, :4], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(stack.flat.gradient, by_parameters, rtol=1e-5, atol=1e-5)  # left alone
    one = stack.only(count - 1)
    torch.testing.assert_close(one.forward(x)[0], y[count - 1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("hidden", [(), (20,), (20, 12)])
@pytest.mark.parametrize("piece", [1, 10**9])
def test_the_smaller_value_and_its_slope_are_autograds(
    hidden: tuple[int, ...], piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilotfish.train.stacked.PIECE", piece)
    made = Critics((4, 3), hidden, 1e-3, torch.Generator().manual_seed(0), torch.device("cpu"), Crew(2))
    generator = torch.Generator().manual_seed(1)
    action, obs = torch.randn(50, 3, generator=generator).requires_grad_(), torch.randn(50, 4, generator=generator)
    q = critics(made.stack, made.stack.flat.value, torch.cat([action, obs], 1))[..., 0].detach()
    made.stack.flat.values[-1][:, -1, 0] -= q.median(1).values  # so that neither is always the smaller
    q = critics(made.stack, made.stack.flat.value, torch.cat([action, obs], 1))[..., 0]
    assert 0.1 < (q[0] < q[1]).float().mean() < 0.9
    value, slope = made.smaller(action.detach(), obs)
    torch.testing.assert_close(value, q.amin(0))
    torch.testing.assert_close(slope, torch.autograd.grad(q.amin(0).sum(), action, retain_graph=True)[0])
    torch.testing.assert_close(made.first(action.detach(), obs), torch.autograd.grad(q[0].sum(), action)[0])


def test_adam_is_torchs() -> None:
    flat = Flat([(5, 3), (4,)], torch.device("cpu"))
    flat.value.normal_()
    twin = torch.nn.Parameter(flat.value.clone())
    ours, theirs = Adam(flat, 3e-3), torch.optim.Adam([twin], lr=3e-3)
    for _ in range(20):
        flat.gradient.normal_()
        twin.grad = flat.gradient.clone()
        ours.step()
        theirs.step()
    torch.testing.assert_close(flat.value, twin.detach(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(flat.values[1], flat.value[15:])


def test_adam_moves_the_networks_of_a_stack_one_by_one() -> None:
    together, apart = (Flat([(5, 3), (4,)], torch.device("cpu"), count=2) for _ in range(2))
    together.value.normal_()
    apart.value.copy_(together.value)
    first, second = Adam(together, 3e-3), Adam(apart, 3e-3)
    for _ in range(3):
        together.gradient.normal_()
        apart.gradient.copy_(together.gradient)
        first.step()
        second.step(1)
        second.step(0)
    assert torch.equal(together.value, apart.value) and together.values[1].shape == (2, 4)
    copy = Adam(Flat([(5, 3), (4,)], torch.device("cpu"), count=2), 3e-3)
    copy.restore(second.state())
    copy.flat.gradient.copy_(apart.gradient)
    copy.step(0)
    second.step(0)
    assert torch.equal(copy.flat.value, apart.value)


@pytest.mark.parametrize(
    ("activation", "layer_norm", "kind"), [("relu", False, PlainActor), ("tanh", True, Actor), ("silu", False, Actor)]
)
def test_an_actor_is_its_layers_whichever_way_it_learns(activation: str, layer_norm: bool, kind: type) -> None:
    layers = network_layers(5, (12, 8), activation, layer_norm, 3)
    actor = make_actor(layers, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert type(actor) is kind
    network = Network(layers, actor.weights())
    x, dy = torch.randn(20, 5), torch.randn(14, 3)
    y = network(x)[0]
    torch.testing.assert_close(actor.forward(x), y.detach(), rtol=1e-5, atol=1e-5)
    (y[6:] * dy).sum().backward()
    actor.backward(dy, first=6)
    Adam(actor.flat, 1e-2).step()
    torch.optim.Adam(network.parameters(), lr=1e-2).step()
    for name, tensor in network.to_weights().items():
        torch.testing.assert_close(torch.from_numpy(actor.weights()[name]), torch.from_numpy(tensor), rtol=1e-4, atol=1e-5)


def test_the_log_probability_is_the_squashed_gaussians(learner: SAC) -> None:
    obs = torch.randn(64, learner.sizes[0])
    state = learner.noise.get_state()
    action, log_prob, _ = learner.sample(obs)
    learner.noise.set_state(state)
    noise = torch.randn(64, 2, generator=learner.noise)
    mean, raw = learner.actor.forward(obs).chunk(2, dim=1)
    normal = torch.distributions.Normal(mean, raw.clamp(-5, 2).exp())
    squashed = torch.distributions.TransformedDistribution(normal, [torch.distributions.TanhTransform(cache_size=1)])
    u = normal.mean + normal.stddev * noise
    torch.testing.assert_close(action, torch.tanh(u))
    inside = u.abs().amax(1) < 4  # the distribution's own inverse loses digits outside
    assert inside.sum() > 30
    torch.testing.assert_close(log_prob[inside], squashed.log_prob(torch.tanh(u)).sum(-1)[inside], rtol=1e-3, atol=1e-3)


def test_one_update_has_the_gradients_of_autograd(learner: SAC) -> None:
    batch, size = rows(learner, going=0.5), learner.sizes[0]
    obs, action, following = batch[:, :size], batch[:, size : size + 2], batch[:, size + 2 : -2]
    stack, targets = learner.critics.stack, learner.critics.targets
    learner.log_alpha += 0.3
    alpha = learner.log_alpha.exp().clone()
    old = {name: part.clone() for name, part in (("c", stack.flat.value), ("t", targets.flat.value))}
    network = Network(network_layers(size, (32, 32), "relu", False, 4), learner.actor.weights())
    state = learner.noise.get_state()
    scalars = learner.update(batch, log=True)
    learner.noise.set_state(state)
    noise = torch.randn(64, 2, generator=learner.noise)

    def drawn(seen: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, raw = network(seen)[0].chunk(2, dim=1)
        std = raw.clamp(-5, 2).exp()
        u = mean + std * noise
        jacobian = 2 * (torch.log(torch.tensor(2.0)) - u - torch.nn.functional.softplus(-2 * u))
        return torch.tanh(u), (torch.distributions.Normal(mean, std).log_prob(u) - jacobian).sum(1)

    next_action, next_log_prob = drawn(following, noise[:32])
    value = critics(targets, old["t"], torch.cat([next_action, following], 1)).amin(0)[:, 0] - alpha * next_log_prob
    target = (batch[:, -2] + 0.9 * 0.5 * value).detach()
    parameters = old["c"].clone().requires_grad_()
    loss = (critics(stack, parameters, torch.cat([action, obs], 1))[..., 0] - target).square().mean(1).sum()
    torch.testing.assert_close(stack.flat.gradient, torch.autograd.grad(loss, parameters)[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scalars["loss/critic"], loss.detach(), rtol=1e-5, atol=1e-5)

    chosen, log_prob = drawn(obs, noise[32:])
    q = critics(stack, stack.flat.value, torch.cat([chosen, obs], 1)).amin(0)[:, 0]
    loss = (alpha * log_prob - q).mean()
    loss.backward()
    torch.testing.assert_close(scalars["loss/actor"], loss.detach(), rtol=1e-5, atol=1e-5)
    for name, gradient in zip(learner.actor.names, learner.actor.flat.gradients, strict=True):
        weight, bias = gradient[0, :-1].T, gradient[0, -1]
        torch.testing.assert_close(weight, network.tensor(f"{name}.weight").grad, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(bias, network.tensor(f"{name}.bias").grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        learner.optimizers["temperature"].flat.gradient[0], -(log_prob.detach().mean() - 2.0), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(targets.flat.value, old["t"] + 0.005 * (stack.flat.value - old["t"]))


def test_updates_lower_the_critics_error(learner: SAC) -> None:
    batch = rows(learner, going=0.0)
    first = learner.update(batch, log=True)["loss/critic"]
    for _ in range(400):
        last = learner.update(batch, log=True)["loss/critic"]
    assert last < 0.2 * first


def test_swings_the_pendulum_up(tmp_path: Path) -> None:
    config = SACConfig(
        env="Pendulum-v1", steps=3_000, hidden=(32, 32), critic_hidden=(64, 64), batch_size=64, learning_starts=500,
        gamma=0.95, learning_rate=2e-3, tau=0.01, eval_every=1_000,
    )  # fmt: skip
    policy = train(config, tmp_path, device="cpu", progress=False)
    from pilotfish.train.evaluation import ClosedLoop

    loop = ClosedLoop(config.env, list(range(700, 710)))
    assert loop.returns(policy).mean() > -400  # a random policy stays near -1200
    loop.close()
    assert policy.contract.action.squash == "tanh" and policy.contract.action.scale == (2.0,)


def test_choices_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="bounded continuous action"):
        train(SACConfig(env="CartPole-v1"), tmp_path, device="cpu", progress=False)


@pytest.mark.parametrize("count", [1, 2])
def test_the_compiled_passes_are_the_plain_ones(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for plain in (False, True):
        if plain:
            monkeypatch.setattr("pilotfish.train.stacked._compiled", lambda: stack_passes)
        stack = Stack(count, (7, 24, 16, 1), "relu", torch.device("cpu"))
        stack.draw(torch.Generator().manual_seed(0))
        x = torch.randn(40, 7, generator=torch.Generator().manual_seed(1))
        for _ in range(3):  # TorchScript watches the first runs, and plans the later ones by them
            y = stack.forward(x)
            stack.backward(y.tanh())
        found.append((y.clone(), stack.flat.gradient, stack.slope(y.tanh(), 3)))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_the_temperature_starts_where_it_is_told(learner: SAC) -> None:
    config = SACConfig(env="Reacher-v5", n_envs=2, steps=1000, critic_hidden=(16, 16), initial_temperature=0.1)
    quiet = SAC(config, learner.envs, torch.device("cpu"))
    torch.testing.assert_close(quiet.log_alpha.exp(), torch.tensor([0.1]))
    torch.testing.assert_close(learner.log_alpha.exp(), torch.tensor([1.0]))
    with pytest.raises(ValueError):
        SACConfig(env="Reacher-v5", initial_temperature=0.0)
