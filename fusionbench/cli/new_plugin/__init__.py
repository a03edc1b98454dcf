"""fusionbench new-plugin NAME --kind KIND"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Kind(StrEnum):
    """What `fusionbench new-plugin` can write."""

    model = "model"
    own_loop = "own-loop"
    auxiliary_loss = "auxiliary-loss"
    dataset = "dataset"
    modality = "modality"
    metric = "metric"
    encoder = "encoder"
    executor = "executor"
    command = "command"


def new_plugin(
    name: Annotated[str, typer.Argument(help="Small letters, digits and dashes, e.g. my-fusion.")],
    kind: Annotated[
        Kind, typer.Option(help="What the plugin brings; own-loop and auxiliary-loss are models, too.")
    ] = Kind.model,
    into: Annotated[Path, typer.Option(help="Where to make the folder NAME.")] = Path(),
) -> None:
    """Write a package with a working plugin of your own, to be changed."""
    import shlex

    from fusionbench.cli.new_plugin import scaffold

    made = scaffold.new_plugin(name, kind.value, into)
    for path in made.paths:
        typer.echo(f"wrote {path}")
    typer.echo("\nIt works as it is. Install it, check it, run it, and then change it:")
    target = str(made.folder) if made.folder.is_absolute() else f"./{made.folder}"
    typer.echo(f"  python -m pip install -e {shlex.quote(target)}")
    typer.echo(f"  fusionbench check {name}")
    typer.echo(f"  {shlex.join(('fusionbench', *made.run))}")
