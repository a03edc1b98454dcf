"""The executor `my-plugin`: cells in other processes of this machine."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from fusionbench import Executor, LostTask, end_with_parent

T = TypeVar("T")
R = TypeVar("R")


class Pool(Executor):
    """Cells in processes of this machine, as many at a time as `-j` says, else one."""

    name = "my-plugin"
    supports = frozenset({"jobs"})  # a run that asks for an address, GPUs or a timeout is refused
    in_driver = False  # tasks have processes of their own

    def run(self, next_task: Callable[[], T | None], run_task: Callable[[T], R]) -> Iterator[tuple[T, R | LostTask]]:
        """Each task with its result, in the order in which they finish."""
        jobs = self.request.jobs or 1
        idle: list[ProcessPoolExecutor] = []
        running: dict[Future[R], tuple[T, ProcessPoolExecutor]] = {}
        try:
            while True:
                while len(running) < jobs and (task := next_task()) is not None:
                    process = idle.pop() if idle else new_process()
                    running[process.submit(run_task, task)] = task, process
                if not running:  # no task now, and none that one could wait for: there are no more
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    task, process = running.pop(future)
                    result = result_of(future)
                    if not isinstance(result, LostTask):
                        idle.append(process)
                    yield task, result
        finally:
            for process in (*idle, *(process for _, process in running.values())):
                process.shutdown(wait=False, cancel_futures=True)


def new_process() -> ProcessPoolExecutor:
    """One process, which ends with this one."""
    # Spawned: a forked process would share locks and threads with this one.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, context, initializer=end_with_parent)


def result_of(future: Future[R]) -> R | LostTask:
    """What a task gave; a process that died is no fault of the run, which tries the task again."""
    try:
        return future.result()
    except BrokenProcessPool:
        return LostTask("its process died")
