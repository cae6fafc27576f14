"""Who goes no further: successive halving without rounds, by what others of the same arm kept after the same lesson."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .study import Study
from .trial import Stops

PATIENCE = 2
"""Others that make a candidate hopeless."""
HOPE = 0.75
"""Of the share of the return above which the hypervolume counts. Of 22 candidates of a search for HalfCheetah none had gained
more than 1 % between its last float lesson and its end."""
TAUGHT = 2
"""Lessons of a float student."""


@dataclass(frozen=True)
class Peer:
    """One that went all the way."""

    shape: str
    """Of its float student, however many lessons it had: what was made of one student is one witness of what students keep."""
    kept: tuple[float, ...]
    """Share of the return after each lesson, and in the end."""
    cost: float


def peers(study: Study, arm: str) -> list[Peer]:
    """Those of an arm that went all the way: what others promised after a lesson may have come to nothing."""
    return [
        Peer(replace(one.genome, studies=1).shape, (*one.rungs, one.kept), one.cost)
        for one in study.outcomes(arm)
        if one.state == "done" and one.kept is not None and one.cost is not None
    ]


def hopeless(seen: list[Peer], floor: float, rung: int, kept: float, cost: float) -> str:
    """Why a candidate goes no further; empty: it goes on.

    :data:`PATIENCE` others of its arm, none dearer, kept more after the same lesson; after the first one, in the end, too, as a
    taught student loses by what follows. As long as it is a float student, others of one and the same student count once. And a
    taught student must keep at least :data:`HOPE` of the ``floor`` that counts.
    """
    ahead = [peer.shape for peer in seen if (peer.kept[0] if rung == 0 else min(peer.kept[rung:])) > kept and peer.cost <= cost]
    better = len(set(ahead) if rung < TAUGHT else ahead)
    if better >= PATIENCE:
        return f"{better} others that cost no more kept more after lesson {rung + 1}"
    return f"it kept {kept:.1%} after lesson {rung + 1}" if rung and kept < HOPE * floor else ""


def stops(study: Study, arm: str) -> Stops:
    """:func:`hopeless` by what the arm knows when it is asked."""
    return lambda rung, kept, cost: hopeless(peers(study, arm), study.floor, rung, kept, cost)
