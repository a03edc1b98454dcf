"""Whose runs on a tracking server are: of one results root, by an id that is kept in it and moves with it."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from fusionbench.core.errors import ResultsError
from fusionbench.report.mlflow.sqlite_store import LOCK
from fusionbench.results.exclusive import exclusive

ROOT_ID = "root-id"
"""The file in a results root that holds its id."""
ROOT, USER = "fusionbench.root", "mlflow.user"
SHOWN = 8  # characters of an id where people read it


@dataclass(frozen=True)
class Owner:
    """A results root, and who logs its runs.

    Attributes:
        root: the id of the results root.
        user: the name of the account; what MLflow's page shows as the creator of a run.
    """

    root: str
    user: str

    def __str__(self) -> str:
        return f"{self.user}, results root {self.root[:SHOWN]}"

    @property
    def tags(self) -> dict[str, str]:
        """What each run says of its owner."""
        return {ROOT: self.root, USER: self.user}


def owner_of(root: Path) -> Owner:
    """The owner of the runs that come from a results root, which gets an id where it has none.

    Raises:
        ResultsError: it has none, and none can be written there.
    """
    path = root / ROOT_ID
    if not (found := read_root_id(root)):
        with exclusive(root / LOCK):
            if not (found := read_root_id(root)):
                found = uuid4().hex
                new = path.with_name(f"{ROOT_ID}.new-{found}")
                try:
                    new.write_text(f"{found}\n", encoding="utf-8")
                    new.replace(path)
                except OSError as error:
                    new.unlink(missing_ok=True)
                    raise ResultsError(f"{path} cannot be written: {error.strerror or error}") from error
    return Owner(found, _user())


def read_root_id(root: Path) -> str:
    """The id of a results root; empty where it has none yet.

    Raises:
        ResultsError: the file cannot be read, or holds no id.
    """
    path = root / ROOT_ID
    try:
        found = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not found.isalnum():
        raise ResultsError(f"{path} holds no id of a results root; remove it, and the next sync writes a new one")
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's account without a name
        return f"user {os.getuid()}"
