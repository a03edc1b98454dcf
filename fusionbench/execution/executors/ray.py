"""Cells in processes of their own, on this machine or on a cluster, by Ray. One cell is one task."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, cast

from fusionbench.core.errors import ResultsError
from fusionbench.core.interfaces import Executor, Lost, R, T
from fusionbench.execution.executors.cluster import cluster, fits
from fusionbench.execution.executors.subprocess import packed, run_in_child, unpacked

_LOOK = 2.0
"""Seconds between two looks at which machines are there."""
_NO_MACHINE = 120.0
"""Seconds for which a run waits for a machine that a cell fits on, when the last one has gone."""


class Ray(Executor):
    """Each cell in a process that is watched: what kills or hangs it is a reason, and the others go on.

    Ray restarts nothing by itself (`max_retries=0`): attempts are counted where results are written.
    """

    name = "ray"
    takes = frozenset({"jobs", "address", "gpus", "timeout"})
    in_driver = False

    def run(self, take: Callable[[], T | None], work: Callable[[T], R]) -> Iterator[tuple[T, R | Lost]]:
        with cluster(self.terms):
            yield from self._run(take, work)

    def _run(self, take: Callable[[], T | None], work: Callable[[T], R]) -> Iterator[tuple[T, R | Lost]]:
        import ray

        resources = {"num_cpus": self.terms.threads, "num_gpus": self.terms.gpus}
        remote = ray.remote(run_in_child).options(max_retries=0, **resources)
        at_work: dict[Any, T] = {}
        seen = time.monotonic()
        try:
            while True:
                room = self._room(ray.nodes())
                seen = time.monotonic() if room else seen
                if time.monotonic() - seen > _NO_MACHINE:
                    raise ResultsError("the cluster has no machine left that a cell fits on; finished cells are kept")
                while len(at_work) < room and (task := take()) is not None:
                    at_work[remote.remote(packed(work, task), self.terms.timeout)] = task
                if not at_work and room:
                    return
                if not at_work:
                    time.sleep(_LOOK)
                    continue
                for ref in ray.wait(list(at_work), timeout=_LOOK)[0]:
                    yield at_work.pop(ref), _result(ref)
        finally:
            for ref in at_work:
                ray.cancel(ref, force=True)

    def _room(self, nodes: list[Any]) -> int:
        """Cells that may be at work at once, as the cluster is now."""
        room = sum(fits(self.terms, node) for node in nodes)
        return room if self.terms.jobs is None else min(room, self.terms.jobs)


def _result(ref: Any) -> Any:
    """What came of a task.

    Raises:
        whatever its work raised.
    """
    import ray
    from ray import exceptions

    try:
        reply = ray.get(ref)
    except exceptions.RayTaskError as error:  # not the cell's process but the one that watches it
        raise cast(Exception, error.cause) from error
    except exceptions.OutOfMemoryError:
        return Lost("out of memory: its machine had too little left, and Ray ended it")
    except exceptions.RayError as error:
        return Lost(f"gone with its machine or its worker ({type(error).__name__})")
    return reply if isinstance(reply, Lost) else unpacked(reply)
