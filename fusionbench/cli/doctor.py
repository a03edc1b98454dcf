"""fusionbench doctor [SUITE]"""

from __future__ import annotations

from typing import Annotated

import typer

from fusionbench.cli.options import OUT, Json, Out, names_of, open_session, print_json


def register(app: typer.Typer) -> None:
    """Add the module's verbs to the command line."""
    app.command("doctor")(doctor)


def doctor(
    suite: Annotated[
        str | None,
        typer.Argument(
            help="Compare what is installed with what this suite's results were made with.",
            autocompletion=names_of("suites"),
        ),
    ] = None,
    as_json: Json = False,
    out: Out = OUT,
) -> None:
    """Look at versions, devices, threads, data and places, or at what would change a suite's results; exit 1 if bad."""
    from fusionbench.tools.doctor import examine

    session = open_session(out)
    lines = list(examine(session.registry, session.home, out, suite))
    if as_json:
        print_json(lines)
    else:
        for line in lines:
            typer.echo(f"{line.verdict:8} {line.what}: {line.text}")
    raise typer.Exit(1 if any(line.verdict == "problem" for line in lines) else 0)
