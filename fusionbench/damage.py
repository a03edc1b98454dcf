"""Cells whose folder is not what a run has written: moved aside and computed anew, and said so."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from fusionbench.cellfiles import CELL, HISTORY, PREDICTIONS, PREPROCESS, WEIGHTS
from fusionbench.errors import ResultsError
from fusionbench.store import Store

ASIDE = "damaged"
_PARQUET = b"PAR1"


def damaged(store: Store, key: str) -> str:
    """What is wrong with a stored cell, as far as its files show without being read through; empty where nothing is.

    A file that is missing, cut off or of another format is seen; a changed number inside is not.
    """
    folder = store.cells / key
    try:
        if store.record(key)["status"] != "ok":
            return ""
        for name in (PREDICTIONS, HISTORY):
            if not _whole_parquet(folder / name):
                return f"{name} is cut off"
        if not _whole_weights(folder / WEIGHTS):
            return f"{WEIGHTS} is cut off"
        json.loads((folder / PREPROCESS).read_text(encoding="utf-8"))
    except ResultsError:
        return f"{CELL} cannot be read"
    except OSError as error:
        return f"{Path(str(error.filename)).name} cannot be read: {error.strerror}"
    except ValueError:
        return f"{PREPROCESS} cannot be read"
    return ""


def set_aside(store: Store, keys: Iterable[str]) -> tuple[str, ...]:
    """Move the damaged ones of these cells to results/<suite>/damaged/; one line for each.

    Raises:
        ResultsError: one cannot be moved.
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
            raise ResultsError(f"{store.cells / key}: {reason}, and it cannot be moved aside: {error}") from error
        lines.append(f"cell {key} was damaged ({reason}); it is moved to {target} and computed again")
    return tuple(lines)


def _whole_parquet(path: Path) -> bool:
    """It begins and ends as parquet does."""
    with path.open("rb") as file:
        if file.read(4) != _PARQUET:
            return False
        file.seek(-4, 2)
        return file.read(4) == _PARQUET


def _whole_weights(path: Path) -> bool:
    """It is as long as its header says: 8 bytes of the header's length, the header, and the arrays."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = path.stat().st_size
        try:
            header = json.loads(file.read(min(length, size)))
            ends = [about["data_offsets"][1] for name, about in header.items() if name != "__metadata__"]
        except (ValueError, TypeError, AttributeError, LookupError):
            return False
    return bool(size == 8 + length + max(ends, default=0))
