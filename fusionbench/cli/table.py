"""fusionbench table, fusionbench report, fusionbench publish"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from fusionbench.cli.options import OUT, Out, SuiteName, names_of, open_session


class Format(StrEnum):
    """Formats of a printed table."""

    md = "md"
    latex = "latex"
    html = "html"
    csv = "csv"


def table(
    suite: SuiteName,
    form: Annotated[Format, typer.Option("-f", "--format", help="md, latex, html or csv.")] = Format.md,
    out: Out = OUT,
) -> None:
    """Print a suite's comparison table, as the last run wrote it."""
    suffix = {"latex": "tex"}.get(form.value, form.value)
    typer.echo(open_session(out).table_file(suite, suffix).read_text(encoding="utf-8").rstrip())


def report(
    suite: Annotated[
        str | None,
        typer.Argument(help="A suite by name, or the path of a suite file.", autocompletion=names_of("suites")),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every suite of the results root, and a front page index.html.")
    ] = False,
    out: Out = OUT,
) -> None:
    """Write a suite's report: one HTML file that needs nothing else, and its figures as PNG and SVG."""
    if (suite is None) != everything:
        raise typer.BadParameter("name one suite, or say --all")
    session = open_session(out)
    if suite is not None:
        typer.echo(f"report: {session.report(suite)}")
        return
    path, without = session.report_all()
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
