"""Executors of a stranger's: one that works, and two that do not."""

from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from fusionbench.core.interfaces import Executor


class Threads(Executor):
    """One thread, in which cells run while the results of others are written."""

    name = "threads"
    takes = frozenset({"jobs"})

    def run(self, take, work):
        with ThreadPoolExecutor(1) as pool:
            at_work = {}
            while True:
                while len(at_work) < (self.terms.jobs or 1) and (task := take()) is not None:
                    at_work[pool.submit(work, task)] = task
                if not at_work:
                    return
                for done in wait(at_work, return_when=FIRST_COMPLETED).done:
                    yield at_work.pop(done), done.result()


class Raising(Executor):
    """Raises after its first result."""

    name = "raising"

    def run(self, take, work):
        task = take()
        yield task, work(task)
        raise RuntimeError("the queue is gone\nand more lines")


class Forgetful(Executor):
    """Loses a task without a word."""

    name = "forgetful"

    def run(self, take, work):
        take()
        task = take()
        yield task, work(task)
