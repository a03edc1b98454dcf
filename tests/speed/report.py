"""Seconds of one core that the report of 500 cells takes, from stored frames to the page; exit 1 from 60 on.

The bound was 20 s for a drawing kit of the project's own. matplotlib's axes take longer, which
is accepted: they replace some 500 lines of code.

python -m tests.speed.report
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from fusionbench.report.analysis import analyse
from fusionbench.report.figures import make_figures
from fusionbench.report.figures.export import write_figures
from fusionbench.report.html.suite_report import Origin, report
from fusionbench.results.frames import read_frames, write_frames
from fusionbench.results.store import Store
from tests.unit.drawn_results import everything, lock_of
from tests.unit.stored_results import DIRECTIONS

T = TypeVar("T")
MOST = 60.0
"""Seconds."""


def timed(name: str, work: Callable[[], T]) -> T:
    started = time.perf_counter()
    made = work()
    print(f"  {name}: {time.perf_counter() - started:.1f} s")
    return made


def main() -> int:
    frames = everything(17, 5, folds=5, cases=400)  # with best-unimodal and two single modalities: 20 rows a cohort
    lock = lock_of(frames)
    with tempfile.TemporaryDirectory() as root:
        store = Store(Path(root), "toy-suite")
        store.folder.mkdir()
        write_frames(frames, store)
        print(f"report of {len(frames.cells)} cells, {len(frames.predictions):,} predictions")
        started, busy = time.perf_counter(), time.process_time()
        read = timed("read", lambda: read_frames(store.folder))
        analysis = timed("analyse", lambda: analyse(read, directions=DIRECTIONS, seed=0))
        images = timed("draw", lambda: list(write_figures(make_figures(analysis, lock), store)))
        page = timed("write", lambda: report(analysis, lock, images, "invented results", Origin("none")))
        store.write_text("report.html", page)
        seconds, cpu = time.perf_counter() - started, time.process_time() - busy
        size = (store.folder / "report.html").stat().st_size / 2**20
    print(f"  all: {cpu:.1f} s of one core (at most {MOST:.0f}), {seconds:.1f} s by the clock; {size:.2f} MB")
    return int(cpu > MOST)


if __name__ == "__main__":
    sys.exit(main())
