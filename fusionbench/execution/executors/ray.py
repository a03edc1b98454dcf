"""Cells in processes of their own, on this machine or on a cluster, by Ray. One cell is one task."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, cast

from fusionbench.core.errors import ResultsError
from fusionbench.core.executor import Executor, LostTask, R, T
from fusionbench.execution.executors.cluster import cluster, fits
from fusionbench.execution.executors.subprocess import pack_call, run_in_child, unpack_reply

_LOOK = 2.0
"""Seconds between two looks at which machines are there."""
_NO_MACHINE = 120.0
"""Seconds for which a run waits for a machine that a cell fits on, when the last one has gone."""


class Ray(Executor):
    """Each cell in a process that is watched: what kills or hangs it is a reason, and the others go on.

    Ray restarts nothing by itself (`max_retries=0`): attempts are counted where results are written.
    """

    name = "ray"
    supports = frozenset({"jobs", "address", "gpus", "timeout"})
    in_driver = False

    def run(self, next_task: Callable[[], T | None], run_task: Callable[[T], R]) -> Iterator[tuple[T, R | LostTask]]:
        with cluster(self.request):
            yield from self._run(next_task, run_task)

    def _run(self, next_task: Callable[[], T | None], run_task: Callable[[T], R]) -> Iterator[tuple[T, R | LostTask]]:
        import ray

        resources = {"num_cpus": self.request.threads, "num_gpus": self.request.gpus}
        remote = ray.remote(run_in_child).options(max_retries=0, **resources)
        running: dict[Any, T] = {}
        seen = time.monotonic()
        try:
            while True:
                room = self._room(ray.nodes())
                seen = time.monotonic() if room else seen
                if time.monotonic() - seen > _NO_MACHINE:
                    raise ResultsError("the cluster has no machine left that a cell fits on; finished cells are kept")
                while len(running) < room and (task := next_task()) is not None:
                    running[remote.remote(pack_call(run_task, task), self.request.timeout)] = task
                if not running and room:
                    return
                if not running:
                    time.sleep(_LOOK)
                    continue
                for ref in ray.wait(list(running), timeout=_LOOK)[0]:
                    yield running.pop(ref), _result(ref)
        finally:
            for ref in running:
                ray.cancel(ref, force=True)

    def _room(self, nodes: list[Any]) -> int:
        """How many cells the cluster, as it is now, may run at once."""
        room = sum(fits(self.request, node) for node in nodes)
        return room if self.request.jobs is None else min(room, self.request.jobs)


def _result(ref: Any) -> Any:
    """What came of a task.

    Raises:
        whatever the task raised.
    """
    import ray
    from ray import exceptions

    try:
        reply = ray.get(ref)
    except exceptions.RayTaskError as error:  # not the cell's process but the one that watches it
        raise cast(Exception, error.cause) from error
    except exceptions.OutOfDiskError as error:
        raise ResultsError(
            "the disk of Ray's temporary files is full; free some space, or set RAY_TMPDIR to a folder on another "
            "disk; finished cells are kept"
        ) from error
    except exceptions.OutOfMemoryError:
        return LostTask("out of memory: its machine had too little left, and Ray ended it")
    except exceptions.RayError as error:
        return LostTask(f"gone with its machine or its worker ({type(error).__name__})")
    return reply if isinstance(reply, LostTask) else unpack_reply(reply)
