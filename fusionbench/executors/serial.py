"""One cell after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fusionbench.interfaces import Executor, R, T


class Serial(Executor):
    """The default: no start-up cost, and a traceback is a traceback."""

    name = "serial"

    def run(self, tasks: Sequence[T], work: Callable[[T], R]) -> Iterator[tuple[T, R]]:
        for task in tasks:
            yield task, work(task)
