"""One cell after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fusionbench.core.interfaces import Executor, R, T


class Serial(Executor):
    """The default: no start-up cost, and a traceback is a traceback."""

    name = "serial"

    def run(self, take: Callable[[], T | None], work: Callable[[T], R]) -> Iterator[tuple[T, R]]:
        while (task := take()) is not None:
            yield task, work(task)
