"""Genomes: what is drawn can be made, and says what it is."""

import json
from dataclasses import asdict, replace

import pytest

from pilotfish.compress.order import check_order
from pilotfish.compress.recipe import parse_recipe
from pilotfish.compress.search.budget import budget_of
from pilotfish.compress.search.effort import Effort
from pilotfish.compress.search.genome import Genome, genome_of, shapes, smaller
from pilotfish.compress.search.limits import Limits, limits_of
from pilotfish.compress.search.space import Space, anchors, draw, fitted, genes_of, load_space, space_of
from pilotfish.errors import BadInput
from pilotfish.targets import load_target

ENDS = (17, 6)


@pytest.fixture
def teacher(pilot):
    """One whose rate is known."""
    return pilot.replace(contract=replace(pilot.contract, timing=replace(pilot.contract.timing, control_hz=50.0)))


@pytest.fixture
def genomes(teacher):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = fitted(Space(depth=(0, 3), decide_every=(1, 2, 4), cells=(0, 8)), teacher, load_target("crazyflie"))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    return [draw(space, study.ask(), ENDS) for _ in range(200)]


def test_every_drawn_genome_is_a_recipe_in_a_good_order(genomes):
    for genome in genomes:
        layers = (*(f"hidden{index}" for index in range(len(genome.hidden))), "out")
        steps = genome.distill(Effort()) + genome.finish(Effort(), layers, ENDS)
        check_order(parse_recipe(steps), genome.name)
        assert len(genome.bits) == len(layers)


def test_a_genome_survives_json_and_its_key_tells_it_apart(genomes):
    keys = {}
    for genome in genomes:
        assert genome_of(json.loads(json.dumps(asdict(genome)))) == genome
        assert keys.setdefault(genome.key, genome) == genome
    assert len(keys) > 150


def test_a_rank_that_makes_nothing_smaller_is_no_rank(genomes):
    for genome in genomes:
        if genome.factor_rank is not None:
            assert any(smaller(genome.factor_rank, shape) for shape in shapes(genome.inner(ENDS), genome.hidden))
    assert any(genome.factor_rank is not None for genome in genomes)


def test_fewer_multiplications_with_zeros_and_with_a_low_rank():
    def made(sparsity=0.0, rank=1.0):
        return Genome((64, 64), "tanh", sparsity, rank, (32, 32, 32), "float", "c").multiplications(ENDS)

    assert made() == 17 * 64 + 64 * 64 + 64 * 6
    assert made(sparsity=0.5) == made() / 2
    assert made(rank=0.25) < made()


@pytest.mark.parametrize(
    "narrow", [{}, {"bits": (8, 4)}, {"depth": (0, 0)}, {"widths": (16,), "depth": (3, 4)}, {"decide_every": (2, 1)}]
)
def test_the_plain_students_that_a_search_begins_with_are_drawn_by_their_genes(teacher, narrow):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = fitted(Space(**narrow), teacher, load_target("crazyflie"))
    study = optuna.create_study()
    found = anchors(space)
    assert 1 <= len(found) <= 4
    for genome in found:
        study.enqueue_trial(genes_of(genome))
        assert draw(space, study.ask(), ENDS) == genome


def test_a_space_fits_the_target(teacher):
    board = fitted(Space(), teacher, load_target("crazyflie"))
    assert board.backends == ("c",) and 4 in board.bits and board.activations[0] in ("tanh", "relu")
    with pytest.raises(BadInput, match="tensorrt"):
        fitted(Space(backends=("tensorrt",)), teacher, load_target("crazyflie"))
    with pytest.raises(BadInput, match="depth"):
        fitted(Space(depth=(3, 1)), teacher, load_target("crazyflie"))


def test_a_back_end_that_is_not_installed_is_not_searched(teacher, monkeypatch):
    from pilotfish.compress.search import space

    monkeypatch.setattr(space, "find_spec", lambda name: None if name in ("tvm", "onnxruntime") else object())
    assert fitted(Space(), teacher, load_target("host-cpu")).backends == ("c",)
    monkeypatch.setattr(space, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="builds here"):
        fitted(Space(), teacher, load_target("host-cuda"))


def test_a_misspelt_space_names_the_near_key(tmp_path):
    with pytest.raises(BadInput, match="widths"):
        space_of({"width": [4]})
    path = tmp_path / "space.toml"
    path.write_text("depth = [1, 2]\nwidths = [8, 16]\nbits = [8]\n")
    assert load_space(path).widths == (8, 16)
    with pytest.raises(BadInput):
        load_space(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "seconds", "trials"),
    [
        ("90s", 90, None),
        ("15m", 900, None),
        (" 2h ", 7200, None),
        ("1.5h", 5400, None),
        ("200 trials", None, 200),
        ("1trial", None, 1),
    ],
)
def test_a_budget_as_people_write_it(text, seconds, trials):
    assert (budget_of(text).seconds, budget_of(text).trials) == (seconds, trials)


@pytest.mark.parametrize("text", ["", "15", "m", "0s", "-3m", "1.5 trials", "9999d", "fast", "1e9 trials"])
def test_what_is_no_budget_says_what_is(text):
    with pytest.raises(BadInput, match="15m"):
        budget_of(text)


def test_limits_are_the_targets_or_tighter():
    board = load_target("crazyflie")
    limits = limits_of(board, 500.0, flash_bytes=1000)
    assert limits == Limits(1000, board.memory.ram_bytes, 2000.0)
    figures = {"flash_bytes": {"value": 1500.0}, "ram_bytes": {"value": 10.0}, "latency_us": {"value": 1000.0}}
    assert limits.excess(figures)[0] == pytest.approx(0.5) and limits.excess(figures)[2] == pytest.approx(-0.5)
    assert "flash_bytes 1.50 x" in limits.told(figures) and "latency" not in limits.told(figures)
    assert limits.told({}) == ""
    assert limits.for_every(4) == Limits(1000, board.memory.ram_bytes, 8000.0)
