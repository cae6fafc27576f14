"""The shelf: float students that an arm has taught, so that a candidate which differs only in what follows needs no new one.

Bits, zeros, ranks and back-ends come after the lessons of the float student. What another candidate of the same arm was taught is
taken from the folder of the search, whichever process taught it; arms do not share, as they are compared at equal cost.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import sealed
from ...policy import Policy
from .genome import Genome

STUDENTS = "students"
"""Folder inside that of the search."""


@dataclass(frozen=True, eq=False)
class Taught:
    """A float student after its lessons."""

    policy: Policy
    rungs: tuple[float, ...]
    """What it kept of the teacher's return after each lesson."""
    glanced: np.ndarray
    """float64 [episodes]: the returns behind the last of them."""


class Shelf:
    """Students by the part of the genome that they share; without a folder, none is kept."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def take(self, genome: Genome) -> Taught | None:
        """The student that was taught for a genome of this shape, if any."""
        if self.folder is None or not self._note(genome).exists():
            return None
        note = sealed.read_json(self._note(genome), "what a student of a search kept")
        return Taught(Policy.load(self.folder / note["policy"]), tuple(note["rungs"]), np.array(note["returns"], np.float64))

    def before(self, genome: Genome) -> tuple[int, Taught | None]:
        """(second lessons, student) of the shelf's student of this shape that had most of them, but not more than are wanted; 0
        and None where there is none."""
        for studies in range(genome.studies, 0, -1):
            if found := self.take(dataclasses.replace(genome, studies=studies)):
                return studies, found
        return 0, None

    def put(self, genome: Genome, taught: Taught) -> None:
        """Keep a student. Of two processes that teach the same shape at once, the later one's stays, its note with it."""
        if self.folder is None:
            return
        bundle = taught.policy.save(self.folder / f"{self._note(genome).stem}-{os.getpid()}.policy")
        note = {"shape": genome.shape, "policy": bundle.name, "rungs": taught.rungs, "returns": taught.glanced.tolist()}
        sealed.write_atomic(self._note(genome), json.dumps(note))

    def _note(self, genome: Genome) -> Path:
        assert self.folder is not None
        return self.folder / f"{sealed.sha256_bytes(genome.shape.encode())[:16]}.json"
