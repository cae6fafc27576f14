"""The quadrotor obeys mechanics, agrees with an independent integration, keeps its rows apart, and comes back exactly."""

import dataclasses
import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("gymnasium", reason="gymnasium is not installed")

import torch

from pilotfish.errors import BadInput
from pilotfish.policy.environment import control_hz, make_env
from pilotfish.train.config import train_config
from pilotfish.train.ppo import PPO
from pilotfish.train.worlds.crazyflie import BITCRAZE_THRUST, CRAZYFLIE, GRAVITY_M_S2
from pilotfish.train.worlds.flight import POSITION, QUATERNION, RATE, RPM, VELOCITY, Flight, Physics
from pilotfish.train.worlds.quadrotor import Quadrotor
from pilotfish.train.worlds.quadrotor_task import QuadrotorTask
from pilotfish.train.worlds.vector import WORLDS, vector_env

NOMINAL = QuadrotorTask(
    vary_mass=0,
    vary_thrust=0,
    vary_inertia=0,
    vary_lag=0,
    push_weights=0,
    push_torque_nm=0,
    noise=(0, 0, 0, 0),
    delay_s=(0, 0),
    control_hz=100,
)


def flight(dt_s: float = 0.01, dtype: torch.dtype = torch.float64) -> Flight:
    return Flight(CRAZYFLIE, dt_s, torch.device("cpu"), dtype)


def nominal(n: int = 1, dtype: torch.dtype = torch.float64) -> Physics:
    one, none = torch.ones(1, n, dtype=dtype), torch.zeros(3, n, dtype=dtype)
    inertia = torch.tensor(CRAZYFLIE.inertia_kg_m2, dtype=dtype)[:, None].expand(3, n)
    return Physics(CRAZYFLIE.mass_kg * one, inertia, one, one, none, none)


