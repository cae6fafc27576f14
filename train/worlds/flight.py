"""How a batch of quadrotors moves: rotors that lag, their thrusts and torques, and a rigid body integrated by RK4.

Every tensor has one *column* per quadrotor, [k, n], so that each quantity is contiguous: on a CPU a step then costs little more
than the calls of some hundred vector operations, whatever n is up to a few thousand. Quaternions are (w, x, y, z) and turn body
vectors into world ones; velocity is in the world, angular velocity in the body. The code follows dtype and device it is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .crazyflie import GRAVITY_M_S2, Airframe

QUATERNION, RATE, VELOCITY, POSITION, RPM = slice(0, 4), slice(4, 7), slice(7, 10), slice(10, 13), slice(13, 17)
"""Where they lie in a body's 17 rows: unit quaternion, rad/s in the body, m/s in the world, m, rpm of rotors 1 to 4."""
BODY_ROWS = 17
CONSTANT_ROWS = 15
"""What :meth:`Flight.constants` gives."""


@dataclass(frozen=True, eq=False)
class Physics:
    """The airframe of every column: they may differ."""

    mass_kg: Tensor
    """[1, n]."""
    inertia_kg_m2: Tensor
    """[3, n]."""
    thrust_scale: Tensor
    """[1, n]: factor on every rotor's thrust, and with it on its torque."""
    lag_scale: Tensor
    """[1, n]: factor on both time constants of the rotors."""
    force_n: Tensor
    """[3, n]: constant push in the world."""
    torque_nm: Tensor
    """[3, n]: constant torque in the body."""


