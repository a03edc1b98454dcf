"""A suite's experiment in MLflow: found, made, restored, or replaced where its files cannot move with the results."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fusionbench.report.mlflow.artifacts import SERVED, Artifacts, FolderArtifacts, ServerArtifacts
from fusionbench.report.mlflow.client import NO_MLFLOW_SERVER, Connection
from fusionbench.report.mlflow.names import legal
from fusionbench.report.mlflow.payload import NOTE

EXISTS = "RESOURCE_ALREADY_EXISTS"


@dataclass(frozen=True)
class Experiment:
    """A suite's experiment, active, and where the files of its runs are kept."""

    id: str
    artifacts: Artifacts


def open_experiment(connection: Connection, title: str, folder: Path | None, *, own: bool) -> Experiment:
    """The experiment with the suite's name.

    Args:
        title: its description, where it is made.
        folder: where the files of runs in a local store are kept; None for a server, which has its own place.
        own: the store is the results root's own, so that nobody else's runs are in it.

    Raises:
        TrackingError: the server or store fails.
    """
    call, suite = connection.call, connection.suite
    found = call("get_experiment_by_name", suite)
    if found is not None and found.lifecycle_stage == "deleted":
        call("restore_experiment", found.experiment_id)
    if found is not None and own and urlsplit(found.artifact_location).scheme in ("", "file"):
        connection.refill(
            f"{suite} kept its files under {found.artifact_location}, a place that does not move with the results; "
            "its runs are logged again"
        )
        call("rename_experiment", found.experiment_id, f"{suite} (replaced, {found.experiment_id})")
        call("delete_experiment", found.experiment_id)
        found = None
    if found is None:
        # The web page guesses what an experiment is for, and guesses wrong where no model was logged.
        tags = {"mlflow.experimentKind": "custom_model_development", NOTE: title}
        location = None if folder is None else f"{SERVED}:/{_folder_name(suite)}"
        call("create_experiment", suite, location, tags, unless=EXISTS)  # another process may have been faster
        found = call("get_experiment_by_name", suite)
    if found is None or not found.experiment_id:  # any other JSON becomes an experiment without an id
        raise connection.failed(NO_MLFLOW_SERVER)
    place = found.artifact_location or ""
    if folder is not None and urlsplit(place).scheme == SERVED:
        return Experiment(found.experiment_id, FolderArtifacts(folder, place))
    return Experiment(found.experiment_id, ServerArtifacts(call))


def _folder_name(suite: str) -> str:
    """One folder's name that needs no quoting in a URI."""
    return re.sub(r"[^\w.-]", "_", legal(suite), flags=re.ASCII)
