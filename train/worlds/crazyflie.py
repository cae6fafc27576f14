"""The Crazyflie 2.1 in numbers, each with its source; SI units, body frame x forward, y left, z up."""

from __future__ import annotations

import math
from dataclasses import dataclass

GRAVITY_M_S2 = 9.81


@dataclass(frozen=True)
class Airframe:
    """A quadrotor in X configuration whose four equal rotors push along the body's z."""

    mass_kg: float
    """With battery."""
    inertia_kg_m2: tuple[float, float, float]
    """Principal moments about x, y, z; products of inertia are left out."""
    arm_x_m: tuple[float, float, float, float]
    """Forward position of each rotor from the centre of mass."""
    arm_y_m: tuple[float, float, float, float]
    """Leftward position of each rotor."""
    torque_sign: tuple[float, float, float, float]
    """+1 where the rotor's drag turns the body about +z (it spins clockwise seen from above), else -1."""
    thrust_linear_n_per_rpm: float
    """k1 of one rotor's thrust max(0, k1 rpm + k2 rpm^2)."""
    thrust_quadratic_n_per_rpm2: float
    """k2."""
    torque_per_thrust_m: float
    """Drag torque of a rotor divided by its thrust."""
    max_rpm: float
    """Set-point of action +1; action -1 is 0 rpm."""
    rise_s: float
    """Time constant of a rotor that speeds up: d rpm / dt = (set-point - rpm) / rise_s."""
    fall_s: float
    """Time constant of a rotor that slows down: the propeller brakes it, not the motor."""

    def thrust_n(self, rpm: float) -> float:
        """Thrust of one rotor."""
        return max(0.0, self.thrust_linear_n_per_rpm * rpm + self.thrust_quadratic_n_per_rpm2 * rpm * rpm)

    @property
    def hover_rpm(self) -> float:
        """Speed of each rotor at which four of them carry the weight."""
        k1, k2 = self.thrust_linear_n_per_rpm, self.thrust_quadratic_n_per_rpm2
        return (-k1 + math.sqrt(k1 * k1 + k2 * self.mass_kg * GRAVITY_M_S2)) / (2 * k2)

    @property
    def hover_action(self) -> float:
        """The action that holds :attr:`hover_rpm`."""
        return 2 * self.hover_rpm / self.max_rpm - 1


BITCRAZE_THRUST = (
    (0, 0.0),
    (4485, 1.6),
    (7570, 4.8),
    (9374, 7.9),
    (10885, 10.9),
    (12277, 13.9),
    (13522, 17.3),
    (14691, 21.0),
    (15924, 24.4),
    (17174, 28.6),
    (18179, 32.8),
    (19397, 37.3),
    (20539, 41.7),
    (21692, 46.0),
    (22598, 51.9),
    (23882, 57.9),
)
"""(rpm, grams lifted by all four rotors), measured by Bitcraze: crazyflie-firmware, docs/functional-areas/pwm-to-thrust.md."""

CRAZYFLIE = Airframe(
    # Crazyflie 2.1 data sheet: 27 g take-off weight.
    mass_kg=0.027,
    # J. Foerster, "System Identification of the Crazyflie 2.0 Nano Quadrocopter", BSc thesis, ETH Zurich 2015,
    # as Bitcraze's own firmware quotes them (controller_mellinger / controller_lee.c).
    inertia_kg_m2=(16.571710e-6, 16.655602e-6, 29.261652e-6),
    # Rotors 1 to 4 as RLtools places them (rl_tools/rl/environments/l2f/parameters/dynamics/crazyflie.h):
    # front right, back right, back left, front left.
    arm_x_m=(0.028, -0.028, -0.028, 0.028),
    arm_y_m=(-0.028, -0.028, 0.028, 0.028),
    torque_sign=(-1.0, 1.0, -1.0, 1.0),
    # Least squares of BITCRAZE_THRUST through the origin, one rotor a quarter of it; a test makes the fit again.
    thrust_linear_n_per_rpm=-4.63714276e-07,
    thrust_quadratic_n_per_rpm2=2.66691675e-10,
    # Foerster 2015, as the firmware quotes it (physical_constants: THRUST_TO_TORQUE_m).
    torque_per_thrust_m=0.005964552,
    # Eschmann, Albani, Loianno, "Learning to Fly in Seconds", 2023 (arXiv 2311.13081): the limit in its code.
    max_rpm=21702.0,
    # RLtools, same file, read off the manufacturer's step response. Near hover both slopes come out alike, as Bitcraze saw
    # ("Measuring propeller RPM", part 3, 2015). The paper's own single constant was 0.15 s.
    rise_s=0.05545454545454546,
    fall_s=0.24939393939393945,
)
