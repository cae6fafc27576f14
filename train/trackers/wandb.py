"""Weights & Biases: as its own environment variables say (WANDB_MODE=offline, WANDB_PROJECT, WANDB_ENTITY …)."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from ...errors import Unreachable, require

if TYPE_CHECKING:
    from . import Facts


class WeightsAndBiases:
    """One W&B run.

    Steps are a metric of their own: a resumed training repeats what came after its checkpoint, and W&B drops what lies
    behind its own counter. An offline run that is resumed is a second one of the same id, until ``wandb sync`` joins them.
    """

    def __init__(self, facts: Facts) -> None:
        wandb = require("wandb", "wandb")
        self.errors: tuple[type[Exception], ...] = (wandb.errors.Error, OSError)
        self.run_id: str = facts.known or secrets.token_hex(4)
        try:
            self.run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "pilotfish"),
                id=self.run_id,
                resume="allow" if facts.known else None,
                name=facts.title,
                config=facts.settings,
                allow_val_change=True,
                dir=facts.folder,
                reinit="create_new",
                settings=wandb.Settings(silent=True),
            )
        except self.errors as error:
            reason = str(error).partition("\n")[0]
            raise Unreachable(f"Weights & Biases: {reason}. Run wandb login, or set WANDB_MODE=offline") from error
        self.run.define_metric("step", hidden=True)
        self.run.define_metric("*", step_metric="step")

    @staticmethod
    def prepare() -> None:
        """Runs do not meet."""
        require("wandb", "wandb")

    def send(self, scalars: dict[str, float], step: int) -> None:
        """As one row of the history."""
        self.run.log(scalars | {"step": step})

    def end(self, finished: bool) -> None:
        """With the exit code that says whether it ended well."""
        self.run.finish(exit_code=0 if finished else 1)
