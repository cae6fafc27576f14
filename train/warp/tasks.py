"""The table of tasks: a new one is a short file and a line here."""

from __future__ import annotations

from .ant import ANT
from .humanoid import HUMANOID
from .pendulums import INVERTED_DOUBLE_PENDULUM, INVERTED_PENDULUM
from .reacher import REACHER
from .runners import HALF_CHEETAH, SWIMMER
from .task import Task
from .walkers import HOPPER, WALKER2D

TASKS: dict[str, Task] = {
    task.env_id: task
    for task in (
        INVERTED_PENDULUM,
        INVERTED_DOUBLE_PENDULUM,
        REACHER,
        SWIMMER,
        HOPPER,
        HALF_CHEETAH,
        WALKER2D,
        ANT,
        HUMANOID,
    )
}
"""By Gymnasium's name."""
