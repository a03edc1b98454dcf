"""Cells whose folder is not what a run has written: moved aside and computed anew, and said so."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pydantic_core import from_json

from fusionbench.core.errors import AccessError, ResultsError, refused_file
from fusionbench.results.cell_files import (
    CELL,
    HISTORY,
    PREDICTIONS,
    PREPROCESS,
    WEIGHTS,
    read_json,
    read_part,
    unreadable,
)
from fusionbench.results.store import Store

ASIDE = "damaged"
_FRAMES = ((PREDICTIONS, b"PAR1", b"PAR1"), (HISTORY, b"PAR1", b"PAR1"), (PREPROCESS, b"{", b"}"))
"""A file, and what its format begins and ends with."""


def damaged(store: Store, key: str) -> str:
    """What is wrong with a stored cell, as far as its files show without being read through; empty where nothing is.

    A file that is missing, cut off or of another format is seen; a changed number inside is not.

    Raises:
        AccessError: this user may not read it, which is no damage.
    """
    try:
        if store.record(key)["status"] != "ok":
            return ""
        if reason := cut_off(f"{store.cells}/{key}"):
            return reason
    except AccessError:
        raise
    except ResultsError:
        return f"{CELL} cannot be read"
    try:
        read_part(store.cells / key / PREPROCESS, read_json)
    except ResultsError:  # it was readable a moment ago: its content is damaged
        return f"{PREPROCESS} cannot be read"
    return ""


def cut_off(folder: str) -> str:
    """Which file beside the cell.json of a cell that is ok is missing or cut off, by its ends; empty where none is.

    Costs a tenth of a millisecond, so that `status` can ask it of thousands.

    Raises:
        AccessError: this user may not read one of them.
    """
    try:
        for name, first, last in _FRAMES:
            if not _framed(f"{folder}/{name}", first, last):
                return f"{name} is cut off"
        return "" if _whole_weights(f"{folder}/{WEIGHTS}") else f"{WEIGHTS} is cut off"
    except PermissionError as error:
        raise unreadable(error.filename, error) from error
    except OSError as error:
        return f"{Path(str(error.filename)).name} cannot be read: {error.strerror}"


def set_aside(store: Store, keys: Iterable[str]) -> tuple[str, ...]:
    """Move the damaged ones of these cells to results/<suite>/damaged/; one line for each.

    Raises:
        ResultsError: one cannot be moved. AccessError: this user may not read one.
    """
    lines = []
    for key in keys:
        if not (store.cells / key).exists() or not (reason := damaged(store, key)):
            continue
        aside = store.folder / ASIDE
        target = next(p for n in range(1, 10**6) if not (p := aside / f"{key}-{n}").exists())
        try:
            aside.mkdir(exist_ok=True)
            (store.cells / key).rename(target)
        except OSError as error:
            why = refused_file(error) or str(error)
            raise ResultsError(f"{store.cells / key}: {reason}, and it cannot be moved aside: {why}") from error
        lines.append(f"cell {key} was damaged ({reason}); it is moved to {target} and computed again")
    return tuple(lines)


def _framed(path: str, first: bytes, last: bytes) -> bool:
    """It begins and ends as its format does."""
    handle = os.open(path, os.O_RDONLY)
    try:
        end = os.fstat(handle).st_size - len(last)
        begins = end >= len(first) and os.pread(handle, len(first), 0) == first
        return begins and os.pread(handle, len(last), end) == last
    finally:
        os.close(handle)


def _whole_weights(path: str) -> bool:
    """It is as long as its header says: 8 bytes of the header's length, the header, and the arrays."""
    handle = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(handle).st_size
        length = int.from_bytes(os.pread(handle, 8, 0), "little")
        header = from_json(os.pread(handle, min(length, size), 8))
        ends = [about["data_offsets"][1] for name, about in header.items() if name != "__metadata__"]
    except (ValueError, TypeError, AttributeError, LookupError):
        return False
    finally:
        os.close(handle)
    return bool(size == 8 + length + max(ends, default=0))