class Flight:
    """The equations of motion of one airframe on one device; holds constants only."""

    def __init__(self, airframe: Airframe, dt_s: float, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.airframe, self.dt_s = airframe, dt_s

        def tensor(values: object) -> Tensor:
            return torch.tensor(values, device=device, dtype=dtype)

        def index(rows: list[int]) -> Tensor:
            return torch.tensor(rows, device=device)

        # Of rotor i: (collective, roll, pitch, yaw) per newton, since r x (0, 0, T) = (y T, -x T, 0); [rotor, 4, 1].
        arms = zip(airframe.arm_x_m, airframe.arm_y_m, airframe.torque_sign, strict=True)
        self.mix = tensor([[[1.0], [y], [-x], [sign * airframe.torque_per_thrust_m]] for x, y, sign in arms])
        self.gravity = tensor([[0.0], [0.0], [-GRAVITY_M_S2]])
        # q' = q (0, p, q, r) / 2: for each of p, q, r a row of q for w', x', y', z', and its sign.
        self._spin_rows = index([1, 0, 3, 2, 2, 3, 0, 1, 3, 2, 1, 0])
        self._spin_signs = 0.5 * tensor([-1, 1, 1, -1, -1, -1, 1, 1, -1, 1, -1, 1])[:, None]
        self._after, self._before = index([1, 2, 0]), index([2, 0, 1])
        # Entry e of the rotation matrix, row by row, is base + 2 (sign q_i q_j + sign q_k q_l): rows i, k first, then j, l.
        w, x, y, z = range(4)
        first, second = [y, x, x, x, x, y, x, y, x], [y, y, z, y, x, z, z, z, x]
        third, fourth = [z, w, w, w, z, w, w, w, y], [z, z, y, z, z, x, y, x, y]
        self._left, self._right = index(first + third), index(second + fourth)
        signs = [-1, 1, 1, 1, -1, 1, 1, 1, -1, -1, -1, 1, 1, -1, -1, -1, 1, -1]
        self._signs, self._base = 2 * tensor(signs)[:, None], tensor([1, 0, 0, 0, 1, 0, 0, 0, 1])[:, None]
        up = [2, 5, 8]  # the last column of the matrix: where the body's z points
        self._up_left, self._up_right = self._left[up + [e + 9 for e in up]], self._right[up + [e + 9 for e in up]]
        self._up_signs, self._up_base = self._signs[up + [e + 9 for e in up]], self._base[up]

    def constants(self, physics: Physics) -> Tensor:
        """What :meth:`step` needs of the airframes, computed once per episode, [15, n]."""
        frame, half = self.airframe, self.dt_s / 2
        inertia, scale = physics.inertia_kg_m2, physics.thrust_scale
        parts = (
            scale / physics.mass_kg,  # acceleration per newton of nominal thrust
            torch.exp(-half / (frame.rise_s * physics.lag_scale)),  # what half a step leaves of a rotor's distance to its goal
            torch.exp(-half / (frame.fall_s * physics.lag_scale)),
            scale / inertia,
            physics.torque_nm / inertia,
            # Factors of (wy wz, wz wx, wx wy) in Euler's equations, ((Jy - Jz) / Jx and so on).
            (inertia.roll(-1, 0) - inertia.roll(-2, 0)) / inertia,
            self.gravity + physics.force_n / physics.mass_kg,
        )
        return torch.cat(parts)

    def wrench(self, rpm: Tensor) -> Tensor:
        """Nominal (collective thrust in N along body z, torques in N m) of rotor speeds [..., 4, n] -> [..., 4, n]."""
        frame, mix = self.airframe, self.mix
        thrust = (rpm * (rpm * frame.thrust_quadratic_n_per_rpm2 + frame.thrust_linear_n_per_rpm)).clamp_(min=0.0)
        # Products and sums, not a matrix product: a column's digits must not depend on how many columns there are.
        mixed = thrust[..., 0:1, :] * mix[0]
        for rotor in (1, 2, 3):
            mixed.addcmul_(thrust[..., rotor : rotor + 1, :], mix[rotor])
        return mixed

    def step(self, body: Tensor, target_rpm: Tensor, constants: Tensor) -> Tensor:
        """Advance [17, n] by ``dt_s`` at constant set-points [4, n]: rotors by the exact solution of their first-order lag,
        the rigid body by the classical Runge-Kutta method; the quaternion is renormed."""
        dt = self.dt_s
        rpm = body[RPM]
        gap = rpm - target_rpm
        left = torch.where(gap > 0, constants[2:3], constants[1:2])
        later = target_rpm + gap * left
        last = target_rpm + gap * (left * left)
        wrench = self.wrench(torch.stack((rpm, later, last)))  # at the step's beginning, middle and end
        turn = torch.addcmul(constants[6:9], wrench[:, 1:], constants[3:6])
        gyro, start = constants[9:12], body[:7]
        k1 = self._turning(start, turn[0], gyro)
        second = start + (dt / 2) * k1
        k2 = self._turning(second, turn[1], gyro)
        third = start + (dt / 2) * k2
        k3 = self._turning(third, turn[1], gyro)
        fourth = start + dt * k3
        k4 = self._turning(fourth, turn[2], gyro)
        turned = start + (dt / 6) * (k1 + 2 * (k2 + k3) + k4)
        quaternion = turned[:4]
        square = quaternion * quaternion
        quaternion = quaternion / (square[0] + square[1] + square[2] + square[3]).sqrt()
        # Velocity and position do not act back: their four stages follow from the attitude's, here all at once.
        up = self._up(torch.stack((start[:4], second[:4], third[:4], fourth[:4])))
        pull = torch.addcmul(constants[12:15], up, (wrench[:, :1] * constants[0:1])[[0, 1, 1, 2]])
        middle = pull[1] + pull[2]
        velocity = body[VELOCITY]
        faster = velocity + (dt / 6) * (pull[0] + 2 * middle + pull[3])
        position = body[POSITION] + dt * velocity + (dt * dt / 6) * (pull[0] + middle)
        return torch.cat((quaternion, turned[4:], faster, position, last))

    def rotation(self, quaternion: Tensor) -> Tensor:
        """Unit quaternions [4, n] -> rotation matrices, row by row, [9, n]: world = R body."""
        terms = quaternion.index_select(0, self._left) * quaternion.index_select(0, self._right) * self._signs
        return self._base + terms[:9] + terms[9:]

    def _up(self, quaternion: Tensor) -> Tensor:
        """The body's z axis in the world: [s, 4, n] -> [s, 3, n]."""
        terms = quaternion.index_select(1, self._up_left) * quaternion.index_select(1, self._up_right) * self._up_signs
        return self._up_base + terms[:, :3] + terms[:, 3:]

    def _turning(self, state: Tensor, turn: Tensor, gyro: Tensor) -> Tensor:
        """d/dt of (quaternion, body rate), [7, n]; Euler's equations and q' = q (0, rate) / 2."""
        quaternion, rate = state[:4], state[4:]
        spin = (quaternion.index_select(0, self._spin_rows) * self._spin_signs).view(3, 4, -1) * rate[:, None]
        product = rate.index_select(0, self._after) * rate.index_select(0, self._before)
        return torch.cat((spin[0] + spin[1] + spin[2], torch.addcmul(turn, gyro, product)))
