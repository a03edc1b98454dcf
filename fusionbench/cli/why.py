"""fusionbench why CELL"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fusionbench.cli.options import OUT, PLANNED, Json, Out, open_session, print_json

if TYPE_CHECKING:
    from fusionbench.tools.status import Answer


def register(app: typer.Typer) -> None:
    """Add the module's verbs to the command line."""
    app.command("why")(why)


def why(
    cell: Annotated[
        list[str], typer.Argument(help="A cell's key or its first digits, or: SUITE DATASET MODEL MODALITIES FOLD.")
    ],
    repeat: Annotated[int, typer.Option(min=0, help="With a place: which repeat.")] = 0,
    variant: Annotated[str, typer.Option(help="With a place: which variant of the suite.")] = "base",
    as_json: Json = False,
    out: Out = OUT,
) -> None:
    """Say what a cell is and why: its result, its failure, or which input changed against the stored result."""
    from fusionbench.tools import status as standing
    from fusionbench.tools.status.asked import needs_place

    answer = standing.why(needs_place(cell, repeat, variant), out, open_session(out, kinds=PLANNED).resources)
    if as_json:
        print_json(answer)
    else:
        _show(answer)


def _show(answer: Answer) -> None:
    typer.echo(f"{answer.suite}: {answer.label}")
    typer.echo(f"key: {answer.key}")
    typer.echo(f"state: {answer.state}")
    if answer.folder is not None:
        typer.echo(f"result: {answer.folder}")
    if answer.state == "done":
        typer.echo("changed: nothing")
    for change in answer.changes:
        typer.echo(f"changed: {change}")
    if answer.reason:
        typer.echo(f"reason: {answer.reason}")
    if answer.raised_at:
        typer.echo(f"raised at: {answer.raised_at}")
    for score in answer.scores:
        typer.echo(f"score: {score}")
    if answer.advice:
        typer.echo(f"to do: {answer.advice}")
