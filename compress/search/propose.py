"""What to make next: a sampler draws, predictors choose among the drawn, seen genomes are not made again."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

from ...policy import Policy
from .front import Point, front, gain
from .genome import Genome
from .halving import TAUGHT, hopeless, peers
from .limits import LIMITED, Limits
from .predictors import Predictor
from .space import Space, anchors, draw, ends_of, genes_of, shape_of
from .study import Study
from .trial import Outcome

if TYPE_CHECKING:
    import optuna

FREE = Limits()
DRAWN = 12
"""Genomes among which the predictors choose: a third with the shape of a student that has been taught, a third next to what is
on the front so far, a third from anywhere."""
CHANGED = 2
"""Genes, at most, by which a neighbor of the front differs from it, besides those that follow from them."""
TRIES = 50
"""Draws until a genome is new; a space that is exhausted gives one again."""


MEMORY = {"flash": "flash_bytes", "RAM": "ram_bytes"}
FIGURES = {"cost": "latency_us", **MEMORY}
"""What is predicted besides "kept", the share of the return -> the figure whose decades they are."""


class Proposer:
    """Proposes genomes for one arm; the arm "random" takes what it draws."""

    def __init__(self, study: Study, arm: str, space: Space, teacher: Policy, floor: float, limits: Limits = FREE) -> None:
        self.study, self.arm, self.space, self.floor = study, arm, space, floor
        self.ends = ends_of(teacher)
        self.random = random.Random(f"{study.seed} {arm}")
        self.limits = limits
        self.predictors = {name: Predictor(self.ends) for name in ("kept", *FIGURES)}

    def next(self) -> tuple[optuna.Trial, Genome]:
        """A trial that was asked for, and its genome."""
        if self.arm == "random":
            return self._new()
        if anchor := self._anchor():
            return self._new(anchor)
        self.learn()
        taught = self._shapes()
        if not (self.predictors["kept"].ready and self.predictors["cost"].ready):
            return self._new(self._from(self.random.randrange(DRAWN), taught))
        drawn = [self._new(self._from(index, taught)) for index in range(DRAWN)]
        scores = self._scores([genome for _, genome in drawn])
        best = max(range(DRAWN), key=lambda index: scores[index])
        for index, (trial, _) in enumerate(drawn):
            if index != best:
                self.study.discard(self.arm, trial, "the predictors see more in another one")
        return drawn[best]

    def _from(self, index: int, taught: list[Genome]) -> dict[str, Any] | None:
        """The genes that the draw number ``index`` is given; None: it is free."""
        kind, number = index % 3, index // 3
        if kind == 0 and taught:
            return shape_of(taught[number % len(taught)])
        return self._neighbor() if kind == 1 else None

    def _neighbor(self) -> dict[str, Any] | None:
        """The genes of a candidate on the front but one or two; None: there is no front yet."""
        done = [
            (one.genome, (one.kept, one.cost))
            for one in self.study.outcomes(self.arm)
            if one.state == "done" and one.cost and one.kept is not None and one.kept > self.floor
        ]
        if not done:
            return None
        genes = genes_of(done[self.random.choice(front([point for _, point in done]))][0])
        for name in self.random.sample(sorted(genes), self.random.randint(1, CHANGED)):
            del genes[name]
        return genes

    def _shapes(self) -> list[Genome]:
        """Candidates whose float students are worth another use, in a random order: none that was taught is both cheaper and
        better than they. Their zeros, bits and ranks are what remains to be chosen, at a fraction of a candidate's cost."""
        taught: dict[str, tuple[Genome, Point]] = {}
        for one in self.study.outcomes(self.arm):
            if len(one.rungs) >= TAUGHT and one.rungs[TAUGHT - 1] > self.floor:
                genome = one.genome
                taught[genome.shape] = genome, (one.rungs[TAUGHT - 1], float(genome.dense(self.ends)))
        found = [genome for genome, _ in taught.values()]
        best = front([point for _, point in taught.values()])
        chosen = [found[index] for index in best]
        self.random.shuffle(chosen)
        return chosen

    def learn(self, everything: bool = False) -> None:
        """Fit the predictors to what this arm has measured; a stopped candidate counts with what it had kept by then.

        Those of memory cost time and decide nothing as long as nothing has exceeded its memory; ``everything``: fit them, too.
        """
        seen = self.study.outcomes(self.arm)
        for name, predictor in self.predictors.items():
            at = LIMITED.index(MEMORY[name]) if name in MEMORY else None
            if at is None or everything or any(len(one.excess) > at and one.excess[at] > 0 for one in seen):
                known = [(one.genome, value) for one in seen if (value := _measured(one, name)) is not None]
                predictor.fit(*zip(*known, strict=True)) if known else None

    def _scores(self, genomes: list[Genome]) -> list[tuple[float, float]]:
        """(what it may add to the hypervolume per second of making it, if it turns out a little better than expected, or, below
        0, by how much it is expected to exceed limits; what it is expected to keep)"""
        outcomes = self.study.outcomes(self.arm)
        seen: list[Point] = [
            (one.kept, one.cost) for one in outcomes if one.state == "done" and one.kept is not None and one.cost
        ]
        known = {one.genome.shape: one.rungs[:TAUGHT] for one in outcomes if len(one.rungs) >= TAUGHT}
        others = peers(self.study, self.arm)
        seconds = {reused: self._seconds(outcomes, reused) for reused in (False, True)}
        ceiling = 2 * max((cost for _, cost in seen), default=1.0)
        guessed = {name: predictor.predict(genomes) for name, predictor in self.predictors.items() if predictor.ready}
        scores = []
        for index, genome in enumerate(genomes):
            mean, spread = (float(part[index]) for part in guessed["kept"])
            sizes = {FIGURES[name]: {"value": 10 ** float(part[0][index])} for name, part in guessed.items() if name in FIGURES}
            beyond = sum(max(0.0, over) for over in self.limits.for_every(genome.decide_every).excess(sizes))
            added = gain(seen, (mean + spread, sizes["latency_us"]["value"]), self.floor, ceiling)
            # A student of the shelf that would be given up once it is taken from there is no candidate.
            rungs, cost = known.get(genome.shape, []), sizes["latency_us"]["value"]
            lost = any(hopeless(others, self.floor, rung, share, cost) for rung, share in enumerate(rungs))
            scores.append((-beyond or (-1.0 if lost else added / seconds[bool(rungs)]), mean))
        return scores

    @staticmethod
    def _seconds(outcomes: list[Outcome], reused: bool) -> float:
        """Of an average candidate whose float student was there already, or was not; as long as there was none, of any."""
        alike = [one.seconds for one in outcomes if one.reused == reused and one.rungs] or [one.seconds for one in outcomes]
        return max(sum(alike) / len(alike), 1e-3)

    def _anchor(self) -> dict[str, Any] | None:
        """A plain student among those that the arm begins with, unless all were tried: the shapes on which others are built."""
        tried = self.study.keys(self.arm)
        return next((genes_of(genome) for genome in anchors(self.space) if genome.key not in tried), None)

    def _new(self, fixed: dict[str, Any] | None = None) -> tuple[optuna.Trial, Genome]:
        """A genome that was not tried before; ``fixed``: with these genes, if there is one left."""
        for attempt in range(TRIES):
            seen = self.study.keys(self.arm)
            fixed = fixed if attempt < TRIES // 4 else None
            trial, genome = self.study.ask(self.arm, self._draw, fixed)
            if genome.key not in seen:
                return trial, genome
            self.study.discard(self.arm, trial, "seen before")
        return self.study.ask(self.arm, self._draw)

    def _draw(self, trial: optuna.Trial) -> Genome:
        return draw(self.space, trial, self.ends)


def _measured(one: Outcome, name: str) -> float | None:
    """What a candidate tells a predictor."""
    if name == "kept":
        return one.kept if one.kept is not None else one.rungs[-1] if one.rungs else None
    figure = one.costs.get(FIGURES[name]) or (one.costs.get("artifact_bytes") if name == "flash" else None)
    return math.log10(figure["value"]) if figure and figure["value"] else None
