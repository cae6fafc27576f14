"""What the tests of this room share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # sb3_files.py, which writes what Stable-Baselines3 would

SHARED = Path(os.environ.get("PILOTFISH_SHARED_POLICIES", Path(__file__).resolve().parents[2].parent / "shared/policies"))


@pytest.fixture
def shared() -> Callable[[str], Path]:
    """The path of a policy that others trained; skips, naming the file, where it is not there."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.is_file():
            pytest.skip(f"{path.name} is not there")
        return path

    return find
