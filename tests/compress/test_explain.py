"""Is it worth it here: rows of built, flown and timed artifacts, verdicts in words, a winner that follows from them."""

import json
from dataclasses import replace

import pytest

from pilotfish.compress import compress, parse_recipe
from pilotfish.compress.explain import Row, Variant, _judged, explain, variants
from pilotfish.errors import BadInput
from pilotfish.figure import Figure
from pilotfish.targets import load_target

HOST = load_target("host-cpu")


def _figure(value: float, unit: str) -> dict:
    return vars(Figure(value, unit, "measured"))


def _row(name: str, us: float | None, size: float, keeps: bool | None = True, backend: str = "c") -> Row:
    figures = {"artifact_bytes": _figure(size, "bytes")} | ({} if us is None else {"latency_us": _figure(us, "us")})
    return Row(name, backend, figures=figures, keeps=keeps)


def test_the_fastest_that_keeps_its_return_wins_and_of_equals_the_smallest(make) -> None:
    rows = [_row("fp32", 10, 1000), _row("int8", 6.1, 300), _row("pruned", 6.0, 800), _row("tiny", 1, 50, keeps=False)]
    told = _judged(make(), HOST, 0.95, rows)
    assert told.winner == "int8 (c)"
    assert "smallest of the 2 that are equally fast" in told.reason
    assert rows[1].verdict == "1.6 x faster, 3.3 x smaller"
    assert rows[3].verdict.startswith("keeps less than 95% of the return")


def test_it_says_so_when_the_policy_as_it_is_wins(make) -> None:
    rows = [_row("fp32", 10, 1000), _row("int8", 12, 990), _row("pruned", 9.8, 1400)]
    told = _judged(make(), HOST, 0.95, rows)
    assert told.winner == "fp32 (c)" and "nothing beats the policy as it is" in told.reason
    assert rows[1].verdict == "no gain here, 1.2 x slower"
    assert rows[2].verdict == "no gain here, 1.4 x larger"


def test_without_latency_size_decides_and_without_anything_it_says_why(make) -> None:
    told = _judged(make(), HOST, 0.95, [_row("fp32", None, 1000), _row("int8", None, 300)])
    assert told.winner == "int8 (c)" and "size decides" in told.reason
    refused = Row("fp32", "c", refused="no compiler")
    assert _judged(make(), HOST, 0.95, [refused]).reason == "nothing could be built for host-cpu: no compiler"
    assert "nothing that was built keeps" in _judged(make(), HOST, 0.95, [_row("fp32", 1, 1, keeps=False)]).reason


def test_every_variant_is_a_recipe_that_parses_also_for_policies_with_memory(make) -> None:
    for policy in (make(), make((4, 8, 2), cell=True), make((4, 2))):
        for variant in variants(policy, HOST, 1000):
            assert not variant.recipe or parse_recipe(variant.recipe)


def test_built_flown_and_timed(make, tmp_path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    chosen = [
        Variant("fp32, as it is"), Variant("fp16 weights", ({"pass": "quantize", "weight_bits": 16, "activations": "float"},)),
        Variant("weights alone", ({"pass": "quantize", "activations": "float"},)),
        Variant("healed", ({"pass": "heal"},)),
    ]  # fmt: skip
    said: list[str] = []
    told = explain(make(), HOST, tmp_path, backend="onnxruntime", chosen=chosen, say=said.append)
    plain, half, small, healed = told.rows
    assert plain.value("latency_us") > 0 and plain.keeps is None and plain.verdict == "the policy as it is"
    assert half.weight_bytes < 0.6 * plain.weight_bytes and half.value("latency_us") > 0
    assert "an environment in which the student acts" in healed.refused
    assert small.weight_bytes < plain.weight_bytes / 2 and small.bytes != plain.bytes
    assert (tmp_path / "tiny-weights_alone.policy").is_dir() and len(said) == 4
    assert "no return was measured" in told.reason
    json.dumps(told.data())


def test_a_back_end_that_the_target_lacks_is_refused(make, tmp_path) -> None:
    with pytest.raises(BadInput, match="one that host-cpu lists"):
        explain(make(), HOST, tmp_path, backend="tensorrt")


def test_a_recipe_tells_what_each_pass_did_there(make) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    said: list[str] = []
    recipe = parse_recipe([{"pass": "prune", "sparsity": 0.5, "schedule": "one-shot"}, {"pass": "trim"}])
    small = compress(make(), recipe, targets=[HOST], say=said.append)
    one, two = (record.changed["measured"] for record in small.contract.provenance.passes)
    assert one["after"] == two["before"] and one["before"]["nonzero"] > one["after"]["nonzero"]
    assert one["after"]["on"]["host-cpu"]["latency_us"]["source"] == "measured"
    assert len(said) == 3 and "us measured" in said[0]


def test_a_target_that_cannot_take_the_policy_costs_a_recipe_nothing(make) -> None:
    gpu = load_target("rtx-4090")
    small = compress(make(), parse_recipe([{"pass": "trim"}]), targets=[replace(HOST, precisions=("int8",)), gpu])
    measured = small.contract.provenance.passes[0].changed["measured"]["after"]["on"]
    assert "a precision of host-cpu: int8" in measured["host-cpu"]["refused"]
    assert measured["rtx-4090"]["refused"]
