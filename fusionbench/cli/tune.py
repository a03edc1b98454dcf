"""fusionbench tune SUITE -m MODEL"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionbench.cli.options import (
    OUT,
    Address,
    Device,
    ExecutorName,
    Gpus,
    Jobs,
    Out,
    SuiteName,
    Threads,
    Timeout,
    names_of,
    open_session,
)
from fusionbench.core.commands import command

if TYPE_CHECKING:
    from fusionbench.tools.tuning import TuneProgress


def tune(
    suite: SuiteName,
    model: Annotated[
        list[str],
        typer.Option("-m", "--model", help="A model of the suite; again for more.", autocompletion=names_of("models")),
    ],
    dataset: Annotated[
        list[str] | None,
        typer.Option("-d", "--dataset", help="Only this dataset.", autocompletion=names_of("datasets")),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials of each search, those of earlier runs included.")] = 50,
    inner_folds: Annotated[int, typer.Option(min=2, help="Folds within each fold's training cases.")] = 3,
    objective: Annotated[
        str | None,
        typer.Option(help="A metric on the inner folds, or `nll`: the validation loss; default: the c-index or AUROC."),
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="A search space: a file, or healnet-paper; default: the model's own.")
    ] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="Repeats, as of run.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The suite's seed.")] = None,
    to: Annotated[Path | None, typer.Option(help="Where the tuned suite goes; default OUT/SUITE/tuning.")] = None,
    out: Out = OUT,
    device: Device = "auto",
    threads: Threads = None,
    executor: ExecutorName = None,
    jobs: Jobs = None,
    address: Address = None,
    gpus: Gpus = None,
    timeout: Timeout = None,
) -> None:
    """Search a model's options, fold by fold, on inner folds alone; write a suite with what was study.

    Goes on where it stopped.
    """
    from fusionbench.execution.executors.options import RunOptions, seconds
    from fusionbench.suites.selection import Selection
    from fusionbench.tools.tuning import TuneOptions

    selection = Selection(tuple(dataset or ()), repeats=repeats, seed=seed)
    options = TuneOptions(tuple(model), trials, inner_folds, objective, space)
    execution = RunOptions(executor, jobs, address, gpus, None if timeout is None else seconds(timeout))
    session = open_session(out, device, threads=threads)
    typed = shlex.join(["fusionbench", *sys.argv[1:]])
    try:
        path = session.tune(
            suite,
            options,
            selection,
            to=to,
            execution=execution,
            command=typed,
            on_progress=_print_progress,
            note=lambda line: typer.echo(line, err=True),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("finished trials are kept; the same command goes on where this one stopped") from None
    typer.echo(f"run it: {command(out, 'run', str(path))}")


def _print_progress(progress: TuneProgress) -> None:
    """A line when a search begins, and one when it has ended."""
    where = f"[{progress.study}/{progress.studies}] {progress.label}"
    if progress.result is not None:
        study = progress.result
        own = "" if study.default is None else f", the suite's own options {study.default:.3f}"
        ends = f"{study.complete} trials, {study.pruned} pruned, {study.failed} failed"
        ends += f": {study.failure}" if study.failure else ""
        chosen = ", ".join(f"{name}={value}" for name, value in study.chosen)
        typer.echo(f"{where}: {study.value:.3f}{own} ({ends}): {chosen}", err=True)
    elif progress.done == 0:
        typer.echo(f"{where}: {progress.trials} trials", err=True)
