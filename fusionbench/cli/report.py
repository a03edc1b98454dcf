"""fusionbench report SUITE, fusionbench report --all"""

from __future__ import annotations

from typing import Annotated

import typer

from fusionbench.cli.options import OUT, Out, names_of, open_session


def register(app: typer.Typer) -> None:
    """Add the module's verbs to the command line."""
    app.command("report")(report)


def report(
    suite: Annotated[str | None, typer.Argument(help="Name of a suite.", autocompletion=names_of("suites"))] = None,
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
