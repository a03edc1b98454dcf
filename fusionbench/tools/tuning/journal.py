"""The journal of a search, one JSON document a line, as a kill or a full disk leaves it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from fusionbench.core.errors import SuiteError

JOURNAL = "journal.log"


def repair(folder: Path) -> str:
    """Make the journal one that can be gone on with, while no other process writes it; returns a line about it.

    A last line that was not written to its end is cut off, so that the trial that it was about is run again. Optuna's
    lock of a process that was killed is removed: the next process would wait half a minute for it.

    Returns:
        what was cut off, for the user; empty where nothing was.

    Raises:
        SuiteError: a line before the last one cannot be read.
    """
    journal = folder / JOURNAL
    for left in folder.glob(f"{JOURNAL}.lock*"):
        left.unlink()
    if not journal.is_file():
        return ""
    with journal.open("rb") as file:
        lines = list(file)
    readable = [line.endswith(b"\n") and _readable(line) for line in lines]
    if all(readable):
        return ""
    first = readable.index(False)
    if first + 1 < len(lines):
        raise SuiteError(
            f"{journal}: line {first + 1} of {len(lines)} cannot be read; search anew in another folder with --to, or "
            "remove the journal"
        )
    os.truncate(journal, sum(len(line) for line in lines[:first]))
    return f"{journal} ended in half a line, which was cut off; the search goes on from the line before"


def _readable(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
