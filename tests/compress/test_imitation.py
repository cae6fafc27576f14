"""The budget of an imitation: what a recipe says of it reaches the trainer."""

import dataclasses

import pytest

from pilotfish.compress.imitation import Imitation

OTHER_NAMES = {"judged_episodes": "eval_episodes"}
"""Settings that the trainer calls otherwise."""
NOT_THE_TRAINERS = {"without_environment"}


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Imitation) if field.name not in NOT_THE_TRAINERS])
def test_every_setting_reaches_the_trainer(name):
    pytest.importorskip("torch")
    value = 0.5 if isinstance(getattr(Imitation(), name), float) else 7
    assert getattr(Imitation(**{name: value}).trainer(0), OTHER_NAMES.get(name, name)) == value


def test_one_round_leaves_nothing_to_choose_from():
    pytest.importorskip("torch")
    assert Imitation(iterations=1, judged_episodes=50).trainer(3).eval_episodes == 1
    assert Imitation().trainer(3).seed == 3
