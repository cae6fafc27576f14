"""A teacher for searches, and what searches need."""

from importlib.util import find_spec

import pytest

NEEDED = ("torch", "optuna", "sklearn", "unicorn")


@pytest.fixture(autouse=True)
def _needed():
    """Skip with the name of what is missing; looked up, not imported, which would cost every worker seconds at collection."""
    for name in NEEDED:
        if find_spec(name) is None:
            pytest.skip(f"no {name}")


@pytest.fixture
def teacher(pilot):
    """The hand-made network that balances the pole."""
    return pilot
