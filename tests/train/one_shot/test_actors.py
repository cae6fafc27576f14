"""A hypernetwork's actors: padded and together, or plain and alone, they are the same networks."""

import numpy as np
import pytest
import torch

from pilotfish.policy.network import Network
from pilotfish.train.actor import network_layers
from pilotfish.train.one_shot.actors import Actors
from pilotfish.train.one_shot.family import Family, Lottery, Member
from pilotfish.train.one_shot.hypernetwork import graphs_of

CPU = torch.device("cpu")
FAMILIES = {
    "tanh": Family(depth=(1, 3), widths=(2, 5, 8)),
    "both": Family(depth=(2, 4), widths=(3, 7), activations=("tanh", "relu")),
    "relu": Family(depth=(1, 2), widths=(4,), activations=("relu",), invariant=False),
}


def _actors(family: Family, seed: int = 3) -> Actors:
    actors = Actors(family, (6, 2), torch.Generator().manual_seed(seed), CPU)
    actors.flat.value += 0.1 * torch.randn(actors.flat.value.shape, generator=torch.Generator().manual_seed(seed))
    return actors


@pytest.mark.parametrize("which", FAMILIES)
def test_together_and_alone_are_the_same(which: str) -> None:
    family = FAMILIES[which]
    actors = _actors(family)
    members = Lottery(family, (6, 2)).draw(9, np.random.default_rng(1))
    actors.choose(members)
    x = torch.randn(9 * 4, 6, generator=torch.Generator().manual_seed(0))
    together = actors.step(x, ())[0].view(9, 4, 2)
    assert torch.allclose(actors.forward(x, (), x).view(9, 4, 2), together)
    for row, member in enumerate(members):
        plain = Network(network_layers(6, member.hidden, member.activation, False, 2))
        plain.load_weights(actors.weights_of(member))
        assert torch.allclose(plain(x.view(9, 4, 6)[row])[0], together[row], atol=1e-6)


def test_architectures_have_weights_of_their_own() -> None:
    actors = _actors(FAMILIES["tanh"])
    small, large = (actors.weights_of(Member(hidden)) for hidden in ((2, 8), (2, 5)))
    assert not np.allclose(small["hidden0.weight"], large["hidden0.weight"])  # same shape, another neighbor


def test_the_gradient_is_that_of_the_loss() -> None:
    actors = _actors(FAMILIES["both"])
    actors.choose(Lottery(actors.family, (6, 2)).draw(4, np.random.default_rng(1)))
    x = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
    dy = torch.randn(12, 2, generator=torch.Generator().manual_seed(1))
    actors.forward(x, (), x)
    actors.backward(dy)
    gradient = actors.flat.gradient.clone()
    step = 1e-2 * gradient / gradient.norm()
    values = []
    for sign in (1, -1):
        actors.flat.value += sign * step
        values.append(float((actors.forward(x, (), x) * dy).sum()))
        actors.flat.value -= sign * step
    assert (values[0] - values[1]) / 2 == pytest.approx(1e-2 * float(gradient.norm()), rel=0.02)


def test_a_first_hidden_layer_keeps_the_scale_of_its_input_whatever_its_width() -> None:
    family = Family(widths=(4, 64))
    actors = Actors(family, (17, 6), torch.Generator().manual_seed(0), CPU)
    for hidden in ((4,), (64,), (4, 64), (64, 4)):
        weights = actors.weights_of(Member(hidden))
        for index, width in enumerate((17, *hidden)[:-1]):
            assert weights[f"hidden{index}.weight"].std() == pytest.approx(5 / 3 / np.sqrt(width), rel=0.35)


def test_another_device_s_actors_follow_exactly() -> None:
    first, second = _actors(FAMILIES["both"], 3), _actors(FAMILIES["both"], 4)
    second.follow(first)
    member = first.family.members[5]
    assert all(np.array_equal(second.weights_of(member)[name], w) for name, w in first.weights_of(member).items())


def test_a_chain_names_its_neighbors() -> None:
    family = Family(depth=(1, 3), widths=(2, 5))
    graphs = graphs_of([Member((5, 2))], family, (6, 2), CPU)
    assert graphs.alive[0, :, 0].tolist() == [1, 1, 0, 1]
    assert graphs.before[0].tolist() == [0, 0, 2, 1]
    assert graphs.after[0].tolist() == [1, 3, 2, 3]
    assert graphs.rows[0].tolist() == [[1] * 5, [1, 1, 0, 0, 0], [0] * 5]
