"""What is promised of an executor."""

from __future__ import annotations

from fusionbench.interfaces import Executor
from fusionbench.registry import Registry
from fusionbench.testing.conformance.declared import declarations
from fusionbench.testing.conformance.words import Check, Checklist, Failure, Promise, checks_of

TASKS = (3, 1, 2, 5, 4)


def square(task: int) -> int:
    """Work that can be sent to another process."""
    return task * task


class ExecutorSubject:
    """A registered executor, made without arguments."""

    def __init__(self, name: str, registry: Registry) -> None:
        self.cls: type[Executor] = registry.get("executors", name)


CHECKS: Checklist[ExecutorSubject] = Checklist()


@CHECKS.add(
    "runs-every-task",
    "Each task comes back once, with what the work made of it, in any order.",
    cause="results are matched to tasks by place although they finish in another order, or the last batch is dropped.",
)
def runs_every_task(subject: ExecutorSubject) -> None:
    done = list(subject.cls().run(TASKS, square))
    if sorted(done) != sorted((task, square(task)) for task in TASKS):
        raise Failure(f"{done} for the squares of {list(TASKS)}")


@CHECKS.add("runs-nothing", "No task is no result, and no error.", cause="the first task is looked at before the loop.")
def runs_nothing(subject: ExecutorSubject) -> None:
    done = list(subject.cls().run((), square))
    if done:
        raise Failure(f"{done} for no task")


PROMISES: tuple[Promise[ExecutorSubject], ...] = (
    *declarations(lambda subject: subject.cls, options=False),
    *CHECKS.promises,
)


def checks(name: str, registry: Registry) -> list[Check]:
    return checks_of("executor", name, lambda: ExecutorSubject(name, registry), PROMISES)
