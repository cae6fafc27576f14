"""report, the page: it renders alone, a stranger's text stays text, and its commands can be pasted."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.runtime.artifact import Artifact
from pilotfish.runtime.report import write_report
from pilotfish.runtime.report.html import embedded_json

pytest.importorskip("plotly")
pytest.importorskip("jinja2")


def test_a_full_report_renders_in_a_browser(shelf: SimpleNamespace, demo: list[Artifact], tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    report = write_report(demo, page, job={"name": "demo", "seed": 0})
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(report))
    shelf.assert_alive(shelf.browse(page, tmp_path, width=500))  # as narrow as a telephone: where there is least room for texts


def test_the_page_needs_nothing_else(demo: list[Artifact], tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_report(demo, page)
    text = page.read_text()
    assert not re.search(r'(?:src|href)="(?!#)', text)
    assert "default-src 'none'" in text
    assert page.stat().st_size < 3_000_000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.history.json", "report.html", "report.json"]


HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">{{7*7}}"


def test_a_strangers_text_stays_text(shelf: SimpleNamespace, tmp_path: Path) -> None:
    made = shelf.policy("plain", env=HOSTILE, notes=(HOSTILE,), source=HOSTILE, tools={HOSTILE: HOSTILE})
    made = made.replace(
        contract=dataclasses.replace(made.contract, observation=dataclasses.replace(made.contract.observation, units=HOSTILE))
    )
    artifact = shelf.build(tmp_path / "dist", made)
    renamed = Artifact(
        artifact.path, dataclasses.replace(artifact.manifest, name=HOSTILE, tools={HOSTILE: HOSTILE}), artifact.digest
    )
    shelf.store_verify(artifact)
    shelf.store_bench(artifact, 2.0)
    shelf.store_evaluate(artifact, 100, 101)
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
    dom = shelf.browse(page, tmp_path)
    shelf.assert_alive(dom)
    assert "<title>owned" not in dom and "<img" not in dom


def test_a_bare_report_renders_and_an_injected_script_is_blocked(shelf: SimpleNamespace, tmp_path: Path) -> None:
    """Second line of defense: the page names its own two scripts by hash, and nothing else runs."""
    artifact = shelf.build(tmp_path, shelf.policy())
    shelf.store_verify(artifact)
    page = tmp_path / "r.html"
    write_report([artifact], page)
    page.write_text(page.read_text().replace("</body>", "<script>document.title='owned'</script></body>"))
    dom = shelf.browse(page, tmp_path)
    assert "<title>owned" not in dom
    blocked = 'data-script-errors="blocked script-src-elem inline"'
    assert blocked in dom
    shelf.assert_alive(dom.replace(blocked, 'data-script-errors=""'))


def test_commands_survive_a_paste(shelf: SimpleNamespace, tmp_path: Path) -> None:
    artifact = shelf.build(tmp_path / "a folder; $(touch x)", shelf.policy())
    shelf.store_evaluate(artifact, 100, 101)
    data = artifact.result("evaluate")
    assert data
    artifact.store_result("evaluate", data | {"env": "X'; touch y #"})
    commands = write_report([artifact], tmp_path / "r.html")["artifacts"][0]["commands"]
    words = [shlex.split(line) for line in commands]
    assert all(line[0] == "pilotfish" for line in words)
    assert words[-1][2].startswith("a folder; $(touch x)/") and words[-1][3] == "--env=X'; touch y #"


def test_one_artifact_twice_counts_once(demo: list[Artifact], tmp_path: Path) -> None:
    assert len(write_report([demo[0], demo[0]], tmp_path / "r.html")["artifacts"]) == 1


@given(st.recursive(st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), lambda inner: st.lists(inner)
                    | st.dictionaries(st.text(), inner)))  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_embedded_json_is_json_without_markup(value: Any) -> None:
    text = embedded_json(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)
