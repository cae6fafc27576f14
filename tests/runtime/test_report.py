"""report: what it says follows from the stored results, what is missing is said, and a stranger's text stays text."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.errors import BadInput
from pilotfish.policy import Action, Contract, Normalizer, Observation, Policy, Provenance, Timing
from pilotfish.policy.contract import PassRecord
from pilotfish.policy.layers import GRU, Activation, Linear
from pilotfish.runtime.artifact import Artifact, writing_artifact
from pilotfish.runtime.report import write_report
from pilotfish.runtime.report.html import embedded_json
from pilotfish.runtime.report.numerals import duration, percent, plain, shortened, size
from pilotfish.targets.profile import load_target

pytest.importorskip("plotly")
pytest.importorskip("jinja2")
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
FINGERPRINT = {"name": "test machine", "cpu": "imaginary cpu", "cores": 2, "machine": "x86_64-linux", "load": 0.1}


def policy(
    name: str = "cheetah",
    hidden: int = 64,
    *,
    bits: int = 32,
    sparsity: float = 0.0,
    parent: Policy | None = None,
    kind: str = "continuous",
    recurrent: bool = False,
    **provenance: Any,
) -> Policy:
    """A policy with random weights; ``provenance`` overrides the contract's."""
    rng = np.random.default_rng(hidden)
    weights: dict[str, np.ndarray] = {}
    layers: list[Any] = []

    def dense(label: str, inputs: int, outputs: int) -> None:
        matrix = rng.normal(size=(outputs, inputs)).astype(np.float32)
        matrix[rng.random(matrix.shape) < sparsity] = 0
        if bits == 8:
            scale = np.abs(matrix).max(axis=1) / 127
            weights[f"{label}.weight_scale"] = scale.astype(np.float32)
            matrix = np.round(matrix / scale[:, None]).astype(np.int8)
        weights[f"{label}.weight"] = matrix
        weights[f"{label}.bias"] = rng.normal(size=outputs).astype(np.float32)
        layers.append(Linear(label, inputs, outputs, weight_bits=bits))  # type: ignore[arg-type]

    dense("hidden", 17, hidden)
    layers.append(Activation("tanh"))
    if recurrent:
        layers.append(GRU("memory", hidden, 8))
        for tensor, shape in (("weight_ih", (24, hidden)), ("weight_hh", (24, 8)), ("bias_ih", (24,)), ("bias_hh", (24,))):
            weights[f"memory.{tensor}"] = rng.normal(size=shape).astype(np.float32)
    dense("out", 8 if recurrent else hidden, 6)
    origin = {"source": "trained by Pilotfish PPO", "env": "HalfCheetah-v5", "algorithm": "PPO", "steps": 1_000_000, "seed": 0}
    passes: tuple[PassRecord, ...] = ()
    if parent:
        passes = (
            PassRecord("prune", {"amount": sparsity, "schedule": "cubic"}, {"sparsity": sparsity}),
            PassRecord("quantize", {"bits": bits}, {"weight_bytes": [22_000, 6_000]}),
            PassRecord("heal", {"steps": 30_000}, {"loss_before": 0.31, "loss_after": 0.0042}),
        )
    contract = Contract(
        Observation(17, normalizer=Normalizer((0.1,) * 17, (1.2,) * 17, clip=10.0), units="m, rad, m/s, rad/s"),
        Action(kind, 6, low=() if kind == "discrete" else (-1.0,) * 6, high=() if kind == "discrete" else (1.0,) * 6),  # type: ignore[arg-type]
        timing=Timing(control_hz=20.0),
        provenance=Provenance(
            **(
                origin
                | {"parents": (parent.digest,) if parent else (), "passes": passes, "tools": {"torch": "2.13"}}
                | provenance
            )
        ),
    )
    return Policy(name, contract, tuple(layers), weights)


def build(folder: Path, made: Policy, target: str = "host-cpu", backend: str = "c") -> Artifact:
    """An artifact with a placeholder for the built file."""
    profile = load_target(target)
    path = folder / f"{made.name}-{made.digest[:6]}@{target}.{backend}"
    with writing_artifact(path, made) as (inside, fields):
        (inside / "policy.bin").write_bytes(b"\0" * (made.weight_bytes + 900))
        fields |= {
            "target": profile,
            "backend": backend,
            "precision": made.precision,
            "entry": "policy.bin",
            "native": backend == "c",
            "machine": "any",
            "tools": {"compiler": "cc 14", "flags": "-O3"},
            "sizes": {"weights": made.weight_bytes},
        }
    return Artifact.load(path)


