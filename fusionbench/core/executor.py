"""The abstract class of an executor, and what a run and an executor tell each other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from fusionbench.core.checked import Checked

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class ResourceRequest:
    """The resources that a run requests from its executor.

    Attributes:
        jobs: cells at once; None = as many as fit.
        threads: CPU cores of a cell.
        address: of a cluster to join; None = this machine.
        gpus: GPUs of a cell, also a fraction of one.
        timeout: seconds after which a cell is stopped; None = never.
    """

    jobs: int | None = None
    threads: int = 1
    address: str | None = None
    gpus: float = 0.0
    timeout: float | None = None


@dataclass(frozen=True)
class LostTask:
    """Stands for the result of a task that returned none.

    Attributes:
        reason: the process was killed, stopped after a timeout, or lost with its machine.
    """

    reason: str


class Executor(Checked, ABC):
    """Runs tasks, in this process or in others.

    Attributes:
        supports: fields of `ResourceRequest` that it honours, of jobs, address, gpus and timeout; a run that requests
            another one is refused before anything is computed.
        in_driver: tasks run in the process that calls `run`, so that what kills a task ends the run; the next run then
            counts the task's attempt. False where tasks have processes of their own.
    """

    name: ClassVar[str]
    supports: ClassVar[frozenset[str]] = frozenset()
    in_driver: ClassVar[bool] = True

    def __init__(self, request: ResourceRequest = ResourceRequest()) -> None:
        self.request = request

    @abstractmethod
    def run(self, next_task: Callable[[], T | None], run_task: Callable[[T], R]) -> Iterator[tuple[T, R | LostTask]]:
        """Each task with its result, in the order in which they finish; a task without a result with `LostTask`.

        Args:
            next_task: returns the next task; None where none can begin now, since the remaining tasks depend on running
                ones. It may return a task again after the next result has been yielded. None while no task is running
                means that there are no more.
            run_task: computes a task. It does not raise for a fault of the task itself; whatever it raises ends the
                run. Tasks and `run_task` can be pickled; `run_task` sets itself up once in each process and computes
                one task at a time there.

        Raises:
            SuiteError: before the first task is taken: the requested resources are not available.
        """
