"""Where the files of runs are kept: by a server, or in a folder beside a local store, with which it may be moved."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import urlsplit

from fusionbench.core.errors import ResultsError

SERVED = "mlflow-artifacts"
"""Scheme of a place below the folder that an MLflow server was started with (its `--artifacts-destination`)."""


class Artifacts(Protocol):
    """The files of an experiment's runs."""

    def put(self, run: str, name: str, path: Path) -> None:
        """A file under `name`, which may have folders."""

    def put_text(self, run: str, name: str, text: str) -> None:
        """A file with this content."""

    def names(self, run: str) -> set[str]:
        """What a run holds."""


class ServerArtifacts(Artifacts):
    """Files handed to the server, or to wherever the experiment says, by MLflow's client."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def put(self, run: str, name: str, path: Path) -> None:
        place = PurePosixPath(name)
        if place.name == path.name:
            self._call("log_artifact", run, str(path), None if place.parent == PurePosixPath() else str(place.parent))
        else:  # MLflow's client gives a file no other name
            self.put_text(run, name, path.read_text(encoding="utf-8"))

    def put_text(self, run: str, name: str, text: str) -> None:
        self._call("log_text", run, text, name)

    def names(self, run: str) -> set[str]:
        return self._below(run, None)

    def _below(self, run: str, folder: str | None) -> set[str]:
        listed = self._call("list_artifacts", run, folder)
        below = [self._below(run, entry.path) for entry in listed if entry.is_dir]
        return {entry.path for entry in listed if not entry.is_dir}.union(*below)


class FolderArtifacts(Artifacts):
    """Files in a folder, as an MLflow server with that `--artifacts-destination` looks for them.

    MLflow's client writes to a server or to an absolute path, and keeps that path in the store: after a move, the
    page would look for the files at the old place.
    """

    def __init__(self, folder: Path, location: str) -> None:
        """
        Args:
            folder: the destination.
            location: of the experiment, `mlflow-artifacts:/PLACE`.
        """
        self._folder = folder / urlsplit(location).path.strip("/")

    def put(self, run: str, name: str, path: Path) -> None:
        with _writing(target := self._of(run) / name):
            shutil.copyfile(path, target)

    def put_text(self, run: str, name: str, text: str) -> None:
        with _writing(target := self._of(run) / name):
            target.write_text(text, encoding="utf-8")

    def names(self, run: str) -> set[str]:
        folder = self._of(run)
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    def _of(self, run: str) -> Path:
        return self._folder / run / "artifacts"


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """The folder of `path` is made; what the system refuses is one line."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise ResultsError(f"{path} cannot be written: {error.strerror or error}") from error
