"""A teacher for searches."""

import pytest


@pytest.fixture
def teacher(pilot):
    """The hand-made network that balances the pole."""
    return pilot