def body(n: int = 1, rpm: float = 0.0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    rows = torch.zeros(17, n, dtype=dtype)
    rows[0], rows[RPM] = 1.0, rpm
    return rows


def run(moving: Flight, at: torch.Tensor, target: torch.Tensor, steps: int) -> torch.Tensor:
    constants = moving.constants(nominal(at.shape[1], at.dtype))
    for _ in range(steps):
        at = moving.step(at, target, constants)
    return at


def test_thrust_curve_is_the_fit_of_the_published_measurement() -> None:
    rpm, grams = np.array(BITCRAZE_THRUST).T
    newtons = grams * 1e-3 * GRAVITY_M_S2 / 4
    fit = np.linalg.lstsq(np.stack([rpm, rpm**2], 1), newtons, rcond=None)[0]
    assert fit == pytest.approx([CRAZYFLIE.thrust_linear_n_per_rpm, CRAZYFLIE.thrust_quadratic_n_per_rpm2], rel=1e-6)
    assert max(abs(CRAZYFLIE.thrust_n(r) - t) for r, t in zip(rpm, newtons, strict=True)) < 3e-3


def test_without_rotors_it_falls_freely() -> None:
    after = run(flight(), body(), torch.zeros(4, 1, dtype=torch.float64), 100)
    assert after[VELOCITY, 0].tolist() == pytest.approx([0, 0, -GRAVITY_M_S2], abs=1e-9)
    assert after[POSITION, 0].tolist() == pytest.approx([0, 0, -GRAVITY_M_S2 / 2], abs=1e-9)


def test_at_hover_speed_it_stays() -> None:
    rpm = CRAZYFLIE.hover_rpm
    assert 4 * CRAZYFLIE.thrust_n(rpm) == pytest.approx(CRAZYFLIE.mass_kg * GRAVITY_M_S2, rel=1e-12)
    assert 0 < rpm < CRAZYFLIE.max_rpm
    after = run(flight(), body(rpm=rpm), torch.full((4, 1), rpm, dtype=torch.float64), 100)
    assert after[POSITION].abs().max() < 1e-9
    world = Quadrotor(3, dataclasses.replace(NOMINAL, guidance=1.0))
    world.rows["rpm"][:] = rpm
    for _ in range(100):
        world.step(torch.full((3, 4), CRAZYFLIE.hover_action))
    assert world.position_error_m().max() < 1e-3


@pytest.mark.parametrize(
    ("faster", "axis", "sign"),
    [((2, 3), 0, 1), ((0, 1), 0, -1), ((1, 2), 1, 1), ((0, 3), 1, -1), ((1, 3), 2, 1), ((0, 2), 2, -1)],
    ids=["left rolls right", "right rolls left", "rear noses down", "front noses up", "clockwise yaws left", "yaws right"],
)
def test_torques_turn_the_right_way(faster: tuple[int, int], axis: int, sign: int) -> None:
    rpm = torch.full((4, 1), CRAZYFLIE.hover_rpm, dtype=torch.float64)
    rpm[list(faster)] *= 1.05
    torque = flight().wrench(rpm)[1:, 0]
    assert torque[axis] * sign > 1e-6
    assert torque.abs().sum() == pytest.approx(float(torque[axis].abs()), rel=1e-6)


def test_rotors_lag_as_the_first_order_solution_says() -> None:
    random = torch.Generator().manual_seed(0)
    start, target = (CRAZYFLIE.max_rpm * torch.rand(4, 64, generator=random, dtype=torch.float64) for _ in range(2))
    at = body(64)
    at[RPM] = start
    tau = torch.where(target >= start, torch.full_like(start, CRAZYFLIE.rise_s), torch.full_like(start, CRAZYFLIE.fall_s))
    for steps in range(1, 31):
        at = run(flight(), at, target, 1)
        torch.testing.assert_close(at[RPM], target + (start - target) * torch.exp(-steps * 0.01 / tau), rtol=1e-9, atol=1e-6)


def test_a_free_body_keeps_its_energy_momentum_and_unit_quaternion() -> None:
    inertia = torch.tensor(CRAZYFLIE.inertia_kg_m2, dtype=torch.float64)[:, None]
    before = body(64)
    before[RATE] = 30 * torch.rand(3, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 15
    after = run(flight(0.002), before, torch.zeros(4, 64, dtype=torch.float64), 100)

    def matrix(at: torch.Tensor) -> torch.Tensor:
        return flight().rotation(at[QUATERNION]).T.reshape(-1, 3, 3)

    def energy(at: torch.Tensor) -> torch.Tensor:
        turning = 0.5 * (inertia * at[RATE] ** 2).sum(0)
        moving = 0.5 * CRAZYFLIE.mass_kg * at[VELOCITY].square().sum(0)
        return turning + moving + CRAZYFLIE.mass_kg * GRAVITY_M_S2 * at[POSITION][2]

    def momentum(at: torch.Tensor) -> torch.Tensor:
        return (matrix(at) @ (inertia * at[RATE]).T[:, :, None])[:, :, 0]

    assert not torch.allclose(after[RATE], before[RATE], atol=0.1), "it does tumble"
    torch.testing.assert_close(energy(after), energy(before), atol=1e-9, rtol=0)
    torch.testing.assert_close(momentum(after), momentum(before), atol=1e-10, rtol=0)
    torch.testing.assert_close(after[QUATERNION].norm(dim=0), torch.ones(64, dtype=torch.float64), atol=1e-12, rtol=0)
    one = torch.eye(3, dtype=torch.float64).expand(64, 3, 3)
    torch.testing.assert_close(matrix(after) @ matrix(after).transpose(1, 2), one, atol=1e-12, rtol=0)


def independent(actions: np.ndarray, hz: float, fine: int) -> tuple[np.ndarray, np.ndarray]:
    """Explicit midpoint rule in numpy float64 on rotation matrices, ``fine`` substeps a control step -> (positions, matrices)."""
    mass, inertia = CRAZYFLIE.mass_kg, np.diag(CRAZYFLIE.inertia_kg_m2)
    rotors = np.array([CRAZYFLIE.arm_x_m, CRAZYFLIE.arm_y_m, (0,) * 4]).T
    position, velocity, rate, matrix = np.zeros(3), np.zeros(3), np.zeros(3), np.eye(3)
    rpm, dt = np.full(4, CRAZYFLIE.hover_rpm), 1 / hz / fine

    def slopes(velocity, rate, matrix, rpm, target):
        pushes = [np.array([0, 0, CRAZYFLIE.thrust_n(r)]) for r in rpm]
        torque = sum(np.cross(arm, push) for arm, push in zip(rotors, pushes, strict=True))
        torque = torque + np.array([0, 0, CRAZYFLIE.torque_per_thrust_m * np.dot(CRAZYFLIE.torque_sign, [p[2] for p in pushes])])
        p, q, r = rate
        cross = np.array([[0, -r, q], [r, 0, -p], [-q, p, 0]])
        tau = np.where(target >= rpm, CRAZYFLIE.rise_s, CRAZYFLIE.fall_s)
        turn = np.linalg.solve(inertia, torque - np.cross(rate, inertia @ rate))
        return velocity, matrix @ sum(pushes) / mass - [0, 0, GRAVITY_M_S2], turn, matrix @ cross, (target - rpm) / tau

    positions, matrices = [], []
    for action in actions:
        target = (action + 1) / 2 * CRAZYFLIE.max_rpm
        for _ in range(fine):
            _, a, b, c, d = slopes(velocity, rate, matrix, rpm, target)
            halfway = (velocity + dt / 2 * a, rate + dt / 2 * b, matrix + dt / 2 * c, rpm + dt / 2 * d)
            v, a, b, c, d = slopes(*halfway, target)
            position, velocity, rate = position + dt * v, velocity + dt * a, rate + dt * b
            matrix, rpm = matrix + dt * c, rpm + dt * d
        positions.append(position)
        matrices.append(matrix)
    return np.array(positions), np.array(matrices)


def test_agrees_with_an_independent_integration() -> None:
    steps, random = 200, np.random.default_rng(0)
    # Smooth and small: an uncontrolled quadrotor soon tumbles, and chaos would hide nothing but the comparison.
    phase, speed = random.uniform(0, 2 * np.pi, 4), random.uniform(0.5, 3, 4)
    actions = CRAZYFLIE.hover_action + 0.01 * np.sin(np.arange(steps)[:, None] * 0.01 * 2 * np.pi * speed + phase)
    world = Quadrotor(1, dataclasses.replace(NOMINAL, guidance=1.0, max_error_m=1e3, max_rate_rad_s=1e3))
    world.rows["rpm"][:] = CRAZYFLIE.hover_rpm
    positions, matrices = independent(actions, 100, 10)
    seen = np.array([world.step(torch.from_numpy(a[None]).float()).last[0].numpy() for a in actions])
    assert np.abs(positions[-1]).max() > 0.2, "it went somewhere"
    assert np.abs(matrices[-1] - np.eye(3)).max() > 0.2, "and turned"
    np.testing.assert_allclose(seen[:, :3], positions, atol=2e-3)
    np.testing.assert_allclose(seen[:, 3:12], matrices.reshape(-1, 9), atol=2e-3)


def test_a_row_knows_nothing_of_the_others() -> None:
    first, second = Quadrotor(4, QuadrotorTask(control_hz=100)), Quadrotor(4, QuadrotorTask(control_hz=100))
    random = torch.Generator().manual_seed(1)
    ended = 0
    for world in (first, second):
        world.seed(5)
    for _ in range(150):
        actions = 2 * torch.rand(4, 4, generator=random) - 1
        one = first.step(actions)
        actions[1:] = 1.0  # the others crash at once
        two = second.step(actions)
        ended += int(two.terminated[1:].sum())
        assert torch.equal(one.obs[0], two.obs[0]) and one.reward[0] == two.reward[0]
    assert ended > 3
    assert not torch.equal(one.obs[1], two.obs[1])


def test_seeds_reproduce_and_states_restore_bit_by_bit() -> None:
    def play(world: Quadrotor, steps: int, random: torch.Generator) -> list[torch.Tensor]:
        return [world.step(2 * torch.rand(5, 4, generator=random) - 1).obs for _ in range(steps)]

    runs = []
    for seed in (3, 3, 4):
        world = Quadrotor(5)
        world.seed(seed)
        runs.append(torch.stack(play(world, 40, torch.Generator().manual_seed(0))))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])

    kept, actions = world.state(), torch.Generator().manual_seed(9)
    expected, private = play(world, 60, actions), world.privileged()
    other = Quadrotor(5)
    other.restore(kept)
    again = play(other, 60, torch.Generator().manual_seed(9))
    assert all(torch.equal(a, b) for a, b in zip(expected, again, strict=True))
    assert torch.equal(private, other.privileged())


