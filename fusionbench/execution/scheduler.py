"""The driver of a run: hands cells to an executor, counts attempts, and gives every cell one result."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace

from fusionbench.core.cell_result import CellResult
from fusionbench.core.errors import FusionBenchError, PluginError
from fusionbench.core.interfaces import Executor, Lost
from fusionbench.execution.ready_queue import Waiting
from fusionbench.execution.run_cell import failure
from fusionbench.execution.task import Job, Portion, Together, Work
from fusionbench.results.attempts import Attempts
from fusionbench.results.store import Store
from fusionbench.suites.cell import Cell

Sink = Callable[[Cell, CellResult], None]


class Driver:
    """Runs cells once each: members first, what gave nothing again, after the others, as often as `retries` says."""

    def __init__(
        self,
        executor: Executor,
        store: Store,
        retries: int,
        *,
        sink: Sink,
        begin: Callable[[Cell], None],
        tell: Callable[[str], None],
    ) -> None:
        """
        Args:
            sink: stores a result.
            begin: hears which cell begins; tell: hears which will be tried again, and why.
        """
        self.executor, self.store, self.retries = executor, store, retries
        self.sink, self.begin, self.tell = sink, begin, tell
        self.attempts = Attempts(store.folder)
        self.at_work: dict[str, Cell] = {}

    def run(self, cells: Sequence[Cell], work: Work) -> None:
        """Every cell has its result afterwards, whatever becomes of the single ones.

        Raises:
            FusionBenchError: the run cannot go on: results cannot be written, or the executor broke its promise.
        """
        lost = self._look_back(cells)
        spent = [cell for cell in cells if lost.get(cell.key, 0) > self.retries]
        self.waiting = Waiting([cell for cell in cells if cell not in spent], lost)
        for cell in spent:
            self._store(cell, self._given_up(cell))
        try:
            with closing(self._results(work)) as results:
                for task, result in results:
                    self._ended(task, result)
        finally:  # an interrupt, a full disk: not the fault of the cells in hand
            for key in self.at_work:
                self.attempts.drop(key)
        if len(self.waiting):
            raise PluginError(f"executor {self.executor.name!r} ended with {len(self.waiting)} cells to do")

    def _look_back(self, cells: Sequence[Cell]) -> dict[str, int]:
        """How many attempts earlier runs have lost of each cell; the one that such a run died with is counted, too."""
        lost = {}
        for cell in cells:
            if self.store.has(cell.key):  # it has ended before, and is asked for again
                self.attempts.finish(cell.key)
            tried = self.attempts.of(cell.key)
            if tried.running is not None and tried.running.in_driver:
                who = f"process {tried.running.pid} on {tried.running.host}, begun {tried.running.since}"
                tried = self.attempts.lose(
                    cell.key, f"the run ended while it ran this cell ({who}): killed, crashed or out of memory"
                )
            elif tried.running is not None:  # the cell ran elsewhere and has not killed the driver
                self.attempts.drop(cell.key)
            if tried.ended:
                lost[cell.key] = len(tried.ended)
        return lost

    def _results(self, work: Work) -> Generator[tuple[Portion, tuple[CellResult, ...] | Lost]]:
        """What the executor yields; what it raises gets its name."""
        try:
            yield from self.executor.run(self._take, work)
        except FusionBenchError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            raise PluginError(f"executor {self.executor.name!r} raised {what}; finished cells are kept") from error

    def _take(self) -> Portion | None:
        cell = self.waiting.take()
        if cell is None:
            return None
        task: Portion = Job(cell, self._members(cell))
        if cell.stack:
            task = Together((cell, *self.waiting.take_beside(cell)), cell.stack)
        for each in task.cells:
            self.attempts.start(each.key, in_driver=self.executor.in_driver)
            self.at_work[each.key] = each
        self.begin(cell)
        return task

    def _members(self, cell: Cell) -> dict[str, CellResult]:
        """Its members' results, and their members'."""
        found: dict[str, CellResult] = {}
        wanted = [key for _, key in cell.members]
        while wanted:
            key = wanted.pop()
            if key not in found:
                found[key] = self.store.load(key)
                wanted += [member["key"] for member in found[key].record.get("members", ())]
        return found

    def _ended(self, task: Portion, given: tuple[CellResult, ...] | Lost) -> None:
        """The cells of a task that was lost are lost together; else each has its own result."""
        known = isinstance(task, Portion)
        if not known or any(self.at_work.pop(cell.key, None) is None for cell in task.cells):
            raise PluginError(f"executor {self.executor.name!r} gave a result twice, or of a cell it was not given")
        of_key = {} if isinstance(given, Lost) else {result.key: result for result in given}
        for cell in task.cells:
            self._one_ended(cell, given if isinstance(given, Lost) else of_key[cell.key])

    def _one_ended(self, cell: Cell, result: CellResult | Lost) -> None:
        if not isinstance(result, Lost) and not result.record.get("transient"):
            self._store(cell, result)
        elif len(self.attempts.lose(cell.key, result.reason).ended) <= self.retries:
            self.tell(f"{cell.label}: {result.reason}; it is tried again after the others")
            self.waiting.again(cell.key)
        else:
            self._store(cell, self._given_up(cell) if isinstance(result, Lost) else result)

    def _given_up(self, cell: Cell) -> CellResult:
        """The failure of a cell that gave no result in any of its attempts."""
        ended = self.attempts.of(cell.key).ended
        return failure(cell, ended[-1] if len(ended) == 1 else f"{ended[-1]}; {len(ended)} attempts", seconds=0.0)

    def _store(self, cell: Cell, result: CellResult) -> None:
        """What gave nothing before stands in the record."""
        if ended := self.attempts.of(cell.key).ended:
            result = replace(result, record={**result.record, "attempts": list(ended)})
        self.sink(cell, result)
        self.attempts.finish(cell.key)
        self.waiting.end(cell.key)
