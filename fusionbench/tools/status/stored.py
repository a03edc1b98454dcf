"""What the stored cells of a suite say of themselves; read without tables, so that thousands take a second."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fusionbench.core.errors import ResultsError
from fusionbench.results.cell_files import CELL
from fusionbench.results.integrity import cut_off
from fusionbench.results.store import Store
from fusionbench.suites.cell import Cell

Place = tuple[str, str, str, str, int, int]
"""dataset, model, modalities, variant, repeat, fold: where two results of one cell meet."""


def place_of(cell: Cell) -> Place:
    """The cell without its seed and its inputs: row, repeat and fold."""
    return (*cell.row, cell.repeat, cell.fold)


NAMES = ("dataset", "model", "modalities", "variant", "repeat", "fold")


@dataclass(frozen=True)
class Stored:
    """A cell.json, as far as it concerns what was computed and how that ended.

    Attributes:
        ingredients: what its key is the hash of; empty where an older fusionbench stored a failure without.
        metrics: metric to the version that scored it.
        seconds: what it took, all steps together.
        written: when it was stored, in seconds since 1970.
    """

    key: str
    status: str
    reason: str
    place: Place
    seed: int
    ingredients: Mapping[str, Any]
    metrics: Mapping[str, str]
    seconds: float
    traceback: str
    written: float
    scores: tuple[Mapping[str, Any], ...]

    @property
    def label(self) -> str:
        """Dataset, model, modalities, variant, repeat and fold, for people."""
        dataset, model, modalities, variant, repeat, fold = self.place
        named = "" if variant == "base" else f" · {variant}"
        return f"{dataset} · {model} · {modalities}{named} · repeat {repeat} fold {fold}"


@dataclass(frozen=True)
class Cells:
    """Everything under a suite's cells/.

    Attributes:
        readable: key to what is stored.
        damaged: key to why its cell.json cannot be read, or which file beside it is missing or cut off.
    """

    readable: Mapping[str, Stored]
    damaged: Mapping[str, str]


def read_cells(store: Store) -> Cells:
    """Every stored cell of a suite; there may be none.

    Raises:
        ResultsError: the folder itself cannot be listed.
    """
    readable: dict[str, Stored] = {}
    damaged: dict[str, str] = {}
    for key in _keys(store):
        try:
            stored = read_cell(store, key)
        except ResultsError as error:
            damaged[key] = str(error)
            continue
        folder = f"{store.cells}/{key}"
        if stored.status == "ok" and (reason := cut_off(folder)):
            damaged[key] = f"{folder}: {reason}; run the suite and it is moved aside and computed again"
        else:
            readable[key] = stored
    return Cells(readable, damaged)


def _keys(store: Store) -> list[str]:
    try:
        with os.scandir(store.cells) as entries:
            return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ResultsError(f"{store.cells} cannot be listed: {error.strerror or error}") from error


def read_cell(store: Store, key: str) -> Stored:
    """One stored cell.

    Raises:
        ResultsError: missing or damaged; says which file and what to do.
    """
    record = store.record(key)
    path = f"{store.cells}/{key}/{CELL}"
    try:
        about = record["record"]
        cell = about["cell"]
        return Stored(
            key=key,
            status=str(record["status"]),
            reason=str(record["reason"]),
            place=(
                *(str(cell[name]) for name in NAMES[:4]),  # type: ignore[arg-type]  # four of them
                int(cell["repeat"]),
                int(cell["fold"]),
            ),
            seed=int(cell["seed"]),
            ingredients=dict(about.get("ingredients", {})),
            metrics=dict(about.get("metrics", {})),
            seconds=float(sum(about.get("seconds", {}).values())),
            traceback=str(about.get("traceback", "")),
            written=os.stat(path).st_mtime,
            scores=tuple(map(dict, record["scores"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        seen = f"{type(error).__name__}: {error}"
        raise ResultsError(
            f"{path}: does not say which cell it is ({seen}); remove the folder and run the suite again"
        ) from error
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read ({error.strerror or error})") from error
