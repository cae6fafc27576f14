"""What the architectures of a trained family return, and what those that are worth a look cost on the target."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...effects import cost
from ..front import dominates

if TYPE_CHECKING:
    from ....policy.scene import Scene
    from ....targets import Target
    from ....train.one_shot.family import Member
    from ....train.one_shot.trained import Trained

JUDGING = 0x0E5
"""The stream of seeds of the episodes that choose; the proof of the front has others."""
PATIENCE = 3
"""So many with no more weights and no lower return make it not worth building an architecture."""
SURVEY = "survey.jsonl"


@dataclass
class Surveyed:
    """One architecture."""

    hidden: tuple[int, ...]
    activation: str
    weights: int
    """Entries of all matrices and biases."""
    returns: list[float]
    """As the hypernetwork gives it, one per episode."""
    costs: dict[str, Any] = field(default_factory=dict)
    """Figures of its artifact on the target as JSON; empty: not worth building."""

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def cost(self) -> float | None:
        """Microseconds of one decision."""
        figure = self.costs.get("latency_us")
        return None if figure is None else float(figure["value"])

    @property
    def name(self) -> str:
        """Such as 16x8-tanh."""
        return "x".join(map(str, self.hidden)) + f"-{self.activation}"

    def member(self) -> Member:
        """As the family knows it."""
        from ....train.one_shot.family import Member

        return Member(self.hidden, self.activation)

    def data(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@contextmanager
def flights(scene: str | Scene, seed: int, episodes: int) -> Iterator[Callable[[Any], np.ndarray]]:
    """policy -> its returns in the episodes that choose, float64 [episodes]: the same for every policy."""
    from ....train.evaluation import ClosedLoop, held_out_seeds

    loop = ClosedLoop(scene, held_out_seeds(seed, episodes, JUDGING))
    try:
        yield loop.returns
    finally:
        loop.close()


def chosen(trained: Trained, count: int, seed: int) -> list[Member]:
    """``count`` different architectures from all over the range of sizes, by weights; all of them where there are fewer."""
    from ....train.one_shot.family import Lottery

    members = trained.family.members
    if count < len(members):
        lottery, random, drawn = Lottery(trained.family, trained.ends), np.random.default_rng([seed, 3]), dict[Any, None]()
        for _ in range(100):  # a family's small ones may be few: drawn evenly, they come again
            drawn |= dict.fromkeys(lottery.draw(count, random))
            if len(drawn) >= count:
                break
        rest = [member for member in members if member not in drawn]
        members = [*drawn, *rest[: max(0, count - len(drawn))]][:count]
    return sorted(members, key=lambda member: member.weights(trained.ends))


def survey(
    trained: Trained,
    members: list[Member],
    scene: str | Scene,
    episodes: int,
    seed: int,
    folder: Path,
    told: Callable[[str], None],
) -> list[Surveyed]:
    """Fly every one of ``members``; what ``folder`` has from an interrupted survey is not flown again."""
    path = folder / SURVEY
    known = {line["name"]: line for line in map(json.loads, path.read_text().splitlines())} if path.exists() else {}
    found = []
    with flights(scene, seed, episodes) as fly:
        for number, member in enumerate(members, 1):
            line = known.get(member.name)
            if line is None or len(line["returns"]) != episodes:
                line = {"name": member.name, "returns": [round(float(r), 4) for r in fly(trained.policy(member))]}
                with path.open("a") as file:
                    file.write(json.dumps(line) + "\n")
            found.append(Surveyed(member.hidden, member.activation, member.weights(trained.ends), line["returns"]))
            if number % 8 == 0 or number == len(members):
                told(f"{number} of {len(members)} architectures flown, best returns {max(one.mean for one in found):,.4g}")
    return found


def promising(found: list[Surveyed]) -> list[Surveyed]:
    """Those that fewer than :data:`PATIENCE` others beat with no more weights: what is worth building."""
    points = [(one.mean, float(one.weights)) for one in found]
    return [
        one for one, point in zip(found, points, strict=True)
        if sum(dominates(other, point) for other in points) < PATIENCE
    ]  # fmt: skip


def price(found: list[Surveyed], trained: Trained, target: Target, env: str, seed: int, told: Callable[[str], None]) -> None:
    """Build and time the promising ones for ``target``; their figures go into ``costs``."""
    worth = promising(found)
    for number, one in enumerate(worth, 1):
        told(f"building {number} of {len(worth)}: {one.name}")
        one.costs = cost(trained.policy(one.member()), target, env, seed)
