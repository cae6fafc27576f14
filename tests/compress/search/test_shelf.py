"""The shelf: a float student is taught once for all that is made of it, whoever needs it."""

from dataclasses import replace

import pytest

from pilotfish.compress.search.effort import Effort
from pilotfish.compress.search.genome import Genome
from pilotfish.compress.search.limits import limits_of
from pilotfish.compress.search.propose import Proposer
from pilotfish.compress.search.shelf import Shelf
from pilotfish.compress.search.space import Space, anchors, draw, fitted, shape_of
from pilotfish.compress.search.study import Study
from pilotfish.compress.search.trial import Outcome, Task, attempt
from pilotfish.targets import load_target

FLOAT = Genome((4,), "tanh", 0.0, 1.0, (32, 32), "float", "c")
ROUNDED = replace(FLOAT, bits=(8, 8), reads="int8")


@pytest.fixture
def task(teacher):
    board = load_target("crazyflie")
    return Task(teacher, board, "CartPole-v1", limits_of(board, 50.0), Effort(steps=600, episodes=2))


def never(rung, kept, cost):
    return ""


def test_a_candidate_that_differs_in_what_follows_takes_the_student_that_is_there(task, tmp_path):
    judge = task.judged()
    taught = []
    teach = judge.school().teach
    judge.school().teach = lambda *given: (taught.append(given), teach(*given))[1]
    first = attempt(ROUNDED, task, judge, never, Shelf(tmp_path))[0]
    lessons = len(taught)
    other = attempt(FLOAT, task, judge, never, Shelf(tmp_path))  # as another process would
    again = attempt(FLOAT, task, judge, never)
    judge.close()
    assert not first.reused and other[0].reused and not again[0].reused
    assert lessons == 3 and len(taught) == 5  # of the float genome on the shelf, nothing was left to teach
    assert other[0].rungs == again[0].rungs and other[0].returns == again[0].returns
    assert all((other[1].weights[name] == again[1].weights[name]).all() for name in again[1].weights)


def test_a_student_that_was_stopped_is_not_on_the_shelf_and_one_on_it_can_be_stopped(task, tmp_path):
    judge = task.judged()
    attempt(FLOAT, task, judge, lambda rung, kept, cost: "no", Shelf(tmp_path))
    assert Shelf(tmp_path).take(FLOAT) is None
    attempt(FLOAT, task, judge, never, Shelf(tmp_path))
    assert Shelf(tmp_path).take(ROUNDED) is not None and Shelf(tmp_path / "other arm").take(ROUNDED) is None
    judge.school().teach = lambda *_: pytest.fail("it was taught")
    late = attempt(ROUNDED, task, judge, lambda rung, kept, cost: "no" if rung else "", Shelf(tmp_path))[0]
    judge.close()
    assert late.state == "stopped" and late.reused and len(late.rungs) == 2


def test_more_lessons_go_on_from_a_student_that_had_fewer(task, tmp_path):
    judge = task.judged()
    shelf = Shelf(tmp_path)
    attempt(FLOAT, task, judge, never, shelf)
    taught = []
    teach = judge.school().teach
    judge.school().teach = lambda *given: (taught.append(given), teach(*given))[1]
    more = replace(FLOAT, studies=3)
    outcome = attempt(more, task, judge, never, shelf)[0]
    assert len(taught) == 2 and not outcome.reused and outcome.state == "done"
    # A lesson that spoils what the one before was good for is forgotten.
    kept = [shelf.take(replace(FLOAT, studies=studies)).rungs[1] for studies in (1, 2, 3)]
    assert kept == sorted(kept) and outcome.rungs[:2] == list(shelf.take(more).rungs)
    assert attempt(replace(ROUNDED, studies=3), task, judge, never, shelf)[0].reused
    judge.close()


def test_zeros_that_leave_no_way_through_are_refused_before_any_lesson(task, monkeypatch):
    judge = task.judged()
    judge.school().teach = lambda *_: pytest.fail("it was taught")
    dead = replace(FLOAT, hidden=(8, 8, 8), bits=(32,) * 4, sparsity=0.97)
    outcome = attempt(dead, task, judge, never)[0]
    judge.close()
    assert outcome.state == "infeasible" and "no way" in outcome.cause and outcome.excess == [1.0]


def test_the_shapes_of_good_students_are_proposed_again_with_other_finishes(teacher, tmp_path):
    study = Study(tmp_path, "random", 3, floor=0.8)
    board = load_target("crazyflie")
    proposer = Proposer(study, "search", fitted(Space(), teacher, board), teacher, 0.8)
    fixed = {FLOAT.key: 0.95, replace(FLOAT, hidden=(16,)).key: 0.9, replace(FLOAT, hidden=(6,)).key: 0.5}
    for key, share in fixed.items():
        genome = next(g for g in (FLOAT, replace(FLOAT, hidden=(16,)), replace(FLOAT, hidden=(6,))) if g.key == key)
        trial, _ = study.ask("search", lambda trial: draw(proposer.space, trial, proposer.ends), shape_of(genome))
        study.tell("search", trial, Outcome(genome, kept=share, rungs=[0.1, share, share], costs={"latency_us": {"value": 1.0}}))
    plain = {genome.key for genome in anchors(proposer.space)}
    first = [proposer.next()[1] for _ in range(len(plain))]
    assert {genome.key for genome in first} == plain and len(plain) == 4
    drawn = [proposer.next()[1] for _ in range(30)]
    alike = [genome for genome in drawn if genome.shape == FLOAT.shape]
    # (16,) is larger and no better, (6,) keeps too little: neither is worth another use.
    assert 5 <= len(alike) <= 22 and len({genome.key for genome in alike}) == len(alike)
