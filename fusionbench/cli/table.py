"""fusionbench table SUITE"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from fusionbench.cli.options import OUT, Out, SuiteName, open_session


class Format(StrEnum):
    """Formats of a printed table."""

    md = "md"
    latex = "latex"
    html = "html"
    csv = "csv"


def register(app: typer.Typer) -> None:
    """Add the module's verbs to the command line."""
    app.command("table")(table)


def table(
    suite: SuiteName,
    form: Annotated[Format, typer.Option("-f", "--format", help="md, latex, html or csv.")] = Format.md,
    out: Out = OUT,
) -> None:
    """Print a suite's comparison table, as the last run wrote it."""
    suffix = {"latex": "tex"}.get(form.value, form.value)
    typer.echo(open_session(out).table_file(suite, suffix).read_text(encoding="utf-8").rstrip())
