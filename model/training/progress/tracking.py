"""Log a run to MLflow.

If the tracking server cannot be reached, this is logged once, and the training continues without
it.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.errors import ConfigError
from model.training.progress.monitor import Monitor
from model.training.progress.state import EpochRecord, Place

_RUN_FILE = "mlflow.txt"
_log = logging.getLogger(__name__)


class MLflow(Monitor):
    """Logs parameters, each epoch's figures, and the run's outcome."""

    def __init__(
        self, uri: str, experiment: str, name: str, folder: Path, parameters: Mapping[str, Any]
    ) -> None:
        try:
            from mlflow import MlflowClient  # noqa: PLC0415 (optional, and slow to import)
        except ImportError as error:
            raise ConfigError(
                "--mlflow needs MLflow: pip install 'mambaad-service[mlflow]'"
            ) from error
        try:
            self._client: Any = MlflowClient(tracking_uri=uri)
        except Exception as error:  # an unknown scheme or an unwritable folder
            raise ConfigError(f"cannot log to MLflow at {uri!r}: {error}") from error
        self._experiment = experiment
        self._name = name
        self._file = folder / _RUN_FILE
        self._parameters = parameters
        self._run: str | None = None

    def begin(self, epochs: int, steps_per_epoch: int, place: Place) -> None:
        """Continue the resumed MLflow run, or create one with the recipe as parameters."""
        try:
            self._run = self._resumed() if place != Place() else None
            self._run = self._run or self._created()
        except Exception as error:
            self._give_up(error)

    def _resumed(self) -> str | None:
        if not self._file.is_file():
            return None
        run = self._file.read_text("utf-8")
        self._client.update_run(run, status="RUNNING")
        return run

    def _created(self) -> str:
        stored = self._client.get_experiment_by_name(self._experiment)
        number = (
            stored.experiment_id if stored else self._client.create_experiment(self._experiment)
        )
        run: str = self._client.create_run(number, run_name=self._name).info.run_id
        for key, value in self._parameters.items():
            self._client.log_param(run, key, value)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(run, "utf-8")
        return run

    def epoch(self, record: EpochRecord) -> None:
        """Log an epoch's figures."""
        for name, value in asdict(record).items():
            if name != "epoch" and value is not None:
                self._attempt("log_metric", name, value, step=record.epoch)

    def end(self, outcome: Mapping[str, str] | None) -> None:
        """Tag the run with its outcome; None: it failed."""
        for key, value in (outcome or {}).items():
            self._attempt("set_tag", key, value)
        self._attempt("set_terminated", "FAILED" if outcome is None else "FINISHED")

    def _attempt(self, method: str, *values: object, **named: object) -> None:
        if self._run is None:
            return
        try:
            getattr(self._client, method)(self._run, *values, **named)
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Log an error of MLflow's client and stop logging to it."""
        _log.warning("logging to MLflow stops for this run: %s", error)
        self._run = None
