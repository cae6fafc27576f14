"""A policy that does not fit its board, or is too slow for it, is refused with numbers and with what would help."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("ziglang")
pytest.importorskip("unicorn")
pytest.importorskip("capstone")
pytest.importorskip("elftools")

from pilotfish.errors import BadInput, GateFailed
from pilotfish.export import fit, remedies
from pilotfish.export.build import export_policy
from pilotfish.export.fit import DoesNotFit, TooSlow
from pilotfish.policy.contract import Timing
from pilotfish.policy.golden import Golden
from pilotfish.policy.layers import Activation, Linear
from pilotfish.runtime.artifact import Artifact
from pilotfish.runtime.bench import bench
from pilotfish.runtime.measure.rate import control_rate
from pilotfish.targets.profile import Cost, load_target


@pytest.fixture
def mlp(make_policy):
    def make(hidden, name="mlp", control_hz=None, weight_bits=32):
        layers = [
            Linear("a", 9, hidden, weight_bits=weight_bits),
            Activation("relu"),
            Linear("b", hidden, 3, weight_bits=weight_bits),
        ]
        policy = make_policy(layers, 9, 3, 0).replace(name=name)
        obs = np.random.default_rng(1).normal(size=(20, 9)).astype(np.float32)
        golden = Golden(
            obs, np.zeros((20, 3), np.float32), np.zeros((20, 0), np.float32), np.arange(20) == 0, "random observations"
        )
        timing = dataclasses.replace(policy.contract.timing, control_hz=control_hz) if control_hz else Timing()
        return policy.replace(golden=golden, contract=dataclasses.replace(policy.contract, timing=timing))

    return make


def with_memory(name, **memory):
    target = load_target(name)
    return dataclasses.replace(target, memory=dataclasses.replace(target.memory, **memory))


def number(pattern, text):
    found = re.search(pattern, text)
    assert found, f"{pattern!r} is not in {text!r}"
    return float(found.group(1).replace(",", ""))


def test_too_much_flash_says_how_much_and_which_board_has_it(mlp, tmp_path):
    policy, target = mlp(256), with_memory("stm32f103", flash_bytes=12288)
    with pytest.raises(DoesNotFit, match="mlp does not fit stm32f103") as caught:
        export_policy(policy, target, output=tmp_path)
    text, needed = str(caught.value), caught.value.needed
    assert needed > policy.weight_bytes and number(r"([\d,]+) too many", text) == needed - 12288
    assert caught.value.exit_code == 1
    share = number(r"about (\d+)% of the", text) / 100
    assert needed - policy.weight_bytes + share * policy.weight_bytes <= 12288  # the remedy would do
    assert "the board nucleo-g0b1re, which has 524,288 bytes" in text or "the board crazyflie, which has 1,048,576 bytes" in text
    assert not list(tmp_path.iterdir())


def test_int8_is_named_where_it_would_fit_and_only_there(mlp, tmp_path):
    policy = mlp(256)
    full = export_policy(policy, load_target("stm32f103"), output=tmp_path).manifest.sizes["flash"]
    text = str(refusal(policy, with_memory("stm32f103", flash_bytes=(full - 4096) // 1024 * 1024), tmp_path))
    assert number(r"int8 weights.* about ([\d,]+) bytes", text) == full - policy.weight_bytes * 3 // 4
    text = str(refusal(policy, with_memory("stm32f103", flash_bytes=(full - policy.weight_bytes) // 1024 * 1024), tmp_path))
    assert "int8 weights" not in text


def refusal(policy, target, folder, **settings):
    with pytest.raises(GateFailed) as caught:
        export_policy(policy, target, output=folder / "refused", **settings)
    assert not (folder / "refused").exists() or not list((folder / "refused").iterdir())
    return caught.value


def test_ram_counts_static_data_and_the_measured_stack(mlp, tmp_path, monkeypatch):
    from pilotfish.export.c import firmware

    policy = mlp(64)
    monkeypatch.setattr(firmware, "STACK_RESERVE_BYTES", 0)
    artifact = export_policy(policy, load_target("crazyflie"), output=tmp_path)
    ram = int(bench(artifact)["figures"]["ram_bytes"]["value"])
    monkeypatch.setattr(fit, "VirtualBoard", tight_board(ram - 1))
    error = refusal(policy, load_target("crazyflie"), tmp_path)
    assert isinstance(error, DoesNotFit) and error.region == "RAM" and error.needed == ram
    assert f"{artifact.manifest.sizes['ram']:,} of static data" in str(error) and "of stack" in str(error)


def tight_board(ram_bytes):
    """The real board, but with as little RAM as no linker script's granularity allows."""

    class Tight(fit.VirtualBoard):
        def __init__(self, elf, target):
            super().__init__(elf, target)
            object.__setattr__(target.memory, "ram_bytes", ram_bytes)

    return Tight


