"""Films of artifacts in the report: read, checked, and carried inside the page."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from ... import sealed
from ...errors import BadInput
from ...targets.profile import validated
from ..artifact import RESULTS, Artifact
from ..film import FILM, MAX_BYTES
from .results import LENIENT, Figures


@dataclass(frozen=True, config=LENIENT)
class Film:
    """What results/film.json says of the film beside it."""

    env: str
    """Environment, and the delays in it."""
    seed: int
    """Of the episode."""
    chosen: str
    """Why this episode."""
    decisions: int
    """Length of the whole episode."""
    episode_s: float
    """The same in simulated seconds."""
    shown_s: float
    """Simulated seconds that the film shows, at their own pace."""
    sha256: str
    """Of the film."""
    figures: Figures = Field(default_factory=dict)
    """The episode's return."""
    evaluated_return: float | None = None
    """What the evaluation had for this seed; None: it did not fly it."""
    width: Annotated[int, Field(gt=0, le=4096)] = 320
    """Pixels."""
    height: Annotated[int, Field(gt=0, le=4096)] = 240
    """Pixels."""


_FILM: TypeAdapter[Film] = TypeAdapter(Film)


def read_film(artifact: Artifact) -> dict[str, Any] | None:
    """What the page says about the artifact's film, without the film; None: there is none of this build.

    Raises BadInput for a film that is not the one that its description was written for.
    """
    stored = artifact.result("film")
    if stored is None:
        return None
    path = artifact.path / RESULTS / FILM
    made = validated(_FILM, stored, artifact.path / RESULTS / "film.json")
    content = _content(path)
    if sealed.sha256_bytes(content) != made.sha256:
        raise BadInput(path, expected="the film that film.json describes", found="another", repair="pilotfish evaluate --video")
    figure = made.figures.get("return")
    total = None if figure is None else figure.value
    return {
        "env": made.env,
        "seed": made.seed,
        "chosen": made.chosen,
        "return": total,
        "source": None if figure is None else figure.source,
        "as_evaluated": _agrees(total, made.evaluated_return),
        "evaluated_return": made.evaluated_return,
        "decisions": made.decisions,
        "episode_s": made.episode_s,
        "shown_s": made.shown_s,
        "width": made.width,
        "height": made.height,
    }


def _agrees(total: float | None, evaluated: float | None) -> bool | None:
    """Whether the filmed episode returned what the evaluated one did; None: nothing to compare."""
    return None if total is None or evaluated is None else math.isclose(total, evaluated, rel_tol=1e-6, abs_tol=1e-9)


def data_uri(folder: Path) -> str:
    """The film of the artifact in ``folder`` as text that an image element takes."""
    return "data:image/webp;base64," + base64.b64encode(_content(folder / RESULTS / FILM)).decode()


def _content(path: Path) -> bytes:
    if not path.is_file() or not 0 < path.stat().st_size <= MAX_BYTES:
        raise BadInput(path, expected=f"a film of at most {MAX_BYTES:,} bytes", found="none, or a larger file")
    content = path.read_bytes()
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP":
        raise BadInput(path, expected="a WebP image", found="something else", repair="pilotfish evaluate --video")
    return content
