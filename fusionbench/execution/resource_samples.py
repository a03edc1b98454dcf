"""What a cell takes of its process: CPU seconds and memory over time, for the system metrics of its MLflow run."""

from __future__ import annotations

import threading
import time
from types import TracebackType

import psutil

INTERVAL = 1.0
"""Seconds between the first samples."""
MOST = 60
"""Samples that are kept; a long cell has them further apart."""


class Meter:
    """Samples this process from a thread of its own while the block runs, and once at its end.

    Attributes:
        samples: (seconds since the block began, CPU seconds of the process since then over all its threads, resident
            MiB: the highest seen since the sample before). Another thread's work counts, too.
    """

    def __init__(self, interval: float = INTERVAL, most: int = MOST) -> None:
        self.samples: list[tuple[float, float, float]] = []
        self._interval, self._most = interval, most
        self._process = psutil.Process()
        self._stop = threading.Event()

    def __enter__(self) -> Meter:
        self._began, self._spent = time.perf_counter(), time.process_time()
        self._thread = threading.Thread(target=self._watch, name="meter", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._take()

    def record(self) -> list[list[float]]:
        """The samples as cell.json holds them."""
        return [[round(seconds, 3), round(cpu, 3), round(mib, 1)] for seconds, cpu, mib in self.samples]

    def _watch(self) -> None:
        while not self._stop.wait(self._interval):
            self._take()
            if len(self.samples) >= self._most:
                self._thin()

    def _take(self) -> None:
        mib = self._process.memory_info().rss / 2**20
        self.samples.append((time.perf_counter() - self._began, time.process_time() - self._spent, mib))

    def _thin(self) -> None:
        """Half as many, twice as far apart; seconds add up, and of two memories the higher stays."""
        pairs = zip(self.samples[::2], self.samples[1::2], strict=False)
        self.samples = [(seconds, cpu, max(mib, before)) for (_, _, before), (seconds, cpu, mib) in pairs]
        self._interval *= 2