def test_actions_arrive_as_late_as_the_delay_says() -> None:
    arrivals = {}
    for delay in (0, 1, 3):
        world = Quadrotor(1, dataclasses.replace(NOMINAL, delay_s=(delay / 100, delay / 100), history=2, guidance=1.0))
        before = world.rows["rpm"].clone()
        target = 1.0 if before[0, 0] < CRAZYFLIE.max_rpm / 4 else -1.0
        for step in range(5):
            world.step(torch.full((1, 4), target))
            if not torch.allclose(world.rows["rpm"], before, atol=1.0):
                arrivals[delay] = step
                break
    assert arrivals == {0: 0, 1: 1, 3: 3}


def test_sizes_slices_and_the_critics_view() -> None:
    world = Quadrotor(64, QuadrotorTask(noise=(0.01, 0, 0, 0), episode_s=0.1, control_hz=100))
    world.seed(2)
    for count in range(1, 13):
        step = world.step(torch.zeros(64, 4))
        private = world.privileged()
        assert step.obs.shape == (64, world.observation_size) and private.shape == (64, world.privileged_size)
        assert step.obs.dtype == private.dtype == torch.float32
        last_private = step.last_privileged()
        for seen, true in ((step.obs, private), (step.last, last_private)):
            gap = (seen - true[:, : world.observation_size])[:, :3]
            assert 0.005 < float(gap.std()) < 0.02, "the device sees noise, the critic does not"
            assert torch.equal(seen[:, 3:], true[:, 3 : world.observation_size])
        assert bool(step.truncated.all()) == (count == 10)
        assert torch.equal(last_private, private) == (count != 10)
        assert torch.equal(step.last[:, -4:], torch.zeros(64, 4)), "the newest action stands last"
    assert private[:, -7:-2].abs().max() <= 0.1 + 1e-6 and private[:, -7].std() > 0


