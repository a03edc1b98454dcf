"""fusionbench data ls|fetch|check|cache"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

import typer

from fusionbench.cli.options import DatasetName, Json, dataset_ref, names_of, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.progress import Progress

    from fusionbench.core.interfaces import Dataset
    from fusionbench.core.types import Source
    from fusionbench.data.downloads import FileRow
    from fusionbench.data.inspection import Inspection
    from fusionbench.data.slide_downloads import DownloadProgress

data = typer.Typer(help="Cohorts on this machine: list, download, check.", no_args_is_help=True)


def _dataset(name: str) -> Dataset:
    from fusionbench.core.plugin_options import validate_options
    from fusionbench.core.registry import discover
    from fusionbench.data.downloads import data_home

    registry = discover(("datasets",))
    ref = dataset_ref(name)
    return registry.dataset(ref.name)(validate_options(registry, "datasets", ref), data_home())


@data.command("ls")
def ls(as_json: Json = False) -> None:
    """Show every dataset: its files, size, state and terms."""
    from fusionbench.core.registry import discover
    from fusionbench.data.downloads import data_home, dataset_rows

    registry = discover(("datasets",))
    home = data_home()
    with _reading("the datasets"):
        rows = dataset_rows(cls(cls.Options(), home) for cls in map(registry.dataset, registry.names("datasets")))
    if as_json:
        print_json(rows)
        return
    typer.echo(f"data home: {home}")
    print_table(
        ["dataset", "files", "MB", "state", "terms"],
        [(r.dataset, r.files, f"{r.size / 1e6:.1f}", r.state, "; ".join(r.terms)) for r in rows],
    )


@data.command("fetch")
def fetch(
    name: DatasetName,
    accept: Annotated[bool, typer.Option("--accept", help="Accept the printed terms of the sources.")] = False,
    slides: Annotated[bool, typer.Option("--slides", help="Download the whole-slide images instead.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Slides: go on although it is more than 1 GB.")] = False,
    connections: Annotated[int, typer.Option(min=1, max=16, help="Slides: files at a time.")] = 4,
    limit: Annotated[int | None, typer.Option(min=1, help="Slides: only the first ones.")] = None,
) -> None:
    """Download a dataset's files into the data home and convert them."""
    if slides:
        _fetch_slides(_dataset(name), yes=yes, connections=connections, limit=limit)
        return
    from fusionbench.data.downloads import fetch_dataset

    fetch_dataset(_dataset(name), accept=accept, progress=typer.echo)


def _fetch_slides(dataset: Dataset, *, yes: bool, connections: int, limit: int | None) -> None:
    """Download the missing slides; exit status 1 where a slide could not be downloaded."""
    from fusionbench.data import slide_downloads

    missing = slide_downloads.missing_slides(dataset, limit=limit)
    if not missing.slides:
        typer.echo(f"all {missing.present} slides are there")
        return
    slide_downloads.check_download(missing, yes=yes)
    typer.echo(missing.summary)
    n = len(missing.slides)
    with _slide_progress(n, missing.size) as progress:
        failed = slide_downloads.download_slides(dataset.home, missing.slides, progress, connections=connections)
    for path, reason in failed.items():
        typer.echo(f"failed: {path}: {reason}", err=True)
    typer.echo(f"{n - len(failed)} of {n} slides downloaded")
    if failed:
        typer.echo("run the command again to download the missing ones", err=True)
        raise typer.Exit(1)


@contextmanager
def _slide_progress(n: int, size: int) -> Iterator[DownloadProgress]:
    """A bar on a terminal, else a line for each slide; both on standard error."""
    if not sys.stderr.isatty():
        yield SlideLines(n)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        yield SlideBar(progress, n, size)


class SlideLines:
    """Progress as a line on standard error for each slide that is complete or has failed."""

    def __init__(self, n: int) -> None:
        self.n, self.done = n, 0

    def received(self, size: int) -> None:
        """Does nothing: a line is printed only when a slide has ended."""

    def finished(self, source: Source, reason: str | None) -> None:
        """Print the slide's size, or why it failed."""
        from fusionbench.data.slide_downloads import format_bytes

        self.done += 1
        result = reason or format_bytes(source.size)
        print(f"[{self.done}/{self.n}] {source.path}: {result}", file=sys.stderr, flush=True)


class SlideBar:
    """Progress as one bar over the bytes of all slides."""

    def __init__(self, progress: Progress, n: int, size: int) -> None:
        self.progress, self.n, self.done = progress, n, 0
        self.task = progress.add_task(f"0 of {n} slides", total=size)

    def received(self, size: int) -> None:
        """Move the bar by `size` bytes; backwards where bytes are discarded."""
        self.progress.advance(self.task, size)

    def finished(self, source: Source, reason: str | None) -> None:
        """Count the slide, whether it is complete or has failed."""
        self.done += 1
        self.progress.update(self.task, description=f"{self.done} of {self.n} slides")


