"""Where a run's time and memory go: named spans in the code, measured by a `PhaseTimer` while one is active.

Without one, a span costs a look at one variable.
"""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import psutil

LOAD, PREPARE, COLLATE = "load", "prepare", "collate"
FORWARD, BACKWARD, OPTIMISER = "forward", "backward", "optimiser"
PREDICT, EVALUATE, WRITE, REST = "predict", "evaluate", "write", "rest"
INTERVAL = 0.02
"""Seconds between looks at the memory."""

_OFF: AbstractContextManager[None] = nullcontext()
_watching: ContextVar[PhaseTimer | None] = ContextVar("timer", default=None)


def span(name: str) -> AbstractContextManager[None]:
    """What happens inside is of this kind; a span within it takes its own time away from it."""
    timer = _watching.get()
    return _OFF if timer is None else _Span(timer, name)


@dataclass
class Spent:
    """What one kind of work has taken.

    Attributes:
        seconds: of wall time, without the spans within.
        cpu_seconds: of the process, over all its threads.
        entered: how often it began.
        peak_mib: the most memory that the process held meanwhile, in MiB; of the machine's, not the GPU's.
        gpu_peak_mib: the most that tensors held on the GPU meanwhile, in MiB.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    entered: int = 0
    peak_mib: float = 0.0
    gpu_peak_mib: float = 0.0


class PhaseTimer:
    """Watches the spans of this thread while its block runs; what lies in none is `rest`. Not to be nested.

    On CUDA every change of span waits for the GPU, so that its work counts where it was asked for; overlap is lost.
    """

    def __init__(self, *, cuda: bool = False) -> None:
        self.spent: dict[str, Spent] = {}
        self._cuda, self._within, self._last = cuda, [REST], (0.0, 0.0)
        self._process, self._stop = psutil.Process(), threading.Event()

    @property
    def seconds(self) -> float:
        """Wall time of the whole block."""
        return sum(spent.seconds for spent in self.spent.values())

    @property
    def cpu_seconds(self) -> float:
        """CPU time of the whole block."""
        return sum(spent.cpu_seconds for spent in self.spent.values())

    def __enter__(self) -> PhaseTimer:
        self._token: Token[PhaseTimer | None] = _watching.set(self)
        self._thread = threading.Thread(target=self._watch, name="timer", daemon=True)
        self._thread.start()
        self._of(REST).entered = 1
        self._last = _now()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._settle()
        self._stop.set()
        self._thread.join()
        _watching.reset(self._token)

    def enter(self, name: str) -> None:
        """A span begins."""
        self._settle()
        self._within.append(name)
        self._of(name).entered += 1

    def leave(self) -> None:
        """The innermost span ends."""
        self._settle()
        self._within.pop()

    def _of(self, name: str) -> Spent:
        return self.spent.setdefault(name, Spent())

    def _settle(self) -> None:
        """What has passed since the last change belongs to the span that is open."""
        spent = self._of(self._within[-1])
        if self._cuda:
            import torch

            torch.cuda.synchronize()
            spent.gpu_peak_mib = max(spent.gpu_peak_mib, torch.cuda.max_memory_allocated() / 2**20)
            torch.cuda.reset_peak_memory_stats()
        (before, cpu_before), self._last = self._last, _now()
        spent.seconds += self._last[0] - before
        spent.cpu_seconds += self._last[1] - cpu_before

    def _watch(self) -> None:
        while True:
            spent = self._of(self._within[-1])
            spent.peak_mib = max(spent.peak_mib, self._process.memory_info().rss / 2**20)
            if self._stop.wait(INTERVAL):
                return


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


class _Span(AbstractContextManager[None]):
    def __init__(self, timer: PhaseTimer, name: str) -> None:
        self._clock, self._name = timer, name

    def __enter__(self) -> None:
        self._clock.enter(self._name)

    def __exit__(self, *ended: Any) -> None:
        self._clock.leave()


class LapTimer:
    """Seconds since the last lap, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End the lap that runs, under this name."""
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now
