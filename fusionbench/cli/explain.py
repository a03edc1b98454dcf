"""fusionbench explain SUITE --model M --case ID"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusionbench.cli.options import OUT, Device, Out, SuiteName, names_of, open_session


def explain(
    suite: SuiteName,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="Model of the suite, as the results table names it.",
            autocompletion=names_of("models"),
        ),
    ],
    case: Annotated[str | None, typer.Option("--case", help="Id of a test case.")] = None,
    top_risk: Annotated[
        int | None,
        typer.Option("--top-risk", help="Instead of --case: the N cases with the highest predicted risk or log odds."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Dataset, where the suite has several.")
    ] = None,
    modalities: Annotated[
        str | None,
        typer.Option("--modalities", help="Modality set, joined with +; by default the largest that the model takes."),
    ] = None,
    variant: Annotated[str | None, typer.Option("--variant", help="Variant of the suite; by default base.")] = None,
    repeat: Annotated[int, typer.Option("--repeat", help="Repeat, from 0.")] = 0,
    slides: Annotated[
        Path | None,
        typer.Option("--slides", help="Folder of slide images: heatmaps are drawn on them, and tiles are saved."),
    ] = None,
    draws: Annotated[
        int, typer.Option("--draws", help="Random orders of items that the order of attention is compared with.")
    ] = 10,
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class", help="Where classes are predicted: explain the log odds of this one; default the last."
        ),
    ] = None,
    out: Out = OUT,
    device: Device = "auto",
) -> None:
    """Show a stored model's attention on a test case, and what raises or lowers its risk or log odds of a class."""
    from fusionbench.tools.explain import Request

    names = tuple(modalities.split("+")) if modalities else ()
    request = Request(suite, model, case, top_risk, dataset, names, variant, repeat, slides, draws, class_name)
    explained = open_session(out, device).explain(request, typer.echo)
    if explained.summary is not None:
        typer.echo(f"summary: {explained.summary}")
