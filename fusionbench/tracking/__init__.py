"""Results -> MLflow: a view of the results folder, written by one process, replayed to any server at any time.

An experiment a suite, a parent run a table row, a child run a fold. Importing this loads no mlflow.
"""

from __future__ import annotations

from fusionbench.tracking.connection import TrackingError
from fusionbench.tracking.places import (
    experiment_id,
    local_experiment,
    store_uri,
    suite_link,
    ui_command,
    ui_environment,
)
from fusionbench.tracking.tracker import Tracker, sync

__all__ = [
    "Tracker",
    "TrackingError",
    "experiment_id",
    "local_experiment",
    "store_uri",
    "suite_link",
    "sync",
    "ui_command",
    "ui_environment",
]
