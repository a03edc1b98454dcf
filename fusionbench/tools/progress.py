"""Progress of a run as a line a cell, for a pipe, a log and a notebook."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from fusionbench.core.plural import plural
from fusionbench.tools.reporter import Reporter

if TYPE_CHECKING:
    from fusionbench.core.cell_result import CellResult
    from fusionbench.suites.cell import Cell


class Lines(Reporter):
    """One line a finished cell, on standard error."""

    def __init__(self) -> None:
        self.todo = self.n = 0
        self.began = time.monotonic()

    def start(self, todo: int, done: int) -> None:
        self.todo, self.began = todo, time.monotonic()
        if todo:
            self.note(f"{plural(todo, 'cell')} to compute, {done} there already")

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
