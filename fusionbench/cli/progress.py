"""Progress over cells and epochs: bars with remaining time on a terminal, plain lines in a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from fusionbench.tools.progress import Lines, headline
from fusionbench.tools.reporter import Reporter

if TYPE_CHECKING:
    from fusionbench.core.cell_result import CellResult
    from fusionbench.suites.cell import Cell

BAR_WIDTH = 10


@contextmanager
def make_reporter() -> Iterator[Reporter]:
    """A reporter that suits standard error: bars on a terminal, else lines."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines()
        return
    with Progress(
        # The text gives way where the terminal is narrow; numbers and times are never cut.
        TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=BAR_WIDTH),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        expand=True,
    ) as progress:
        yield Bars(progress)


class Bars(Reporter):
    """Two bars: cells of the suite, epochs of the cell in hand."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.cells = progress.add_task("cells", total=None)
        self.epochs = progress.add_task("epochs", total=None, visible=False)

    def start(self, todo: int, done: int) -> None:
        self.progress.update(self.cells, total=todo)

    def cell(self, cell: Cell) -> None:
        self.progress.update(self.cells, description=cell.label)
        self.progress.update(self.epochs, visible=False)

    def epoch(self, epoch: int, epochs: int) -> None:
        self.progress.update(self.epochs, visible=True, completed=epoch, total=epochs)

    def finished(self, cell: Cell, result: CellResult) -> None:
        self.progress.advance(self.cells)
        if result.status != "ok":
            self.note(f"{cell.label}: {headline(result)}")

    def note(self, line: str) -> None:
        self.progress.console.print(line, markup=False, highlight=False)
