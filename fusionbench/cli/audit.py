"""fusionbench audit SUITE"""

from __future__ import annotations

from dataclasses import asdict

import typer

from fusionbench.cli.options import OUT, Json, Out, SuiteName, open_session, print_json


def register(app: typer.Typer) -> None:
    """Add the module's verbs to the command line."""
    app.command("audit")(audit)


def audit(suite: SuiteName, as_json: Json = False, out: Out = OUT) -> None:
    """Prove the protocol from what a run has written: pass, DECLARED or BREACH, one line a rule; exit 1 on a breach."""
    found = open_session(out).audit(suite)
    if as_json:
        print_json([asdict(line) for line in found.lines])
    else:
        for line in found.lines:
            typer.echo(f"{line.verdict:8}  {line.rule}: {line.seen}")
    raise typer.Exit(0 if found.passed else 1)
