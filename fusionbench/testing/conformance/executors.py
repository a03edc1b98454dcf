"""What is promised of an executor."""

from __future__ import annotations

from fusionbench.core.executor import Executor
from fusionbench.core.registry import Registry
from fusionbench.testing.conformance.check import Check, Checklist, Failure, Promise, checks_of
from fusionbench.testing.conformance.declarations import declarations

TASKS = (3, 1, 2, 5, 4)


def square(task: int) -> int:
    """Work that can be sent to another process."""
    return task * task


class ExecutorSubject:
    """A registered executor, made without arguments."""

    def __init__(self, name: str, registry: Registry) -> None:
        self.cls: type[Executor] = registry.get("executors", name)


CHECKS: Checklist[ExecutorSubject] = Checklist()


class Tasks:
    """Hands out tasks; the last one only when as many results have come, as a cell that builds on others."""

    def __init__(self, *tasks: int) -> None:
        self.left = list(tasks)
        self.awaited = len(tasks) - 1

    def take(self) -> int | None:
        """The next task; None where none can begin now."""
        if not self.left or (len(self.left) == 1 and self.awaited):
            return None
        return self.left.pop(0)

    def results(self, subject: ExecutorSubject) -> list[tuple[int, object]]:
        """What an executor gave for each task."""
        done: list[tuple[int, object]] = []
        for task, value in subject.cls().run(self.take, square):
            done.append((task, value))
            self.awaited -= 1
        return done


@CHECKS.add(
    "runs-every-task",
    "Each task comes back once, with what the work made of it, in any order.",
    cause="results are matched to tasks by place although they finish in another order, or it stops at the first None "
    "although tasks are in hand.",
)
def runs_every_task(subject: ExecutorSubject) -> None:
    done = Tasks(*TASKS).results(subject)
    if sorted(done, key=str) != sorted(((task, square(task)) for task in TASKS), key=str):
        raise Failure(f"{done} for the squares of {list(TASKS)}")


@CHECKS.add("runs-nothing", "No task is no result, and no error.", cause="the first task is looked at before the loop.")
def runs_nothing(subject: ExecutorSubject) -> None:
    done = list(subject.cls().run(lambda: None, square))
    if done:
        raise Failure(f"{done} for no task")


PROMISES: tuple[Promise[ExecutorSubject], ...] = (
    *declarations(lambda subject: subject.cls, options=False),
    *CHECKS.promises,
)


def checks(name: str, registry: Registry) -> list[Check]:
    """Every check of an executor."""
    return checks_of("executor", name, lambda: ExecutorSubject(name, registry), PROMISES)
