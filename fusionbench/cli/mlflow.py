"""fusionbench sync, fusionbench ui"""

from __future__ import annotations

from typing import Annotated

import typer

from fusionbench.cli.options import OUT, Out, names_of, open_session
from fusionbench.core.commands import command


def sync(
    suite: Annotated[
        str | None,
        typer.Argument(help="A suite by name or file; default every suite run.", autocompletion=names_of("suites")),
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="Tracking server or store; default as in `run`.")] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option("-d", "--dataset", help="Only this dataset's rows.", autocompletion=names_of("datasets")),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--model",
            help="Only this model's rows; a further one as in `run`.",
            autocompletion=names_of("models"),
        ),
    ] = None,
    out: Out = OUT,
) -> None:
    """Replay results into MLflow; what is there already is not doubled."""
    from fusionbench.suites.selection import Selection

    selection = Selection(tuple(dataset or ()), tuple(model or ()))
    if suite is None and selection.rows:
        raise typer.BadParameter("-d and -m choose rows of one suite: name it")
    session = open_session(out, uri=to)
    left = 0
    for report in session.sync_all() if suite is None else [session.sync(suite, selection)]:
        if isinstance(report, tuple):
            left += 1
            typer.echo(f"not in MLflow: {': '.join(report)}", err=True)
            continue
        typer.echo(f"{report.suite}: {report.cells} cells are in MLflow")
        for name, verb in report.outdated.items():
            how = f"make it again with: {command(out, verb, report.suite)}"
            if verb == "publish" and report.unfinished:
                which = command(out, "status", report.suite)
                how = f"publish makes it again once {report.unfinished} cells are done; which: {which}"
            typer.echo(f"{report.suite}: {name} is older than the newest cell and left out; {how}")
    raise typer.Exit(1 if left else 0)


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

    from fusionbench.core.registry import discover
    from fusionbench.report import mlflow as tracking
    from fusionbench.tools.find_suite import find_suite

    name = None if suite is None else find_suite(suite, out, discover(("suites",))).name
    uri, experiment = tracking.tracked_uri(out), tracking.tracked_experiment(out, name)
    if tracking.is_server(uri):
        typer.echo(f"the runs are on a server: {tracking.suite_link(uri, experiment)}")
        return
    typer.echo(tracking.suite_link(f"http://{host}:{port}", experiment))
    try:
        code = subprocess.call(tracking.ui_command(out, port, host), env=tracking.ui_environment())
    except KeyboardInterrupt:
        code = 0
    raise typer.Exit(code)