def test_a_history_of_windows_is_the_same_at_another_rate() -> None:
    task = dataclasses.replace(NOMINAL, guidance=1.0, history=3, max_error_m=1e3, max_rate_rad_s=1e3)
    slow, fast = Quadrotor(4, task), Quadrotor(4, dataclasses.replace(task, control_hz=500))
    assert slow.observation_size == fast.observation_size
    random = torch.Generator().manual_seed(0)
    for world in (slow, fast):
        world.rows["rpm"][:], world.rows["means"][:], world.rows["sent"][:] = CRAZYFLIE.hover_rpm, 0.0, 0.0
    for _ in range(6):
        action = CRAZYFLIE.hover_action + 0.02 * torch.rand(4, 4, generator=random)
        once = slow.step(action)
        wobble = 0.01 * torch.rand(5, 4, 4, generator=random)
        for part in wobble - wobble.mean(0):
            often = fast.step(action + part)
        torch.testing.assert_close(often.obs[:, 18:], once.obs[:, 18:], atol=1e-6, rtol=0)
        torch.testing.assert_close(often.obs[:, :18], once.obs[:, :18], atol=2e-3, rtol=0)


def test_digits_do_not_depend_on_how_many_rows_there_are() -> None:
    many = Quadrotor(517, QuadrotorTask(control_hz=200))
    random = torch.Generator().manual_seed(0)
    for count in (1, 3, 100):
        few = Quadrotor(count, many.task)
        few.table = many.table[:, :count].clone()
        actions = 2 * torch.rand(517, 4, generator=random) - 1
        one, two = many.step(actions), few.step(actions[:count])
        assert torch.equal(one.last_privileged()[:count], two.last_privileged()) and torch.equal(one.reward[:count], two.reward)


