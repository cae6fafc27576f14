"""Teachers with memory: their students have a GRU, in lessons, on grids, with zeros and on the board."""

from dataclasses import replace

import numpy as np
import pytest

from pilotfish.compress.distill import Distill, student_of
from pilotfish.compress.search import Budget, Effort, Space, search
from pilotfish.compress.search.genome import Genome
from pilotfish.compress.search.limits import limits_of
from pilotfish.compress.search.space import fitted
from pilotfish.compress.search.trial import Task, attempt
from pilotfish.errors import BadInput
from pilotfish.policy.cells import GRU
from pilotfish.policy.record import record_golden
from pilotfish.targets import load_target

QUICK = Effort(steps=300, episodes=2)
PLAIN = Genome((4,), "tanh", 0.0, 1.0, (32, 32), "float", "c", cell=3)


@pytest.fixture
def forgetful(pilot):
    """A network with a cell that has learned nothing: what it does hangs on what it has seen."""
    made = student_of(pilot, Distill(hidden=(6,), cell="gru", cell_size=5), 0)
    return made.replace(golden=record_golden(made, "CartPole-v1", 200, 0))


def never(rung, kept, cost):
    return ""


@pytest.fixture
def tried(forgetful):
    board = load_target("crazyflie")
    task = Task(forgetful, board, "CartPole-v1", limits_of(board, 50.0), QUICK)
    judge = task.judged()
    yield lambda genome: attempt(genome, task, judge, never)
    judge.close()


def test_a_candidate_with_a_cell_goes_all_the_way(tried):
    genome = replace(PLAIN, bits=(8, 8), reads="int8", sparsity=0.5)
    outcome, policy = tried(genome)
    assert outcome.state == "done", outcome.cause
    (cell,) = [layer for layer in policy.layers if isinstance(layer, GRU)]
    assert cell.hidden_size <= 3 and policy.contract.state and np.isfinite(outcome.returns).all()
    assert outcome.cost > 0 and (policy.precision == "int8") == (genome.bits == (8, 8))
    assert (policy.nonzero_parameters < policy.parameters) == (genome.sparsity > 0)


def test_what_a_student_remembers_is_computed_anew_for_every_student(forgetful):
    import torch

    from pilotfish.policy.torch_policy import TorchPolicy
    from pilotfish.train.school import School, remembered

    school = School(forgetful, "CartPole-v1", "CartPole-v1", 4, 40, seed=0)
    network = TorchPolicy(student_of(forgetful, Distill(hidden=(4,), cell="gru", cell_size=3), 1)).eval()
    data = remembered(network, school.shown)
    assert data.memory[0].shape == (10, 4, 3) and (data.memory[0][0] == 0).all()
    going = 1 - data.start[5][:, None]
    after = network(data.obs[4], tuple(part[4] for part in data.memory))[1][0].detach() * going
    assert torch.allclose(data.memory[0][5], after)
    school.close()


def test_a_space_without_a_cell_is_refused_for_a_teacher_with_memory(forgetful, teacher, tmp_path):
    board = load_target("crazyflie")
    assert fitted(Space(), forgetful, board).cells == (8, 16, 32) and fitted(Space(), teacher, board).cells == (0,)
    with pytest.raises(BadInput, match="memory"):
        search(forgetful, board, tmp_path, env="CartPole-v1", budget=Budget(trials=1), space=Space(cells=(0, 8)))
