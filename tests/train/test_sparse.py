"""Masks: exact counts, nothing grows in silence, and what is zero is out of every moment, norm and copy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.errors import BadInput
from pilotfish.train import PPOConfig, SACConfig, train_config
from pilotfish.train.actor import network_layers
from pilotfish.train.clipped_adam import ClippedAdam
from pilotfish.train.critics import Critics
from pilotfish.train.flat import Adam, Flat
from pilotfish.train.memory import Memoryless, Simba
from pilotfish.train.off_actor import Actor, PlainActor
from pilotfish.train.sequence import Sequence
from pilotfish.train.simba_critics import SimbaCritics
from pilotfish.train.sparse.choose import changed, moved
from pilotfish.train.sparse.masked import Change, Masked
from pilotfish.train.sparse.places import Place, places_of
from pilotfish.train.sparse.settings import Sparsity

CPU = torch.device("cpu")


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 60), st.data())
def test_a_change_keeps_exactly_as_many_as_asked_and_prunes_the_smallest(size: int, data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 9999)))
    mask = torch.from_numpy(random.random(size) < data.draw(st.floats(0, 1)))
    weight = torch.from_numpy(random.standard_normal(size)) * mask
    score = torch.from_numpy(random.random(size))
    kept = data.draw(st.integers(0, size))
    alive = int(mask.sum())
    drop = moved(data.draw(st.floats(0, 1)), min(alive, kept), size)
    after = changed(mask, weight, score, kept, drop)
    assert int(after.sum()) == kept
    if kept <= alive and not drop:  # pruning alone
        assert not (after & ~mask).any()
        assert not len(weight[after]) or not len(weight[mask & ~after]) or (
            weight[after].abs().min() >= weight[mask & ~after].abs().max()
        )  # fmt: skip
    grown, left = after & ~mask, ~after & ~mask
    if grown.any() and left.any():
        assert score[grown].min() >= score[left].max()


def test_of_equal_weights_the_first_stay() -> None:
    mask = changed(torch.ones(6, dtype=torch.bool), torch.ones(6), torch.zeros(6), 2)
    assert mask.tolist() == [True, True, False, False, False, False]


def networks() -> dict:
    layers = network_layers(5, (8, 4), "tanh", False, 6)
    normed = network_layers(5, (8, 4), "relu", True, 6)
    return {
        "plain": PlainActor(layers, drawn(), CPU),
        "memoryless": Memoryless(PlainActor(layers, drawn(), CPU)),
        "autograd": Actor(normed, drawn(), CPU),
        **{
            cell: Sequence(network_layers(5, (4,), "tanh", False, 6, (cell, 3)), drawn(), CPU, 0.01)
            for cell in ("gru", "lstm", "cfc")
        },
    }  # fmt: skip


@pytest.mark.parametrize("name", networks())
def test_the_places_are_the_matrices_of_the_bundle_and_nothing_else(name: str) -> None:
    network = networks()[name]
    (places,) = places_of(network, outputs=2)
    network.flat.value.copy_(torch.arange(1, network.flat.value.numel() + 1))
    before = {key: tensor.copy() for key, tensor in network.weights().items()}
    for place in places:
        assert place.shape == before[place.name][: 2 if place.name == "out.weight" else None].shape[::-1]
        network.flat.value[place.positions] = 0.0
    for key, tensor in network.weights().items():
        if key == "out.weight":  # of its outputs the first two were asked for
            assert not tensor[:2].any()
            np.testing.assert_array_equal(tensor[2:], before[key][2:])
        elif tensor.ndim == 2:
            assert not tensor.any()
        else:
            np.testing.assert_array_equal(tensor, before[key])
    assert {place.name for place in places} == {key for key, tensor in before.items() if tensor.ndim == 2}


@pytest.mark.parametrize("kind", [Critics, SimbaCritics])
def test_each_of_two_critics_has_its_own_places(kind: type) -> None:
    critics = kind((3, 2), (8, 8), 1e-3, drawn(), CPU)
    first, second = places_of(critics)
    obs, action = torch.randn(4, 3, generator=drawn(1)), torch.randn(4, 2, generator=drawn(2))
    critics.see(obs)
    values = critics.adam.flat.value
    before = values.clone()
    for place in first:
        assert len(place.positions) == place.shape[0] * place.shape[1]
        assert len(place.positions.unique()) == len(place.positions) and values[place.positions].all()
        values[place.positions] = 0.0
    assert int((values != before).sum()) == sum(len(place.positions) for place in first) == sum(len(p.positions) for p in second)
    assert not critics.first(action, obs).any()  # the first critic is constant, the second is not
    values.copy_(before)
    for place in second:
        values[place.positions] = 0.0
    assert critics.first(action, obs).any()


def test_a_simba_critic_of_ppo_has_places() -> None:
    (places,) = places_of(Memoryless(Simba(3, (8, 8), drawn(), CPU)))
    assert [place.shape for place in places] == [(3, 8), (8, 32), (32, 8), (8, 32), (32, 8), (8, 1)]


def one_matrix(size: int = 100, count: int | None = None) -> tuple[Flat, list[list[Place]]]:
    """A network of one matrix [size, 1] and one bias, or ``count`` of them."""
    flat = Flat([(size, 1), (1,)], CPU, count)
    flat.value.copy_(torch.randn(flat.value.shape, generator=drawn()))
    places = [
        [Place("w.weight", torch.arange(size) + network * (size + 1), (size, 1))]
        for network in range(1 if count is None else count)
    ]
    return flat, places


def test_what_is_zero_neither_moves_nor_counts_in_the_clipped_norm() -> None:
    flat, places = one_matrix()
    free, _ = one_matrix()
    adam, other = (ClippedAdam([each], 0.5) for each in (flat, free))
    masked = Masked(flat, adam.moments(flat), places, "uniform", False, [0])
    for each in (flat, free):  # both have moments before anything is pruned
        each.gradient.normal_(generator=drawn(1))
    adam.step(0.1)
    other.step(0.1)
    adam.before_step.append(masked.before_step)
    masked.order(Change(0.9))
    for step in range(5):
        flat.gradient.normal_(generator=drawn(step)).mul_(100 if step else 1)
        free.gradient.copy_(flat.gradient)
        if step == 0:  # the other network is a small one, with the same ten weights
            keep = changed(torch.ones(100, dtype=torch.bool), flat.value[:100].clone(), torch.zeros(100), 10)
            zero = torch.cat([~keep, torch.tensor([False])])
            for part in (free.value, *other.first, *other.second):
                part[zero] = 0.0
        free.gradient[zero] = 0.0
        adam.step(0.1)
        other.step(0.1)
    assert masked.alive == [[10]] and int(masked.mask[:100].sum()) == 10
    assert not flat.value[zero].any() and flat.value[~zero].all()
    assert torch.equal(flat.value, free.value)
    assert not adam.first[0][zero].any() and not adam.second[0][zero].any()


@pytest.mark.parametrize("scope", ["uniform", "erdos-renyi", "global"])
def test_random_masks_are_exact_and_keep_the_size_of_activations(scope) -> None:
    actor = PlainActor(network_layers(16, (64, 64), "tanh", False, 64), drawn(), CPU)
    obs = torch.randn(512, 16, generator=drawn(2))
    hidden = actor.stack.flat.values[1]
    places = places_of(actor)
    before = (obs.repeat(1, 4) @ hidden[0, :-1]).std()
    adam = Adam(actor.flat, 1e-3)
    Masked(actor.flat, (adam.first, adam.second), places, scope, False, [0]).draw(0.8)
    weights = [actor.flat.value[place.positions] for place in places[0]]
    assert sum(int(w.count_nonzero()) for w in weights) == round(0.2 * sum(len(w) for w in weights))
    after = (obs.repeat(1, 4) @ hidden[0, :-1]).std()
    assert 0.8 < after / before < 1.25


@pytest.mark.parametrize("by_gradient", [True, False], ids=["rigl", "set"])
def test_drop_and_grow_keeps_the_number_and_grows_from_zero(by_gradient: bool) -> None:
    flat, places = one_matrix()
    adam = Adam(flat, 1e-3)
    masked = Masked(flat, (adam.first, adam.second), places, "uniform", by_gradient, [0])
    masked.draw(0.8)
    for moment in (adam.first, adam.second):
        moment.copy_(masked.mask)
    weight, before = flat.value[:100].clone(), masked.mask[:100] > 0
    flat.gradient.normal_(generator=drawn(3))
    dense = flat.gradient[:100].abs().clone()
    masked.order(Change(0.8, drop=0.3))
    masked.before_step()
    after = masked.mask[:100] > 0
    assert int(after.sum()) == 20
    assert masked.grown == [6]
    stayed, grown = before & after, after & ~before
    assert int(stayed.sum()) >= 14
    assert torch.equal(flat.value[:100][stayed], weight[stayed])
    assert not flat.value[:100][~stayed].any() and not flat.value.signbit()[:100][~stayed].any()
    assert not adam.first[:100][~stayed].any() and not adam.second[:100][~stayed].any()
    assert weight[before & ~after].abs().max() <= weight[stayed].abs().max()
    if by_gradient:
        left = ~before & ~after
        assert dense[grown].min() >= dense[left].max()
    assert torch.equal(flat.gradient[:100] != 0, after)
    assert masked.mask[100] == 1 and flat.value[100] != 0  # the bias


def test_networks_in_one_vector_change_on_their_own_in_any_order() -> None:
    ends = []
    for rows in ([0, 1], [1, 0], [None]):
        flat, places = one_matrix(count=2)
        adam = Adam(flat, 1e-2)
        masked = Masked(flat, (adam.first, adam.second), places, "uniform", False, [0])
        masked.draw(0.7)
        slow = torch.empty_like(flat.value)
        masked.lead(slow)
        adam.before_step = masked.before_step
        masked.order(Change(0.8, drop=0.3))
        flat.gradient.normal_(generator=drawn(4))
        for row in rows:
            adam.step(row)
        assert masked.alive == [[20], [20]]
        assert not slow[masked.mask == 0].any() and slow[masked.mask > 0].any()
        ends.append(flat.value.clone())
    assert torch.equal(ends[0], ends[1]) and torch.equal(ends[0], ends[2])


def test_a_layer_that_one_ranking_empties_is_refused() -> None:
    actor = PlainActor(network_layers(6, (32,), "tanh", False, 2), drawn(), CPU)  # the last layer starts a hundred times smaller
    adam = Adam(actor.flat, 1e-3)
    masked = Masked(actor.flat, (adam.first, adam.second), places_of(actor), "global", False, [0])
    masked.order(Change(0.9))
    with pytest.raises(BadInput, match=r"none left in out\.weight .*erdos-renyi"):
        masked.settle()


@settings(deadline=None)
@given(st.sampled_from(["prune", "rigl", "set", "static"]), st.floats(0, 0.999), st.booleans())
def test_settings_come_back_from_what_is_written_down(method: str, final: float, both: bool) -> None:
    table = {"env": "X-v1", "sparsity": {"method": method, "final": final, "of": "both" if both else "actor"}}
    config = train_config(table)
    assert config.sparsity == Sparsity(method=method, final=final, of="both" if both else "actor")  # type: ignore[arg-type]
    assert config.digest != PPOConfig(env="X-v1").digest


def test_a_dense_training_keeps_the_digest_that_names_its_checkpoints() -> None:
    # As they were before there was this setting.
    assert PPOConfig(env="HalfCheetah-v5").digest.startswith("6a55ab29e7d68119")
    assert SACConfig(env="X-v1").digest.startswith("230e254092f651b0")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"finl": 0.9}, "'final'"),
        ({"final": 1.0}, r"train\.sparsity\.final.*less than 1"),
        ({"method": "rigl", "schedule": "cubic"}, "schedule is a setting of method = prune"),
        ({"drop": 0.3}, "drop is a setting of method = rigl or set"),
        ({"begin": 0.9}, r"begin 0\.9 is not before end 0\.8"),
        ({"method": "magic"}, "prune"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_words(table: dict, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        train_config({"env": "X-v1", "sparsity": table})


@pytest.mark.parametrize("own", [{"recurrent_rank": 4}, {"recurrent_sparsity": 0.5}])
def test_two_kinds_of_sparse_recurrence_are_refused(own: dict) -> None:
    table = {"env": "X-v1", "recurrent": "gru", **own}
    with pytest.raises(BadInput, match="full recurrent matrices"):
        train_config(table | {"sparsity": {}})
    assert train_config(table | {"sparsity": {"of": "critic"}}).sparsity is not None
