"""What a suite's folder holds: stored cells as they are read, damaged ones, and cells being computed at this moment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fusionbench.core.errors import AccessError, ResultsError, file_problem
from fusionbench.results.attempts import Attempts
from fusionbench.results.cell_files import CELL
from fusionbench.results.integrity import cut_off
from fusionbench.results.run_lock import holder
from fusionbench.results.store import Store
from fusionbench.suites.cell import POSITION_NAMES, CellPosition


@dataclass(frozen=True)
class RunningCells:
    """What is being computed in a suite's folder at this moment.

    Attributes:
        by: the process that computes the suite; empty where none does.
        cells: key of a cell that is being computed to who computes it since when.
        lost: key of a cell whose attempts gave no result to what is known of them.
        problem: why the marks cannot be read; empty where they can.
    """

    by: str = ""
    cells: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


def running_now(store: Store) -> RunningCells:
    """Which cells are being computed, by whom, and which were lost, from the run lock and the attempts."""
    try:
        who = holder(store.folder)
        marks = Attempts(store.folder).all()
    except (ResultsError, OSError) as error:
        return RunningCells(problem=str(error))
    cells, lost = {}, {}
    for key, tried in marks.items():
        ended = (
            f"{len(tried.ended)} attempts ended without a result, the last: {tried.ended[-1]}" if tried.ended else ""
        )
        if tried.running and who is not None:
            cells[key] = f"process {tried.running.pid} on {tried.running.host} since {tried.running.since}"
        elif store.has(key):
            continue  # stored, and killed before its marker was removed
        elif tried.running:
            lost[key] = f"it was being computed when process {tried.running.pid} on {tried.running.host} ended"
        elif ended:
            lost[key] = ended
    return RunningCells("" if who is None else str(who), cells, lost)


@dataclass(frozen=True)
class StoredCell:
    """What a cell.json says of a cell's inputs and of how it ended.

    Attributes:
        ingredients: what its key is the hash of; empty where an older fusionbench stored a failure without.
        metrics: metric to the version that scored it.
        seconds: what it took, all steps together.
    """

    key: str
    status: str
    reason: str
    position: CellPosition
    seed: int
    ingredients: Mapping[str, Any]
    metrics: Mapping[str, str]
    seconds: float
    traceback: str
    scores: tuple[Mapping[str, Any], ...]

    @property
    def label(self) -> str:
        """Dataset, model, modalities, variant, repeat and fold, for people."""
        dataset, model, modalities, variant, repeat, fold = self.position
        named = "" if variant == "base" else f" · {variant}"
        return f"{dataset} · {model} · {modalities}{named} · repeat {repeat} fold {fold}"


@dataclass(frozen=True)
class StoredCells:
    """Everything under a suite's cells/.

    Attributes:
        readable: key to what is stored.
        damaged: key to why its cell.json cannot be read, or which file beside it is missing or cut off.
    """

    readable: Mapping[str, StoredCell]
    damaged: Mapping[str, str]


def read_cells(store: Store) -> StoredCells:
    """Every stored cell of a suite; there may be none.

    Raises:
        ResultsError: the folder itself cannot be listed, or this user may not read a cell.
    """
    readable: dict[str, StoredCell] = {}
    damaged: dict[str, str] = {}
    for key in _keys(store):
        try:
            stored = read_cell(store, key)
        except AccessError:
            raise
        except ResultsError as error:
            damaged[key] = str(error)
            continue
        folder = f"{store.cells}/{key}"
        if stored.status == "ok" and (reason := cut_off(folder)):
            damaged[key] = f"{folder}: {reason}; run the suite and it is moved aside and computed again"
        else:
            readable[key] = stored
    return StoredCells(readable, damaged)


def _keys(store: Store) -> list[str]:
    try:
        with os.scandir(store.cells) as entries:
            return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ResultsError(file_problem(store.cells, error, "look at that folder")) from error


def read_cell(store: Store, key: str) -> StoredCell:
    """One stored cell.

    Raises:
        ResultsError: missing or damaged; says which file and what to do.
    """
    record = store.record(key)
    path = f"{store.cells}/{key}/{CELL}"
    try:
        about = record["record"]
        cell = about["cell"]
        return StoredCell(
            key=key,
            status=str(record["status"]),
            reason=str(record["reason"]),
            position=(
                *(str(cell[name]) for name in POSITION_NAMES[:4]),  # type: ignore[arg-type]  # four of them
                int(cell["repeat"]),
                int(cell["fold"]),
            ),
            seed=int(cell["seed"]),
            ingredients=dict(about.get("ingredients", {})),
            metrics=dict(about.get("metrics", {})),
            seconds=float(sum(about.get("seconds", {}).values())),
            traceback=str(about.get("traceback", "")),
            scores=tuple(map(dict, record["scores"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        seen = f"{type(error).__name__}: {error}"
        raise ResultsError(
            f"{path}: does not say which cell it is ({seen}); remove the folder and run the suite again"
        ) from error
