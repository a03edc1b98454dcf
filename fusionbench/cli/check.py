"""fusionbench check PLUGIN"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fusionbench.cli.options import Json, print_json

if TYPE_CHECKING:
    from fusionbench.testing.conformance import CheckResult, Report


def _plugins(incomplete: str) -> list[str]:
    from fusionbench.core.registry import discover

    return [plugin.name for plugin in discover().plugins if plugin.name.startswith(incomplete)]


def register(app: typer.Typer) -> None:
    """Add the module's verbs to the command line."""
    app.command("check")(check)


def check(
    plugin: Annotated[
        str, typer.Argument(help="Name of a plugin, as `fusionbench plugins` shows it.", autocompletion=_plugins)
    ],
    matching: Annotated[
        str, typer.Option("-k", metavar="TEXT", help="Only the checks whose kind:subject:check holds this text.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Try everything that a plugin provides against what the harness expects of it.

    Exit status: 0 all passed, 1 some failed, 2 the request was wrong.
    """
    from fusionbench.core.registry import discover
    from fusionbench.testing.conformance import Report, checks_for, run_check

    rows: list[CheckResult] = []
    for each in checks_for(plugin, discover(), matching):
        row = run_check(each)
        if not as_json:
            _print_row(row, rows[-1] if rows else None)
        rows.append(row)
    report = Report(plugin, tuple(rows))
    print_json(rows) if as_json else _print_summary(report)
    if not report.ok:
        raise typer.Exit(1)


def _print_row(row: CheckResult, before: CheckResult | None) -> None:
    first = before is None or (before.kind, before.subject) != (row.kind, row.subject)
    if first:
        typer.echo(f"{row.kind} {row.subject}")
    again = not first and before is not None and before.reason == row.reason
    reason = f"  ({'as above' if again else row.reason})" if row.reason else ""
    typer.echo(f"  {row.status}  {row.check}{reason}")
    if row.status == "FAIL":
        for what, sentence in (("seen", row.seen), ("expected", row.expected), ("usual cause", row.cause)):
            typer.echo(f"        {what}: {sentence}")


def _print_summary(report: Report) -> None:
    counts = f"{report.count('pass')} passed, {report.count('skip')} skipped, {report.count('FAIL')} failed"
    typer.echo(f"{report.plugin}: {counts} in {report.seconds:.1f} s")
