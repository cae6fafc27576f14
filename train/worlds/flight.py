"""How a batch of quadrotors moves: rotors that lag, their thrusts and torques, and a rigid body integrated by RK4.

Quaternions are (w, x, y, z) and turn body vectors into world ones; velocity is in the world, angular velocity in the body.
Everything is float32 [n, ...] unless the caller chose another dtype; the code follows the tensors it is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .crazyflie import GRAVITY_M_S2, Airframe


@dataclass(frozen=True, eq=False)
class Physics:
    """The airframe of every row, as tensors: rows may differ."""

    mass_kg: Tensor
    """[n, 1]."""
    inertia_kg_m2: Tensor
    """[n, 3]."""
    thrust_scale: Tensor
    """[n, 1]: factor on every rotor's thrust, and with it on its torque."""
    lag_scale: Tensor
    """[n, 1]: factor on both time constants of the rotors."""
    force_n: Tensor
    """[n, 3]: constant push in the world."""
    torque_nm: Tensor
    """[n, 3]: constant torque in the body."""


@dataclass(frozen=True, eq=False)
class Body:
    """Where every row is."""

    position_m: Tensor
    """[n, 3]."""
    quaternion: Tensor
    """[n, 4], unit length."""
    velocity_m_s: Tensor
    """[n, 3], world."""
    rate_rad_s: Tensor
    """[n, 3], body."""
    rpm: Tensor
    """[n, 4]."""


class Flight:
    """The equations of motion of one airframe on one device; holds constants only."""

    def __init__(self, airframe: Airframe, dt_s: float, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.airframe, self.dt_s = airframe, dt_s
        arm_x, arm_y = (torch.tensor(v, device=device, dtype=dtype) for v in (airframe.arm_x_m, airframe.arm_y_m))
        sign = torch.tensor(airframe.torque_sign, device=device, dtype=dtype)
        # thrusts [n, 4] @ mix [4, 4] = (collective, roll, pitch, yaw): r x (0, 0, T) = (y T, -x T, 0).
        self.mix = torch.stack((torch.ones_like(sign), arm_y, -arm_x, sign * airframe.torque_per_thrust_m), dim=1)
        self.rise_per_s = torch.tensor(1 / airframe.rise_s, device=device, dtype=dtype)
        self.fall_per_s = torch.tensor(1 / airframe.fall_s, device=device, dtype=dtype)
        self.gravity = torch.tensor((0.0, 0.0, -GRAVITY_M_S2), device=device, dtype=dtype)

    def lagged(self, rpm: Tensor, target_rpm: Tensor, lag_scale: Tensor, dt_s: float) -> Tensor:
        """Rotor speeds after ``dt_s`` at a constant set-point: the exact solution of the first-order lag, [n, 4]."""
        rate = torch.where(target_rpm < rpm, self.fall_per_s, self.rise_per_s)
        return target_rpm + (rpm - target_rpm) * torch.exp(-dt_s * rate / lag_scale)

    def wrench(self, rpm: Tensor, physics: Physics) -> tuple[Tensor, Tensor]:
        """(collective thrust [n, 1] in N along body z, torque [n, 3] in N m)."""
        frame = self.airframe
        thrust = (rpm * (frame.thrust_linear_n_per_rpm + frame.thrust_quadratic_n_per_rpm2 * rpm)).clamp(min=0.0)
        # Products and a sum, not a matrix product: a row's digits must not depend on how many rows there are.
        mixed = ((thrust * physics.thrust_scale)[:, :, None] * self.mix).sum(1)
        return mixed[:, :1], mixed[:, 1:] + physics.torque_nm

    def step(self, body: Body, target_rpm: Tensor, physics: Physics) -> Body:
        """Advance by ``dt_s``: rotors exactly, the rigid body by the classical Runge-Kutta method; the quaternion is renormed."""
        dt = self.dt_s
        speeds = [
            body.rpm,
            self.lagged(body.rpm, target_rpm, physics.lag_scale, dt / 2),
            self.lagged(body.rpm, target_rpm, physics.lag_scale, dt),
        ]
        first, middle, end = (self._accelerations(rpm, physics) for rpm in speeds)
        gyro = _gyroscopic(physics.inertia_kg_m2)
        push = self.gravity + physics.force_n / physics.mass_kg
        start = torch.cat((body.quaternion, body.rate_rad_s, body.velocity_m_s, body.position_m), dim=1)
        k1 = _derivative(start, *first, gyro, push)
        k2 = _derivative(start + (dt / 2) * k1, *middle, gyro, push)
        k3 = _derivative(start + (dt / 2) * k2, *middle, gyro, push)
        k4 = _derivative(start + dt * k3, *end, gyro, push)
        after = start + (dt / 6) * (k1 + 2 * (k2 + k3) + k4)
        quaternion = after[:, :4]
        quaternion = quaternion / quaternion.square().sum(1, keepdim=True).sqrt()
        return Body(after[:, 10:13], quaternion, after[:, 7:10], after[:, 4:7], speeds[2])

    def _accelerations(self, rpm: Tensor, physics: Physics) -> tuple[Tensor, Tensor]:
        """(thrust / mass [n, 1], torque / inertia [n, 3])."""
        thrust, torque = self.wrench(rpm, physics)
        return thrust / physics.mass_kg, torque / physics.inertia_kg_m2


def _gyroscopic(inertia: Tensor) -> Tensor:
    """[n, 3]: factors of (wy wz, wz wx, wx wy) in Euler's equations, ((Jy - Jz) / Jx and so on)."""
    return (inertia.roll(-1, 1) - inertia.roll(-2, 1)) / inertia


def _derivative(state: Tensor, lift: Tensor, turn: Tensor, gyro: Tensor, push: Tensor) -> Tensor:
    """d/dt of (quaternion, body rate, velocity, position), [n, 13]; Euler's equations and q' = q (0, rate) / 2."""
    w, x, y, z, p, q, r = state[:, :7].unbind(1)
    rate, velocity = state[:, 4:7], state[:, 7:10]
    spin = torch.stack((-x * p - y * q - z * r, w * p + y * r - z * q, w * q + z * p - x * r, w * r + x * q - y * p), 1)
    up = torch.stack((2 * (x * z + w * y), 2 * (y * z - w * x), w * w - x * x - y * y + z * z), 1)
    return torch.cat((spin / 2, turn + gyro * rate.roll(-1, 1) * rate.roll(-2, 1), up * lift + push, velocity), 1)


def rotation(quaternion: Tensor) -> Tensor:
    """Unit quaternions [n, 4] -> rotation matrices, row by row, [n, 9]: world = R body."""
    w, x, y, z = quaternion.unbind(1)
    return torch.stack(
        (
            1 - 2 * (y * y + z * z),
            2 * (x * y - w * z),
            2 * (x * z + w * y),
            2 * (x * y + w * z),
            1 - 2 * (x * x + z * z),
            2 * (y * z - w * x),
            2 * (x * z - w * y),
            2 * (y * z + w * x),
            1 - 2 * (x * x + y * y),
        ),
        dim=1,
    )
