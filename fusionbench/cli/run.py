"""fusionbench run SUITE"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionbench.cli.options import (
    OUT,
    Address,
    Device,
    ExecutorName,
    Gpus,
    Jobs,
    Json,
    Out,
    SuiteName,
    Threads,
    Timeout,
    names_of,
    open_session,
    print_json,
)

if TYPE_CHECKING:
    from fusionbench.suites.cell import Plan
    from fusionbench.tools.run import RunReport


def run(
    suite: SuiteName,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "-d",
            "--dataset",
            help="Only this dataset; NAME[option=value] adds a row.",
            autocompletion=names_of("datasets"),
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-m", "--model", help="Only this model; NAME[option=value] adds a row.", autocompletion=names_of("models")
        ),
    ] = None,
    folds: Annotated[str | None, typer.Option(help="Only these folds, e.g. 0-2 or 0,3.")] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="Repeats, each with folds of its own.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many cells.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The suite's seed.")] = None,
    out: Out = OUT,
    device: Device = "auto",
    threads: Threads = None,
    executor: ExecutorName = None,
    jobs: Jobs = None,
    address: Address = None,
    gpus: Gpus = None,
    timeout: Timeout = None,
    retries: Annotated[
        int, typer.Option(help="Further attempts of a cell that was killed, stopped, or failed for want of a resource.")
    ] = 1,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same bits every time on CUDA, too; slower.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the cells and the skips; compute nothing.")] = False,
    retry: Annotated[str | None, typer.Option(help="`failed`: run failed cells again.")] = None,
    rerun: Annotated[bool, typer.Option("--rerun", help="Compute finished cells again, too.")] = False,
    track: Annotated[bool, typer.Option("--track/--no-track", help="Log to MLflow.")] = True,
    as_json: Json = False,
) -> None:
    """Run a suite: compute the cells that are not there yet, log them, write the tables."""
    from fusionbench.cli.progress import make_reporter
    from fusionbench.core.errors import SuiteError
    from fusionbench.execution.executors.options import RunOptions, seconds
    from fusionbench.suites.selection import Selection

    if retry not in (None, "failed"):
        raise SuiteError(f"--retry {retry}: the only choice is 'failed'")
    execution = RunOptions(executor, jobs, address, gpus, None if timeout is None else seconds(timeout), retries)
    selection = Selection(tuple(dataset or ()), tuple(model or ()), folds, repeats, seed, limit)
    session = open_session(out, device, threads=threads, deterministic=deterministic)
    if dry_run:
        _show(session.plan(suite, selection), limit, as_json)
        for line in session.registry.changed_settings:
            typer.echo(line, err=True)
        return
    with make_reporter() as reporter, ended_by_sigterm():
        try:
            report = session.run(
                suite,
                selection,
                retry_failed=retry == "failed",
                rerun=rerun,
                track=track,
                options=execution,
                reporter=reporter,
            )
        except KeyboardInterrupt as stopped:
            typer.echo(
                "interrupted: finished cells are kept; the same command goes on where this one stopped", err=True
            )
            raise typer.Exit(143 if isinstance(stopped, Terminated) else 130) from None
    if as_json:
        print_json(report)
    else:
        _tell(report, out)
    raise typer.Exit(1 if report.failed else 0)


class Terminated(KeyboardInterrupt):
    """SIGTERM: a batch system wants the machine back. Its cells are no more to blame than those of a Ctrl-C."""


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does, so that the cell in hand is not counted as one that killed the run."""

    def stop(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(plan: Plan, limit: int | None, as_json: bool) -> None:
    skips = Counter((c.row, c.skip) for c in plan.listed if c.skip)
    todo = plan.todo()[:limit]
    if as_json:
        cells = [{"key": c.key, "label": c.label, "listed": c.listed} for c in todo]
        skipped = [{"row": " · ".join(row), "reason": reason, "cells": n} for (row, reason), n in skips.items()]
        print_json({"cells": cells, "skipped": skipped})
        return
    for cell in todo:
        typer.echo(f"{cell.key}  {cell.label}{'' if cell.listed else '  (member)'}")
    members = sum(not c.listed for c in todo)
    typer.echo(f"{len(todo)} cells to run or to find finished, {members} of them only as members of others")
    if skips:
        typer.echo(f"{sum(skips.values())} cells skipped:")
    for (row, reason), n in skips.items():
        typer.echo(f"  {n} x {' · '.join(row[:3])}: {reason}")


def _tell(report: RunReport, out: Path) -> None:
    where = "" if out == OUT else f" --out {out}"
    if report.table is not None:
        typer.echo(report.table.read_text(encoding="utf-8").rstrip())
        typer.echo()
    for label, reason in report.failed:
        typer.echo(f"failed: {label}: {reason}", err=True)
    if report.table is None:
        for row, reason in report.skipped:
            typer.echo(f"skipped: {row}: {reason}")
    if report.ran == 0 and report.done == 0:
        typer.echo(f"{report.suite}: no cell to compute")
    elif report.ran == 0:
        typer.echo(f"{report.suite}: nothing to do, all {report.done} cells are there; --rerun computes them again")
    else:
        typer.echo(f"{report.suite}: {report.ran} cells computed, {report.done} were there already")
    if report.left_out:
        typer.echo(f"the table is partial, since the rest of the suite cannot be read: {report.left_out}")
    elif not report.complete:
        typer.echo(f"{report.there} of {report.listed} cells of the whole suite; the table is partial")
    if report.outdated:
        typer.echo(
            f"{report.outdated} stored cells are stale (other inputs than the suite has now) and in no table; "
            f"which, and what changed: fusionbench status {report.suite}{where}"
        )
    if report.failed:
        typer.echo(f"{len(report.failed)} cells failed; try them again with --retry failed", err=True)
    if not report.notes:  # they say why not all of it is in MLflow; the reporter has told them
        typer.echo(f"look at the runs: fusionbench ui {report.suite}{where}")
