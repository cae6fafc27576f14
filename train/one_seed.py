"""One training of several, in a process of its own: settings in on standard input, progress out as lines of JSON.

Not for people: :func:`pilotfish.train.seeds.train_seeds` starts it. While the starter lives, standard input stays open; its
end is taken as Ctrl-C, so that a starter that was killed leaves no orphan behind that trains on.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from .. import sealed
from ..errors import PilotfishError
from ..policy.bundle import Policy
from ..runtime.reference_returns import reference_returns
from .config import train_config
from .evaluation import held_out_seeds
from .run import train

CHOOSING, JUDGING = 0xE7A3, 0xE7A4
"""Streams of seeds: the episodes that choose between the trainings, and those that then judge each of them."""
TELL_EVERY_S = 0.25


class Teller:
    """A watcher of a training that tells the starter how far it is."""

    def __init__(self) -> None:
        self._told_at = 0.0

    def add(self, scalars: dict[str, float], step: int) -> None:  # noqa: ARG002 - the protocol's name
        """A line now and then."""
        if time.monotonic() - self._told_at > TELL_EVERY_S:
            self._told_at = time.monotonic()
            tell(steps=step)

    def close(self) -> None:
        """Nothing is held."""


def tell(**message: Any) -> None:
    """One line of JSON on standard output."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def train_and_judge(order: dict[str, Any]) -> None:
    """Train as ordered, save the policy, and fly it on the episodes that all seeds of the order share."""
    folder, episodes = Path(order["folder"]), int(order["episodes"])
    config = train_config(order["settings"])
    policy = train(config, folder, device=order["device"], progress=False, watchers=(Teller(),))
    policy.save(folder / "trained.policy")
    flown = {
        name: reference_returns(policy, config.env, held_out_seeds(order["first_seed"], episodes, stream))[0]
        for name, stream in (("choosing", CHOOSING), ("judging", JUDGING))
    }
    result = {"order": order["key"], "policy": policy.digest, "steps": policy.contract.provenance.steps} | flown
    sealed.write_atomic(folder / "result.json", sealed.canonical_json(result))


def trained(folder: Path, key: str) -> tuple[Policy, dict[str, Any]] | None:
    """What an equal order has left in ``folder``: the policy and its returns; None: nothing, or something else."""
    try:
        result = sealed.read_json(folder / "result.json", "the result of one seed")
        if result["order"] != key:
            return None
        policy = Policy.load(folder / "trained.policy")
        return (policy, result) if policy.digest == result["policy"] else None
    except (PilotfishError, KeyError, TypeError):
        return None  # it is trained again, from its checkpoint


def _stop_with_the_starter() -> None:
    while os.read(0, 4096):  # the bare descriptor: a daemon thread inside a buffered reader would abort the interpreter's exit
        pass
    os.kill(os.getpid(), signal.SIGINT)


def main() -> int:
    """Read the order, carry it out -> 0; 130 after an interrupt (the state is saved), else the error's own exit code."""
    # The training itself takes SIGINT at a good moment; before and after it there is nothing to save, and nothing to say.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    order = json.loads(sys.stdin.readline())
    sys.path += [folder for folder in order["path"] if folder not in sys.path]  # where the user's own environment is found
    threading.Thread(target=_stop_with_the_starter, daemon=True).start()
    try:
        train_and_judge(order)
    except KeyboardInterrupt:
        return 130
    except PilotfishError as error:
        tell(error=str(error))
        return error.exit_code
    tell(done=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
