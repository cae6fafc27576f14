"""The command line as a stranger meets it: one clear line, the right exit code, no traceback, nothing lost."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pilotfish.cli import main
from pilotfish.policy import Action, Contract, Golden, Observation, Policy, Provenance
from pilotfish.policy.layers import Activation, Linear

JOB = """
name = "pole"
output = "{output}"
[train]
env = "CartPole-v1"
algorithm = "ppo"
steps = {steps}
hidden = [8]
[[export]]
target = "host-cpu"
backend = "onnxruntime"
[bench]
calls = 200
paced_seconds = 0.05
[evaluate]
episodes = 2
"""


def tiny_policy(name: str = "tiny", env: str | None = "CartPole-v1") -> Policy:
    """A random CartPole policy with a golden rollout made by the numpy reference."""
    from pilotfish.policy.reference import Reference

    rng = np.random.default_rng(0)
    weights = {
        "a.weight": rng.normal(size=(8, 4)).astype(np.float32),
        "a.bias": rng.normal(size=8).astype(np.float32),
        "b.weight": rng.normal(size=(2, 8)).astype(np.float32),
        "b.bias": rng.normal(size=2).astype(np.float32),
    }
    contract = Contract(Observation(4), Action("discrete", 2), provenance=Provenance(env=env))
    policy = Policy(name, contract, (Linear("a", 4, 8), Activation("tanh"), Linear("b", 8, 2)), weights)
    obs = rng.normal(size=(64, 4)).astype(np.float32)
    reference = Reference(policy)
    action = np.stack([reference.act(o) for o in obs])
    start = np.arange(64) == 0
    return policy.replace(golden=Golden(obs, action, np.zeros((64, 0), np.float32), start, "random observations"))


def fails(capsys: pytest.CaptureFixture[str], code: int, *arguments: str | Path) -> str:
    """Run the CLI, expect this exit code and exactly one line on standard error; return it."""
    assert main([str(a) for a in arguments]) == code
    error = capsys.readouterr().err
    assert "Traceback" not in error
    lines = [line for line in error.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("error: "), error
    return lines[0]


@pytest.mark.parametrize("verb", ["verify", "bench", "evaluate", "report"])
def test_a_missing_artifact(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = fails(capsys, 2, verb, tmp_path / "nothing@host-cpu.c")
    assert "expected an artifact" in line and "nothing there" in line


def test_a_missing_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "pilotfish train" in fails(capsys, 2, "export", tmp_path / "no.policy", "-t", "host-cpu")


def test_an_unknown_target_suggests_the_near_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tiny_policy().save(tmp_path / "tiny.policy")
    assert "Did you mean 'crazyflie'?" in fails(capsys, 2, "export", bundle, "-t", "crazyfly")


def test_an_export_that_its_board_refuses_is_a_failed_gate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("onnx", "ziglang", "unicorn", "capstone", "elftools"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    bundle, dist = tiny_policy().save(tmp_path / "tiny.policy"), tmp_path / "dist"
    line = fails(capsys, 1, "export", bundle, "-t", "nucleo-g0b1re", "-o", dist, "--control-hz", "90000")
    assert "tiny is too slow for nucleo-g0b1re" in line and "--control-hz" in line.partition("What would help")[2]
    assert not list(dist.iterdir())
    assert main(["export", str(bundle), "-t", "nucleo-g0b1re", "-o", str(dist), "--control-hz", "1"]) == 0
    assert "fits nucleo-g0b1re" in " ".join(capsys.readouterr().err.split())


def test_an_unknown_verb_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert "export" in fails(capsys, 2, "exprt")
    assert "--calls" in fails(capsys, 2, "bench", "x", "--call", "3")


def test_a_checkpoint_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "model.zip"
    assert "no such file" in fails(capsys, 2, "adopt", path)
    path.write_bytes(b"PK\x03\x04 and then it broke off")
    fails(capsys, 2, "adopt", path)
    path.write_bytes(b"\x00\x01garbage")
    fails(capsys, 2, "adopt", path)


def test_a_misspelt_key_in_a_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "job.toml"
    text = JOB.format(output=tmp_path / "run", steps=256)
    path.write_text(text.replace("[evaluate]\nepisodes", "[evaluate]\nepisode"))
    assert "episodes" in fails(capsys, 2, "run", path)
    path.write_text(text.replace("hidden", "hiden"))
    assert "hidden" in fails(capsys, 2, "run", path)
    path.write_text(text.replace("CartPole-v1", "CartPoel-v1"))
    assert "CartPole-v1" in fails(capsys, 2, "run", path)
    path.write_text(text.replace("steps = 256", "steps = = 3"))
    assert "TOML" in fails(capsys, 2, "run", path)
    path.write_text(text + '\n[[compress]]\npass = "proone"\n')
    assert "prune" in fails(capsys, 2, "run", path)
    assert not (tmp_path / "run" / "train").exists(), "training began before the job was checked"


def test_a_damaged_bundle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tiny_policy().save(tmp_path / "tiny.policy")
    weights = bundle / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert "sha256" in fails(capsys, 2, "export", bundle, "-t", "host-cpu")


def test_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    bundle = tiny_policy().save(tmp_path / "tiny.policy")
    assert main(["export", str(bundle), "-t", "host-cpu", "-o", str(tmp_path / "dist")]) == 0
    before = {p: p.read_bytes() for p in (tmp_path / "dist").rglob("*") if p.is_file()}
    capsys.readouterr()

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    line = fails(capsys, 2, "export", bundle, "-t", "host-cpu", "-o", tmp_path / "dist")
    assert "no space left" in line
    assert {p: p.read_bytes() for p in (tmp_path / "dist").rglob("*") if p.is_file()} == before


def test_export_verify_evaluate_report_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("onnxruntime", "gymnasium", "jinja2", "plotly"):
        pytest.importorskip(package)
    bundle = tiny_policy().save(tmp_path / "tiny.policy")
    assert main(["export", str(bundle), "-t", "host-cpu", "-o", str(tmp_path / "dist"), "--json"]) == 0
    (built,) = json.loads(capsys.readouterr().out)
    for verb, extra in (
        ("verify", []),
        ("bench", ["--calls", "200", "--paced-seconds", "0.05"]),
        ("evaluate", ["--episodes", "2"]),
        (
            "evaluate",
            ["--episodes", "2", "--fas", "--observation-delay", "1", "--latency", built["artifact"]],
        ),
    ):
        assert main([verb, built["artifact"], "--json", *extra]) == 0
        outcome = json.loads(capsys.readouterr().out)
        assert outcome["figures"] and all({"value", "unit", "source"} <= set(f) for f in outcome["figures"].values())
    assert outcome["scene"].startswith("CartPole-v1, observations 1 steps late, actions ") and len(outcome["frequencies"]) == 16
    assert main(["report", built["artifact"], "-o", str(tmp_path / "r.html")]) == 0
    assert "Return, frequency-averaged" in (tmp_path / "r.html").read_text()
    assert (tmp_path / "r.html").stat().st_size > 10_000 and json.loads((tmp_path / "r.json").read_text())


def test_fast_activations_are_asked_for_recorded_and_judged_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tiny_policy().save(tmp_path / "tiny.policy")
    arguments = ["export", str(bundle), "-t", "host-cpu", "--backend", "c", "-o", str(tmp_path / "dist"), "--json"]
    line = fails(capsys, 2, *arguments, "--accuracy", "quick")
    assert "exact or fast" in line
    assert main([*arguments, "--accuracy", "fast"]) == 0
    (built,) = json.loads(capsys.readouterr().out)
    manifest = json.loads((Path(built["artifact"]) / "artifact.json").read_text())
    assert manifest["tools"]["accuracy"] == manifest["target"]["compile"]["accuracy"] == "fast"
    assert "fast variant" in (Path(built["artifact"]) / "policy.c").read_text()
    assert main(["verify", built["artifact"], "--json"]) == 0
    assert "99%" in json.loads(capsys.readouterr().out)["rule"]


def test_a_failed_gate_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("onnxruntime", "gymnasium"):
        pytest.importorskip(package)
    bundle = tiny_policy().save(tmp_path / "tiny.policy")
    # A reference that balances better than the artifact's random policy: push the way the pole leans.
    better = tiny_policy("better")
    weights = better.weights | {"a.weight": np.zeros((8, 4), np.float32), "b.weight": np.zeros((2, 8), np.float32)}
    weights["a.weight"][0] = [0.0, 0.0, 5.0, 1.0]
    weights["a.bias"], weights["b.bias"] = np.zeros(8, np.float32), np.zeros(2, np.float32)
    weights["b.weight"][1, 0] = 1.0
    reference = better.replace(weights=weights).save(tmp_path / "better.policy")
    assert main(["export", str(bundle), "-t", "host-cpu", "-o", str(tmp_path / "dist")]) == 0
    artifact = tmp_path / "dist" / "tiny@host-cpu.onnxruntime"
    arguments = ["evaluate", str(artifact), "--reference", str(reference), "--gate", "0.99", "--episodes", "3", "--json"]
    assert main(arguments) == 1
    assert "gate" in capsys.readouterr().err


def test_help_of_every_verb_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("run", "train", "adopt", "compress", "export", "verify", "bench", "evaluate", "report", "doctor"):
        assert main([verb, "--help"]) == 0
        assert f"pilotfish {verb}" in capsys.readouterr().out.split("Example", 1)[1]
    for verb in ("list", "show", "check"):
        assert main(["targets", verb, "--help"]) == 0
        assert f"pilotfish targets {verb}" in capsys.readouterr().out.split("Example", 1)[1]


def test_targets_show_prints_a_profile_that_can_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets", "show", "crazyflie"]) == 0
    copy = tmp_path / "mine.toml"
    copy.write_text(capsys.readouterr().out)
    assert main(["targets", "show", str(copy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "crazyflie"


def test_doctor_is_json_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    assert {"python", "torch", "gcc"} <= {finding["name"] for finding in json.loads(capsys.readouterr().out)}


def test_ctrl_c_while_training_says_so_and_the_next_run_goes_on(tmp_path: Path) -> None:
    for package in ("torch", "onnxruntime", "gymnasium"):
        pytest.importorskip(package)
    path = tmp_path / "job.toml"
    path.write_text(JOB.format(output=tmp_path / "run", steps=20_000))
    command = [sys.executable, "-m", "pilotfish.cli", "run", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "train").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2, error
    assert "Traceback" not in error and "interrupted" in error.splitlines()[-1]
    path.write_text(JOB.format(output=tmp_path / "run", steps=20_000))
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").exists()
