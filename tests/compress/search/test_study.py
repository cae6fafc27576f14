"""The record of a search: shared, resumed, and never stopped by a candidate that fails."""

import dataclasses
import subprocess
import sys
from dataclasses import replace

import pytest

from pilotfish.compress.search.genome import Genome
from pilotfish.compress.search.halving import stops
from pilotfish.compress.search.pool import cause_of_death
from pilotfish.compress.search.samplers import SAMPLERS
from pilotfish.compress.search.study import ARMS, Study, check_settings
from pilotfish.compress.search.trial import Outcome
from pilotfish.compress.search.worker import poorer
from pilotfish.errors import BadInput


def _genome(width=8):
    return Genome((width,), "tanh", 0.0, 1.0, (32, 32), "float", "c")


def _done(width=8, kept=0.9, cost=5.0, **more):
    costs = {"latency_us": {"value": cost}}
    return Outcome(_genome(width), kept=kept, rungs=[kept - 0.2, kept], costs=costs, excess=[-1.0, -1.0, -0.5], **more)


def _tried(study, arm, outcome):
    trial, _ = study.ask(arm, lambda trial: (trial.suggest_int("width", 1, 64), outcome.genome)[1])
    study.tell(arm, trial, outcome)
    return trial.number


def test_what_was_told_is_read_by_another_process_as_it_was(tmp_path):
    first = Study(tmp_path)
    _tried(first, "search", _done(8, 0.9, 5.0))
    _tried(first, "random", _done(16, 0.95, 9.0, seconds=3.0))
    again = Study(tmp_path)
    assert again.outcomes("search") == first.outcomes("search") and again.outcomes("search")[0].genome == _genome(8)
    assert again.outcomes("random")[0].cost == 9.0
    assert again.keys("search") == {_genome(8).key}
    assert poorer(again) == "search"


def test_a_failed_candidate_is_recorded_with_its_cause_and_the_others_stay(tmp_path):
    study = Study(tmp_path)
    _tried(study, "search", Outcome(_genome(4), "failed", "ValueError: NaN in the loss"))
    _tried(study, "search", Outcome(_genome(64), "infeasible", "flash", excess=[0.4, -0.5, -0.2]))
    _tried(study, "search", _done())
    states = [one.state for one in Study(tmp_path).outcomes("search")]
    assert states == ["failed", "infeasible", "done"]
    assert [trial.number for trial in study.arms["search"].best_trials] == [2]
    assert "NaN" in study.outcomes("search")[0].cause


ASK = """
import os, socket, sys
from pathlib import Path
from pilotfish.compress.search.genome import Genome
from pilotfish.compress.search.study import Study
study = Study(Path(sys.argv[1]))
for begun in (True, False):
    trial, _ = study.ask("search", lambda trial: Genome((8,), "tanh", 0.0, 1.0, (32, 32), "float", "c"))
    if begun:
        study.begin(trial)
print(os.getpid())
"""


@pytest.mark.parametrize("known", [True, False])
def test_what_a_dead_process_was_at_is_buried_with_its_cause_and_what_a_living_one_is_at_stays(tmp_path, known):
    pid = int(subprocess.run([sys.executable, "-c", ASK, str(tmp_path)], check=True, capture_output=True).stdout)
    study = Study(tmp_path)
    study.begin(study.ask("random", lambda _: _genome())[0])
    assert (study.running("search"), study.running("random")) == (1, 1)
    assert study.bury({pid: cause_of_death(-9)} if known else {}) == 1
    assert (study.running("search"), study.running("random")) == (0, 1)
    (outcome,) = Study(tmp_path).outcomes("search")  # the draw that was never begun is none
    assert outcome.state == "failed" and outcome.genome == _genome()
    assert ("SIGKILL" in outcome.cause and outcome.seconds > 0) if known else ("died" in outcome.cause and outcome.seconds == 0)
    assert study.bury() == 0


def test_a_death_is_told_in_words():
    assert "status 3" in cause_of_death(3) and "interrupted" in cause_of_death(None) and "SIGSEGV" in cause_of_death(-11)


