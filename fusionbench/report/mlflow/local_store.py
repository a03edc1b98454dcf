"""The local tracking store: its URI, its web page, and the link to a suite on it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fusionbench.core.commands import command
from fusionbench.report.mlflow.client import TELEMETRY, Connection, TrackingError

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


def artifact_uri(root: Path, suite: str) -> str:
    """Where runs of `suite` in a local store keep files; absolute, since a relative one moves with the shell."""
    return (root.absolute() / ARTIFACTS / suite).as_uri()


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
    places = [
        "--backend-store-uri",
        tracked_uri(root),
        "--artifacts-destination",
        (root.absolute() / ARTIFACTS).as_uri(),
    ]
    return [sys.executable, "-m", "mlflow", "server", *places, "--host", host, "--port", str(port), "--workers", "1"]


def ui_environment() -> dict[str, str]:
    """This process's environment for `ui_command`: no telemetry, none of the seven job runners for language models."""
    return {TELEMETRY: "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | os.environ


def suite_link(base_url: str, experiment_id: str | None) -> str:
    """Address of a suite's runs on a tracking server's web page, or of all suites where there is no id."""
    runs = "" if experiment_id is None else f"/{experiment_id}/runs"  # without /runs the page opens in another mode
    return f"{base_url.rstrip('/')}/#/experiments{runs}"


def experiment_id(uri: str, suite: str, replay: str = "") -> str | None:
    """Id of a suite's experiment at `uri`, or None where nothing was tracked yet; makes no store.

    Args:
        replay: the command that a failure's message names.

    Raises:
        TrackingError: the server does not answer or refuses.
    """
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        return None
    found = Connection(uri, suite, replay).call("get_experiment_by_name", suite)
    return None if found is None else str(found.experiment_id)


def tracked_experiment(root: Path, suite: str | None) -> str | None:
    """Id of a suite's experiment where runs go; None for no suite, or one that was not tracked there."""
    return None if suite is None else experiment_id(tracked_uri(root), suite, replay_command(root, suite))
