"""A whole search: every point of its front is a policy that was built, verified and flown; interrupted, it goes on."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from pilotfish.compress import effects
from pilotfish.compress.search import Budget, Effort, Space, search
from pilotfish.compress.search.front import dominates
from pilotfish.compress.search.genome import Genome
from pilotfish.compress.search.limits import limits_of
from pilotfish.compress.search.search import ENGINES
from pilotfish.compress.search.study import ARMS, Study
from pilotfish.compress.search.trial import Task, attempt, sketch
from pilotfish.compress.search.worker import work
from pilotfish.errors import BadInput
from pilotfish.policy import Action, Contract, Observation, Policy
from pilotfish.policy.scene import scene_of
from pilotfish.runtime.artifact import Artifact
from pilotfish.runtime.measure.rate import control_rate
from pilotfish.targets import load_target

QUICK = Effort(steps=600, episodes=2)
SPACE = Space(
    depth=(1, 1),
    widths=(2, 4, 8),
    activations=("tanh",),
    sparsity=(0.0,),
    rank=(1.0,),
    bits=(32, 8),
    reads=("int8",),
    studies=(1,),
)


def _task(teacher, **limits):
    board = load_target("crazyflie")
    return Task(teacher, board, "CartPole-v1", limits_of(board, 50.0, **limits), QUICK)


def _genome(**changes):
    return replace(Genome((4,), "tanh", 0.0, 1.0, (32, 32), "float", "c"), **changes)


def never(rung, kept, cost):
    return ""


def test_a_search_proves_its_front_and_goes_on_where_it_was(teacher, tmp_path, monkeypatch):
    def found(trials):
        return search(
            teacher, load_target("crazyflie"), tmp_path, budget=Budget(trials=trials), space=SPACE, min_return=0.2, jobs=1,
            effort=QUICK, prove_episodes=2,
        )  # fmt: skip

    with monkeypatch.context() as patch:  # the first candidate in this process: starting another takes longer than making it
        patch.setitem(ENGINES, "local", lambda plan, jobs, told: work(plan))
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
    monkeypatch.setattr(judge.school(), "teach", lambda *_: pytest.fail("it was taught"))
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
    monkeypatch.setattr(judge._loops[1], "returns", lambda policy, seeds: np.full(len(seeds), np.nan))
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


def test_a_candidate_that_decides_seldom_holds_its_action_and_has_as_much_longer(teacher):
    """CartPole at 50 Hz, one decision in two steps: 25 Hz, for which the same artifact may take twice as long."""
    contract = replace(teacher.contract, timing=replace(teacher.contract.timing, control_hz=50.0))
    teacher = teacher.replace(contract=contract)
    task = _task(teacher)
    judge = task.judged()
    often = attempt(_genome(), task, judge, never)[1]
    known = effects.cost(often, task.target)["latency_us"]["value"]
    tight = replace(task, limits=replace(task.limits, latency_us=0.7 * known))
    outcome, seldom = attempt(_genome(decide_every=2), tight, judge, never)
    refused = attempt(_genome(), tight, judge, never)[0]
    assert outcome.state == "done" and refused.state == "infeasible" and "latency_us" in refused.cause
    timing = seldom.contract.timing
    assert (timing.hold, timing.control_hz) == (2, 25.0) and often.contract.timing.hold == 1
    assert str(scene_of(seldom.contract, "CartPole-v1")) == "CartPole-v1, a decision every 2 steps"
    assert control_rate(seldom.contract, task.target).period_us == 40_000
    # 500 steps are 250 decisions: it was judged in the scene that its contract names, against the teacher as it is.
    assert seldom.golden.start.sum() < 1000 / 20 and teacher.digest in seldom.contract.provenance.parents
    assert any("holds its action" in note for note in seldom.contract.provenance.notes)
    assert judge.compare(teacher)[0].mean.value == judge.reference.mean()
    judge.close()


def test_a_decision_rate_needs_to_be_known(teacher, tmp_path):
    with pytest.raises(BadInput, match="control_hz"):
        search(teacher, load_target("crazyflie"), tmp_path, budget=Budget(trials=1), space=replace(SPACE, decide_every=(1, 2)))


def test_several_actions_per_decision_and_a_decision_rate_exclude_each_other(teacher):
    timing = replace(teacher.contract.timing, actions_per_decision=2)
    with pytest.raises(ValueError, match="either several"):
        Contract(Observation(4), Action("continuous", 2), timing=replace(timing, hold=2))
