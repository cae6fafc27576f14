"""search: policies that fit a device, found by proposing, building, measuring there and learning from it."""

from .budget import Budget, budget_of
from .effort import Effort
from .found import Found
from .search import search
from .space import Space, load_space, space_of

__all__ = ["Budget", "Effort", "Found", "Space", "budget_of", "load_space", "search", "space_of"]
