"""Gymnasium's MuJoCo tasks as batched worlds on MuJoCo Warp: hundreds of copies step as one, on a GPU or on the CPU."""

from .tasks import TASKS as TASKS
from .world import WarpWorld as WarpWorld
