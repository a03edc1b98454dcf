"""Results -> MLflow: a view of the results folder, written by one process, replayed to any server at any time.

An experiment a suite, a parent run a table row, a child run a fold, and one run for the suite's files. Importing
this loads no mlflow.
"""

from __future__ import annotations

from fusionbench.report.mlflow.client import TrackingError
from fusionbench.report.mlflow.files import WHOLE_TABLE, SuiteFiles, suite_files
from fusionbench.report.mlflow.local_store import (
    experiment_id,
    is_server,
    open_store,
    replay_command,
    store_filled,
    store_uri,
    tracked_experiment,
    tracked_uri,
    ui_command,
    ui_environment,
)
from fusionbench.report.mlflow.tracker import Tracker, sync
from fusionbench.report.mlflow.web_page import (
    Order,
    best_pairs,
    compare_link,
    require_free,
    rows_link,
    served,
    suite_link,
)

__all__ = [
    "WHOLE_TABLE",
    "Order",
    "SuiteFiles",
    "Tracker",
    "TrackingError",
    "best_pairs",
    "compare_link",
    "experiment_id",
    "is_server",
    "open_store",
    "replay_command",
    "require_free",
    "rows_link",
    "served",
    "store_filled",
    "store_uri",
    "suite_files",
    "suite_link",
    "sync",
    "tracked_experiment",
    "tracked_uri",
    "ui_command",
    "ui_environment",
]
