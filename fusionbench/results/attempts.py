"""results/<suite>/attempts/<key>.json: cells that were begun and have no result yet.

A marker is written before a cell begins and removed once its result is stored, so what lies there is running now, or
was lost: the process ended with it, or its attempt ended without a result and the next is still to come. A cell's file:

    {"ended": ["killed by SIGSEGV"],
     "running": {"pid": 4711, "host": "node7", "since": "2026-11-27T13:05:11Z", "in_driver": true}}

`ended` has one reason for each attempt that is over; `running` is null between two attempts. Only the process that
holds the suite's run lock (`run_lock`) writes here; anybody may read. Times are for people: nothing is computed from
them.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fusionbench.core.errors import ResultsError, file_problem


@dataclass(frozen=True)
class Started:
    """Who began an attempt.

    Attributes:
        pid, host: the driver, that is the process of `fusionbench run`.
        since: UTC, ISO 8601.
        in_driver: the cell runs in the driver itself, so that what kills the one kills the other.
    """

    pid: int
    host: str
    since: str
    in_driver: bool = True

    @classmethod
    def now(cls, *, in_driver: bool) -> Started:
        """An attempt that this process begins now."""
        return cls(os.getpid(), socket.gethostname(), utc_now(), in_driver)


@dataclass(frozen=True)
class Tried:
    """A cell's attempts so far.

    Attributes:
        ended: why each attempt that is over gave no result.
        running: the attempt in hand, or the one that a dead driver had in hand; None between two.
    """

    ended: tuple[str, ...] = ()
    running: Started | None = None


class Attempts:
    """The attempt markers of one suite's cells."""

    def __init__(self, folder: Path) -> None:
        """`folder`: the suite's, `results/<suite>`."""
        self.folder = folder / "attempts"

    def of(self, key: str) -> Tried:
        """A cell's attempts; none where it has no marker.

        Raises:
            ResultsError: the marker cannot be read.
        """
        path = self._path(key)
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            running = stored["running"]
            return Tried(tuple(map(str, stored["ended"])), None if running is None else Started(**running))
        except FileNotFoundError:
            return Tried()
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ResultsError(file_problem(path, error, "remove it and run the suite again")) from error

    def all(self) -> dict[str, Tried]:
        """Every cell that has a marker."""
        found = {path.stem: self.of(path.stem) for path in sorted(self.folder.glob("[!.]*.json"))}
        return {key: tried for key, tried in found.items() if tried != Tried()}  # gone since it was listed

    def start(self, key: str, *, in_driver: bool) -> None:
        """A further attempt begins now, in this process's name."""
        self._write(key, Tried(self.of(key).ended, Started.now(in_driver=in_driver)))

    def lose(self, key: str, reason: str) -> Tried:
        """Record that the running attempt is over and gave no result; returns the attempts so far."""
        tried = Tried((*self.of(key).ended, reason))
        self._write(key, tried)
        return tried

    def drop(self, key: str) -> None:
        """Forget the running attempt: it was interrupted, and not by the cell."""
        ended = self.of(key).ended
        try:
            if ended:
                self._write(key, Tried(ended))
                return
        except ResultsError:
            pass  # a full disk: without its history the cell has more attempts, which is better than one too few
        self.finish(key)

    def finish(self, key: str) -> None:
        """Remove the marker: the cell has its result, or begins anew."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise _refused(self._path(key), error) from error

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _write(self, key: str, tried: Tried) -> None:
        """Whole or not at all; a marker outlives this process, not a power cut, so nothing is fsynced."""
        path = self._path(key)
        content: dict[str, Any] = {"ended": list(tried.ended), "running": tried.running and asdict(tried.running)}
        temporary = path.with_name(f".tmp-{path.name}")
        try:
            self.folder.mkdir(exist_ok=True)
            temporary.write_text(json.dumps(content), encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise _refused(path, error) from error
        finally:  # it is there still where this was interrupted, or failed
            temporary.unlink(missing_ok=True)


def utc_now() -> str:
    """This moment for people, UTC in ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _refused(path: Path, error: OSError) -> ResultsError:
    return ResultsError(file_problem(path, error, "choose another --out", to="write"))
