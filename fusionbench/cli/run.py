"""fusionbench run SUITE"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
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
from fusionbench.core.commands import command
from fusionbench.core.plural import plural

if TYPE_CHECKING:
    from fusionbench.session import Session
    from fusionbench.suites.cell import Plan
    from fusionbench.suites.selection import Selection
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
            "-m",
            "--model",
            help="Only this model; NAME[option=value] or FILE.py:CLASS adds a row to the suite for good.",
            autocompletion=names_of("models"),
        ),
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", help="Take this model, which -m added, out of the suite's rows.")
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
    with make_reporter() as reporter:
        try:
            report = session.run(
                suite,
                selection,
                remove=remove or (),
                retry_failed=retry == "failed",
                rerun=rerun,
                track=track,
                options=execution,
                reporter=reporter,
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                "finished cells are kept; the same command goes on where this one stopped"
            ) from None
    if as_json:
        print_json(report)
    else:
        _tell(report, session, selection)
    raise typer.Exit(1 if report.failed else 0)


def _show(plan: Plan, limit: int | None, as_json: bool) -> None:
    skips = Counter((c.row, c.skip) for c in plan.listed if c.skip)
    todo = plan.todo()[:limit]
    if as_json:
        cells = [{"key": c.key, "label": c.label, "listed": c.listed, "external": c.external is not None} for c in todo]
        skipped = [{"row": " · ".join(row), "reason": reason, "cells": n} for (row, reason), n in skips.items()]
        print_json({"cells": cells, "skipped": skipped})
        return
    for cell in todo:
        mark = "" if cell.listed else "  (member)" if cell.external is None else "  (external)"
        typer.echo(f"{cell.key}  {cell.label}{mark}")
    external = sum(c.external is not None for c in todo)
    members = sum(not c.listed for c in todo) - external
    outside = f", {external} of them predictions of external cohorts" if external else ""
    typer.echo(
        f"{plural(len(todo), 'cell')} to run or to find finished, {members} of them only as members of others{outside}"
    )
    if skips:
        typer.echo(f"{plural(sum(skips.values()), 'cell')} skipped:")
    for (row, reason), n in skips.items():
        typer.echo(f"  {n} x {' · '.join(row[:3])}: {reason}")


def _tell(report: RunReport, session: Session, selection: Selection) -> None:
    """What came out: on a terminal one screen with the verdict, in a pipe the whole table as Markdown."""
    from fusionbench.cli.screen import View, print_table_screen, stdout_is_terminal

    out = session.out
    for label, reason in report.failed:
        typer.echo(f"failed: {label}: {reason}", err=True)
    failed = list(_failed(report, out, selection))
    if report.table is not None and stdout_is_terminal():
        lines = [*_counts(report, out), *failed, *_skipped(report, out)]
        print_table_screen(session, report.suite, View(), lines)
        return
    if report.table is not None:
        typer.echo(report.table.read_text(encoding="utf-8").rstrip())
        typer.echo()
    else:
        for row, reason in report.skipped:
            typer.echo(f"skipped: {row}: {reason}")
    for line in _counts(report, out):
        typer.echo(line)
    for line in failed:
        typer.echo(line, err=True)
    if report.table is not None:
        typer.echo(f"table: {report.table}")
        typer.echo(f"report: {command(out, 'report', report.suite)}")
    if not report.notes:  # they say why not all of it is in MLflow; the reporter has told them
        typer.echo(f"look at the runs: {command(out, 'ui', report.suite)}")


def _counts(report: RunReport, out: Path) -> Iterator[str]:
    """How many cells were computed, and what is lacking for a whole table."""
    if report.ran == 0 and report.done == 0:
        yield f"{report.suite}: no cell to compute"
    elif report.ran == 0:
        yield f"{report.suite}: nothing to do, all {report.done} cells are there; --rerun computes them again"
    else:
        yield f"{report.suite}: {plural(report.ran, 'cell')} computed, {report.done} were there already"
    if report.left_out:
        yield f"the table is partial, since the rest of the suite cannot be read: {report.left_out}"
    elif not report.complete:
        yield f"{report.there} of {plural(report.listed or 0, 'cell')} of the whole suite; the table is partial"
    if report.outdated:
        yield (
            f"{report.outdated} stored cells are stale (other inputs than the suite has now) and in no table; "
            f"which, and what changed: {command(out, 'status', report.suite)}"
        )


def _failed(report: RunReport, out: Path, selection: Selection) -> Iterator[str]:
    if report.failed:
        again = command(out, "run", report.suite, *selection.flags, "--retry", "failed")
        yield f"{plural(len(report.failed), 'cell')} failed; try them again with: {again}"


def _skipped(report: RunReport, out: Path) -> Iterator[str]:
    if report.skipped:
        skipped = plural(len(report.skipped), "row that does not apply", "rows that do not apply")
        yield f"{skipped}; why: {command(out, 'run', report.suite, '--dry-run')}"
