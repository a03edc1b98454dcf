"""Tracking while a suite runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fusionbench.core.cell_result import CellResult
from fusionbench.report.mlflow.client import TrackingError
from fusionbench.report.mlflow.files import SuiteFiles
from fusionbench.report.mlflow.tracker import Tracker
from fusionbench.suites.cell import Cell

if TYPE_CHECKING:
    import pandas as pd


class Live:
    """MLflow during a run: the first failure is told once and ends it; results are on disk whatever happens."""

    def __init__(self, make: Callable[[], Tracker], tell: Callable[[str], None]) -> None:
        """`tell` hears the one line that says why nothing is logged any more."""
        self.notes: tuple[str, ...] = ()
        self._make, self._tell = make, tell
        self._tracker: Tracker | None = None

    def cell(self, cell: Cell, result: CellResult) -> None:
        """Log a finished cell."""
        self._try(lambda tracker: tracker.log_cell(cell, result))

    def end(self, table: pd.DataFrame, files: SuiteFiles) -> None:
        """Log the table and the files of the run."""
        self._try(lambda tracker: tracker.log_table(table))
        self._try(lambda tracker: tracker.log_files(files))

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
