"""A bundle comes back as it was saved, and anything else is refused in words, never loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish import sealed
from pilotfish.errors import BadInput
from pilotfish.policy import Action, Contract, Golden, Normalizer, Observation, Policy, Provenance
from pilotfish.policy.cells import GRU
from pilotfish.policy.contract import Timing
from pilotfish.policy.layers import Activation, Linear


def small(golden: bool = True, seed: int = 0) -> Policy:
    rng = np.random.default_rng(seed)
    layers = (Linear("a", 3, 4), Activation("tanh"), GRU("m", 4, 4), Linear("b", 4, 2))
    shapes = {"a.weight": (4, 3), "a.bias": (4,), "b.weight": (2, 4), "b.bias": (2,)}
    shapes |= {"m.weight_ih": (12, 4), "m.weight_hh": (12, 4), "m.bias_ih": (12,), "m.bias_hh": (12,)}
    contract = Contract(
        Observation(3, names=("x", "y", "z"), normalizer=Normalizer((0.0, 1.0, 2.0), (1.0, 2.0, 3.0), clip=5.0)),
        Action("continuous", 2, low=(-1.0, -1.0), high=(1.0, 1.0)),
        timing=Timing(control_hz=50.0),
        provenance=Provenance(source="a test", notes=("é",)),
    )
    rollout = Golden(
        rng.standard_normal((5, 3)).astype(np.float32), rng.standard_normal((5, 2)).astype(np.float32),
        np.zeros((5, 4), np.float32), np.array([True, False, False, True, False]), "environment",
    )  # fmt: skip
    weights = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    return Policy("small", contract, layers, weights, rollout if golden else None)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), golden=st.booleans())
def test_a_saved_bundle_comes_back_equal(tmp_path_factory: pytest.TempPathFactory, seed: int, golden: bool) -> None:
    policy = small(golden, seed)
    back = Policy.load(policy.save(tmp_path_factory.mktemp("b") / "p.policy"))
    assert (back.name, back.contract, back.layers, back.digest) == (policy.name, policy.contract, policy.layers, policy.digest)
    for name, tensor in policy.weights.items():
        np.testing.assert_array_equal(back.weights[name], tensor)
    assert (back.golden is None) == (not golden)
    if back.golden is not None and policy.golden is not None:
        np.testing.assert_array_equal(back.golden.obs, policy.golden.obs)
        np.testing.assert_array_equal(back.golden.start, policy.golden.start)
        assert back.golden.source == "environment"


def test_equal_policies_give_equal_bytes(tmp_path: Path) -> None:
    one, two = small().save(tmp_path / "one"), small().save(tmp_path / "two")
    assert sealed.manifest(one) == sealed.manifest(two)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_tampered_byte_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = small().save(tmp_path_factory.mktemp("b") / "p.policy")
    path = folder / data.draw(st.sampled_from(["weights.safetensors", "golden.npz"]))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(BadInput, match="changed since it was sealed"):
        Policy.load(folder)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_damaged_description_never_escapes_as_another_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = small().save(tmp_path_factory.mktemp("b") / "p.policy")
    path = folder / "policy.json"
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        Policy.load(folder)
    except BadInput as error:
        assert "expected" in str(error)


def edited(folder: Path, change: object) -> Path:
    path = folder / "policy.json"
    data = json.loads(path.read_text())
    change(data)  # type: ignore[operator]
    path.write_text(json.dumps(data))
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["contract"]["observation"].update(nmaes=[]), "nmaes"),
        (lambda d: d["contract"].update(tming={}), "tming"),
        (lambda d: d.update(layrs=d.pop("layers")), "layrs"),
        (lambda d: d.update(comment="hello"), "comment"),
        (lambda d: d["layers"][0].update(in_sise=3), "in_sise"),
        (lambda d: d["layers"][0].update(kind="conv"), "conv"),
        (lambda d: d["layers"][0].update(in_size=4), "take 3 inputs"),
        (lambda d: d["layers"].pop(), "2 network outputs"),
        (lambda d: d["contract"]["observation"].update(size=-1), "greater than 0"),
        (lambda d: d["contract"]["observation"]["normalizer"].update(variance=[1, -1, 1]), "negative"),
        (lambda d: d.update(schema_version=99), "schema version 1"),
        (lambda d: d["files"].pop("weights.safetensors"), "weights.safetensors"),
        (lambda d: d["files"].update({"../../etc/passwd": "0"}), "leads out"),
        (lambda d: d["files"].update({"/etc/passwd": "0"}), "leads out"),
        (lambda d: d["files"].update({"missing.bin": "0"}), "missing.bin"),
        (lambda d: d.update(files=[]), "files"),
    ],
)
def test_a_wrong_description_is_refused_by_name(change: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=said):
        Policy.load(edited(small().save(tmp_path / "p.policy"), change))


def test_weights_of_another_shape_nan_and_strangers_are_refused() -> None:
    policy = small(golden=False)
    broken = policy.weights["a.bias"].copy()
    broken[1] = np.nan
    for change, said in (
        ({"a.bias": broken}, "1 NaN"),
        ({"a.bias": np.zeros(5, np.float32)}, r"a.bias float32\[4\]"),
        ({"a.bias": np.zeros(4)}, "float64"),
        ({"stray": np.zeros(1, np.float32)}, "stray"),
    ):
        with pytest.raises(BadInput, match=said):
            policy.replace(weights=policy.weights | change)
    with pytest.raises(BadInput, match="one layer per name"):
        policy.replace(layers=(*policy.layers, Linear("a", 2, 2)))


def test_a_rollout_of_another_policy_is_refused(tmp_path: Path) -> None:
    policy = small()
    assert policy.golden is not None
    wide = Golden(np.zeros((5, 9), np.float32), policy.golden.action, policy.golden.state, policy.golden.start, "environment")
    with pytest.raises(BadInput, match="observations of 3"):
        Policy.load(policy.replace(golden=wide).save(tmp_path / "p.policy"))


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing there"):
        Policy.load(tmp_path / "none.policy")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="a file"):
        Policy.load(tmp_path / "file")
    with pytest.raises(BadInput, match="no such file"):
        Policy.load(tmp_path)
    with pytest.raises(BadInput, match="golden rollout"):
        Golden.read(tmp_path / "file")


def test_state_follows_from_the_layers() -> None:
    policy = small()
    assert [(s.name, s.size) for s in policy.contract.state] == [("m_h", 4)]
    assert policy.parameters == policy.nonzero_parameters == sum(t.size for t in policy.weights.values())
    assert policy.digest != policy.replace(weights=policy.weights | {"a.bias": np.ones(4, np.float32)}).digest


@pytest.mark.parametrize("name", ["../evil", "/etc/x", "", ".hidden", "a b", "x" * 121, "a\nb"])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    contract = Contract(Observation(2), Action("continuous", 2))
    with pytest.raises(BadInput, match="policy name"):
        Policy(name, contract, (Activation("tanh"),), {})


def test_an_edited_contract_is_refused_although_it_is_valid(tmp_path: Path) -> None:
    contract = Contract(Observation(2), Action("continuous", 2), timing=Timing(control_hz=50.0))
    path = Policy("p", contract, (Activation("tanh"),), {}).save(tmp_path / "p.policy")
    file = path / "policy.json"
    file.write_text(file.read_text().replace("50.0", "40.0"))
    with pytest.raises(BadInput, match="digest"):
        Policy.load(path)
