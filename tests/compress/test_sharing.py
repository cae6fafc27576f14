"""Laws of weight sharing: an equal store is a permutation, a smaller one a mean that learns; tied layers have one weight."""

from __future__ import annotations

import numpy as np
import pytest

from pilotfish.compress import Context, apply, compress, parse_recipe
from pilotfish.compress.heal import mean_returns
from pilotfish.compress.prune import PRUNE, Prune
from pilotfish.compress.sharing import HASH, TIE, Hash, Tie, hashed, tied
from pilotfish.compress.shrink import SHRINK, Shrink
from pilotfish.compress.trim import TRIM, Trim
from pilotfish.errors import BadInput
from pilotfish.policy.hashed import places
from pilotfish.policy.layers import HashedLinear, TiedLinear
from pilotfish.policy.reference import Reference

QUICK = {"steps": 1500, "iterations": 2, "epochs": 10, "batch_size": 256, "learning_rate": 0.01, "teacher_share": 0.0}


def test_a_full_store_is_the_same_policy(make):
    policy = make((6, 24, 16, 3))
    same = apply(policy, HASH, Hash(share=1.0, without_environment=True), Context(policy))
    assert [layer.kind for layer in same.layers[::2]] == ["hashed_linear", "hashed_linear", "linear"]
    assert same.parameters == policy.parameters
    for obs in policy.golden.obs[::20]:
        np.testing.assert_array_equal(Reference(same).act(obs), Reference(policy).act(obs))


def test_the_store_begins_as_the_mean_of_what_it_stands_for(make):
    policy = make((6, 24, 16, 3))
    student = hashed(policy, ("fc1",), 0.25, 8, 3)
    layer = student.layers[2]
    assert isinstance(layer, HashedLinear)
    assert (layer.size, layer.chunk) == (96, 8)  # rows of 24 in three chunks, a quarter of 48 of them
    entry, sign = places(16, 24, 96, 8, layer.seed)
    weight = policy.weights["fc1.weight"]
    for place in (0, 17, 95):
        assert student.weights["fc1.store"][place] == pytest.approx((weight * sign)[entry == place].mean(), abs=1e-6)


@pytest.mark.parametrize("step", [{"pass": "hash", "share": 0.25}, {"pass": "tie"}])
def test_shared_weights_fly(pilot, step):
    """The tied policy has a third hidden layer, whose shape is the second's."""
    if step["pass"] == "tie":
        between = (pilot.layers[2], pilot.layers[3])
        third = type(pilot.layers[2])("third", 24, 24)
        weights = {"third.weight": 1.5 * np.eye(24, dtype=np.float32) + np.float32(0.01), "third.bias": np.zeros(24, np.float32)}
        pilot = pilot.replace(layers=(*pilot.layers[:2], *between, third, *pilot.layers[3:]), weights=pilot.weights | weights)
    small = compress(pilot, parse_recipe([step | QUICK]))
    changed = small.contract.provenance.passes[0].changed
    if step["pass"] == "tie":
        assert changed["groups"] == [["two", "third"]]
        assert small.parameters == pilot.parameters - 24 * 24
        assert "third.weight" not in small.weights
    else:
        assert changed["stores"] == {"one": [24, 96], "two": [144, 576]}
        assert small.parameters == 24 + 24 + 144 + 24 + 2 * 24 + 2
    assert mean_returns([small], "CartPole-v1", 5)[0] >= 0.95 * 500


def test_a_shared_weight_keeps_its_shape(make):
    """Passes that would make one of two tied layers narrower leave both alone."""
    policy = tied(make((6, 8, 8, 8, 3)), [("fc1", "fc2")])
    assert isinstance(policy.layers[4], TiedLinear)
    context = Context(policy)
    with pytest.raises(BadInput, match="hidden units between two layers"):
        apply(policy, SHRINK, Shrink(keep=0.5, schedule="one-shot"), context)
    dead = policy.replace(weights=policy.weights | {"fc0.weight": policy.weights["fc0.weight"] * (np.arange(8) > 2)[:, None]})
    assert apply(dead, TRIM, Trim(), context).layers == policy.layers
    sparse = apply(policy, PRUNE, Prune(0.5, schedule="one-shot"), context)
    assert (sparse.weights["fc1.weight"] == 0).mean() == 0.5


def test_what_cannot_be_shared_is_said(make, pilot):
    policy = make((6, 8, 9, 3))
    context = Context(policy)
    with pytest.raises(BadInput, match=r"two linear layers of one shape.*fc0 \[8, 6\]"):
        apply(policy, TIE, Tie(), context)
    with pytest.raises(BadInput, match="at least two layers of one shape"):
        apply(policy, TIE, Tie(layers=(("fc0", "fc1"),)), context)
    with pytest.raises(BadInput, match=r"names of linear layers.*'fc9'"):
        apply(policy, HASH, Hash(layers=("fc9",)), context)
    with pytest.raises(BadInput, match="'fc0' twice"):
        apply(policy, HASH, Hash(layers=("fc0", "fc0")), context)
    with pytest.raises(BadInput, match="expected an environment"):
        apply(policy, HASH, Hash(), context)
    sparse = apply(policy, PRUNE, Prune(0.5, schedule="one-shot"), context)
    with pytest.raises(BadInput, match="no zeros in fc0"):
        apply(sparse, HASH, Hash(without_environment=True), context)
