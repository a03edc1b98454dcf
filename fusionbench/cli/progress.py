"""Progress over cells and epochs: bars with remaining time on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from fusionbench.tools.run import Reporter

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


class Lines(Reporter):
    """One line a finished cell."""

    def __init__(self) -> None:
        self.todo = self.n = 0
        self.began = time.monotonic()

    def start(self, todo: int, done: int) -> None:
        self.todo, self.began = todo, time.monotonic()
        if todo:
            self.note(f"{todo} cells to compute, {done} there already")

    def cell(self, cell: Cell) -> None:
        return

    def epoch(self, epoch: int, epochs: int) -> None:
        return

    def finished(self, cell: Cell, result: CellResult) -> None:
        self.n += 1
        spent = time.monotonic() - self.began
        left = spent / self.n * (self.todo - self.n)
        tail = headline(result)
        self.note(f"[{self.n}/{self.todo}, {_clock(left)} left] {cell.label}: {tail}")

    def note(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


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


def headline(result: CellResult) -> str:
    """One phrase for a finished cell: its first metric, or its failure."""
    if result.status != "ok":
        return f"{result.status}: {result.reason}"
    seconds = sum(result.record["seconds"].values())
    first = next((s for s in result.scores if s.pattern == "full"), None)
    score = f"{first.metric} {first.value:.3f}, " if first is not None else ""
    return f"{score}{seconds:.1f} s"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
