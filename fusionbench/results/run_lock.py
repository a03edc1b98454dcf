"""One process at a time computes a suite: results/<suite>/run.lock says which, and the system's file lock holds it.

The system gives the lock back when its process ends, however it ends, so a lock that a killed run has left is taken
over without asking. Nothing depends on clocks. Where a file system knows no such locks, the file's words decide.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from fusionbench.core.errors import ResultsError
from fusionbench.results.attempts import utc_now

NAME = "run.lock"
_TRIES, _PAUSE = 10, 0.1
"""Somebody who only looks (`holder`) has the lock for a moment, too."""


@dataclass(frozen=True)
class Holder:
    """The process that computes a suite; `since` in UTC, ISO 8601."""

    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


@contextmanager
def hold(folder: Path, elsewhere: str = "--out") -> Iterator[Holder | None]:
    """Hold a suite's folder while inside; gives the dead holder whose lock was taken over, if there was one.

    Args:
        elsewhere: the flag that names another folder, for messages.

    Raises:
        ResultsError: a living process holds it, and which; or the lock cannot be written.
    """
    path = folder / NAME
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise ResultsError(
            f"{path} cannot be written: {error.strerror or error}; choose another {elsewhere}"
        ) from error
    with file:
        locked = _lock(file, fcntl.LOCK_EX, _TRIES)
        before = _read(file)
        if locked is False or (locked is None and before is not None and _may_live(before)):
            raise ResultsError(_held(folder, before, elsewhere, sure=locked is False))
        try:
            _write(file, json.dumps(asdict(Holder(os.getpid(), socket.gethostname(), utc_now()))))
        except OSError as error:
            raise ResultsError(f"{path} could not be written: {error.strerror or error}") from error
        try:
            yield before
        finally:
            _write(file, "")  # an empty file is nobody's; removing it could remove the lock of the next process


def holder(folder: Path) -> Holder | None:
    """The living process that computes the suite in `folder` now; None where there is none."""
    try:
        file = (folder / NAME).open("r", encoding="utf-8")
    except FileNotFoundError:
        return None
    with file:
        locked = _lock(file, fcntl.LOCK_SH, 1)
        found = _read(file)
        if locked or found is None:
            return None
        return found if locked is False or _may_live(found) else None


def _lock(file: IO[str], kind: int, tries: int) -> bool | None:
    """Whether it is ours now; None where the file system knows no locks."""
    for left in reversed(range(tries)):
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if left:
                time.sleep(_PAUSE)
        except OSError:  # ENOSYS, ENOLCK, EOPNOTSUPP: some network file systems
            return None
    return False


def _may_live(found: Holder) -> bool:
    """False only where it is known that the process is gone."""
    import psutil

    return found.host != socket.gethostname() or bool(psutil.pid_exists(found.pid))


def _read(file: IO[str]) -> Holder | None:
    file.seek(0)
    try:
        return Holder(**json.loads(file.read()))
    except (ValueError, TypeError):  # empty, or cut off by a full disk: nobody's
        return None


def _write(file: IO[str], text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def _held(folder: Path, found: Holder | None, elsewhere: str, *, sure: bool) -> str:
    who = "another process" if found is None else str(found)
    remedy = f"wait for it, end it, or choose another {elsewhere}"
    if not sure:
        remedy += f"; if that process is gone, remove {folder / NAME}"
    return f"{folder} is being computed by {who}; {remedy}"
