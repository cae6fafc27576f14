"""Plots: what is written over one stays inside it, whatever its place and length; earlier runs as a picture."""

from __future__ import annotations

import html
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish.runtime.report import data
from pilotfish.runtime.report.canvas import LETTER, LINE_LETTERS, NARROW, names, over, with_deadline
from pilotfish.runtime.report.trend import HEIGHT, WIDTH, trend

go = pytest.importorskip("plotly.graph_objects")
WORDS = st.lists(st.text("abcdefghij0123456789", min_size=1, max_size=LINE_LETTERS), min_size=1, max_size=12).map(" ".join)


def reach(annotation, share: float) -> tuple[float, float]:
    """Where a text begins and ends across the narrowest plot, in pixels."""
    width = max(map(len, annotation.text.split("<br>"))) * LETTER
    middle = {"right": NARROW - width / 2, "left": width / 2}.get(annotation.xanchor, share * NARROW)
    return middle - width / 2, middle + width / 2


@given(WORDS, st.floats(0, 1), st.booleans())
def test_a_text_over_a_plot_is_never_cut(text: str, share: float, at_the_edge: bool) -> None:
    fig = go.Figure()
    over(fig, text, None if at_the_edge else share, share, "#000000")
    (annotation,) = fig.layout.annotations
    left, right = reach(annotation, share)
    assert left >= -1e-6 and right <= NARROW + 1e-6
    assert annotation.text.replace("<br>", " ") == text
    lines = annotation.text.count("<br>") + 1
    assert lines == 1 or fig.layout.margin.t >= 16 * lines  # there is room above the plot for all of them


def test_a_deadline_at_the_right_end_is_written_to_its_left() -> None:
    fig = go.Figure()
    left, right = with_deadline(fig, 50_000.0, 0.1, 5_000.0, 5_000.0)
    (annotation,), (line,) = fig.layout.annotations, fig.layout.shapes
    assert (annotation.x, annotation.xref, annotation.xanchor) == (1, "paper", "right") and "50" in annotation.text
    assert line.x0 == 50_000.0 and left < right == pytest.approx(4.949, abs=1e-3)
    assert annotation.text.startswith("deadline") and "ms" in annotation.text


POINT = st.fixed_dictionaries(
    {
        "value": st.floats(-1e9, 1e9),
        "mark": st.sampled_from(["bad", "good", "none"]),
        "text": st.text('<&"x '),
        "date": st.just("d"),
    }
)


@given(st.lists(POINT, max_size=30))
def test_earlier_runs_are_drawn_inside_their_picture(points: list[dict]) -> None:
    drawn = trend(points)
    if len(points) < 3:
        assert drawn == ""
        return
    root = ElementTree.fromstring(drawn)
    line = [tuple(map(float, pair.split(","))) for pair in root.find("polyline").get("points").split()]
    assert len(line) == len(points) and all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in line)
    marked = [circle.get("class") for circle in root.iter("circle")]
    assert marked == [each["mark"] for each in points[:-1] if each["mark"] != "none"] + [points[-1]["mark"]]
    order = sorted(range(len(points)), key=lambda k: points[k]["value"])
    assert all(line[a][1] >= line[b][1] for a, b in pairwise(order))  # larger is higher
    assert html.escape(points[-1]["text"]) in drawn


def test_artifacts_of_one_name_have_rows_of_their_own() -> None:
    entry = {"name": "p", "backend_name": "C", "precision": "int8"}
    told = names([entry | {"label": "p@x.c (one)"}, entry | {"label": "p@x.c (two)"}, entry | {"name": "q", "label": "q@x.c"}])
    assert told == ["p@x.c (one)", "p@x.c (two)", "q · C int8"]


def test_a_label_says_only_what_tells_artifacts_apart() -> None:
    entry = {"name": "p", "target": {"name": "x"}, "backend": "c", "precision": "int8"}
    assert data._labels([entry | {"path": "one"}, entry | {"path": "two"}]) == ["p@x.c (one)", "p@x.c (two)"]
    assert data._labels([entry | {"path": "one"}, entry | {"path": "two", "precision": "fp32"}]) == [
        "p@x.c (int8)",
        "p@x.c (fp32)",
    ]
