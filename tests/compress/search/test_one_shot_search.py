"""One-shot search: from an environment to a proven front, resumable, its order checked against trainings alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("scipy", reason="scipy is not installed")
pytest.importorskip("gymnasium", reason="gymnasium is not installed")

from pilotfish.cli import main
from pilotfish.compress.search.one_shot.alone import Alone, agreement, spread_over
from pilotfish.compress.search.one_shot.family_found import FamilyFound, Point
from pilotfish.compress.search.one_shot.family_page import render
from pilotfish.compress.search.one_shot.family_search import search_family
from pilotfish.compress.search.one_shot.settings import family_config
from pilotfish.compress.search.one_shot.survey import SURVEY, Surveyed, chosen, promising
from pilotfish.errors import BadInput
from pilotfish.policy import Policy
from pilotfish.runtime.artifact import Artifact
from pilotfish.targets import load_target
from pilotfish.train.one_shot import led
from pilotfish.train.one_shot.trained import Trained
from pilotfish.train.run import FAMILY

SETTINGS = {
    "n_envs": 4,
    "rollout_steps": 64,
    "minibatch_size": 64,
    "epochs": 2,
    "hidden": (8,),
    "eval_episodes": 1,
    "env_processes": 1,
}


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("space") / "family.toml"
    path.write_text("depth = [1, 2]\nwidths = [2, 6]\nembedding = 8\n")
    return path


@pytest.fixture(scope="module")
def searched(space: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FamilyFound]:
    folder = tmp_path_factory.mktemp("one-shot")
    config = family_config("CartPole-v1", 512, 0, space, SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(led, "LESSONS", (4, 8))
        found = search_family(
            config, load_target("host-cpu"), folder, members=4, check=3, check_seeds=2, episodes=2, prove_episodes=2
        )
    return folder, found


def test_every_point_is_a_verified_artifact_of_the_family(searched: tuple[Path, FamilyFound]) -> None:
    folder, found = searched
    assert found.size == 6 and len(found.surveyed) == 4 and found.points
    for point in found.points:
        assert point.verified and not point.failed and point.kept is not None
        policy = Policy.load(folder / point.policy)
        assert policy.parameters == point.surveyed.weights and policy.golden is not None
        assert Artifact.load(point.artifact).manifest.policy_digest == policy.digest
    result = json.loads((folder / "result.json").read_text())
    assert [one["weights"] for one in result["surveyed"]] == sorted(one["weights"] for one in result["surveyed"])


def test_it_goes_on_where_it_was(searched: tuple[Path, FamilyFound], space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, found = searched
    lines = (folder / SURVEY).read_text()
    config = family_config("CartPole-v1", 512, 0, space, SETTINGS)
    again = search_family(config, load_target("host-cpu"), folder, members=4, check=0, episodes=2, prove_episodes=2)
    assert (folder / SURVEY).read_text() == lines  # nothing flown twice
    assert [one.returns for one in again.surveyed] == [one.returns for one in found.surveyed]
    assert again.seconds == found.seconds


def test_the_page_escapes_and_tells_the_order_s_worth(searched: tuple[Path, FamilyFound]) -> None:
    _, found = searched
    page = render(FamilyFound(**{**vars(found), "env": "<script>x</script>"}))
    assert "<script>x" not in page and "2 times with other seeds" in page


def test_points_may_learn_from_the_leader_before_they_are_proven(
    searched: tuple[Path, FamilyFound], space: Path, tmp_path: Path
) -> None:
    folder, found = searched
    config = family_config("CartPole-v1", 512, 0, space, SETTINGS)
    shutil.copytree(folder, tmp_path / "again")
    again = search_family(config, load_target("host-cpu"), tmp_path / "again", members=4, heal=256, episodes=2, prove_episodes=2)
    assert again.points and not any(point.healing for point in found.points)
    trained = Trained.load(tmp_path / "again" / "training" / FAMILY)
    for point in again.points:
        assert point.verified and point.healing["kept"].startswith(("before", "after"))
        old, new = trained.policy(point.surveyed.member()), Policy.load(tmp_path / "again" / point.policy)
        same = all((old.weights[name] == new.weights[name]).all() for name in old.weights)
        assert same == point.healing["kept"].startswith("before")
        assert new.contract.provenance.passes[-1].name == "heal"
    assert any("lessons from the leader" in line for line in again.told())


def test_the_command_line_takes_an_environment(space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(led, "LESSONS", (1, 1))
    settings = [
        part for name, value in SETTINGS.items() for part in ("--set", f"{name}={list(value) if name == 'hidden' else value}")
    ]
    line = [
        "search",
        "CartPole-v1",
        "-t",
        "host-cpu",
        "--steps",
        "512",
        "--members",
        "2",
        "--episodes",
        "2",
        "--space",
        str(space),
    ]
    assert main([*line, *settings, "-o", str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 512 and told["agreement"] is None
    assert main([*line, "--set", 'algorithm="sac"', "-o", str(tmp_path / "no")]) == 2
    assert "PPO" in capsys.readouterr().err


def test_a_family_that_is_misspelt_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "family.toml"
    path.write_text("width = [4]\n")
    with pytest.raises(BadInput, match="width"):
        family_config("CartPole-v1", None, 0, path, {})


def _seen(weights: int, value: float) -> Surveyed:
    return Surveyed((weights,), "tanh", weights, [value, value])


def test_only_what_few_cheaper_ones_beat_is_built() -> None:
    found = [_seen(10, 5.0), _seen(20, 4.0), _seen(30, 3.0), _seen(40, 2.0), _seen(50, 1.0), _seen(60, 9.0)]
    assert [one.weights for one in promising(found)] == [10, 20, 30, 60]


def test_agreement_is_the_rank_correlation_and_counts_gains_from_random_actions() -> None:
    rows = [
        Alone(f"m{i}", 100 * (i + 1), one_shot, alone) for i, (one_shot, alone) in enumerate([(1, 2), (2, 4), (3, 6), (5, 5)])
    ]
    found = agreement(rows, floor=0.0)
    assert found.spearman == pytest.approx(0.8) and found.low is not None and found.low <= 0.8 <= found.high
    assert found.small_share == pytest.approx(0.5)
    assert agreement(rows[:2], 0.0).spearman is None
    assert agreement([Alone("a", 5, 1, 1)] * 5, 0.0).spearman is None


def test_how_well_seeds_agree_among_themselves_is_said() -> None:
    up, down = [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]
    alike = [Alone(f"m{i}", 10, up[i], up[i], [up[i], up[i] + 1, up[i] * 2]) for i in range(3)]
    assert agreement(alike, 0.0).among_seeds == pytest.approx(1.0) and agreement(alike, 0.0).seeds == 3
    against = [Alone(f"m{i}", 10, up[i], 2.0, [up[i], down[i]]) for i in range(3)]
    against[0].alone = 1.0
    assert agreement(against, 0.0).among_seeds == pytest.approx(-1.0)
    assert agreement([Alone(f"m{i}", 10, up[i], up[i], [up[i]]) for i in range(3)], 0.0).among_seeds is None


def test_those_that_are_checked_reach_over_all_sizes() -> None:
    found = [_seen(weights, 0.0) for weights in range(100)]
    assert [one.weights for one in spread_over(found, 4)] == [0, 33, 66, 99]
    assert len(spread_over(found[:2], 4)) == 2


def test_a_survey_takes_as_many_different_ones_as_it_is_asked_for() -> None:
    from pilotfish.train.one_shot.family import Family

    class Named:
        family, ends = Family(), (17, 6)

    for count in (5, 128, 780, 5000):
        members = chosen(Named, count, 0)
        assert len(members) == len(set(members)) == min(count, 780)
        sizes = [member.weights((17, 6)) for member in members]
        assert sizes == sorted(sizes)
    assert np.median([m.weights((17, 6)) for m in chosen(Named, 128, 0)]) < 3000  # small ones are not starved


def test_a_point_without_figures_has_no_cost() -> None:
    assert Point(_seen(3, 1.0), "p").cost is None
