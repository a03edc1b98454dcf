"""fusionbench table, fusionbench report, fusionbench publish"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from fusionbench.cli.options import OUT, Out, SuiteName, To, names_of, open_session


class Format(StrEnum):
    """Formats of a printed table."""

    md = "md"
    latex = "latex"
    html = "html"
    csv = "csv"


class Sort(StrEnum):
    """Orders of a table's rows on a terminal."""

    best = "best"
    suite = "suite"
    model = "model"


def table(
    suite: SuiteName,
    form: Annotated[
        Format | None, typer.Option("-f", "--format", help="md, latex, html or csv; in a pipe md by default.")
    ] = None,
    all_rows: Annotated[bool, typer.Option("--all-rows", help="On a terminal: every row.")] = False,
    all_metrics: Annotated[bool, typer.Option("--all-metrics", help="On a terminal: every metric.")] = False,
    pattern: Annotated[
        str, typer.Option(help="On a terminal: the missing-modality pattern that is shown, such as half.")
    ] = "full",
    sort: Annotated[
        Sort, typer.Option(help="On a terminal: best first within a set of modalities, as in the suite, or by model.")
    ] = Sort.best,
    out: Out = OUT,
) -> None:
    """Print a suite's comparison table, as the last run wrote it: on a terminal the best rows and the verdict."""
    from fusionbench.cli.screen import View, print_table_screen, stdout_is_terminal
    from fusionbench.tools.stored_table import StoredTable

    session = open_session(out)
    view = View(pattern, all_metrics, all_rows, sort.value)
    if form is None and (stdout_is_terminal() or view != View()):
        print_table_screen(session, suite, view)
        return
    suffix = {"latex": "tex"}.get((form or Format.md).value, (form or Format.md).value)
    typer.echo(StoredTable.of(suite, out, session.registry).file(suffix).read_text(encoding="utf-8").rstrip())


def report(
    suite: Annotated[
        str | None,
        typer.Argument(help="A suite by name, or the path of a suite file.", autocompletion=names_of("suites")),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every suite of the results root, and a front page index.html.")
    ] = False,
    to: To = None,
    out: Out = OUT,
) -> None:
    """Write a suite's report: one HTML file that needs nothing else, and its figures as PNG and SVG."""
    if (suite is None) != everything:
        raise typer.BadParameter("name one suite, or say --all")
    session = open_session(out)
    if suite is not None:
        typer.echo(f"report: {session.report(suite, to)}")
        return
    path, without = session.report_all(to)
    for name, reason in without.items():
        typer.echo(f"no report of {name}: {reason}")
    typer.echo(f"front page: {path}")


def publish(
    suite: SuiteName,
    out: Out = OUT,
) -> None:
    """Copy a complete, audited run to OUT/published/SUITE, with the command, versions and machine."""
    target = open_session(out).publish(suite)
    typer.echo(f"published: {target}")
