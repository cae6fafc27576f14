"""Every example that is shipped can be read; a typo in one would be the first thing that a stranger meets."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilotfish.compress.recipe import load_recipe, parse_recipe
from pilotfish.job import load_job
from pilotfish.targets import load_target
from pilotfish.train.config import train_config

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda p: p.name)
def test_a_job_is_valid(path: Path) -> None:
    job = load_job(path)
    if job.train is not None:
        train_config(job.train)
    if job.compress:
        parse_recipe(list(job.compress), path)
    for item in job.export:
        assert item.backend in load_target(item.target).backends


@pytest.mark.parametrize("path", sorted((EXAMPLES / "recipes").glob("*.toml")), ids=lambda p: p.name)
def test_a_recipe_is_valid(path: Path) -> None:
    assert load_recipe(path)
