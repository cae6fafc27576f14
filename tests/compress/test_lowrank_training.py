"""Laws of dynamic low-rank training as a pass: thin layers within their bounds, that fly; no zero is filled."""

from __future__ import annotations

import numpy as np
import pytest

from pilotfish.compress import Context, apply, compress, parse_recipe
from pilotfish.compress.heal import mean_returns
from pilotfish.compress.lowrank_training import LOWRANK, LowRank
from pilotfish.errors import BadInput

QUICK = {"steps": 1500, "iterations": 2, "epochs": 10, "batch_size": 256, "learning_rate": 0.01}


@pytest.mark.parametrize("bound", [None, 3])
def test_ranks_fall_and_the_pole_stands(pilot, bound):
    steps = [{"pass": "lowrank", "layers": ["two"], "theta": 0.3, "rank": bound} | QUICK]
    small = compress(pilot, parse_recipe(steps))
    changed = small.contract.provenance.passes[0].changed
    rank = changed["ranks"]["two.weight"]
    assert 1 <= rank <= (bound or 11)  # 12 is where two thin matrices of 24 x 12 are as large as one of 24 x 24
    assert [layer.name for layer in small.layers if layer.kind == "linear"] == ["one", "two_v", "two_u", "three"]
    assert small.weights["two_v.weight"].shape == (rank, 24)
    assert small.parameters == pilot.parameters - 24 * 24 + 2 * 24 * rank
    assert mean_returns([small], "CartPole-v1", 5)[0] >= 0.95 * 500


def test_a_cell_comes_out_in_factors(make):
    policy = make((6, 20, 18, 3), cell=True)
    config = LowRank(layers=("gru",), theta=0.5, rank=8, steps=200, iterations=1, epochs=2, without_environment=True)
    small = apply(policy, LOWRANK, config, Context(policy))
    cell, ranks = small.layers[0], small.contract.provenance.passes[-1].changed["ranks"]
    assert (cell.rank_ih, cell.rank_hh) == (ranks["gru.weight_ih"], ranks["gru.weight_hh"])
    assert cell.rank_ih <= 4  # [60, 6]: five would be as large as the matrix
    assert cell.rank_hh <= 8
    assert small.contract.state == policy.contract.state


def test_what_cannot_be_trained_so_is_refused(pilot, make):
    context = Context(pilot, "CartPole-v1")
    with pytest.raises(BadInput, match=r"names of linear layers or cells.*'tow'.*two"):
        apply(pilot, LOWRANK, LowRank(layers=("tow",)), context)
    narrow = make((5, 8, 8, 3))
    with pytest.raises(BadInput, match="none with 16 inputs and outputs"):
        apply(narrow, LOWRANK, LowRank(), Context(narrow))
    holed = np.where(np.arange(24) == 3, np.float32(0), pilot.weights["two.weight"])
    with pytest.raises(BadInput, match=r"no zeros in two\.weight.*Put 'prune' behind"):
        apply(pilot.replace(weights=pilot.weights | {"two.weight": holed}), LOWRANK, LowRank(), context)
    with pytest.raises(BadInput, match="expected an environment"):
        apply(pilot, LOWRANK, LowRank(), Context(pilot))
