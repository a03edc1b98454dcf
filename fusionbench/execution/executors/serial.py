"""One cell after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fusionbench.core.executor import Executor, R, T


class Serial(Executor):
    """One cell after the other in this process, the default: nothing is started, and an error shows where it arose."""

    name = "serial"

    def run(self, next_task: Callable[[], T | None], run_task: Callable[[T], R]) -> Iterator[tuple[T, R]]:
        while (task := next_task()) is not None:
            yield task, run_task(task)