def test_episodes_end_by_leaving_and_by_time() -> None:
    world = Quadrotor(8, dataclasses.replace(NOMINAL, episode_s=0.2, start_position_m=0.0, start_velocity_m_s=0.0))
    for _ in range(19):
        assert not (world.step(torch.zeros(8, 4)).truncated).any()
    step = world.step(torch.zeros(8, 4))
    assert step.truncated.all() and not step.terminated.any()
    assert not torch.equal(step.obs, step.last) and (world.rows["age"] == 0).all()
    world.rows["position"][0, 3] = 1.5
    step = world.step(torch.zeros(8, 4))
    assert step.terminated.tolist() == [i == 3 for i in range(8)] and step.reward[3] == -world.task.termination_penalty
    assert abs(float(step.last[3, 0])) > 1 > float(step.obs[3, :3].norm())
    world.rows["rate"][1, 2] = math.nan
    assert world.step(torch.zeros(8, 4)).terminated[2], "what is no number any more begins anew"
    assert torch.isfinite(world.rows["rate"]).all()


def test_abandoned_rows_begin_anew_and_the_others_go_on() -> None:
    world = Quadrotor(6, dataclasses.replace(NOMINAL, guidance=0.0))
    for _ in range(5):
        world.step(torch.zeros(6, 4))
    before, chosen = world.table.clone(), torch.tensor([True, False, False, True, False, False])
    obs = world.reset(chosen)
    assert (world.rows["age"][0] == torch.where(chosen, 0.0, 5.0)).all()
    assert torch.equal(world.table[:, ~chosen], before[:, ~chosen])
    assert torch.equal(obs, world.privileged()[:, : world.observation_size])
    assert not torch.equal(world.reset(chosen)[chosen], obs[chosen])


def test_a_curriculum_widens_the_beginnings_and_goes_on_after_a_restore() -> None:
    task = dataclasses.replace(NOMINAL, guidance=0.0, ramp_steps=40, episode_s=0.05)
    world, tilts = Quadrotor(400, task), []
    for steps in range(60):
        if steps == 20:
            kept = world.state()
            world = Quadrotor(400, task)
            world.restore(kept)
        if world.step(torch.zeros(400, 4)).truncated.all():
            tilts.append(float(2 * world.rows["quaternion"][0].clamp(-1, 1).acos().max()))
    assert len(tilts) == 12 and tilts[0] < 0.2 and tilts == sorted(tilts[:8]) + tilts[8:]
    assert min(tilts[-3:]) > 0.95 * task.start_angle_rad
    world.seed(0)
    assert world.rows["position"].abs().max() == 0, "a seed begins the curriculum anew"


def test_staggered_rows_do_not_end_together() -> None:
    world = Quadrotor(200, dataclasses.replace(NOMINAL, stagger=True, episode_s=1.0, max_error_m=1e3, max_rate_rad_s=1e3))
    ends = [int(world.step(torch.zeros(200, 4)).truncated.sum()) for _ in range(100)]
    assert sum(ends) == 200 and max(ends) < 15


