"""`fusionbench data fetch NAME --slides`: counts and sizes first, then a bar on a terminal, or a line a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

    from fusionbench.core.interfaces import Dataset
    from fusionbench.core.types import Source
    from fusionbench.data.slide_downloads import Watch


def fetch_slides(dataset: Dataset, *, yes: bool, connections: int, limit: int | None) -> None:
    """Download what is missing; exit status 1 where a file could not be had."""
    from fusionbench.data import slide_downloads as transfer
    from fusionbench.data import slide_files as slidefiles

    found = slidefiles.outstanding(dataset, limit=limit)
    if not found.wanted:
        typer.echo(f"all {found.present} slides are there")
        return
    slidefiles.check(found, yes=yes)
    typer.echo(found.text)
    with _watch(len(found.wanted), found.size) as watch:
        failed = transfer.fetch_all(dataset.home, found.wanted, watch, connections=connections)
    for path, reason in failed.items():
        typer.echo(f"failed: {path}: {reason}", err=True)
    typer.echo(f"{len(found.wanted) - len(failed)} of {len(found.wanted)} slides downloaded")
    if failed:
        typer.echo("run it again to go on with what is missing", err=True)
        raise typer.Exit(1)


@contextmanager
def _watch(files: int, size: int) -> Iterator[Watch]:
    if not sys.stderr.isatty():
        yield Lines(files)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        yield Bar(progress, files, size)


class Lines:
    """A line on standard error for each file that ended."""

    def __init__(self, files: int) -> None:
        self.files, self.n = files, 0

    def received(self, size: int) -> None:
        """Bytes of a file that have come; a line is printed only when a file has ended."""
        return

    def finished(self, source: Source, reason: str | None) -> None:
        """A file has ended; `reason` is why it failed, None where it did not."""
        from fusionbench.data.slide_files import gigabytes

        self.n += 1
        print(f"[{self.n}/{self.files}] {source.path}: {reason or gigabytes(source.size)}", file=sys.stderr, flush=True)


class Bar:
    """One bar over all bytes."""

    def __init__(self, progress: Progress, files: int, size: int) -> None:
        self.progress, self.files, self.n = progress, files, 0
        self.task = progress.add_task(f"0 of {files} slides", total=size)

    def received(self, size: int) -> None:
        """Bytes of a file that have come."""
        self.progress.advance(self.task, size)

    def finished(self, source: Source, reason: str | None) -> None:
        """A file has ended; `reason` is why it failed, None where it did not."""
        self.n += 1
        self.progress.update(self.task, description=f"{self.n} of {self.files} slides")