@data.command("check")
def check(
    name: DatasetName,
    other: Annotated[
        str | None,
        typer.Argument(
            help="A second dataset: show how it differs from the first, on which models are trained.",
            metavar="[other]",
            autocompletion=names_of("datasets"),
        ),
    ] = None,
    as_json: Json = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Print the lines of the cohort's TOML that would answer what is wrong.")
    ] = False,
) -> None:
    """Check a dataset's files, then read the cohort; print what is in it and all that is wrong or suspicious.

    With a second dataset: patients, columns, scales, levels and outcomes of both. Warnings leave the exit status 0;
    what cannot be run is an error, 2.
    """
    from fusionbench.data.cohort import FaultyCohort

    if other is not None:
        if fix:
            raise typer.BadParameter("--fix is about one dataset")
        _check_two(name, other, as_json)
        return
    from fusionbench.data.downloads import check_dataset

    dataset = _dataset(name)
    with _reading(name):
        rows = [] if dataset.own_files else check_dataset(dataset)  # there is no published file to compare with
    absent = any(r.state in ("missing", "damaged") for r in rows)
    inspection = None if absent else _examine(dataset)
    if inspection is None:
        _show(rows, as_json)
        raise typer.Exit(2)
    if fix:
        typer.echo(_fixes(dataset, inspection))
    elif as_json:
        print_json({"files": rows, **{f.name: getattr(inspection, f.name) for f in fields(inspection)}})
    else:
        _show(rows)
        _show_inspection(inspection)
    if inspection.problems:
        raise FaultyCohort(name, inspection.problems, shown=None)


def _check_two(name: str, other: str, as_json: bool) -> None:
    from fusionbench.core.registry import discover
    from fusionbench.data.inspection.between import compare_datasets
    from fusionbench.data.inspection.summary import lines

    with _reading(f"{name} and {other}"):
        found = compare_datasets(_dataset(name), _dataset(other), discover(("modalities",)).modalities)
    if as_json:
        print_json({f.name: getattr(found, f.name) for f in fields(found)})
        return
    for which, facts in (("first", found.first), ("second", found.second)):
        title, cases, *_ = lines(facts)
        typer.echo(f"{which}: {title}\n  {cases}")
    for line in found.lines:
        typer.echo(line)
    for warning in found.warnings:
        typer.echo(f"warning: {warning.text}")
    if not found.warnings:
        typer.echo("nothing suspicious between them")


@data.command("cache")
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove every entry.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove entries whose file has changed or is gone.")] = False,
    as_json: Json = False,
) -> None:
    """Show the cache of feature files, or empty it; it fills itself again when files are read."""
    from fusionbench.data.feature_cache import ENVIRONMENT, OFF, current_cache

    current = current_cache()
    if current is None:
        reason = f"{ENVIRONMENT} is {OFF!r}"
        if as_json:
            print_json({"folder": None, "reason": reason})
        else:
            typer.echo(f"the cache of feature files is turned off: {reason}")
        return
    if clear or prune:
        files, size = current.remove([*(current.entries() if clear else current.stale()), *current.unfinished()])
        if as_json:
            print_json({"folder": current.folder, "removed": files, "bytes": size})
        else:
            typer.echo(f"{current.folder}: {files} files removed, {size / 1e6:.1f} MB")
        return
    entries, stale = current.entries(), len(current.stale())
    size = sum(entry.stat().st_size for entry in entries)
    if as_json:
        facts = {"folder": current.folder, "entries": len(entries), "bytes": size, "bound": current.limit}
        print_json({**facts, "stale": stale})
        return
    typer.echo(f"folder: {current.folder}")
    row = (len(entries), f"{size / 1e6:.1f}", f"{current.limit / 1e6:.0f}", stale)
    print_table(["entries", "MB", "bound MB", "stale"], [row])


def _examine(dataset: Dataset) -> Inspection:
    from fusionbench.core.registry import discover
    from fusionbench.data.inspection import examine

    with _reading(dataset.name):
        return examine(dataset, discover(("modalities",)).modalities)


def _reading(what: str) -> AbstractContextManager[None]:
    """Around calls into datasets: what they change of the process is put back, and told on standard error."""
    from fusionbench.core.guard import guarded

    return guarded(f"reading {what}", lambda line: typer.echo(line, err=True))


def _fixes(dataset: Dataset, inspection: Inspection) -> str:
    """The keys of the cohort's TOML that answer its problems and warnings, and in comments what no key answers.

    Raises:
        SuiteError: the dataset is not described by a TOML.
    """
    import tomllib

    from fusionbench.builtin.table.dataset import Table
    from fusionbench.core.errors import SuiteError
    from fusionbench.data.fixes import Problem, toml_lines

    if not isinstance(dataset, Table):
        raise SuiteError(f"{dataset.name}: --fix is for cohorts of your own, which a TOML describes")
    said = [(line, line.fixes if isinstance(line, Problem) else ()) for line in inspection.problems]
    said += [(warning.text, warning.fixes) for warning in inspection.warnings]
    answers = [fix for _, fixes in said for fix in fixes]
    open_ones = [f"# - {line}" for line, fixes in said if not fixes]
    head = [
        f"# Answers to {len(said) - len(open_ones)} of {len(said)} problems and warnings about {dataset.path}.",
        "# Each key belongs under the table in brackets above it; it replaces a key of the same name there.",
    ]
    present = tomllib.loads(dataset.path.read_text(encoding="utf-8")) if answers else {}
    rest = ["", "# No key answers these:", *open_ones] if open_ones else []
    return "\n".join([*head, "", toml_lines(answers, present).strip(), *rest]).rstrip()


def _show(rows: Sequence[FileRow], as_json: bool = False) -> None:
    if as_json:
        print_json({"files": rows})
    elif rows:
        print_table(["file", "state"], [(r.path, r.state) for r in rows])


def _show_inspection(inspection: Inspection) -> None:
    from fusionbench.data.inspection.summary import lines

    for line in lines(inspection.facts) if inspection.facts else ():
        typer.echo(line)
    for warning in inspection.warnings:
        typer.echo(f"warning: {warning.text}")
    if inspection.facts and not inspection.warnings and not inspection.problems:
        typer.echo("nothing suspicious")
