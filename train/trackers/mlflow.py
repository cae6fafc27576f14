"""MLflow: where its own environment variables say (MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME), else in the current folder."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from ...errors import Unreachable, require

if TYPE_CHECKING:
    from . import Facts

MOST_PARAMS, LONGEST = 100, 500
"""What MLflow takes in one message, and of one value (https://mlflow.org/docs/latest/rest-api.html, "Request Limits")."""


class MLflow:
    """One MLflow run; nothing global is set, so several trainings can share a process."""

    def __init__(self, facts: Facts) -> None:
        mlflow = require("mlflow", "mlflow")
        from mlflow.entities import Metric, Param

        self._metric = Metric
        self.errors: tuple[type[Exception], ...] = (mlflow.exceptions.MlflowException, OSError)
        try:
            self.client = mlflow.MlflowClient()
            self.run_id: str = self._again(facts.known) or self._new(facts, Param)
        except self.errors as error:
            raise _unreachable(mlflow, error) from error

    @staticmethod
    def prepare() -> None:
        """Make the store and the experiment: two processes that find none both make them, and one of the two fails."""
        mlflow = require("mlflow", "mlflow")
        try:
            _experiment(mlflow.MlflowClient())
        except (mlflow.exceptions.MlflowException, OSError) as error:
            raise _unreachable(mlflow, error) from error

    def _again(self, known: str | None) -> str | None:
        """The run of that id, open again; None where this store has none."""
        if known is None:
            return None
        try:
            self.client.update_run(known, status="RUNNING")
        except self.errors:
            return None
        return known

    def _new(self, facts: Facts, param: type) -> str:
        run_id: str = self.client.create_run(_experiment(self.client), run_name=facts.title).info.run_id
        params = [param(key, str(value)[:LONGEST]) for key, value in facts.settings.items()]
        for start in range(0, len(params), MOST_PARAMS):
            self.client.log_batch(run_id, params=params[start : start + MOST_PARAMS])
        return run_id

    def send(self, scalars: dict[str, float], step: int) -> None:
        """As metrics of that step."""
        now_ms = int(time.time() * 1000)
        self.client.log_batch(self.run_id, metrics=[self._metric(name, value, now_ms, step) for name, value in scalars.items()])

    def end(self, finished: bool) -> None:
        """FINISHED, or KILLED for a run that may go on."""
        self.client.set_terminated(self.run_id, "FINISHED" if finished else "KILLED")


def _experiment(client: Any) -> str:
    """Id of the experiment that runs go to; made if there is none."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "pilotfish")
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found else client.create_experiment(name)


def _unreachable(mlflow: Any, error: Exception) -> Unreachable:
    reason = str(error).partition("\n")[0]
    return Unreachable(f"MLflow at {mlflow.get_tracking_uri()}: {reason}. Set MLFLOW_TRACKING_URI")
