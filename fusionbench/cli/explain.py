"""fusionbench explain SUITE --model M --case ID"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusionbench.cli.options import OUT, Device, Out, SuiteName, names_of, open_session


def explain(
    suite: SuiteName,
    model: Annotated[
        str, typer.Option("--model", "-m", help="As the table writes it.", autocompletion=names_of("models"))
    ],
    case: Annotated[str | None, typer.Option("--case", help="A test case, by its id.")] = None,
    top_risk: Annotated[
        int | None, typer.Option("--top-risk", help="In place of --case: so many cases of highest predicted risk.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Where several datasets of the suite are in question.")
    ] = None,
    modalities: Annotated[
        str | None, typer.Option("--modalities", help="Joined with +; the largest set that the model takes.")
    ] = None,
    variant: Annotated[str | None, typer.Option("--variant", help="A variant of the suite; base.")] = None,
    repeat: Annotated[int, typer.Option("--repeat", help="Which repeat, from 0.")] = 0,
    slides: Annotated[
        Path | None, typer.Option("--slides", help="A folder of slide images, for heatmaps on them and tiles.")
    ] = None,
    draws: Annotated[int, typer.Option("--draws", help="Random orders that attention is held against.")] = 10,
    out: Out = OUT,
    device: Device = "auto",
) -> None:
    """Show where a stored model looks in a test case, and whether that matters to the risk it predicts."""
    from fusionbench.tools.explain import Request

    names = tuple(modalities.split("+")) if modalities else ()
    request = Request(suite, model, case, top_risk, dataset, names, variant, repeat, slides, draws)
    made = open_session(out, device).explain(request, typer.echo)
    if made.summary is not None:
        typer.echo(f"summary: {made.summary}")
