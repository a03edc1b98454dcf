"""The scheduler of a run: hands cells to an executor, counts attempts, and gives every cell one result."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace

from fusionbench.core.cell_result import CellResult
from fusionbench.core.errors import FusionBenchError, PluginError
from fusionbench.core.executor import Executor, LostTask
from fusionbench.execution.cell_record import failure
from fusionbench.execution.ready_queue import ReadyQueue
from fusionbench.execution.run_cell import refuse_full_disk
from fusionbench.execution.task import CellTask, TaskRunner
from fusionbench.results.attempts import Attempts
from fusionbench.results.store import Store
from fusionbench.suites.cell import Cell

Sink = Callable[[Cell, CellResult], None]


class Scheduler:
    """Runs every cell, members first; a cell that gave no result is tried again after the others, `retries` times."""

    def __init__(
        self,
        executor: Executor,
        store: Store,
        retries: int,
        *,
        sink: Sink,
        begin: Callable[[Cell], None],
        note: Callable[[str], None],
    ) -> None:
        """
        Args:
            sink: stores a result.
            begin: called with each cell that begins.
            note: called with a line about each cell that will be tried again.
        """
        self.executor, self.store, self.retries = executor, store, retries
        self.sink, self.begin, self.note = sink, begin, note
        self.attempts = Attempts(store.folder)
        self.running: dict[str, Cell] = {}
        # Failures that may pass (a full disk, no memory) count within this run alone: the next run has another chance.
        self.passing: dict[str, list[str]] = defaultdict(list)

    def run(self, cells: Sequence[Cell], run_task: TaskRunner) -> None:
        """Compute the cells; afterwards each has a result, which may be a failure.

        Raises:
            FusionBenchError: the run cannot go on: results cannot be written, or the executor broke its interface.
        """
        lost = self._lost_before(cells)
        spent = [cell for cell in cells if lost.get(cell.key, 0) > self.retries]
        self.queue = ReadyQueue([cell for cell in cells if cell not in spent], lost)
        for cell in spent:
            self._store(cell, self._given_up(cell))
        try:
            with closing(self._results(run_task)) as results:
                for task, result in results:
                    self._ended(task, result)
        finally:  # an interrupt, a full disk: not the fault of the cells in hand
            for key in self.running:
                self.attempts.drop(key)
        if len(self.queue):
            raise PluginError(f"executor {self.executor.name!r} ended with {len(self.queue)} cells to do")

    def _lost_before(self, cells: Sequence[Cell]) -> dict[str, int]:
        """Attempts that earlier runs have lost, by cell; the attempt that such a run died with is counted, too."""
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

    def _results(self, run_task: TaskRunner) -> Generator[tuple[CellTask, CellResult | LostTask]]:
        """What the executor yields; an error that it raises names the executor."""
        try:
            yield from self.executor.run(self._take, run_task)
        except FusionBenchError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            raise PluginError(f"executor {self.executor.name!r} raised {what}; finished cells are kept") from error

    def _take(self) -> CellTask | None:
        cell = self.queue.pop_next()
        if cell is None:
            return None
        self.running[cell.key] = cell  # first: a signal may come between the two lines
        self.attempts.start(cell.key, in_driver=self.executor.in_driver)
        self.begin(cell)
        return CellTask(cell, self._members(cell))

    def _members(self, cell: Cell) -> dict[str, CellResult]:
        """The results of the cell's members, and of their members."""
        found: dict[str, CellResult] = {}
        wanted = [key for _, key in cell.members]
        while wanted:
            key = wanted.pop()
            if key not in found:
                found[key] = self.store.load(key)
                wanted += [member["key"] for member in found[key].record.get("members", ())]
        return found

    def _ended(self, task: CellTask, result: CellResult | LostTask) -> None:
        if not isinstance(task, CellTask) or task.cell.key not in self.running:
            raise PluginError(f"executor {self.executor.name!r} gave a result twice, or of a cell it was not given")
        self._settle(task.cell, result)
        # Only now: where storing or showing it failed (a closed pipe), the attempt is dropped like those still running.
        del self.running[task.cell.key]

    def _settle(self, cell: Cell, result: CellResult | LostTask) -> None:
        """Store a result, or count a lost or passing attempt and put the cell back into the queue."""
        if isinstance(result, CellResult):
            refuse_full_disk(cell, result)
        if isinstance(result, LostTask):
            self.attempts.lose(cell.key, result.reason)
        elif result.record.get("transient"):
            self.passing[cell.key].append(result.reason)
            self.attempts.drop(cell.key)
        else:
            self._store(cell, result)
            return
        if len(self._reasons(cell.key)) <= self.retries:
            self.note(f"{cell.label}: {result.reason}; it is tried again after the others")
            self.queue.again(cell.key)
        else:
            self._store(cell, self._given_up(cell) if isinstance(result, LostTask) else result)

    def _reasons(self, key: str) -> tuple[str, ...]:
        """Why attempts of a cell gave no result: lost ones of any run, and failed ones of this run."""
        return (*self.attempts.of(key).ended, *self.passing[key])

    def _given_up(self, cell: Cell) -> CellResult:
        """The failure of a cell that gave no result in any of its attempts."""
        ended = self._reasons(cell.key)
        return failure(cell, ended[-1] if len(ended) == 1 else f"{ended[-1]}; {len(ended)} attempts", seconds=0.0)

    def _store(self, cell: Cell, result: CellResult) -> None:
        """Store a result; its record says why earlier attempts gave none."""
        if ended := self._reasons(cell.key):
            result = replace(result, record={**result.record, "attempts": list(ended)})
        self.sink(cell, result)
        self.attempts.finish(cell.key)
        self.queue.end(cell.key)
