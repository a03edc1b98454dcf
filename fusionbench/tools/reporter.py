"""Who is told how a run goes."""

from __future__ import annotations

from typing import Protocol

from fusionbench.core.cell_result import CellResult
from fusionbench.suites.cell import Cell


class Reporter(Protocol):
    """Is told how a run goes."""

    def start(self, todo: int, done: int) -> None:
        """The run begins: `todo` cells will be computed, `done` have a result already."""

    def cell(self, cell: Cell) -> None:
        """A cell begins."""

    def epoch(self, epoch: int, epochs: int) -> None:
        """An epoch of the cell in hand has ended."""

    def finished(self, cell: Cell, result: CellResult) -> None:
        """A cell's result is stored."""

    def note(self, line: str) -> None:
        """Something that the user should know."""


class SilentReporter(Reporter):
    """Shows nothing."""

    def start(self, todo: int, done: int) -> None: ...
    def cell(self, cell: Cell) -> None: ...
    def epoch(self, epoch: int, epochs: int) -> None: ...
    def finished(self, cell: Cell, result: CellResult) -> None: ...
    def note(self, line: str) -> None: ...