def test_the_figure_of_eight_moves_as_its_velocity_says() -> None:
    world = Quadrotor(6, dataclasses.replace(NOMINAL, kind="lissajous"))
    phase, age = world.rows["phase"][0], torch.arange(6.0)
    (place, speed), (later, faster) = world._target(phase, age), world._target(phase, age + 1)
    torch.testing.assert_close((later - place) * world.control_hz, (speed + faster) / 2, atol=2e-3, rtol=0)
    assert place.abs().max() > 0.3


@pytest.mark.parametrize(
    "wrong", [{"history": 0}, {"delay_s": (0.2, 0.1)}, {"vary_mass": 1.0}, {"control_hz": 0}, {"kind": "race"}, {"history_s": 0}]
)
def test_settings_that_cannot_work_are_refused(wrong: dict) -> None:
    with pytest.raises(BadInput):
        QuadrotorTask(**wrong)


@pytest.mark.parametrize("env_id", sorted(WORLDS))
def test_gymnasium_and_the_trainers_meet_the_same_task(env_id: str) -> None:
    env = make_env(env_id)
    envs = vector_env(env_id, 6, seed=1)
    assert env.observation_space.shape == (envs.observation_size,)
    flown, practised = env.unwrapped.world.task, envs.world.task
    clocks = {name: getattr(flown, name) for name in ("control_hz", "episode_s", "stagger")}
    assert dataclasses.replace(practised, **clocks) == flown, "a lesson changes clocks, not the world"
    assert control_hz(env) == 500
    first, _ = env.reset(seed=4)
    again, _ = env.reset(seed=4)
    np.testing.assert_array_equal(first, again)
    total, length = 0.0, 0
    while True:
        _, reward, ended, cut, info = env.step(np.ones(4, np.float32))
        total, length = total + reward, length + 1
        if ended or cut:
            break
    assert ended and length < 1000 and info["position_error_m"] > 1, "full thrust leaves"
    random, finished = np.random.default_rng(0), []
    kept = envs.state()
    expected = [envs.step(a) for a in random.uniform(-1, 1, (120, 6, 4))]
    finished = [pair for step in expected for pair in step.finished]
    assert finished and sum(n for _, n in finished) <= 720
    assert all(set(step.last) == set(np.flatnonzero(step.terminated | step.truncated).tolist()) for step in expected)
    assert envs.restore(kept)
    random = np.random.default_rng(0)
    for before, actions in zip(expected, random.uniform(-1, 1, (120, 6, 4)), strict=True):
        np.testing.assert_array_equal(before.obs, envs.step(actions).obs)
    before = envs.obs
    envs.restart(np.array([0, 4]))
    kept = [1, 2, 3, 5]
    assert np.abs(envs.obs - before)[kept].max() < 0.02 < np.abs(envs.obs - before)[[0, 4]].max(1).min()
    assert envs.action.offset == envs.world.rest_action
    envs.close()
    env.close()


def test_a_learners_noise_is_led_down_and_its_outputs_count_from_the_hover() -> None:
    settings = {
        "env": "pilotfish/Quadrotor-v0",
        "n_envs": 8,
        "rollout_steps": 16,
        "minibatch_size": 64,
        "epochs": 1,
        "steps": 512,
    }
    config = train_config(settings | {"hidden": (8,), "asymmetric_critic": True, "log_std": 0.0, "final_std": 0.25})
    learner = PPO(config, vector_env(config.env, config.n_envs, 0), torch.device("cpu"))
    bounds = []
    for _ in range(4):
        learner.iterate()
        bounds.append(float(learner.head.log_std.exp().max()))
    assert all(std <= bound + 1e-6 for std, bound in zip(bounds, (0.8125, 0.625, 0.4375, 0.25), strict=True))
    assert bounds[-1] > 0.2, "it is bounded, not set"
    assert learner.policy_parts()[3].offset == pytest.approx((CRAZYFLIE.hover_action,) * 4)
