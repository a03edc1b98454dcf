"""fusionbench plugins"""

from __future__ import annotations

import typer

from fusionbench.cli.options import Json, print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the module's verbs to the command line."""
    app.command("plugins")(plugins)


def plugins(as_json: Json = False) -> None:
    """Show every plugin: distribution, version, licence, what it provides, and why a broken one is broken."""
    from fusionbench.core.registry import discover

    records = discover().plugins
    if as_json:
        print_json(list(records))
        return
    rows = [
        (
            p.name,
            p.distribution,
            p.version,
            p.licence,
            "; ".join(f"{kind}: {', '.join(names)}" for kind, names in p.provides.items()) or "-",
            p.status,
            p.reason or "-",
        )
        for p in records
    ]
    print_table(["name", "distribution", "version", "licence", "provides", "status", "reason"], rows)
