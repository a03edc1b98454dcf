"""The verb `fusionbench my-plugin`: the best row of each cohort of a suite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(name="my-plugin")


@app.command()
def my_plugin(
    suite: Annotated[str, typer.Argument(help="A suite that has been run.")],
    out: Annotated[Path, typer.Option(help="Where its results are.")] = Path("results"),
) -> None:
    """Print the best row of each cohort, endpoint's metric and pattern of a suite."""
    # Imported in here: `fusionbench --help` asks every plugin for its verbs.
    from fusionbench.session import Session

    table = Session(out).table(suite)
    places = ["dataset", "pattern", "metric"]
    for row in table.drop_duplicates(places).to_dict("records"):  # the best row stands first
        place = ", ".join(str(row[name]) for name in places)
        typer.echo(f"{place}: {row['model']} on {row['modalities']}, {row['mean']:.3f}")
