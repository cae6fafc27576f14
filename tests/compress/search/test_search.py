"""A whole search: every point of its front is a policy that was built, verified and flown; interrupted, it goes on."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from pilotfish.compress.search import Budget, Effort, Space, search
from pilotfish.compress.search.front import dominates
from pilotfish.compress.search.genome import Genome
from pilotfish.compress.search.limits import limits_of
from pilotfish.compress.search.study import ARMS, Study
from pilotfish.compress.search.trial import Task, attempt, sketch
from pilotfish.errors import BadInput
from pilotfish.policy import Policy
from pilotfish.runtime.artifact import Artifact
from pilotfish.targets import load_target

QUICK = Effort(steps=600, episodes=2)
SPACE = Space(depth=(1, 1), widths=(2, 4, 8), activations=("tanh",), sparsity=(0.0,), rank=(1.0,), bits=(32, 8), reads=("int8",))


def _task(teacher, **limits):
    board = load_target("crazyflie")
    return Task(teacher, board, "CartPole-v1", limits_of(board, 50.0, **limits), QUICK)


def _genome(**changes):
    return replace(Genome((4,), "tanh", 0.0, 1.0, (32, 32), "float", "c"), **changes)


def never(rung, kept, cost):
    return ""


def test_a_search_proves_its_front_and_goes_on_where_it_was(teacher, tmp_path):
    def found(trials):
        return search(
            teacher, load_target("crazyflie"), tmp_path, budget=Budget(trials=trials), space=SPACE, min_return=0.2, jobs=1,
            effort=QUICK, prove_episodes=2,
        )  # fmt: skip

    first = found(1)
    assert sum(len(Study(tmp_path).outcomes(arm)) for arm in ARMS) == 1
    whole = found(2)
    outcomes = {arm: Study(tmp_path).outcomes(arm) for arm in ARMS}
    assert sum(map(len, outcomes.values())) == 2 and all(outcomes.values())
    assert whole.arms["random"]["seconds"] > 0 and len(whole.arms["search"]["trace"]) == len(outcomes["search"])
    assert len(whole.proofs) >= 1 and len(first.proofs) >= 1
    for proof in whole.proofs:
        assert proof.verified and not proof.failed and proof.figures["cycles"]["source"] in ("emulated", "estimated")
        assert Artifact.load(proof.artifact).manifest.target.name == "crazyflie"
        policy = Policy.load(tmp_path / "candidates" / proof.outcome.policy)
        assert policy.parameters == proof.outcome.parameters
    points = [(proof.kept, proof.cost) for proof in whole.proofs]
    for index in whole.pareto:
        assert not any(dominates(point, points[index]) for point in points)
    page = (tmp_path / "search.html").read_text()
    assert "Beside random search" in page and all(proof.outcome.genome.name in page for proof in whole.proofs)
    stored = json.loads((tmp_path / "result.json").read_text())
    assert stored["best"] == whole.best and math.isclose(stored["floor"], whole.floor)
    if whole.best is not None:
        assert (tmp_path / whole.bundle(whole.best)).is_dir() and points[whole.best][0] >= 0.2
    with pytest.raises(BadInput, match="Choose another --output"):
        search(teacher, load_target("nucleo-g0b1re"), tmp_path, budget=Budget(trials=5), space=SPACE, effort=QUICK)


def test_a_sketch_has_the_layers_zeros_and_grids_of_the_candidate(teacher):
    task = _task(teacher)
    plain = sketch(_genome(hidden=(16, 16), bits=(32,) * 3), task)
    thin = sketch(_genome(hidden=(16, 16), bits=(8, 8, 4), reads="int8", sparsity=0.5), task)
    low = sketch(_genome(hidden=(16, 16), bits=(32,) * 3, rank=0.25), task)
    assert plain.precision == "fp32" and thin.precision == "int8"
    assert thin.nonzero_parameters < plain.nonzero_parameters and thin.weight_bytes < plain.weight_bytes / 2
    assert low.parameters < plain.parameters


def test_what_is_beyond_a_limit_is_refused_before_any_lesson(teacher, tmp_path, monkeypatch):
    task = _task(teacher, flash_bytes=300)
    judge = task.judged()
    monkeypatch.setattr(judge.school, "teach", lambda *_: pytest.fail("it was taught"))
    outcome = attempt(_genome(), task, judge, never)[0]
    judge.close()
    assert outcome.state == "infeasible" and "flash_bytes" in outcome.cause and outcome.excess[0] > 0


def test_a_hopeless_one_is_stopped_after_its_first_lesson(teacher, tmp_path):
    task = _task(teacher)
    judge = task.judged()
    outcome = attempt(_genome(), task, judge, lambda rung, kept, cost: "two others are better")[0]
    judge.close()
    assert outcome.state == "stopped" and len(outcome.rungs) == 1 and outcome.kept is None and not outcome.policy


def test_a_candidate_that_breaks_says_why_and_raises_nothing(teacher, tmp_path, monkeypatch):
    task = _task(teacher)
    judge = task.judged()
    lost = attempt(_genome(), replace(task, env="NoSuchTask-v0"), judge, never)[0]
    assert lost.state == "failed" and "NoSuchTask" in lost.cause
    monkeypatch.setattr(judge.loop, "returns", lambda policy, seeds: np.full(len(seeds), np.nan))
    numb = attempt(_genome(), task, judge, never)[0]
    assert numb.state == "failed" and "finite" in numb.cause
    strange = attempt(_genome(backend="tensorrt"), task, judge, never)[0]
    judge.close()
    assert strange.state == "infeasible" and "tensorrt" in strange.cause


def test_what_a_candidate_becomes_does_not_hang_on_who_was_taught_before(teacher):
    task = _task(teacher)
    judge = task.judged()
    alone = attempt(_genome(bits=(8, 8), reads="int8"), task, judge, never)
    attempt(_genome(hidden=(2,)), replace(task, seed=9), judge, never)
    again = attempt(_genome(bits=(8, 8), reads="int8"), task, judge, never)
    judge.close()
    assert alone[1].digest == again[1].digest
    assert alone[0].returns == again[0].returns and alone[0].rungs == again[0].rungs and len(alone[0].rungs) == 3


def test_a_return_is_that_of_all_episodes_whether_a_few_were_seen_before_or_not(teacher):
    judge = replace(_task(teacher), effort=Effort(steps=600, episodes=7)).judged()
    share, seen = judge.glance(teacher)
    assert share == 1 and len(seen) == 5
    whole = judge.compare(teacher)[1]
    assert whole.tolist() == judge.compare(teacher, seen)[1].tolist() == judge.reference.tolist()
    judge.close()


def test_a_teacher_with_memory_is_refused_by_name(make):
    recurrent = make(cell=True)
    with pytest.raises(Exception, match="memory"):
        search(recurrent, load_target("crazyflie"), "x", env="CartPole-v1", budget=Budget(trials=1))
