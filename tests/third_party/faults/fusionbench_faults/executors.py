"""Third-party executors: one that works, and two that do not."""

from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from fusionbench.core.executor import Executor


class Threads(Executor):
    """One thread, in which cells run while the results of others are written."""

    name = "threads"
    supports = frozenset({"jobs"})

    def run(self, next_task, run_task):
        with ThreadPoolExecutor(1) as pool:
            running = {}
            while True:
                while len(running) < (self.request.jobs or 1) and (task := next_task()) is not None:
                    running[pool.submit(run_task, task)] = task
                if not running:
                    return
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(done), done.result()


class Raising(Executor):
    """Raises after its first result."""

    name = "raising"

    def run(self, next_task, run_task):
        task = next_task()
        yield task, run_task(task)
        raise RuntimeError("the queue is gone\nand more lines")


class Forgetful(Executor):
    """Loses a task without a word."""

    name = "forgetful"

    def run(self, next_task, run_task):
        next_task()
        task = next_task()
        yield task, run_task(task)