def one(value: float | None, unit: str, source: str = "measured", samples: int = 1, **more: Any) -> dict[str, Any]:
    return {"value": value, "unit": unit, "source": source, "samples": samples, "device": "test machine"} | more


def store_verify(
    artifact: Artifact, *, passed: bool = True, error: float = 3e-7, tolerance: float = 1e-5, discrete: bool = False
) -> None:
    rng = np.random.default_rng(int(artifact.digest[:6], 16))
    figures = {
        "max_abs_error": one(error, "action", samples=1000),
        "one_step_max_abs_error": one(error / 2, "action", samples=1000),
    }
    if discrete:
        figures = {"agreement": one(0.9991, "fraction", samples=1000)}
    artifact.store_result(
        "verify",
        {
            "passed": passed,
            "tolerance": tolerance,
            "steps": 1000,
            "golden_source": "environment",
            "figures": figures,
            "error_by_step": [float(x) for x in error * rng.random(250)],
            "device": FINGERPRINT,
            "date": "2026-01-01T10:00:00+00:00",
        },
    )


def store_bench(
    artifact: Artifact, median_us: float, *, deadline_us: float = 50_000.0, met: bool | None = True, flash: int = 21_000
) -> None:
    data: dict[str, Any] = {"control_hz": 1e6 / deadline_us, "deadline_us": deadline_us, "deadline_met": met}
    data |= {"device": FINGERPRINT, "date": "2026-01-01T10:00:00+00:00", "histograms": {}}
    if artifact.manifest.target.link.kind == "virtual":
        cycles = median_us * 168
        data["figures"] = {
            "instructions": one(round(cycles * 0.8), "instructions", "emulated", 64),
            "cycles": one(
                cycles, "cycles", "estimated", 64, low=cycles * 0.9, high=cycles * 1.2, spread="lo/hi of the cost model"
            ),
            "latency_us": one(
                median_us, "us", "estimated", 64, low=median_us * 0.9, high=median_us * 1.2, spread="lo/hi of the cost model"
            ),
            "flash_bytes": one(flash, "bytes", "emulated"),
            "ram_bytes": one(2_200, "bytes", "emulated"),
        }
    else:
        rng = np.random.default_rng(int(median_us * 100))
        figures = {}
        for mode, slow, number in (("tight", 1.0, 20_000), ("paced", 2.3, 400)):
            sample = median_us * slow * rng.lognormal(0, 0.13, number) + (rng.random(number) < 0.004) * rng.random(number) * 180
            counts, edges = np.histogram(sample, np.geomspace(sample.min() * 0.99, sample.max() * 1.01, 61))
            data["histograms"][mode] = {"edges_us": edges.tolist(), "counts": counts.tolist()}
            for label, share in (("p50", 50), ("p99", 99)):
                figures[f"{mode}_{label}_us"] = one(float(np.percentile(sample, share)), "us", samples=number)
            figures[f"{mode}_p999_us"] = one(
                float(np.percentile(sample, 99.9)) if number > 1000 else None,
                "us",
                samples=number,
                note="" if number > 1000 else "400 decisions do not hold a 99.9th percentile",
            )
            figures[f"{mode}_worst_us"] = one(float(sample.max()), "us", samples=number)
        figures |= {"paced_misses": one(0 if met else 7, "decisions", samples=400), "artifact_bytes": one(flash, "bytes")}
        data["figures"] = figures
    artifact.store_result("bench", data)


