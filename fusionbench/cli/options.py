"""Options that several verbs share, and completion of names."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusionbench.core.commands import RESULTS

if TYPE_CHECKING:
    from fusionbench.core.plugin_ref import PluginRef
    from fusionbench.session import Session


def names_of(kind: str) -> Callable[[str], list[str]]:
    """A completion callback over the registered names of a kind."""

    def complete(incomplete: str) -> list[str]:
        from fusionbench.core.registry import discover

        return [name for name in discover((kind,)).names(kind) if name.startswith(incomplete)]

    return complete


Out = Annotated[Path, typer.Option("--out", help="The results root.", envvar="FUSIONBENCH_RESULTS", readable=False)]
To = Annotated[
    Path | None, typer.Option("--to", help="Write to this folder; the results root is only read.", readable=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SuiteName = Annotated[
    str, typer.Argument(help="A suite by name, or the path of a suite file.", autocompletion=names_of("suites"))
]
DatasetName = Annotated[
    str,
    typer.Argument(
        help="A dataset: NAME, NAME[option=value], or the TOML of a cohort of your own.",
        autocompletion=names_of("datasets"),
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU threads of a cell; by default as its bags are large.")
]
ExecutorName = Annotated[
    str | None,
    typer.Option(
        "--executor",
        help="Where cells run: serial, ray or a plugin's; by default what the other flags need.",
        autocompletion=names_of("executors"),
    ),
]
Jobs = Annotated[int | None, typer.Option("-j", "--jobs", help="Cells at once; above 1 with ray.")]
Address = Annotated[
    str | None, typer.Option("--address", help="A Ray cluster to join: HOST:PORT, ray://HOST:PORT or auto.")
]
Gpus = Annotated[float | None, typer.Option("--gpus-per-cell", help="GPUs of a cell, also a part of one; with ray.")]
Timeout = Annotated[
    str | None, typer.Option("--timeout", help="Stop a cell after this time, such as 90s or 1h30m; with ray.")
]
OUT = RESULTS


def dataset_ref(text: str) -> PluginRef:
    """The dataset that an argument names; a TOML is a cohort of the user's own."""
    from fusionbench.core.plugin_ref import PluginRef

    return PluginRef.of("table", file=text) if text.endswith(".toml") else PluginRef.parse(text)


PLANNED = frozenset({"suites", "datasets", "models", "metrics", "modalities"})
"""Kinds of things that a plan is made of; a session of these alone starts sooner."""


def open_session(
    out: Path,
    device: str = "cpu",
    *,
    threads: int | None = None,
    uri: str | None = None,
    deterministic: bool = False,
    kinds: Collection[str] | None = None,
) -> Session:
    """The session that a verb works with; `kinds` of plugins, default all."""
    from fusionbench.core.registry import ALL_KINDS, discover
    from fusionbench.session import Session

    registry = discover(ALL_KINDS if kinds is None else kinds)
    return Session(
        out, device=device, threads=threads, tracking_uri=uri, deterministic=deterministic, registry=registry
    )


def print_json(value: Any) -> None:
    """Print a value as JSON; dataclasses and mappings become objects, anything else its text."""

    def plain(item: Any) -> Any:
        if is_dataclass(item) and not isinstance(item, type):
            return asdict(item)
        return dict(item) if hasattr(item, "items") else str(item)

    typer.echo(json.dumps(value, indent=2, default=plain))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A plain table that reads the same on a terminal and in a pipe."""
    from tabulate import tabulate

    typer.echo(tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True))
