"""Laws of recipes: every typo is named with the near word, before any pass has run; the shipped ones parse."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilotfish.compress import compress, dump_recipe, load_recipe, parse_recipe
from pilotfish.compress.order import check_order
from pilotfish.errors import BadInput

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "recipes"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes_parse_and_round_trip(path):
    recipe = load_recipe(path)
    assert parse_recipe(dump_recipe(recipe)) == recipe


def test_there_are_shipped_recipes():
    assert {path.stem for path in EXAMPLES.glob("*.toml")} >= {"prune-int8", "tiny", "lowrank"}


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"pass": "purne", "sparsity": 0.5}, r"pass 1: expected a known pass, found 'purne'. Did you mean 'prune'"),
        ({"pass": "prune", "sparsty": 0.5}, r"pass 1 \(prune\).*found 'sparsty'. Did you mean 'sparsity'"),
        ({"pass": "prune"}, r"pass 1 \(prune\): .*sparsity is missing"),
        ({"pass": "prune", "sparsity": 1.5}, r"sparsity.*less than 1"),
        ({"pass": "prune", "sparsity": float("nan")}, r"sparsity"),
        ({"pass": "prune", "sparsity": 0.5, "begin": 0.9, "end": 0.2}, r"begin 0.9 is not before end 0.2"),
        ({"pass": "prune", "sparsity": 0.5, "heal": {"stepps": 5}}, r"heal.stepps.*Did you mean 'steps'"),
        ({"pass": "factorize"}, r"give either rank, energy or tolerance"),
        ({"pass": "quantize", "calibration": "magic"}, r"calibration"),
        ({"pass": "distill", "hidden": [0]}, r"hidden"),
        ({"sparsity": 0.5}, r"expected the key 'pass', found none"),
        ({"pass": "heal", "kind": "prune"}, r"found 'kind'. Did you mean 'pass'"),
        ({"pass": 3}, r"expected a known pass, found 3"),
        ({"pass": ["prune"]}, r"expected a known pass"),
        ("prune", r"expected a table, found str"),
    ],
)
def test_mistakes_are_named(step, message):
    with pytest.raises(BadInput, match=message):
        parse_recipe([step], "my recipe")


def test_the_place_of_the_mistake_is_counted():
    with pytest.raises(BadInput, match=r"my recipe, pass 2 \(heal\)"):
        parse_recipe([{"pass": "heal"}, {"pass": "heal", "steps": -1}], "my recipe")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"at least one \[\[compress\]\] table"),
        ("[[compres]]\npass = 'heal'\n", r"found 'compres'. Did you mean 'compress'"),
        ("[[compress]\n", r"a recipe \(TOML\)"),
        ("compress = 3\n", r"at least one \[\[compress\]\] table, found int"),
    ],
)
def test_broken_files_are_refused(tmp_path, text, message):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        load_recipe(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere\.toml.*no such file"):
        load_recipe(tmp_path / "nowhere.toml")


def test_what_can_be_known_early_is_refused_early(make):
    """The last pass needs an environment: the first, which works, must not have cost time."""
    policy = make()
    done: list[int] = []
    recipe = parse_recipe([{"pass": "prune", "sparsity": 0.5, "schedule": "one-shot"}, {"pass": "heal"}])
    with pytest.raises(BadInput, match="'heal' on tiny: expected an environment"):
        compress(policy, recipe, on_pass=lambda number, _: done.append(number))
    assert not done


def test_no_environment_needed_by_one_shot_and_weight_only_int8(make):
    policy = make(source="random observations")
    recipe = parse_recipe(
        [
            {"pass": "prune", "sparsity": 0.5, "schedule": "one-shot"},
            {"pass": "trim"},
            {"pass": "quantize", "activations": "float"},
        ]
    )
    seen: list[tuple[int, str]] = []
    small = compress(policy, recipe, on_pass=lambda number, record: seen.append((number, record.name)))
    assert seen == [(1, "prune"), (2, "trim"), (3, "quantize")]
    assert small.golden is not None
    assert small.golden.source == "random observations"
    assert small.precision == "int8"


def test_the_same_seed_gives_the_same_policy(make):
    policy = make()
    recipe = parse_recipe([{"pass": "prune", "sparsity": 0.5, "schedule": "one-shot"}, {"pass": "quantize"}])
    assert compress(policy, recipe).digest == compress(policy, recipe).digest


@pytest.mark.parametrize(
    "steps, found",
    [
        (
            [{"pass": "quantize"}, {"pass": "factorize", "rank": 2}],
            r"pass 2 \(factorize\).*may follow 'quantize'.*before 'quantize'",
        ),
        (
            [{"pass": "prune", "sparsity": 0.5}, {"pass": "heal"}, {"pass": "hash", "share": 0.5}],
            "pass 3 .hash.*zeros would be lost",
        ),
        ([{"pass": "tie"}, {"pass": "quantize"}], "shares another's matrix"),
    ],
)
def test_a_wrong_order_is_refused_before_anything_runs(make, monkeypatch, steps, found):
    from pilotfish.compress import recipe

    monkeypatch.setattr(recipe, "apply", lambda *_: pytest.fail("a pass ran"))
    with pytest.raises(BadInput, match=found):
        compress(make(), parse_recipe(steps))


def test_new_weights_and_passes_of_other_layers_lift_the_order():
    fine = [
        [{"pass": "quantize"}, {"pass": "distill", "hidden": [4]}, {"pass": "prune", "sparsity": 0.5}],
        [{"pass": "quantize", "keep_float": ["fc1"]}, {"pass": "factorize", "rank": 2, "layers": ["fc1"]}],
        [{"pass": "prune", "sparsity": 0.5}, {"pass": "trim"}, {"pass": "quantize"}, {"pass": "heal"}],
    ]
    for steps in fine:
        check_order(parse_recipe(steps), "recipe")