def store_evaluate(
    artifact: Artifact, mean: float, reference: float, *, gate: float | None = 0.95, passed: bool | None = True
) -> None:
    rng = np.random.default_rng(int(artifact.digest[:6], 16))
    base = reference + np.random.default_rng(3).normal(0, abs(reference) * 0.01, 20)
    returns = base + (mean - reference) + rng.normal(0, abs(reference) * 0.004, 20)
    gap = returns - base
    bounds = {"spread": "95 % bootstrap interval"}
    spread = 0.012 * abs(reference) / np.sqrt(20)
    artifact.store_result(
        "evaluate",
        {
            "figures": {
                "return": one(
                    float(returns.mean()),
                    "return",
                    samples=20,
                    low=float(returns.mean() - 2 * spread),
                    high=float(returns.mean() + 2 * spread),
                    **bounds,
                ),
                "reference_return": one(float(base.mean()), "return", samples=20),
                "difference": one(
                    float(gap.mean()),
                    "return",
                    samples=20,
                    low=float(gap.mean() - spread),
                    high=float(gap.mean() + spread),
                    **bounds,
                ),
                "retained": one(
                    float(returns.mean() / base.mean()) if reference > 0 else None,
                    "ratio",
                    samples=20,
                    note="" if reference > 0 else "the reference return is not positive",
                ),
            },
            "env": "HalfCheetah-v5",
            "episodes": 20,
            "seeds": list(range(20)),
            "returns": returns.tolist(),
            "reference_returns": base.tolist(),
            "lengths": [1000] * 20,
            "reference": "cheetah",
            "gate": gate,
            "passed": passed,
            "device": FINGERPRINT,
            "date": "2026-01-01T10:00:00+00:00",
        },
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> list[Artifact]:
    """An original and its compressed child on three target and back-end pairs, fully tested."""
    folder = tmp_path_factory.mktemp("dist")
    original = policy()
    small = policy("cheetah-small", 16, bits=8, sparsity=0.5, parent=original)
    made = []
    costs = {
        (original.digest, "onnxruntime"): (6.1, 24_000),
        (original.digest, "c"): (1.4, 11_000),
        (original.digest, "crazyflie"): (310.0, 27_000),
        (small.digest, "onnxruntime"): (9.8, 24_000),
        (small.digest, "c"): (0.6, 4_000),
        (small.digest, "crazyflie"): (95.0, 9_100),
    }
    for each in (original, small):
        for target, backend in (("host-cpu", "onnxruntime"), ("host-cpu", "c"), ("crazyflie", "c")):
            artifact = build(folder, each, target, backend)
            median, flash = costs[each.digest, "crazyflie" if target == "crazyflie" else backend]
            store_verify(artifact, error=2.5e-7 if each is original else 6e-6)
            store_bench(artifact, median, deadline_us=2000.0 if target == "crazyflie" else 50_000.0, flash=flash)
            store_evaluate(artifact, 5892 if each is original else 5790, 5892)
            made.append(artifact)
    return made


def browse(page: Path, folder: Path, width: int = 1280) -> str:
    """The page's DOM after its scripts ran, from a headless Chromium with a window so many pixels wide."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    flags = "--headless --no-sandbox --disable-gpu --disable-background-networking --no-first-run --virtual-time-budget=8000"
    flags += f" --window-size={width},2000"
    command = [CHROMIUM, *flags.split(), f"--user-data-dir={folder / 'chromium'}", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def assert_alive(dom: str) -> None:
    """No script error, every plot has marks in it and shows its texts to their ends, and there is at least one plot."""
    state = dict(re.findall(r'data-([a-z-]+)="([^"]*)"', dom[: dom.index("<head>")]))
    assert state["script-errors"] == "" and state["done"] == "yes" and state["cut"] == "", state
    drawn, wanted = state["plots-ok"].split("/")
    assert drawn == wanted and int(wanted) > 0
    assert dom.count('class="main-svg"') >= int(wanted)


def texts(report: dict[str, Any], key: str) -> str:
    return " ".join(line["text"] for card in report["verdicts"] if card["key"] == key for line in card["sentences"])


def card(report: dict[str, Any], key: str) -> dict[str, Any]:
    return next(card for card in report["verdicts"] if card["key"] == key)


def test_a_full_report_renders_in_a_browser(demo: list[Artifact], tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    report = write_report(demo, page, job={"name": "demo", "seed": 0})
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(report))
    assert_alive(browse(page, tmp_path, width=500))  # as narrow as a telephone: where there is least room for texts


def test_the_page_needs_nothing_else(demo: list[Artifact], tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_report(demo, page)
    text = page.read_text()
    assert not re.search(r'(?:src|href)="(?!#)', text)
    assert "default-src 'none'" in text
    assert page.stat().st_size < 3_000_000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.history.json", "report.html", "report.json"]


def test_verdicts_follow_from_the_results(demo: list[Artifact], tmp_path: Path) -> None:
    report = write_report(demo, tmp_path / "r.html")
    assert [card["mark"] for card in report["verdicts"]] == ["good"] * 4
    assert [policy["role"] for policy in report["policies"]] == ["before", "after"]
    assert "98." in texts(report, "flies") and "gate of 95.0" in texts(report, "flies")
    assert "18 times faster" in texts(report, "in_time") and "estimated" in texts(report, "in_time")
    assert "1\u00a0MiB flash" in texts(report, "fits")
    assert len(report["comparisons"]) == 3


def test_what_did_not_help_is_computed(demo: list[Artifact], tmp_path: Path) -> None:
    report = write_report(demo, tmp_path / "r.html")
    by_place = {setback["where"]: " ".join(setback["texts"]) for setback in report["did_not_help"]}
    runtime = by_place["host-cpu through ONNX Runtime"]
    assert "A decision became slower: 6." in runtime and "did not become smaller" in runtime and "are zero" in runtime
    assert "slower" not in by_place["crazyflie through C"] and "smaller" not in by_place["crazyflie through C"]
    assert "cost return" in by_place["crazyflie through C"]


def test_failures_are_named(tmp_path: Path) -> None:
    made = policy()
    artifact = build(tmp_path, made, "crazyflie")
    store_verify(artifact, passed=False, error=0.2)
    store_bench(artifact, 9_000.0, deadline_us=2000.0, met=False, flash=2_000_000)
    store_evaluate(artifact, 3000, 5892, passed=False)
    report = write_report([artifact], tmp_path / "r.html")
    assert [card["mark"] for card in report["verdicts"]] == ["bad"] * 4
    assert [card["answer"] for card in report["verdicts"]] == ["No"] * 4
    assert "the gate of 95.0\u00a0% is not passed" in texts(report, "flies")
    assert "(190.7\u00a0%)" in texts(report, "fits")


def test_an_original_that_fails_does_not_spoil_the_verdict(tmp_path: Path) -> None:
    original = policy()
    small = policy("small", 16, parent=original)
    artifacts = [build(tmp_path, each, "crazyflie") for each in (original, small)]
    store_bench(artifacts[0], 9_000.0, deadline_us=2000.0, met=False)
    store_bench(artifacts[1], 90.0, deadline_us=2000.0)
    report = write_report(artifacts, tmp_path / "r.html")
    assert card(report, "in_time")["mark"] == "good"
    assert "Before compression, cheetah@crazyflie.c takes" in texts(report, "in_time")


def test_missing_results_are_said_in_words(tmp_path: Path) -> None:
    artifact = build(tmp_path, policy(env=None), "crazyflie")
    page = tmp_path / "r.html"
    report = write_report([artifact], page)
    assert [card["mark"] for card in report["verdicts"]] == ["open"] * 4
    text = html.unescape(page.read_text())
    for words in (
        "names no environment",
        "has not been measured yet",
        "has not been compared",
        "is not known yet",
        "Neither verified, benched nor evaluated yet",
        "nothing can be said",
    ):
        assert words in text, words
    assert report["did_not_help"] == [] and report["comparisons"] == []


@pytest.mark.parametrize(
    ("target", "words"), [("host-cpu", "this process"), ("raspberry-pi-5", "SSH"), ("crazyflie", "a virtual board")]
)
def test_how_the_device_is_reached_is_said(tmp_path: Path, target: str, words: str) -> None:
    page = tmp_path / "r.html"
    write_report([build(tmp_path, policy(), target)], page)
    assert re.search(rf"Reached by</\w+>\s*<\w+>(<\w+>)?{words}", html.unescape(page.read_text()))


def test_discrete_recurrent_negative_and_twelve_artifacts(tmp_path: Path) -> None:
    artifacts = []
    for number in range(6):
        made = policy(f"p{number}", 8 + number, kind="discrete" if number % 2 else "continuous", recurrent=number % 3 == 0)
        for backend in ("c", "onnxruntime"):
            artifact = build(tmp_path, made, "host-cpu", backend)
            store_verify(artifact, discrete=bool(number % 2))
            store_bench(artifact, 1.0 + number, met=number != 5)
            store_evaluate(artifact, -5.0 - number, -4.0, gate=0.9 if number == 1 else None, passed=number != 1)
            artifacts.append(artifact)
    page = tmp_path / "r.html"
    report = write_report(artifacts, page)
    assert len(report["artifacts"]) == 12 and len({entry["label"] for entry in report["artifacts"]}) == 12
    assert card(report, "flies")["mark"] == "bad" and "%" not in report["artifacts"][0]["verdicts"]["flies"]["short"]
    assert card(report, "in_time")["answer"] == "Not everywhere"
    assert any("GRU 8" in entry["layers"] for entry in report["policies"])
    assert "choices, the most likely one is taken" in page.read_text()
    assert_alive(browse(page, tmp_path))


def test_a_percentile_without_support_is_a_dash_with_its_reason(demo: list[Artifact], tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    write_report(demo, page)
    row = re.search(r"Response, 99\.9th percentile, paced.*?</tr>", page.read_text(), re.S)
    assert row and 'title="400 decisions do not hold a 99.9th percentile">—</td>' in row.group()


def test_sources_are_never_mixed_silently(tmp_path: Path) -> None:
    original = policy()
    small = policy("small", 16, parent=original)
    artifacts = [build(tmp_path, each, "crazyflie") for each in (original, small)]
    for artifact in artifacts:
        store_bench(artifact, 100.0, deadline_us=2000.0)
    data = artifacts[1].result("bench")
    assert data
    data["figures"]["latency_us"]["source"] = "measured"
    artifacts[1].store_result("bench", data)
    report = write_report(artifacts, tmp_path / "r.html")
    change = next(change for change in report["comparisons"][0]["changes"] if change["metric"] == "latency")
    assert change["effect"] == "unclear" and change["why"] == "estimated against measured"
    text = (tmp_path / "r.html").read_text()
    assert "latency measured" in text and "latency estimated" in text


HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">{{7*7}}"


def test_a_strangers_text_stays_text(tmp_path: Path) -> None:
    made = policy("plain", env=HOSTILE, notes=(HOSTILE,), source=HOSTILE, tools={HOSTILE: HOSTILE})
    made = made.replace(
        contract=dataclasses.replace(made.contract, observation=dataclasses.replace(made.contract.observation, units=HOSTILE))
    )
    artifact = build(tmp_path / "dist", made)
    renamed = Artifact(
        artifact.path, dataclasses.replace(artifact.manifest, name=HOSTILE, tools={HOSTILE: HOSTILE}), artifact.digest
    )
    store_verify(artifact)
    store_bench(artifact, 2.0)
    store_evaluate(artifact, 100, 101)
    for name in ("verify", "bench", "evaluate"):
        data = artifact.result(name)
        assert data
        for one_figure in data["figures"].values():
            one_figure |= {"note": HOSTILE, "unit": HOSTILE, "device": HOSTILE, "spread": HOSTILE}
        data |= {
            "env": HOSTILE,
            "reference": HOSTILE,
            "golden_source": HOSTILE,
            "device": {HOSTILE: HOSTILE},
            "failures": [HOSTILE],
        }
        artifact.store_result(name, data)
    page = tmp_path / "r.html"
    write_report([renamed], page, title=HOSTILE, job={HOSTILE: HOSTILE})
    text = page.read_text()
    assert text.count("<script") == 4 and text.count("</script") == 4
    assert "<img" not in text and "{{7*7}}" in text
    assert "\\u0026lt;/script\\u0026gt;" in text, "names are escaped for Plotly, which reads a little markup"
    dom = browse(page, tmp_path)
    assert_alive(dom)
    assert "<title>owned" not in dom and "<img" not in dom


def test_a_bare_report_renders_and_an_injected_script_is_blocked(tmp_path: Path) -> None:
    """Second line of defense: the page names its own two scripts by hash, and nothing else runs."""
    artifact = build(tmp_path, policy())
    store_verify(artifact)
    page = tmp_path / "r.html"
    write_report([artifact], page)
    page.write_text(page.read_text().replace("</body>", "<script>document.title='owned'</script></body>"))
    dom = browse(page, tmp_path)
    assert "<title>owned" not in dom
    blocked = 'data-script-errors="blocked script-src-elem inline"'
    assert blocked in dom
    assert_alive(dom.replace(blocked, 'data-script-errors=""'))


def test_commands_survive_a_paste(tmp_path: Path) -> None:
    artifact = build(tmp_path / "a folder; $(touch x)", policy())
    store_evaluate(artifact, 100, 101)
    data = artifact.result("evaluate")
    assert data
    artifact.store_result("evaluate", data | {"env": "X'; touch y #"})
    commands = write_report([artifact], tmp_path / "r.html")["artifacts"][0]["commands"]
    words = [shlex.split(line) for line in commands]
    assert all(line[0] == "pilotfish" for line in words)
    assert words[-1][2].startswith("a folder; $(touch x)/") and words[-1][3] == "--env=X'; touch y #"


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("bench", {"figures": {"tight_p50_us": {"value": "fast", "unit": "us", "source": "measured"}}}, "figures.tight_p50_us"),
        ("bench", {"figures": {"tight_p50_us": {"value": 1.0, "unit": "us", "source": "guessed"}}}, "source"),
        ("bench", {"histograms": {"tight": {"edges_us": [1.0, 2.0], "counts": [1, 2]}}}, "2 edges for 2 counts"),
        ("evaluate", {"returns": [1.0], "reference_returns": [1.0, 2.0]}, "1 returns for 2 reference returns"),
        ("verify", {"passed": "perhaps"}, "passed"),
    ],
)
def test_a_malformed_result_is_refused_and_the_earlier_report_stays(tmp_path: Path, name: str, spoil: dict, words: str) -> None:
    artifact = build(tmp_path, policy())
    page = tmp_path / "r.html"
    write_report([artifact], page)
    before = page.read_bytes()
    artifact.store_result(name, spoil)
    with pytest.raises(BadInput, match=re.escape(words)) as caught:
        write_report([artifact], page)
    assert f"Run pilotfish {name}" in str(caught.value)
    assert page.read_bytes() == before


def test_infinite_figures_are_refused(tmp_path: Path) -> None:
    artifact = build(tmp_path, policy())
    path = artifact.store_result("bench", {"figures": {"tight_p50_us": one(1.5, "us")}})
    path.write_text(path.read_text().replace("1.5", "Infinity"))
    with pytest.raises(BadInput, match="not a finite number"):
        write_report([artifact], tmp_path / "r.html")


def test_wrong_use_is_explained(demo: list[Artifact], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="at least one artifact"):
        write_report([], tmp_path / "r.html")
    with pytest.raises(BadInput, match=r"ends in \.html"):
        write_report(demo, tmp_path / "r.json")
    with pytest.raises(BadInput, match="settings that JSON can hold"):
        write_report(demo, tmp_path / "r.html", job={"path": tmp_path})


def test_one_artifact_twice_counts_once(demo: list[Artifact], tmp_path: Path) -> None:
    assert len(write_report([demo[0], demo[0]], tmp_path / "r.html")["artifacts"]) == 1


@given(st.recursive(st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), lambda inner: st.lists(inner)
                    | st.dictionaries(st.text(), inner)))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_embedded_json_is_json_without_markup(value: Any) -> None:
    text = embedded_json(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
@settings(max_examples=200, deadline=None)
def test_numbers_read_back_close_to_what_they_were(value: float) -> None:
    text = plain(value).replace("\u2212", "-").replace(",", "").replace("\u00a0\u00d7\u00a010", "e")
    back = float(text.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")))
    assert back == pytest.approx(value, rel=6e-3, abs=0.0)


def test_numbers_for_people() -> None:
    found = [size(812), size(21_504), size(1 << 20), size(None), duration(0.6), duration(42.31), duration(50_000), duration(0)]
    assert [text.replace("\u00a0", " ") for text in found] == [
        "812 bytes", "21 KiB", "1 MiB", "—", "600 ns", "42.3 µs", "50 ms", "0 µs",
    ]  # fmt: skip
    assert percent(-0.0123, signed=True) == "\u22121.2\u00a0%" and percent(0.0, signed=True) == "±0.0\u00a0%"
    assert len(shortened("x" * 500, 40)) == 40 and shortened("short") == "short"
