"""Law: each wish says whether it was granted, none ends a run, and afterwards everything is as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pilotfish.errors import BadInput
from pilotfish.runtime.measure import realtime as module
from pilotfish.runtime.measure.realtime import PRIORITY, conditions


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = os.sched_getaffinity(0), os.sched_getscheduler(0), os.sched_getparam(0)
    yield
    assert (os.sched_getaffinity(0), os.sched_getscheduler(0), os.sched_getparam(0)) == before


def test_nothing_asked_nothing_done() -> None:
    with conditions() as found:
        assert found == ()


def test_a_core_of_its_own() -> None:
    core = max(os.sched_getaffinity(0))
    with conditions(pin=core) as (pinned,):
        assert pinned.granted and os.sched_getaffinity(0) == {core}
    for wrong in (-1, 10_000):
        with pytest.raises(BadInput, match="core"), conditions(pin=wrong):
            pass


def test_real_time_is_asked_for_and_told() -> None:
    """Granted or not depends on who runs this; either way the scheduler agrees with what is told."""
    with conditions(realtime=True) as found:
        told = {each.name: each for each in found}
        assert set(told) == {"SCHED_FIFO", "mlockall"}
        assert told["SCHED_FIFO"].granted is (os.sched_getscheduler(0) == os.SCHED_FIFO)
        assert all(each.granted or each.note for each in found)


def test_a_refusal_names_its_repair_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(module.os, "sched_setscheduler", refuse)
    with conditions(realtime=True) as found:
        (fifo,) = (each for each in found if each.name == "SCHED_FIFO")
        assert not fifo.granted and "not permitted" in fifo.note and "cap_sys_nice" in fifo.note


def test_a_grant_is_used_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def grant(_: int, policy: int, parameter: os.sched_param) -> None:
        asked.append((policy, parameter.sched_priority))

    monkeypatch.setattr(module.os, "sched_setscheduler", grant)
    with conditions(realtime=True) as found:
        assert next(each for each in found if each.name == "SCHED_FIFO").granted
        assert asked == [(os.SCHED_FIFO, PRIORITY)]
    assert asked[1:] == [(os.SCHED_OTHER, 0)]
