"""fusionbench validate SUITE"""

from __future__ import annotations

import typer

from fusionbench.cli.options import SuiteName


def register(app: typer.Typer) -> None:
    """Add the module's verbs to the command line."""
    app.command("validate")(validate)


def validate(suite: SuiteName) -> None:
    """Check a suite's text, names and options; reads no data."""
    from fusionbench.core.registry import discover
    from fusionbench.suites.suite import load_suite
    from fusionbench.suites.validation import check_names

    registry = discover()
    loaded = load_suite(registry, suite)
    check_names(loaded, registry)
    rows = len(loaded.datasets) * len(loaded.models) * len(loaded.variants())
    typer.echo(f"{suite}: in order ({len(loaded.datasets)} datasets x {len(loaded.models)} models x variants = {rows})")
