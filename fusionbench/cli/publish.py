"""fusionbench publish SUITE"""

from __future__ import annotations

import typer

from fusionbench.cli.options import OUT, Out, SuiteName, open_session


def register(app: typer.Typer) -> None:
    """Add the module's verbs to the command line."""
    app.command("publish")(publish)


def publish(
    suite: SuiteName,
    out: Out = OUT,
) -> None:
    """Copy a complete, audited run to OUT/published/SUITE, with the command, versions and machine."""
    target = open_session(out).publish(suite)
    typer.echo(f"published: {target}")
