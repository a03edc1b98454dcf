"""fusionbench sync, fusionbench ui"""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionbench.cli.options import OUT, Out, names_of, open_session
from fusionbench.core.commands import command

if TYPE_CHECKING:
    from fusionbench.report.mlflow import Order


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
    left: list[tuple[str, str]] = []
    for report in session.sync_all() if suite is None else [session.sync(suite, selection)]:
        if isinstance(report, tuple):
            left.append(report)
            continue
        if report.mended:
            typer.echo(f"MLflow: {report.mended}", err=True)
        typer.echo(f"{report.suite}: {report.cells} cells are in MLflow")
        for name, verb in report.outdated.items():
            how = f"make it again with: {command(out, verb, report.suite)}"
            if verb == "publish" and report.unfinished:
                which = command(out, "status", report.suite)
                how = f"publish makes it again once {report.unfinished} cells are done; which: {which}"
            typer.echo(f"{report.suite}: {name} was made before the cells changed and is left out; {how}")
        left += report.left_out.items()
        for name, why in report.unread.items():
            typer.echo(f"{report.suite}: not in MLflow again, since it cannot be read here: {name}: {why}")
    for name, why in left:
        typer.echo(f"not in MLflow: {name}: {why}", err=True)
    raise typer.Exit(1 if left else 0)


def ui(
    suite: Annotated[
        str | None, typer.Argument(help="Link straight to this suite.", autocompletion=names_of("suites"))
    ] = None,
    out: Out = OUT,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
    host: Annotated[str, typer.Option(help="Interface to bind to.")] = "127.0.0.1",
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Serve MLflow's page on the results' store, and print the links to a suite's rows."""
    from fusionbench.core.registry import discover
    from fusionbench.report import mlflow as tracking
    from fusionbench.tools.find_suite import find_suite

    if suite is not None:
        suite = find_suite(suite, out, discover(("suites",))).name
    uri = tracking.tracked_uri(out)
    if tracking.is_server(uri):
        _show_links("the runs are on a server: ", uri, uri, suite, out, open_page)
        return
    tracking.require_free(host, port)
    if mended := tracking.open_store(out):
        typer.echo(f"MLflow: {mended}", err=True)
        for report in open_session(out).sync_all():
            if isinstance(report, tuple):
                typer.echo(f"not in MLflow: {': '.join(report)}", err=True)
    with tracking.served(tracking.ui_command(out, port, host), tracking.ui_environment(), host, port) as server:
        _show_links("", f"http://{host}:{port}", uri, suite, out, open_page)
        raise typer.Exit(server.wait())


def _show_links(lead: str, base: str, uri: str, suite: str | None, out: Path, open_page: bool) -> None:
    """Print the address of a suite's runs, of its rows as a chart, and of the best rows side by side."""
    from fusionbench.report import mlflow as tracking

    experiment = tracking.tracked_experiment(out, suite)
    first = tracking.suite_link(base, experiment)
    typer.echo(f"{lead}{first}")
    orders = [] if suite is None or experiment is None else _orders(out, suite)
    for order in orders:
        assert suite is not None
        assert experiment is not None
        rows = tracking.rows_link(base, experiment, order)
        first = rows if order is orders[0] else first
        typer.echo(f"rows, best first{f' by {order.metric}' if len(orders) > 1 else ''}: {rows}")
        for dataset, pair in tracking.best_pairs(uri, out, suite, experiment, order).items():
            link = tracking.compare_link(base, experiment, pair)
            typer.echo(f"best fused and best uni-modal row of {dataset}: {link}")
    sys.stdout.flush()  # who reads from a pipe is to have the links while the server runs
    if open_page:
        webbrowser.open(first)


def _orders(out: Path, suite: str) -> list[Order]:
    """The first metric that scores each kind of endpoint; none where the suite has not been run under `out`."""
    from fusionbench.core.registry import discover
    from fusionbench.report.mlflow import Order
    from fusionbench.suites.lock import LOCK, classes_of, read_lock
    from fusionbench.tasks import kind_with

    if not (out / suite / LOCK).is_file():
        return []
    lock, registry = read_lock(out / suite), discover(("metrics",))
    metrics, known = lock["suite"]["metrics"], registry.names("metrics")
    kinds = {kind_with(classes_of(lock, dataset)).name for dataset in lock["datasets"]}
    takes = {name: registry.metric(name).tasks if name in known else tuple(kinds) for name in metrics}
    first = dict.fromkeys(next((name for name in metrics if kind in takes[name]), metrics[0]) for kind in kinds)
    chosen = [name for name in metrics if name in first]
    return [Order(name, registry.metric(name).higher_is_better if name in known else None) for name in chosen]