def test_a_discarded_draw_is_neither_an_outcome_nor_seen(tmp_path):
    study = Study(tmp_path)
    trial, genome = study.ask("search", lambda _: _genome())
    study.discard("search", trial, "not promising")
    assert study.outcomes("search") == [] and genome.key not in study.keys("search")


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_exceeds_a_limit_is_never_on_the_front_whatever_the_sampler(tmp_path, name):
    study = Study(tmp_path, name)
    for width in (4, 40, 8, 1):
        outcome = replace(_done(width, kept=0.5 + width / 100, cost=float(width)), excess=[width / 16 - 1, -1.0, -1.0])
        _tried(study, "search", replace(outcome, state="infeasible") if width > 16 else outcome)
    front = study.arms["search"].best_trials
    assert sorted(trial.values[1] for trial in front) == [1.0, 4.0, 8.0]


def test_a_sampler_learns_to_keep_the_limits(tmp_path):
    """Uniform draws exceed the limit three times out of four."""
    study = Study(tmp_path, "tpe", seed=3)
    beyond = []
    for _ in range(40):
        trial = study.arms["search"].ask()
        width = trial.suggest_int("width", 1, 64)
        outcome = replace(_done(width, kept=0.5 + width / 200, cost=float(width)), excess=[width / 16 - 1, -1.0, -1.0])
        study.tell("search", trial, replace(outcome, state="infeasible") if width > 16 else outcome)
        beyond.append(width > 16)
    assert sum(beyond[20:]) < 0.5 * 20


def test_a_search_of_another_teacher_in_the_same_folder_is_refused(tmp_path):
    check_settings(tmp_path, {"teacher": "a", "space": {"widths": [4]}})
    check_settings(tmp_path, {"teacher": "a", "space": {"widths": [4]}})
    with pytest.raises(BadInput, match="teacher"):
        check_settings(tmp_path, {"teacher": "b", "space": {"widths": [4]}})


def test_a_candidate_is_stopped_once_two_cheaper_ones_kept_more_after_the_same_lesson(tmp_path):
    study = Study(tmp_path)
    why = stops(study, "search")
    assert why(0, 0.1, 5.0) == ""
    _tried(study, "search", _done(8, 0.9, 4.0))
    assert why(0, 0.1, 5.0) == ""
    _tried(study, "search", _done(9, 0.8, 3.0))
    assert "2 others" in why(0, 0.1, 5.0)
    assert why(0, 0.1, 3.5) == "" and why(0, 0.75, 5.0) == "" and "2 others" in why(2, 0.1, 5.0)
    assert stops(study, "random")(0, 0.1, 5.0) == ""
    assert set(study.arms) == set(ARMS)


def test_a_taught_student_that_keeps_far_less_than_what_counts_goes_no_further(tmp_path):
    why = stops(Study(tmp_path, floor=0.8), "search")
    assert why(0, 0.1, 5.0) == "" and why(1, 0.7, 5.0) == ""
    assert "59.0%" in why(1, 0.59, 5.0)


def test_others_that_came_to_nothing_stop_nobody(tmp_path):
    study = Study(tmp_path)
    for width in (8, 9, 10):
        lost = Outcome(
            _genome(width), "stopped", "it kept -0.4%", rungs=[0.7, 0.99, -0.004], costs={"latency_us": {"value": 1.0}}
        )
        _tried(study, "search", lost)
        _tried(study, "random", _done(width, 0.6, 1.0, state="done") if width < 10 else lost)
    assert stops(study, "search")(1, 0.92, 5.0) == ""
    # Two went all the way; what they kept in the end is what a taught student is measured by.
    assert stops(study, "random")(1, 0.59, 5.0) != "" and stops(study, "random")(1, 0.61, 5.0) == ""


def test_one_student_that_had_more_lessons_is_still_one_witness(tmp_path):
    study = Study(tmp_path)
    for studies in (1, 2, 4):
        done = _done(8, 0.9, 4.0)
        done.genome = dataclasses.replace(done.genome, studies=studies)
        _tried(study, "search", done)
    assert stops(study, "search")(0, 0.1, 5.0) == ""
    _tried(study, "search", _done(9, 0.9, 4.0))
    assert "2 others" in stops(study, "search")(0, 0.1, 5.0)
