"""Attempts are counted, every cell gets one result, and an executor that breaks its promise is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fusionbench.core.cell_result import CellResult
from fusionbench.core.errors import PluginError, ResultsError
from fusionbench.core.executor import Executor, LostTask
from fusionbench.execution.executors.serial import Serial
from fusionbench.execution.scheduler import Scheduler
from fusionbench.results.attempts import Attempts, Tried
from fusionbench.results.store import Store
from tests.full_disk import full_disk
from tests.unit.suites.test_plan import planned

CELLS = planned().todo()


class Harness:
    """A driver over a store, and work that answers by the number of the attempt."""

    def __init__(self, folder: Path, executor: Executor | None = None, retries: int = 1) -> None:
        self.store = Store(folder, "suite")
        self.store.prepare()
        self.attempts = Attempts(self.store.folder)
        self.said: list[str] = []
        self.fits: dict[str, int] = {}
        self.scheduler = Scheduler(
            executor or Serial(),
            self.store,
            retries,
            sink=lambda cell, result: (self.store.write(result), None)[1],
            begin=lambda cell: None,
            note=self.said.append,
        )

    def run(self, answer: Callable[[int], Any], cells: Any = CELLS[:1]) -> None:
        def work(job: Any) -> Any:
            self.fits[job.cell.key] = n = self.fits.get(job.cell.key, 0) + 1
            made = answer(n)
            if isinstance(made, BaseException):
                raise made
            return made if isinstance(made, LostTask) else CellResult(job.cell.key, *made[:2], record=made[2])

        self.scheduler.run(cells, work)  # type: ignore[arg-type]


FINE = ("failed", "it said so", {})
"""A result: nothing of it matters here, and a failure has no arrays."""
PASSING = ("failed", "OSError: disk", {"transient": True})
KEY = CELLS[0].key


def test_a_deterministic_failure_is_not_tried_again(tmp_path: Path) -> None:
    harness = Harness(tmp_path, retries=5)
    harness.run(lambda n: FINE)
    assert harness.fits == {KEY: 1}
    assert harness.store.record(KEY)["record"] == {}


@pytest.mark.parametrize("bad", [LostTask("killed: SIGKILL"), PASSING])
def test_what_may_pass_is_tried_again_and_its_story_kept(tmp_path: Path, bad: Any) -> None:
    harness = Harness(tmp_path)
    harness.run(lambda n: bad if n == 1 else FINE)
    reason = bad.reason if isinstance(bad, LostTask) else bad[1]
    assert harness.fits == {KEY: 2}
    assert harness.store.record(KEY)["record"]["attempts"] == [reason]
    assert harness.said == [f"{CELLS[0].label}: {reason}; it is tried again after the others"]
    assert harness.attempts.all() == {}


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_after_its_retries_it_has_failed(tmp_path: Path, retries: int) -> None:
    harness = Harness(tmp_path, retries=retries)
    harness.run(lambda n: LostTask(f"reason {n}"))
    record = harness.store.record(KEY)
    assert harness.fits == {KEY: retries + 1}
    assert record["status"] == "failed"
    assert record["reason"] == ("reason 1" if not retries else f"reason {retries + 1}; {retries + 1} attempts")
    assert record["record"]["attempts"] == [f"reason {n + 1}" for n in range(retries + 1)]


def test_the_attempt_a_run_died_with_is_counted(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    harness.attempts.start(KEY, in_driver=True)
    harness.run(lambda n: FINE)
    assert "the run ended while it ran this cell" in harness.store.record(KEY)["record"]["attempts"][0]
    harness.store.cells.joinpath(KEY).rename(tmp_path / "old")
    for _ in range(2):
        harness.attempts.start(KEY, in_driver=True)
        harness.attempts.lose(KEY, "the run ended")
    harness.fits.clear()
    harness.run(lambda n: FINE)
    assert harness.fits == {}, "two attempts were lost, and one retry was declared"
    assert harness.store.record(KEY)["reason"] == "the run ended; 2 attempts"


def test_a_cell_that_ran_elsewhere_did_not_kill_the_driver(tmp_path: Path) -> None:
    harness = Harness(tmp_path, retries=0)
    harness.attempts.start(KEY, in_driver=False)
    harness.run(lambda n: FINE)
    assert harness.fits == {KEY: 1}
    assert "attempts" not in harness.store.record(KEY)["record"]


def test_what_has_a_result_and_is_asked_for_again_begins_anew(tmp_path: Path) -> None:
    harness = Harness(tmp_path, retries=0)
    harness.run(lambda n: FINE)
    harness.attempts.start(KEY, in_driver=True)  # killed between storing the result and removing the marker
    harness.run(lambda n: FINE)
    assert harness.fits == {KEY: 2}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ResultsError("disk full")])
def test_what_ends_the_run_is_not_the_cells_fault(tmp_path: Path, error: BaseException) -> None:
    harness = Harness(tmp_path)
    with pytest.raises(type(error)):
        harness.run(lambda n: error)
    assert harness.attempts.all() == {}


def test_a_pipe_that_closes_while_a_result_is_told_leaves_no_marker(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    plain = harness.scheduler.sink

    def sink(cell: Any, result: Any) -> None:
        plain(cell, result)
        raise BrokenPipeError

    harness.scheduler.sink = sink
    with pytest.raises(BrokenPipeError):
        harness.run(lambda n: FINE)
    assert harness.store.has(KEY)
    assert harness.attempts.all() == {}


def test_earlier_attempts_stay_when_a_run_is_interrupted(tmp_path: Path) -> None:
    harness = Harness(tmp_path, retries=5)
    with pytest.raises(KeyboardInterrupt):
        harness.run(lambda n: LostTask("killed") if n == 1 else KeyboardInterrupt())
    assert harness.attempts.all() == {KEY: Tried(("killed",))}


def test_runs_on_a_full_disk_cost_a_cell_no_attempt(tmp_path: Path) -> None:
    """The model cannot write its files, nor the store the failure; once there is room the cell is computed."""
    for _ in range(3):
        harness = Harness(tmp_path)
        harness.scheduler.sink = _refuse
        with pytest.raises(ResultsError, match="disk full"):
            harness.run(lambda n: PASSING)
        assert harness.fits == {KEY: 2}
        assert harness.attempts.all() == {}
    harness = Harness(tmp_path)
    harness.run(lambda n: FINE)
    assert harness.fits == {KEY: 1}
    assert harness.store.record(KEY)["reason"] == "it said so"
    assert "attempts" not in harness.store.record(KEY)["record"]


def _refuse(cell: Any, result: Any) -> None:
    raise ResultsError("disk full")


def test_a_marker_that_cannot_be_rewritten_is_removed(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    harness.attempts.start(KEY, in_driver=True)
    harness.attempts.lose(KEY, "killed")
    harness.attempts.start(KEY, in_driver=True)
    with full_disk(0):
        harness.attempts.drop(KEY)
    assert harness.attempts.all() == {}


class Odd(Serial):
    """Breaks its promise as it is told."""

    name = "odd"
    how = ""

    def run(self, take: Callable[[], Any], work: Callable[[Any], Any]) -> Iterator[Any]:
        task = take()
        if self.how == "raise":
            raise RuntimeError("the queue is gone\nsecond line")
        yield task, work(task)
        if self.how == "twice":
            yield task, work(task)
        if self.how == "stranger":
            yield SimpleNamespace(cell=SimpleNamespace(key="?")), work(task)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raise", "executor 'odd' raised RuntimeError: the queue is gone; finished cells are kept"),
        ("twice", "executor 'odd' gave a result twice"),
        ("stranger", "of a cell it was not given"),
        ("early", "executor 'odd' ended with "),
    ],
)
def test_an_executor_that_breaks_its_promise(tmp_path: Path, how: str, words: str) -> None:
    odd = Odd()
    odd.how = how
    harness = Harness(tmp_path, odd)
    with pytest.raises(PluginError) as caught:
        harness.run(lambda n: FINE, CELLS[:2])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert harness.attempts.all() == {}
