"""The local tracking store: its URI, its web page, and the link to a suite on it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fusionbench.core.commands import command
from fusionbench.report.mlflow.client import TELEMETRY, Connection, TrackingError, database_path
from fusionbench.report.mlflow.sqlite_store import filled

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
LOOPBACK = "127.0.0.1"


def store_uri(root: Path) -> str:
    """URI of the local tracking store of a results root.

    Raises:
        TrackingError: the path holds a character that means something else in a database URI.
    """
    path = (root.absolute() / DATABASE).as_posix()
    for sign in "?%":
        if sign in path:
            raise TrackingError(
                f"no tracking store can lie under {root}: {sign!r} in its path; choose another results folder, or a "
                "server by MLFLOW_TRACKING_URI"
            )
    return f"sqlite:///{path}"


def is_server(uri: str) -> bool:
    """Whether a tracking URI names a server, which has its own place for files, and no database."""
    return uri.startswith(("http:", "https:", "databricks"))


def is_own_store(uri: str, root: Path) -> bool:
    """Whether a tracking URI is the results root's own store, in which nobody else's runs are."""
    return (path := database_path(uri)) is not None and path.absolute() == root.absolute() / DATABASE


def artifact_folder(uri: str, root: Path) -> Path | None:
    """Where the files of runs at a tracking URI are kept: beside a SQLite store, below the results root of another
    database; None for a server."""
    if is_server(uri):
        return None
    store = database_path(uri)
    return (root.absolute() if store is None else store.absolute().parent) / ARTIFACTS


def store_filled(uri: str) -> None:
    """The store at `uri` holds everything again that its results root does."""
    if (path := database_path(uri)) is not None:
        filled(path)


def tracked_uri(root: Path) -> str:
    """The default tracking URI: MLFLOW_TRACKING_URI, or the local store of the results root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or store_uri(root)


def replay_command(root: Path, *arguments: str) -> str:
    """The command that logs stored results later; `arguments` are a suite and its flags, none for every suite."""
    return command(root, "sync", *arguments)


def ui_command(root: Path, port: int, host: str = LOOPBACK) -> list[str]:
    """The command that serves the store's web page; on this machine only unless `host` says otherwise.

    Run it with `ui_environment()`.
    """
    uri = tracked_uri(root)
    destination = artifact_folder(uri, root) or root.absolute() / ARTIFACTS
    places = ["--backend-store-uri", uri, "--serve-artifacts", "--artifacts-destination", destination.as_uri()]
    return [sys.executable, "-m", "mlflow", "server", *places, "--host", host, "--port", str(port), "--workers", "1"]


def ui_environment() -> dict[str, str]:
    """This process's environment for `ui_command`: no telemetry, none of the seven job runners for language models."""
    return {TELEMETRY: "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | os.environ


def open_store(root: Path) -> str:
    """Have a local store where runs go, before a server opens it; any other kind is left to the server.

    Returns:
        why everything under the results root has to be logged again; empty where it has not.

    Raises:
        TrackingError: the store cannot be used.
    """
    connection = Connection(tracked_uri(root), "", replay_command(root))
    connection.call("search_experiments", max_results=1)
    return connection.mended


def experiment_id(uri: str, suite: str, replay: str = "") -> str | None:
    """Id of a suite's experiment at `uri`, or None where nothing was tracked yet; makes no store.

    Args:
        replay: the command that a failure's message names.

    Raises:
        TrackingError: the server does not answer or refuses.
    """
    if (path := database_path(uri)) is not None and not path.is_file():
        return None
    found = Connection(uri, suite, replay).call("get_experiment_by_name", suite)
    return None if found is None else str(found.experiment_id)


def tracked_experiment(root: Path, suite: str | None) -> str | None:
    """Id of a suite's experiment where runs go; None for no suite, or one that was not tracked there."""
    return None if suite is None else experiment_id(tracked_uri(root), suite, replay_command(root, suite))