def test_too_slow_names_the_rate_that_would_do_and_that_rate_does(mlp, tmp_path):
    policy, target = mlp(16), load_target("nucleo-g0b1re")
    error = refusal(policy, target, tmp_path, control_hz=5000)
    text = str(error)
    assert isinstance(error, TooSlow) and error.exit_code == 1
    assert "200 us of 5000 Hz (as asked for)" in text and "no FPU" in text and "the board crazyflie" in text
    ratio, share = number(r"([\d.]+) times the", text), number(r"about ([\d.]+)% of", text) / 100
    assert share == pytest.approx(remedies.HEADROOM / ratio, rel=0.06)
    hz = number(r"--control-hz ([\d.]+)", text)
    said = []
    artifact = export_policy(policy, target, output=tmp_path, control_hz=hz, say=said.append)
    assert len(said) == 1 and "fits nucleo-g0b1re" in said[0] and f"of {hz:g} Hz (as asked for)" in said[0]
    typical = bench(artifact, control_hz=hz)["figures"]["latency_us"]["value"]
    assert 0.9e6 / (hz + 1) <= typical <= 1e6 / hz


def test_the_rate_is_the_one_asked_for_else_the_policys_else_the_targets(mlp, tmp_path):
    target = load_target("nucleo-g0b1re")
    slow = dataclasses.replace(target, control=dataclasses.replace(target.control, hz=5000.0))
    assert control_rate(mlp(4).contract, slow).origin == "the target's control.hz"
    assert control_rate(mlp(4, control_hz=2.0).contract, slow)[:2] == (2.0, "the policy's own")
    assert control_rate(mlp(4, control_hz=2.0).contract, slow, 3.0)[:2] == (3.0, "as asked for")
    assert "5000 Hz (the target's control.hz)" in str(refusal(mlp(16), slow, tmp_path))
    assert export_policy(mlp(16, control_hz=2.0), slow, output=tmp_path).path.is_dir()
    for wrong in (0.0, -1.0, float("nan"), float("inf"), 1e9):
        with pytest.raises(BadInput, match="control_hz"):
            export_policy(mlp(4), target, output=tmp_path, control_hz=wrong)


def test_a_refusal_leaves_the_earlier_artifact(mlp, tmp_path):
    first = export_policy(mlp(16), load_target("nucleo-g0b1re"), output=tmp_path)
    with pytest.raises(TooSlow):
        export_policy(mlp(32), load_target("nucleo-g0b1re"), output=tmp_path, control_hz=5000)
    assert Artifact.load(first.path).digest == first.digest and len(list(tmp_path.iterdir())) == 1


def test_a_board_without_cycles_is_not_held_to_a_deadline(mlp, tmp_path):
    said = []
    board = dataclasses.replace(load_target("rv32imafc"), cost=None)
    export_policy(mlp(64), board, output=tmp_path, control_hz=50_000, say=said.append)
    assert "the deadline was not checked" in said[0] and "instructions" in said[0]
    cost = Cost(cpi=(1.0, 2.0, 4.0), source="a made-up measurement")
    clocked = dataclasses.replace(board, cost=cost, cpu=dataclasses.replace(board.cpu, clock_hz=1e6))
    text = str(refusal(mlp(64), clocked, tmp_path, control_hz=50_000))
    assert "a made-up measurement" in text
    low, typical, high = (
        number(rf"about {a}", text) for a in (r"[\d,]+ us \(estimated: ([\d,]+)", r"([\d,]+) us", r"[\d,]+ us .*? to ([\d,]+)")
    )
    assert typical == pytest.approx(2 * low, abs=2) and high == pytest.approx(4 * low, abs=4)


def test_without_the_emulator_the_export_says_that_nothing_was_checked(mlp, tmp_path, monkeypatch):
    import importlib

    real = importlib.import_module

    def missing(name, *rest):
        if name.split(".")[0] in ("unicorn", "capstone", "elftools"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", missing)
    said = []
    artifact = export_policy(mlp(64), load_target("nucleo-g0b1re"), output=tmp_path, control_hz=1000, say=said.append)
    assert artifact.path.is_dir()
    assert "were not checked on nucleo-g0b1re" in said[0] and "pilotfish[emulate]" in said[0]


def test_int8_weights_are_not_recommended_to_int8_weights(mlp, tmp_path):
    text = str(refusal(mlp(256, weight_bits=8), with_memory("crazyflie", flash_bytes=4096), tmp_path))
    assert ("int8 weights" not in text and "% of the" in text) or "the board" in text
