"""fusionbench predict CELL COHORT"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusionbench.cli.options import OUT, DatasetName, Device, Out, dataset_ref, open_session


def predict(
    cell: Annotated[str, typer.Argument(help="Key of a finished cell (its beginning is enough), or SUITE/KEY.")],
    cohort: DatasetName,
    to: Annotated[Path | None, typer.Option("--to", help="Write CSV there instead of printing it.")] = None,
    out: Out = OUT,
    device: Device = "auto",
) -> None:
    """Score the patients of a cohort with a finished cell."""
    frame = open_session(out, device).predict(cell, dataset_ref(cohort))
    if to is None:
        typer.echo(frame.to_csv(index=False).rstrip())
        return
    frame.to_csv(to, index=False)
    typer.echo(f"{len(frame)} cases scored: {to}")
