"""Results -> MLflow: a view of the results folder, written by one process, replayed to any server at any time.

An experiment a suite, a parent run a table row, a child run a fold. Importing this loads no mlflow.
"""

from __future__ import annotations

from fusionbench.tracking.connection import TrackingError
from fusionbench.tracking.places import (
    experiment_id,
    is_server,
    store_uri,
    suite_link,
    tracked_experiment,
    tracked_uri,
    ui_command,
    ui_environment,
)
from fusionbench.tracking.tracker import Tracker, sync

__all__ = [
    "Tracker",
    "TrackingError",
    "experiment_id",
    "is_server",
    "store_uri",
    "suite_link",
    "sync",
    "tracked_experiment",
    "tracked_uri",
    "ui_command",
    "ui_environment",
]
