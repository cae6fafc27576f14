"""Law: the generated guard gives the same bits, flags and counters as its reference in Python, on the host and on a board."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from pilotfish.errors import MissingTool
from pilotfish.export.build import export_policy
from pilotfish.export.c.guard import guard_files
from pilotfish.export.c.toolchain import BASE_FLAGS, CompileError, host_compiler
from pilotfish.policy import Action, Contract, Observation, Policy, Timing
from pilotfish.policy.guard import COUNTERS, MOST, Flag, Guard, GuardTable
from pilotfish.policy.guard_table import guard_table, read_guard
from pilotfish.policy.layers import Linear
from pilotfish.runtime.artifact import Artifact
from pilotfish.runtime.behind_guard import open_guarded
from pilotfish.runtime.guarded_c_session import GuardedCSession

N, M = 3, 2
SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.5, 1e-40, -1e-40, MOST, -MOST, np.inf, -np.inf, np.nan]
LIMITS = {"low": (-1.0, -0.0), "high": (1.5, 2.0), "neutral": (0.25, 3.0)}
WIDE = {"obs_low": (-MOST,) * N, "obs_high": (MOST,) * N}
NARROW = {"obs_low": (-2.0, -0.0, -1e-3), "obs_high": (2.0, 5.0, 1e30)}
LINEAR = {"fallback": "linear", "gain": ((0.3, -1.7, 1e30), (1e-30, 0.1, -0.7)), "bias": (0.1, -0.3)}
TABLES = {
    "plain": GuardTable(**LIMITS, **WIDE),
    "all": GuardTable(**LIMITS, **NARROW, rate=(0.1, 0.7), stale_us=1000, deadline_us=50, hold_steps=2),
    "clip": GuardTable(**LIMITS, **NARROW, rate=(0.3, MOST), out_of_range="clip", fallback="neutral", actions=2),
    "linear": GuardTable(**LIMITS, **NARROW, **LINEAR, rate=(1e-3, 0.7), hold_steps=0, stale_us=0, deadline_us=1),
    "unbounded": GuardTable((-MOST,) * N, (MOST,) * N, (-MOST,) * M, (MOST,) * M, (0.0,) * M, (MOST, 1e38), **LINEAR),
}
POLICY_H = """
#ifndef POLICY_H
#define POLICY_H
#include <stdint.h>
#define POLICY_OBS_SIZE 3
#define POLICY_ACTION_COUNT {count}
#define POLICY_ACTIONS_PER_DECISION {actions}
#define POLICY_STATE_SIZE 1
typedef float policy_action_t;
void policy_reset(float *state);
void policy_step(const float *obs, float *state, policy_action_t *action);
#endif
"""
STAND_IN = """
#include "policy.h"
float next_action[POLICY_ACTION_COUNT], seen[POLICY_OBS_SIZE];
uint32_t took, now, seen_steps;
void policy_reset(float *state) { *state = 0.0f; }
void policy_step(const float *obs, float *state, policy_action_t *action) {
  for (int i = 0; i < POLICY_OBS_SIZE; ++i) seen[i] = obs[i];
  for (int i = 0; i < POLICY_ACTION_COUNT; ++i) action[i] = next_action[i];
  *state = 1.0f;
  ++seen_steps;
  now += took;
}
uint32_t clock_us(void) { return now; }
"""


def policy_of(actions: int) -> Policy:
    size = M * actions
    weights = {"last.weight": np.zeros((size, N), np.float32), "last.bias": np.zeros(size, np.float32)}
    made = Contract(Observation(N), Action("continuous", size), timing=Timing(100.0, actions))
    return Policy("guarded", made, (Linear("last", N, size),), weights)


class CGuard:
    """The generated guard around a policy that returns whatever the test says."""

    def __init__(self, folder: Path, table: GuardTable) -> None:
        files = guard_files(policy_of(table.actions), table)
        files |= {"policy.h": POLICY_H.format(count=M * table.actions, actions=table.actions), "stand_in.c": STAND_IN}
        for name, text in files.items():
            (folder / name).write_text(text)
        warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"]
        arguments = [*BASE_FLAGS, "-O3", *warnings, "-fPIC", "-shared", "-o", "guard.so", "guard.c", "stand_in.c"]
        try:
            host_compiler().run(arguments, folder)
        except MissingTool as error:
            pytest.skip(str(error))
        except CompileError as error:
            raise AssertionError(str(error)) from error
        self.library, self.table = ctypes.CDLL(str(folder / "guard.so")), table
        self.action = (ctypes.c_float * (M * table.actions)).in_dll(self.library, "next_action")
        self.seen = (ctypes.c_float * N).in_dll(self.library, "seen")
        self.took, self.now, self.steps = (ctypes.c_uint32.in_dll(self.library, n) for n in ("took", "now", "seen_steps"))
        self.memory, self.state = np.zeros(len(COUNTERS) + 2 + M, np.uint32), np.zeros(1, np.float32)
        for name in ("policy_guard_step", "policy_guard_late"):
            getattr(self.library, name).restype = ctypes.c_uint32
        self.call("policy_guard_init", self.memory, self.state)

    def call(self, name: str, *arguments) -> int:
        pointers = [
            ctypes.c_void_p(each.ctypes.data) if isinstance(each, np.ndarray) else each if each is not None else ctypes.c_void_p()
            for each in arguments
        ]
        return getattr(self.library, name)(*pointers)

    def step(self, obs: np.ndarray, action: np.ndarray, age_us: int, took_us: int) -> tuple[np.ndarray, int]:
        np.frombuffer(self.action, np.float32)[:] = action  # ctypes would lose a NaN's sign
        self.took.value, self.now.value = took_us, 2**32 - 20  # the clock wraps in between
        out = np.zeros(M * self.table.actions, np.float32)
        clock = ctypes.cast(self.library.clock_us, ctypes.c_void_p)
        flags = self.call("policy_guard_step", self.memory, obs, ctypes.c_uint32(age_us), self.state, out, clock)
        return out, flags

    def late(self, obs: np.ndarray | None) -> tuple[np.ndarray, int]:
        out = np.zeros(M * self.table.actions, np.float32)
        return out, self.call("policy_guard_late", self.memory, obs, out)

    @property
    def counters(self) -> dict[str, int]:
        return dict(zip(COUNTERS, self.memory.tolist(), strict=False))


@pytest.fixture(scope="module", params=TABLES)
def in_c(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CGuard:
    return CGuard(tmp_path_factory.mktemp("guard"), TABLES[request.param])


def anything(generator: np.random.Generator, size: int) -> np.ndarray:
    """float32 [size]: mostly near the limits, sometimes special, sometimes any bits at all."""
    near = generator.normal(0, 2, size).astype(np.float32)
    special = generator.choice(np.array(SPECIAL, np.float32), size)
    bits = generator.integers(0, 2**32, size, dtype=np.uint32).view(np.float32)
    kind = generator.random(size)
    rare = 0.3 if generator.random() < 0.5 else 0.02
    return np.where(kind < rare, np.where(kind < rare / 2, special, bits), near).astype(np.float32)


def usual(generator: np.random.Generator, obs: np.ndarray) -> np.ndarray:
    """Mostly on the side of zero where the narrow ranges are, so that the policy is asked at all."""
    return np.abs(obs) if generator.random() < 0.7 else obs


def test_bit_for_bit_as_the_reference(in_c: CGuard) -> None:
    generator = np.random.default_rng(7)
    events = [
        (
            usual(generator, anything(generator, N)), anything(generator, 2 * M), int(generator.choice([0, 0, 0, 1, 1001])),
            int(generator.choice([0, 50, 51])), generator.choice(list("sssssssslnr")),
        )
        for _ in range(1000)
    ]  # fmt: skip
    table = in_c.table
    in_c.call("policy_guard_init", in_c.memory, in_c.state)
    guard = Guard(table)
    for obs, wide, age, took, kind in events:
        action = wide[: M * table.actions]
        if kind == "r":
            in_c.call("policy_guard_reset", in_c.memory, in_c.state)
            guard.reset()
            continue
        if kind in "ln":
            newest = obs if kind == "l" else None
            (found, flags), (expected, wanted) = in_c.late(newest), guard.late(newest)
        else:
            before, shown, restarts = in_c.steps.value, [], []
            found, flags = in_c.step(obs, action, age, took)
            expected, wanted = guard.step(
                obs, lambda seen, shown=shown, action=action: shown.append(seen.copy()) or action, age_us=age,
                took_us=lambda took=took: took, restart=lambda restarts=restarts: restarts.append(1),
            )  # fmt: skip
            assert in_c.steps.value - before == len(shown)
            if shown:
                assert np.frombuffer(in_c.seen, np.float32).tobytes() == shown[0].tobytes()
                assert in_c.state[0] == (0.0 if restarts else 1.0)
        assert flags == int(wanted) and found.tobytes() == expected.tobytes()
        assert in_c.counters == guard.counters
    seen = {name for name, count in guard.counters.items() if count >= 3}
    assert {"action_not_finite", "fell_back", "obs_not_finite", "late"} <= seen  # and whatever else the table can do
    assert ("rate_limited" in seen) is bool(table.rate) and ("obs_stale" in seen) is (table.stale_us is not None)


def test_what_is_generated_is_harmless_text_and_says_its_rules() -> None:
    files = guard_files(policy_of(1), TABLES["all"])
    assert set(files) == {"guard.h", "guard.c"}
    assert "refused" in files["guard.h"]
    assert "POLICY_GUARD_DEADLINE_US 50u" in files["guard.h"] and "$" not in "".join(files.values())


def small(name: str = "guarded") -> Policy:
    from pilotfish.policy import Golden
    from pilotfish.policy.reference import Reference

    generator = np.random.default_rng(5)
    weights = {"last.weight": generator.normal(size=(M, N)).astype(np.float32), "last.bias": np.zeros(M, np.float32)}
    made = Contract(Observation(N), Action("continuous", M, low=(-1.0,) * M, high=(1.0,) * M), timing=Timing(100.0))
    policy = Policy(name, made, (Linear("last", N, M),), weights)
    obs = generator.normal(size=(20, N)).astype(np.float32)
    reference = Reference(policy)
    actions = np.stack([reference.act(row) for row in obs])
    return policy.replace(golden=Golden(obs, actions, np.zeros((20, 0), np.float32), np.arange(20) == 0, "random observations"))


SETTINGS = {"observation": {"low": -3.0, "high": 3.0}, "action": {"rate_per_s": 20.0}, "fallback": {"hold_steps": 1}}


def hostile(rows: int = 40) -> np.ndarray:
    """Observations of a flight with a bad sensor."""
    generator = np.random.default_rng(6)
    obs = (2 * generator.normal(size=(rows, N))).astype(np.float32)
    obs[generator.random((rows, N)) < 0.05] = np.nan
    obs[generator.random((rows, N)) < 0.03] = np.inf
    return obs


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory):
    """Target -> the guarded policy built for it, once for all tests here."""
    from pilotfish.targets import load_target

    made: dict[str, Artifact] = {}

    def export(target: str) -> Artifact:
        if target not in made:
            policy = small()
            table = guard_table(policy.contract, SETTINGS)
            folder = tmp_path_factory.mktemp("dist")
            try:
                made[target] = export_policy(policy, load_target(target), "c", folder, guard=table)
            except MissingTool as error:
                pytest.skip(str(error))
        return made[target]

    return export


def test_an_artifact_flies_behind_its_guard(exported) -> None:
    artifact = exported("host-cpu")
    table = read_guard(artifact.path)
    assert table == guard_table(artifact.manifest.contract, SETTINGS)
    assert {"guard.json", "guard.c", "guard.h", "guard_timing.c"} <= set(artifact.manifest.files)
    session = open_guarded(Artifact.load(artifact.path), trust=True)
    try:
        assert isinstance(session, GuardedCSession)
        reference, guard = session.inner, Guard(table)
        for obs in hostile():
            expected, _ = guard.step(obs, reference.act)
            assert session.act(obs).tobytes() == expected.tobytes()
        assert session.counters == guard.counters and session.counters["obs_not_finite"] >= 3
        assert session.counters["rate_limited"] >= 1 and session.last >= 0
        inside = np.zeros(50, np.int64)
        rows = artifact.golden.obs.astype(np.float32)
        time = reference._library.policy_guard_time
        code = time(
            ctypes.c_int32(50), ctypes.c_void_p(rows.ctypes.data), ctypes.c_int32(20), ctypes.c_void_p(inside.ctypes.data)
        )
        assert code == 0 and (inside > 0).all()
    finally:
        session.close()


def test_on_a_virtual_board_too(exported) -> None:
    """Cortex-M4: the same bits, and what the guard costs in cycles."""
    pytest.importorskip("unicorn")
    from pilotfish.targets.virtual.board import VirtualBoard

    artifact = exported("crazyflie")
    table = guard_table(artifact.manifest.contract, SETTINGS)
    board = VirtualBoard(artifact.entry, artifact.manifest.target)
    try:
        machine, guard = board._machine, Guard(table)
        machine.call(machine.image.symbol("pilotfish_guard_init").address)
        for obs in hostile():
            board._observe(obs)
            machine.call(machine.image.symbol("pilotfish_guard_step").address)
            action = board._action.copy()
            flags = int(machine.view("pilotfish_guard_flags", "<u4", 1)[0])

            def decide(seen: np.ndarray) -> np.ndarray:
                return board.step(seen)

            expected, wanted = guard.step(obs, decide)
            assert action.tobytes() == expected.tobytes() and Flag(flags) == wanted
        words = machine.read(machine.image.symbol("pilotfish_guard").address, 4 * len(COUNTERS))
        assert dict(zip(COUNTERS, np.frombuffer(words, "<u4").tolist(), strict=True)) == guard.counters
        rows = artifact.golden.obs[:4].astype(np.float32)
        alone, guarded = board.profile(rows), board.profile(rows, step="pilotfish_guard_step")
        assert 0 < np.median(guarded.cycles_typical) - np.median(alone.cycles_typical) < 2_000
    finally:
        board.close()


def test_what_it_costs_is_measured_and_its_counters_are_told(exported) -> None:
    from pilotfish.runtime.bench import bench

    artifact, board = exported("host-cpu"), exported("crazyflie")
    figures = bench(artifact, calls=2000, paced_seconds=0, trust=True)["figures"]
    assert figures["guarded_p50_us"]["value"] >= figures["guarded_p50_us"]["low"] > 0
    assert figures["guard_us"]["source"] == "measured" and abs(figures["guard_us"]["value"]) < 50
    pytest.importorskip("unicorn")
    assert 50 < bench(board)["figures"]["guard_cycles"]["value"] < 2_000
