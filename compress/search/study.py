"""The record of a search: Optuna's studies in one journal file, which several processes share and a later call goes on with.

Two arms of equal cost, each an Optuna study: "search", and uniformly "random" beside it. Look at them with
``optuna-dashboard FOLDER/study.journal``.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import sealed
from ...errors import BadInput, require
from .genome import Genome, genome_of
from .limits import LIMITED
from .samplers import fixing, sampler_of
from .trial import Outcome

if TYPE_CHECKING:
    import optuna

ARMS = ("search", "random")
UNBUILDABLE = 1e12
"""Microseconds that stand for what has none; nothing is ranked by them."""
JOURNAL = "study.journal"
SETTINGS = "search.json"
DIED = "its process died or was stopped"
NOBODY: Mapping[int, str] = {}


class Study:
    """Both arms. ``floor``: share of the teacher's return below which a candidate counts as a violation of a constraint."""

    def __init__(self, folder: Path, sampler: str = "tpe", seed: int = 0, floor: float = 0.0) -> None:
        require("optuna", "search")
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.floor, self.seed = folder, floor, seed
        storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
        self.arms: dict[str, optuna.Study] = {
            arm: optuna.create_study(
                study_name=arm, storage=storage, load_if_exists=True, directions=["maximize", "minimize"],
                sampler=sampler_of(sampler if arm == "search" else "random", seed + 7 * number, floor),
            )
            for number, arm in enumerate(ARMS)
        }  # fmt: skip
        self._read: dict[tuple[str, int], Outcome] = {}

    def ask(self, arm: str, draw: Callable[[Any], Genome], fixed: dict[str, Any] | None = None) -> tuple[optuna.Trial, Genome]:
        """A new trial and its genome, marked as this process's; ``fixed``: values that some of its parameters shall have."""
        study = self.arms[arm]
        sampler = study.sampler
        try:
            if fixed:
                study.sampler = fixing(fixed, sampler)
            trial = study.ask()
            trial.set_user_attr("worker", f"{socket.gethostname()} {os.getpid()}")
            genome = draw(trial)
        finally:
            study.sampler = sampler
        trial.set_user_attr("genome", genome.key)
        return trial, genome

    def tell(self, arm: str, trial: optuna.Trial, outcome: Outcome) -> None:
        """What became of it. Limits that are exceeded are constraints, never a part of an objective."""
        from optuna.trial import TrialState

        _constrain(trial, outcome.excess, -1.0 if outcome.kept is None else self.floor - outcome.kept)
        trial.set_user_attr("outcome", json.dumps(outcome.data()))
        study = self.arms[arm]
        if outcome.state == "done" and outcome.cost is not None and outcome.kept is not None:
            study.tell(trial, [outcome.kept, outcome.cost])
        elif outcome.state == "infeasible":
            # Samplers learn from complete trials alone; of one beyond a limit they read by how much, not the values.
            study.tell(trial, [0.0, outcome.cost or UNBUILDABLE])
        else:
            study.tell(trial, state=TrialState.FAIL if outcome.state == "failed" else TrialState.PRUNED)

    def discard(self, arm: str, trial: optuna.Trial, why: str) -> None:
        """Not worth making."""
        from optuna.trial import TrialState

        _constrain(trial, [], -1.0)
        trial.set_user_attr("discarded", why)
        self.arms[arm].tell(trial, state=TrialState.FAIL)  # of which samplers learn nothing: it was not tried

    def outcomes(self, arm: str) -> list[Outcome]:
        """Of all finished trials, in their order; discarded ones left out."""
        found = []
        for trial in self.arms[arm].get_trials(deepcopy=False):
            if "outcome" in trial.user_attrs and trial.state.is_finished():
                key = (arm, trial.number)
                if key not in self._read:
                    data = json.loads(trial.user_attrs["outcome"])
                    self._read[key] = Outcome(**data | {"genome": genome_of(data["genome"])})
                found.append(self._read[key])
        return found

    def keys(self, arm: str) -> set[str]:
        """Genomes that were tried or are being tried, by :attr:`Genome.key`."""
        trials = self.arms[arm].get_trials(deepcopy=False)
        return {
            trial.user_attrs["genome"] for trial in trials if "genome" in trial.user_attrs and "discarded" not in trial.user_attrs
        }

    def spent(self, arm: str) -> float:
        """Seconds."""
        return sum(outcome.seconds for outcome in self.outcomes(arm))

    def running(self, arm: str) -> int:
        """Candidates in the making; draws among which a process still chooses are none."""
        trials = self.arms[arm].get_trials(deepcopy=False)
        return sum("begun" in trial.user_attrs and not trial.state.is_finished() for trial in trials)

    def begin(self, trial: optuna.Trial) -> None:
        """From here on a trial is a candidate in the making, no longer a draw: should its process die, it counts as failed."""
        trial.set_user_attr("begun", time.time())

    def bury(self, causes: Mapping[int, str] = NOBODY) -> int:
        """Tell what became of the candidates of this machine's dead processes -> how many there were.

        ``causes``: by process, why it died, of those that died just now; of others nobody knows how long they took.
        """
        import optuna

        dead = 0
        for arm, study in self.arms.items():
            for frozen in study.get_trials(deepcopy=False):
                worker, attrs = frozen.user_attrs.get("worker", ""), frozen.user_attrs
                if frozen.state.is_finished() or not _is_dead(worker):
                    continue
                cause = causes.get(int(worker.rpartition(" ")[2]))
                trial = optuna.trial.Trial(study, frozen._trial_id)
                with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # another process was quicker
                    if "begun" not in attrs or "genome" not in attrs:
                        self.discard(arm, trial, "its process died before it was begun")
                        continue
                    seconds = time.time() - attrs["begun"] if cause else 0.0
                    outcome = Outcome(genome_of(json.loads(attrs["genome"])), "failed", cause or DIED, seconds=seconds)
                    self.tell(arm, trial, outcome)
                    dead += 1
        return dead


def check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write what the search in ``folder`` is about; BadInput where another one lives there."""
    path = folder / SETTINGS
    if path.exists():
        found = sealed.read_json(path, "a search")
        for name in settings:
            if found.get(name) != settings[name]:
                raise BadInput(
                    folder, expected=f"a search with {name} = {json.dumps(settings[name])[:200]}",
                    found=f"one with {json.dumps(found.get(name))[:200]}", repair="Choose another --output, or the same settings",
                )  # fmt: skip
    else:
        folder.mkdir(parents=True, exist_ok=True)
        sealed.write_atomic(path, sealed.canonical_json(settings))


def _constrain(trial: optuna.Trial, excess: list[float], short: float) -> None:
    """Above 0 is violated. What cannot be built exceeds every limit alike; what nobody has measured exceeds none."""
    given = excess if len(excess) == len(LIMITED) else [max(excess, default=-1.0)] * len(LIMITED)
    for name, value in zip((*LIMITED, "kept"), (*given, short), strict=True):
        trial.set_constraint(name, value)


def _is_dead(worker: str) -> bool:
    host, _, pid = worker.rpartition(" ")
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
