"""What came of each slide: rows of summary.csv, and a log a slide."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fusionbench_slides.disk import room_for, write_whole

COLUMNS = ("slide", "tiles", "tissue_share", "seconds", "error", "warning")


@dataclass(frozen=True)
class Outcome:
    """A row of summary.csv.

    Attributes:
        tiles: that have features; None where it did not come to them.
        tissue_share: of the slide, 0..1; None where unknown.
        seconds: that the slide took when it was worked on.
        error: one line, empty where all went well.
        fault: False for a file that is no slide and never promised to be one.
        there: it was made by an earlier run.
    """

    slide: str
    tiles: int | None = None
    tissue_share: float | None = None
    seconds: float = 0.0
    error: str = ""
    warning: str = ""
    fault: bool = True
    there: bool = False

    @property
    def failed(self) -> bool:
        return bool(self.error) and self.fault

    def row(self) -> list[str]:
        tiles = "" if self.tiles is None else str(self.tiles)
        share = "" if self.tissue_share is None else f"{self.tissue_share:.4f}"
        return [self.slide, tiles, share, f"{self.seconds:.1f}", self.error, self.warning]


def write_summary(path: Path, outcomes: Iterable[Outcome]) -> None:
    """The table anew, whole or not at all."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(outcome.row() for outcome in outcomes)
    write_whole(path, text.getvalue().encode())


class SlideLog:
    """Lines with the time of day, in a file of its own a slide; the last run's replace those before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with room_for(path):
            path.write_text("", encoding="utf-8")

    def __call__(self, text: str) -> None:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        with room_for(self.path), self.path.open("a", encoding="utf-8") as file:
            file.writelines(f"{now} {line}\n" for line in text.splitlines())
