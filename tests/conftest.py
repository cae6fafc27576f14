"""Shared by all rooms' tests: one thread for torch, a private trust ledger, the policies trained by others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def _quiet_machine() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        import torch
    except ModuleNotFoundError:
        return
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _private_ledger(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests neither read nor write the user's own list of trusted artifacts."""
    monkeypatch.setenv("PILOTFISH_HOME", str(tmp_path_factory.getbasetemp() / "pilotfish-home"))


@pytest.fixture
def shared_policy():
    """Path of a policy that somebody else trained, or a skip that names it."""
    root = Path(os.environ.get("PILOTFISH_SHARED_POLICIES", Path(__file__).resolve().parents[2] / "shared" / "policies"))

    def find(relative: str) -> Path:
        path = root / relative
        if not path.exists():
            pytest.skip(f"{relative} is not here (set PILOTFISH_SHARED_POLICIES)")
        return path

    return find
