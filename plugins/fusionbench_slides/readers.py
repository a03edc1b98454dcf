"""Processes that read tiles ahead of the encoder, into a fixed amount of shared memory."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench import DataError, SuiteError, safe_import_path
from fusionbench_slides.reading import Job, View, begin, read

if TYPE_CHECKING:
    from numpy.typing import NDArray

AHEAD = 4
"""Batches that a process may be ahead of the encoder."""
PIXEL = 4
"""Bytes: red, green, blue and one to fill up."""
MEMORY = 512 << 20
"""Bytes that batches may take together; two are kept, however large they are."""


class Readers:
    """A pool of reading processes, kept over all slides of a folder; use it as a context.

    Memory is MEMORY bytes of batches at most, whatever the size of a slide.
    """

    def __init__(self, workers: int, batch: int, tile: int) -> None:
        self.workers, self.batch = workers, batch
        self.shape = (_slots(workers, batch * tile * tile * PIXEL), batch, tile, tile)
        self.context = multiprocessing.get_context("spawn")  # torch has threads, which a fork would not survive
        # An arena of multiprocessing: in /dev/shm or, where that is small as in containers, in a file without a name.
        self.memory = self._memory(int(np.prod(self.shape)) * PIXEL)
        self.slots = np.frombuffer(self.memory, dtype=np.uint8).reshape(*self.shape, PIXEL)
        self.pool: ProcessPoolExecutor | None = None

    def _memory(self, size: int) -> Any:
        try:
            return self.context.RawArray("B", size)
        except (OSError, MemoryError) as error:
            raise SuiteError(
                f"no room for {size >> 20} MiB of tiles between the processes ({error}); pass a smaller --batch-size, "
                "or fewer --workers"
            ) from error

    def __enter__(self) -> Readers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)
            self.pool = None

    def _started(self) -> ProcessPoolExecutor:
        if self.pool is None:
            self.pool = ProcessPoolExecutor(self.workers, self.context, begin, (self.memory, self.shape))
        return self.pool

    def batches(self, view: View, coords: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        """The tiles at `coords` (tile, 2) in their order, as (tile, row, column, 3) with at most `batch` tiles.

        What is given is a view of RGBA pixels that is overwritten after the next one is asked for.

        Raises:
            DataError: the slide breaks off, or a reading process died over it.
        """
        # Few tiles are shared out evenly, so that no process idles while another reads a whole batch.
        size = max(1, min(self.batch, -(-len(coords) // self.workers)))
        starts, free = deque(range(0, len(coords), size)), deque(range(len(self.slots)))
        pending: deque[tuple[Future[int], int]] = deque()
        try:
            while starts or pending:
                while starts and free:
                    start, slot = starts.popleft(), free.popleft()
                    job = Job(view, coords[start : start + size], slot)
                    with safe_import_path():  # the first one starts the processes
                        pending.append((self._started().submit(read, job), slot))
                future, slot = pending.popleft()
                count = future.result()
                yield self.slots[slot, :count, :, :, :3]
                free.append(slot)
        except BrokenProcessPool as error:
            self.close()
            raise DataError(
                f"{view.path}: a reading process was killed over it, for want of memory or by a fault of OpenSlide; "
                "pass fewer --workers, or leave the slide out"
            ) from error
        finally:
            self._drain(pending)

    def _drain(self, pending: deque[tuple[Future[int], int]]) -> None:
        """No process writes into a slot any more once this slide is left."""
        for future, _ in pending:
            future.cancel()
        wait([future for future, _ in pending])


def _slots(workers: int, size: int) -> int:
    return max(2, min(AHEAD * workers + 1, MEMORY // size))
