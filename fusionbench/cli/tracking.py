"""fusionbench sync, fusionbench ui"""

from __future__ import annotations

from typing import Annotated

import typer

from fusionbench.cli.common import OUT, Out, SuiteName, names_of, open_session


def register(app: typer.Typer) -> None:
    app.command("sync")(sync)
    app.command("ui")(ui)


def sync(
    suite: SuiteName,
    to: Annotated[str | None, typer.Option("--to", help="Tracking server or store; default as in `run`.")] = None,
    out: Out = OUT,
) -> None:
    """Replay a suite's results into MLflow; what is there already is not doubled."""
    n = open_session(out, uri=to).sync(suite)
    typer.echo(f"{suite}: {n} cells are in MLflow")


def ui(
    suite: Annotated[
        str | None, typer.Argument(help="Link straight to this suite.", autocompletion=names_of("suites"))
    ] = None,
    out: Out = OUT,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
    host: Annotated[str, typer.Option(help="Interface to bind to.")] = "127.0.0.1",
) -> None:
    """Open `mlflow ui` on the results' store and print the link to a suite's runs."""
    import subprocess

    from fusionbench import tracking

    uri, experiment = tracking.tracked_uri(out), tracking.tracked_experiment(out, suite)
    if tracking.is_server(uri):
        typer.echo(f"the runs are on a server: {tracking.suite_link(uri, experiment)}")
        return
    typer.echo(tracking.suite_link(f"http://{host}:{port}", experiment))
    try:
        code = subprocess.call(tracking.ui_command(out, port, host), env=tracking.ui_environment())
    except KeyboardInterrupt:
        code = 0
    raise typer.Exit(code)
