"""Tracking while a suite runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionbench.cells import Cell
from fusionbench.results import CellResult
from fusionbench.tracking.connection import TrackingError
from fusionbench.tracking.tracker import Tracker

if TYPE_CHECKING:
    import pandas as pd


class Live:
    """MLflow during a run: the first failure is told once and ends it; results are on disk whatever happens."""

    def __init__(
        self, uri: str | None, root: Path, suite: str, title: str, lock: Mapping[str, Any], tell: Callable[[str], None]
    ) -> None:
        """`tell` hears the one line that says why nothing is logged any more."""
        self.notes: tuple[str, ...] = ()
        self._make: Callable[[], Tracker] = lambda: Tracker(uri, root, suite, title, lock=lock)
        self._tell = tell
        self._tracker: Tracker | None = None

    def cell(self, cell: Cell, result: CellResult) -> None:
        self._try(lambda tracker: tracker.log_cell(cell, result))

    def table(self, table: pd.DataFrame) -> None:
        self._try(lambda tracker: tracker.log_table(table))

    def _try(self, log: Callable[[Tracker], None]) -> None:
        if self.notes:
            return
        try:
            if self._tracker is None:
                self._tracker = self._make()
            log(self._tracker)
        except TrackingError as error:
            self.notes = (f"not logged to MLflow: {error}",)
            self._tell(self.notes[0])
