"""The client of an MLflow server: mlflow is loaded when first needed, times out early, and fails with one line."""

from __future__ import annotations

import logging
import os
import re
import shlex
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from fusionbench.core.errors import FusionBenchError
from fusionbench.report.mlflow.sqlite_store import UnusableStore, make_ready, out_of_date, to_be_filled

TELEMETRY = "MLFLOW_DISABLE_TELEMETRY"
QUICK = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""mlflow's own patience is 120 s and 7 retries a request: a server that is down would hold up every cell."""

UPLOADS = frozenset({"log_artifact", "log_text"})
UPLOAD = QUICK | {"MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""For files: a server passes megabytes on to its own store before it answers, and it has just answered other calls."""

NO_MLFLOW_SERVER = "answers, but not as an MLflow server does: is it the right address, and does it want a login?"
ACCESS = " (it takes MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN)"
DENIED = ("UNAUTHENTICATED", "PERMISSION_DENIED")
DATABASES = frozenset({"postgresql", "mysql", "mssql"})
SQLITE = {"MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool"}
"""A SQLite file is opened for each call: a pooled connection would go on with a file that was moved or replaced."""
OLD_SCHEMA = re.compile(r"out-of-date database schema \(found version (\w+), but expected (\w+)\)")
REASON = 200  # characters of a foreign message that one line takes


class TrackingError(FusionBenchError):
    """The tracking server or store failed. Results are files, so nothing is lost; the message says how to replay."""


class Connection:
    """An MLflow client of one suite, opened by its first call.

    After a failure every further call raises the same error at once, so that a dead server costs one wait.

    Attributes:
        mended: once opened, the line that says why everything has to be logged again to a local store; else empty.
    """

    def __init__(self, uri: str, suite: str, replay: str = "") -> None:
        self.uri, self.suite = uri, suite
        self.mended = ""
        self._replay = replay or f"fusionbench sync {suite}"
        self._client: Any = None
        self._failure: TrackingError | None = None

    def call(self, method: str, *args: Any, unless: str = "", **options: Any) -> Any:
        """`MlflowClient.<method>`; None where it is refused with the error code `unless`.

        Raises:
            TrackingError: for whatever went wrong there.
        """
        if self._failure is not None:
            raise self._failure
        try:
            with _quick(UPLOAD if method in UPLOADS else QUICK):
                if self._client is None:
                    self._client, self.mended = _open(self.uri)
                return getattr(self._client, method)(*args, **options)
        # mlflow, SQLAlchemy, requests, protobuf and json each have their own exceptions, and none may stop a run.
        except Exception as error:
            if unless and getattr(error, "error_code", "") == unless:
                return None
            raise self.failed(_reason(error, self.uri)) from error

    def failed(self, reason: str) -> TrackingError:
        """The error of every call from now on; `reason` goes on after "MLflow at URI "."""
        shown = without_password(self.uri)
        to = f" --to {shlex.quote(shown)}" if shown.startswith("http") else ""
        self._failure = TrackingError(
            f"MLflow at {shown} {reason}; results are safe on disk, replay them with: {self._replay}{to}"
        )
        return self._failure

    def refill(self, why: str) -> None:
        """Everything has to be logged again to this local store, by this process or a later one."""
        path = database_path(self.uri)
        if path is not None:
            to_be_filled(path, why)
        self.mended = why


def entities() -> Any:
    """The module `mlflow.entities`."""
    os.environ.setdefault(TELEMETRY, "true")
    import mlflow.entities

    return mlflow.entities


def without_password(uri: str) -> str:
    """A URI fit to be printed."""
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{parts.netloc.rpartition('@')[2]}"))


def _open(uri: str) -> tuple[Any, str]:
    """A client, and what was wrong with the store that it would have opened."""
    os.environ.setdefault(TELEMETRY, "true")
    from mlflow.tracking import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # "Creating initial MLflow database tables"
    with warnings.catch_warnings():
        # mlflow's SQL models still use a loader strategy that SQLAlchemy 2.1 deprecates.
        warnings.filterwarnings("ignore", message="The ``noload`` loader strategy is deprecated")
        kind = urlsplit(uri).scheme.partition("+")[0]
        if kind in DATABASES:
            _probe(uri)
        if kind != "sqlite":
            return MlflowClient(uri), ""
        with _quick(SQLITE):
            mended = "" if (path := database_path(uri)) is None else make_ready(path)
            return MlflowClient(uri), mended


def database_path(uri: str) -> Path | None:
    """The file of a SQLite tracking URI; None for a database in memory, or another tracking URI."""
    path = uri.removeprefix("sqlite:///")
    return None if path in (uri, "", ":memory:") else Path(path)


def _probe(uri: str) -> None:
    """Fail now where a database cannot be opened: mlflow itself tries ten times, for 100 seconds."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    with engine.connect():
        pass
    engine.dispose()


@contextmanager
def _quick(patience: Mapping[str, str]) -> Iterator[None]:
    """Short patience for our own requests only: the user's process may use mlflow for other things."""
    ours = {name: value for name, value in patience.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _reason(error: BaseException, uri: str) -> str:
    """What happened, after "MLflow at URI "; no answer and a refusal with a reason are different."""
    from requests.exceptions import ConnectionError, Timeout, TooManyRedirects

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (ConnectionError, Timeout)):
            return "does not answer"
        if isinstance(cause, TooManyRedirects):
            return NO_MLFLOW_SERVER
        cause = cause.__cause__ or cause.__context__
    text = str(error)
    if isinstance(error, UnusableStore):
        return text
    if old := OLD_SCHEMA.search(text):
        return out_of_date(without_password(uri), old[1], old[2])
    if "not in a valid JSON format" in text:
        return NO_MLFLOW_SERVER
    if status := re.search(r"error code (\d{3}) != 200|too many (\d{3}) error responses", text):
        return _answered(int(status[1] or status[2]))
    line = (text.strip().splitlines() or [type(error).__name__])[0]
    if password := urlsplit(uri).password:
        line = line.replace(password, "***")
    shown = line if len(line) <= REASON else line[: REASON - 1] + "…"
    return f"failed ({shown}){ACCESS if shown.startswith(DENIED) else ''}"


def _answered(status: int) -> str:
    """A refusal without an MLflow error in it: by something before the server, or by its failure."""
    known = status in {each.value for each in HTTPStatus}
    said = f"answers {status} {HTTPStatus(status).phrase}" if known else f"answers {status}"
    return said + (ACCESS if status in (401, 403) else "")
