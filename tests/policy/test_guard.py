"""Laws of the guard: no senseless action leaves it, its counters count, and where nothing is wrong it changes nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pilotfish.errors import BadInput, Unsupported
from pilotfish.policy import Action, Contract, Normalizer, Observation, Timing
from pilotfish.policy.guard import COUNTERS, MOST, SATURATED, Flag, Guard, GuardTable
from pilotfish.policy.guard_table import GUARD_FILE, dumped, guard_table, load_guard, read_guard, said

N, M = 3, 2
ANY = st.floats(width=32, allow_nan=True, allow_infinity=True)
FINITE = st.floats(-8, 8, width=32)
VECTOR = lambda size, values=ANY: arrays.arrays(np.float32, size, elements=values)  # noqa: E731


@st.composite
def tables(draw: st.DrawFn) -> GuardTable:
    def pair(size: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        ends = np.sort(np.stack([draw(VECTOR(size, FINITE)), draw(VECTOR(size, FINITE))]), axis=0)
        return tuple(ends[0].tolist()), tuple(ends[1].tolist())

    low, high = pair(M)
    obs_low, obs_high = pair(N) if draw(st.booleans()) else ((-MOST,) * N, (MOST,) * N)
    kind = draw(st.sampled_from(["hold", "neutral", "linear"]))
    rate = tuple(draw(VECTOR(M, st.floats(0.0625, 4, width=32))).tolist()) if draw(st.booleans()) else ()
    return GuardTable(
        obs_low, obs_high, low, high, tuple(draw(VECTOR(M, FINITE)).tolist()), rate,
        actions=draw(st.sampled_from([1, 2])), stale_us=draw(st.sampled_from([None, 0, 1000])),
        deadline_us=draw(st.sampled_from([None, 500])), out_of_range=draw(st.sampled_from(["refuse", "clip"])), fallback=kind,
        hold_steps=draw(st.sampled_from([None, 0, 2])),
        gain=tuple(map(tuple, draw(VECTOR((M, N), FINITE)).tolist())) if kind == "linear" else (),
        bias=tuple(draw(VECTOR(M, FINITE)).tolist()) if kind == "linear" else (),
    )  # fmt: skip


STEPS = st.lists(st.tuples(VECTOR(N), VECTOR(2 * M), st.sampled_from([0, 999, 5000]), st.sampled_from([1, 800])), max_size=12)


@settings(max_examples=25)
@given(tables(), STEPS)
def test_every_action_is_finite_clamped_and_near_the_one_before(table: GuardTable, steps: list) -> None:
    guard, low, high = Guard(table), np.float32(table.low), np.float32(table.high)
    before, happened = None, dict.fromkeys(COUNTERS, 0)
    for obs, action, age, took in steps:
        shown: list[np.ndarray] = []

        def decide(seen: np.ndarray, shown=shown, action=action) -> np.ndarray:
            shown.append(seen)
            return action[: M * table.actions]

        restarts: list[int] = []
        sent, flags = guard.step(
            obs, decide, age_us=age, took_us=lambda took=took: took, restart=lambda restarts=restarts: restarts.append(1)
        )
        assert sent.dtype == np.float32 and sent.shape == (M * table.actions,)
        for row in sent.reshape(table.actions, M):
            assert np.isfinite(row).all() and (row >= low).all() and (row <= high).all()
            if table.rate and before is not None:
                rate = np.float32(table.rate)
                assert (row >= before - rate).all() and (row <= before + rate).all()
            before = row
        for seen in shown:  # the policy never sees what is refused
            assert np.isfinite(seen).all() and (seen >= np.float32(table.obs_low)).all()
            assert (seen <= np.float32(table.obs_high)).all() and (table.stale_us is None or age <= table.stale_us)
        assert bool(restarts) is bool(flags & Flag.ACTION_NOT_FINITE)
        refused = not shown or bool(flags & (Flag.LATE | Flag.ACTION_NOT_FINITE))
        assert bool(flags & Flag.FELL_BACK) is refused
        assert bool(flags & Flag.LATE) is (bool(shown) and table.deadline_us is not None and took > table.deadline_us)
        assert bool(flags & Flag.OBS_NOT_FINITE) is (not np.isfinite(obs).all())
        happened["steps"] += 1
        for flag in Flag:
            happened[flag.name.lower()] += bool(flags & flag)
        assert guard.counters == happened


@given(VECTOR(N, FINITE), st.lists(VECTOR(M, st.floats(-1, 1, width=32)), min_size=1, max_size=8))
def test_an_inactive_guard_changes_nothing(obs: np.ndarray, actions: list[np.ndarray]) -> None:
    table = GuardTable((-10.0,) * N, (10.0,) * N, (-1.0,) * M, (1.0,) * M, (0.0,) * M, (2.0,) * M, stale_us=5, deadline_us=9)
    guard = Guard(table)
    for action in actions:
        sent, flags = guard.step(obs, lambda _, action=action: action, age_us=5, took_us=lambda: 9)
        assert flags == 0 and sent.tobytes() == action.tobytes()
    assert guard.counters == dict.fromkeys(COUNTERS, 0) | {"steps": len(actions)}


def test_what_is_held_and_for_how_long() -> None:
    table = GuardTable((-MOST,) * N, (MOST,) * N, (-1.0,) * M, (1.0,) * M, (0.25, 0.5), hold_steps=2)
    guard, obs = Guard(table), np.zeros(N, np.float32)
    assert guard.late()[0].tolist() == [0.25, 0.5]  # nothing to hold yet
    guard.step(obs, lambda _: np.float32([0.75, -3]))
    assert [guard.late()[0].tolist() for _ in range(3)] == [[0.75, -1], [0.75, -1], [0.25, 0.5]]
    guard.step(obs, lambda _: np.float32([0.5, 0.5]))
    assert guard.late()[0].tolist() == [0.5, 0.5]  # counted anew
    guard.reset()
    assert guard.late()[0].tolist() == [0.25, 0.5] and guard.counters["late"] == 6 == guard.counters["fell_back"]


def test_a_linear_policy_takes_over_and_is_guarded_too() -> None:
    table = GuardTable(
        (-1.0,) * N, (1.0,) * N, (-1.0,) * M, (1.0,) * M, (0.0,) * M, out_of_range="clip", fallback="linear",
        gain=((0.5, 0.0, 0.25), (100.0, 0.0, 0.0)), bias=(0.125, 0.0),
    )  # fmt: skip
    guard = Guard(table)
    sent, flags = guard.late(np.float32([1, 0, 7]))
    assert sent.tolist() == [0.875, 1.0] and flags == Flag.LATE | Flag.FELL_BACK | Flag.CLAMPED
    assert guard.late(np.float32([np.nan, 0, 0]))[0].tolist() == [0.875, 1.0]  # held: it cannot be computed


def test_counters_stop_at_the_end_of_their_word() -> None:
    guard = Guard(GuardTable((0.0,), (1.0,), (0.0,), (1.0,), (0.0,)))
    guard.counters["steps"] = SATURATED
    guard.late()
    assert guard.counters["steps"] == SATURATED and guard.counters["late"] == 1


def contract(**action) -> Contract:
    return Contract(
        Observation(N, normalizer=Normalizer((1.0, 0.0, 0.0), (4.0, 1.0, 0.0), epsilon=0.0)),
        Action("continuous", M, **({"low": (-1.0, -2.0), "high": (1.0, 2.0)} | action)),
        timing=Timing(control_hz=100.0),
    )


def test_a_guard_follows_from_the_contract_alone() -> None:
    table = guard_table(contract())
    assert (table.low, table.high, table.neutral) == ((-1, -2), (1, 2), (0, 0))
    assert table.deadline_us == 10_000 and table.fallback == "hold" and table.obs_high == (MOST,) * N and not table.rate
    assert any("2 of 2 entries of the action are clamped" in line for line in said(table))


def test_settings_are_read_and_checked(tmp_path) -> None:
    path = tmp_path / "guard.toml"
    path.write_text(
        "deadline_us = 2000\n[observation]\nsigmas = 3\nstale_us = 30000\nout_of_range = 'clip'\n"
        "[action]\nhigh = 0.5\nrate_per_s = [10, 20]\n[fallback]\nkind = 'linear'\nneutral = 0.25\ngain = [[1,2,3],[4,5,6]]\n"
    )
    table = load_guard(path, contract())
    assert table.obs_low == (-5.0, -3.0, 0.0) and table.obs_high == (7.0, 3.0, 0.0)
    assert table.high == (0.5, 0.5) and table.low == (-1, -2) and table.neutral == (0.25, 0.25)
    assert table.rate == tuple(np.float32([0.1, 0.2]).tolist()) and table.deadline_us == 2000 and table.bias == (0, 0)
    (tmp_path / GUARD_FILE).write_text(dumped(table))
    assert read_guard(tmp_path) == table and read_guard(tmp_path / "nowhere") is None
    wrong = {
        "[action]\nlow = 'x'": "action",
        "[action]\nlow = [1]": "action.low",
        "speed = 3": "speed",
        "[action]\nlow = 5": "low must not",
        "[action]\nrate_per_s = -1": "positive",
        "[fallback]\nkind = 'linear'": "gain",
        "[observation]\nsigmas = 1\nlow = 0": "alone",
        "= 3": "TOML",
        "[action]\nlow = nan": "action",
        "[observation]\nstale_us = -1": "stale_us",
    }
    for text, words in wrong.items():
        path.write_text(text)
        with pytest.raises(BadInput, match=words):
            load_guard(path, contract())
    with pytest.raises(BadInput, match="no such file"):
        load_guard(tmp_path / "none.toml", contract())
    (tmp_path / GUARD_FILE).write_text('{"low": [1]}')
    with pytest.raises(BadInput, match="guard"):
        read_guard(tmp_path)
    with pytest.raises(Unsupported, match="continuous"):
        guard_table(Contract(Observation(N), Action("discrete", 4)))
    no_rate = Contract(Observation(N), Action("continuous", M))
    assert guard_table(no_rate).deadline_us is None and math.isclose(guard_table(no_rate).high[0], MOST)
    with pytest.raises(BadInput, match="control rate"):
        guard_table(no_rate, {"action": {"rate_per_s": 1.0}})


def test_a_decision_of_several_actions_has_the_limits_of_one() -> None:
    several = Contract(
        Observation(N), Action("continuous", 4, low=(-1, -2, -0.5, -3), high=(1, 2, 3, 1.5)),
        timing=Timing(control_hz=50.0, actions_per_decision=2),
    )  # fmt: skip
    table = guard_table(several, {"action": {"rate_per_s": 5.0}})
    assert (table.low, table.high, table.actions) == ((-0.5, -2), (1, 1.5), 2)
    assert table.deadline_us == 40_000 and table.rate == tuple(np.float32([0.1, 0.1]).tolist())
    sent, flags = Guard(table).step(np.zeros(N, np.float32), lambda _: np.float32([0, 0, 1, 1]))
    assert flags == Flag.RATE_LIMITED and sent.tolist() == np.float32([0, 0, 0.1, 0.1]).tolist()
