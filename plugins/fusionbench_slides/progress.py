"""Progress over slides and tiles: bars on a terminal, a line a slide in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fusionbench_slides.folder import Report
from fusionbench_slides.outcome import Outcome


@contextmanager
def reporting() -> Iterator[Report]:
    """A report that suits standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines()
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), *columns, console=console, transient=True) as progress:
        yield Bars(progress)


class Lines:
    """One line a finished slide."""

    def __init__(self) -> None:
        self.total = self.count = 0

    def start(self, slides: int) -> None:
        self.total = slides

    def slide(self, name: str) -> None:
        return

    def tiles(self, total: int) -> None:
        return

    def embedded(self, tiles: int) -> None:
        return

    def finished(self, outcome: Outcome) -> None:
        self.count += 1
        print(f"[{self.count}/{self.total}] {headline(outcome)}", file=sys.stderr, flush=True)


class Bars:
    """Two bars: slides of the folder, tiles of the slide in hand."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.slides = progress.add_task("slides", total=None)
        self.in_hand = progress.add_task("tiles", total=None)

    def start(self, slides: int) -> None:
        self.progress.update(self.slides, total=slides)

    def slide(self, name: str) -> None:
        self.progress.reset(self.in_hand, description=name, total=None)

    def tiles(self, total: int) -> None:
        self.progress.update(self.in_hand, total=total)

    def embedded(self, tiles: int) -> None:
        self.progress.advance(self.in_hand, tiles)

    def finished(self, outcome: Outcome) -> None:
        self.progress.advance(self.slides)
        if outcome.error or outcome.warning:
            self.progress.console.print(headline(outcome), markup=False, highlight=False)


def headline(outcome: Outcome) -> str:
    """One line of a slide."""
    if outcome.error:
        return f"{outcome.slide}: {'error' if outcome.fault else 'skipped'}: {outcome.error}"
    if outcome.warning:
        return f"{outcome.slide}: warning: {outcome.warning}"
    return f"{outcome.slide}: {outcome.tiles} tiles, {'there already' if outcome.there else f'{outcome.seconds:.1f} s'}"
