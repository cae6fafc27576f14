"""Families of architectures, and how they are drawn from."""

import numpy as np
import pytest
from pydantic import ValidationError

from pilotfish.errors import BadInput
from pilotfish.train.config import train_config
from pilotfish.train.one_shot.family import STRATA, Family, Lottery, Member


def test_hyperppos_family_has_its_2800_members() -> None:
    family = Family(widths=(4, 8, 16, 32, 64, 128, 256))
    assert family.size == len(family.members) == len(set(family.members)) == 2800
    assert all(member in family for member in family.members)
    assert Member((5,)) not in family and Member((4,) * 5) not in family and Member((4,), "relu") not in family


def test_weights_are_those_of_the_matrices_and_biases() -> None:
    assert Member((64, 4, 4, 32)).weights((17, 6)) == 17 * 64 + 64 + 64 * 4 + 4 + 4 * 4 + 4 + 4 * 32 + 32 + 32 * 6 + 6


def test_a_draw_reaches_from_the_smallest_to_the_largest() -> None:
    family = Family(widths=(4, 8, 16, 32, 64, 128, 256))
    sizes = np.log([member.weights((17, 6)) for member in family.members])
    lottery, random = Lottery(family, (17, 6)), np.random.default_rng(0)
    drawn = np.log([m.weights((17, 6)) for _ in range(200) for m in lottery.draw(16, random)])
    span = sizes.max() - sizes.min()
    counts, _ = np.histogram(drawn, STRATA, (sizes.min(), sizes.max()))
    assert counts.min() > 0.7 * len(drawn) / STRATA  # evenly over the logarithm
    assert (sizes < sizes.min() + span / 4).mean() < 0.05  # where an even draw over the family would seldom be
    assert {m.activation for m in Lottery(Family(activations=("tanh", "relu")), (3, 1)).draw(64, random)} == {"tanh", "relu"}


def test_the_nearest_member_has_the_widths_that_there_are() -> None:
    family = Family(depth=(2, 3))
    assert family.nearest((60,), "tanh") == Member((64, 64))
    assert family.nearest((30, 9, 5, 5), "relu") == Member((32, 8, 4))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"depth": (3, 2)}, "fewest"),
        ({"widths": (4, 4)}, "differ"),
        ({"widths": tuple(range(1, 65)), "depth": (1, 4)}, "at most"),
        ({"activations": ("silu",)}, "relu"),
    ],
)
def test_a_family_that_cannot_be_is_refused(settings: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Family(**settings)


def test_settings_that_do_not_go_together_are_refused() -> None:
    base = {"env": "Pendulum-v1", "algorithm": "ppo", "one_shot": {}}
    assert train_config(base).one_shot == Family()
    for wrong in ({"recurrent": "gru"}, {"layer_norm": True}, {"minibatch_size": 8}, {"one_shot": {"width": [4]}}):
        with pytest.raises(BadInput):
            train_config(base | wrong)
