"""The hooks. A package takes part by an entry point of group `fusionbench` that names an object with these functions.

Each hook is called once when a registry is made and may return any number of things, also none. Keep heavy imports
inside the functions: `fusionbench ls suites` calls only `fusionbench_suites`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import typer

    from fusionbench.core.encoder import Encoder
    from fusionbench.core.executor import Executor
    from fusionbench.core.interfaces import Dataset, FusionModel, Modality
    from fusionbench.core.metric import Metric

PROJECT = "fusionbench"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def fusionbench_modalities() -> Iterable[type[Modality]]:
    """Kinds of data: how a case's file or row becomes instances of numbers."""
    raise NotImplementedError


@hookspec
def fusionbench_datasets() -> Iterable[type[Dataset]]:
    """Cohorts."""
    raise NotImplementedError


@hookspec
def fusionbench_models() -> Iterable[type[FusionModel]]:
    """Ways to fuse, and the controls they have to beat."""
    raise NotImplementedError


@hookspec
def fusionbench_metrics() -> Iterable[type[Metric]]:
    """Scores."""
    raise NotImplementedError


@hookspec
def fusionbench_suites() -> Iterable[Traversable]:
    """Suite files; a suite's name is the file's stem."""
    raise NotImplementedError


@hookspec
def fusionbench_executors() -> Iterable[type[Executor]]:
    """Ways to run cells."""
    raise NotImplementedError


@hookspec
def fusionbench_encoders() -> Iterable[type[Encoder]]:
    """Ways to turn tiles of a slide into features."""
    raise NotImplementedError


@hookspec
def fusionbench_commands() -> Iterable[typer.Typer]:
    """Verbs of the command line, each a `typer.Typer(name=...)`.

    Called for `fusionbench --help`, too: what a verb works with is imported inside its function.
    """
    raise NotImplementedError


@hookspec
def fusionbench_findings() -> Iterable[Callable[[Any, Mapping[str, Any]], Iterable[Any]]]:
    """Functions that write sections below a suite's table.

    Each is called with an `Analysis` and the content of the suite's lock, after the sections that every report has, and
    yields `Section`s, or none where it has nothing to say; both classes are in `fusionbench.report.api`. The hook
    itself is called whenever plugins are listed: what a function works with is imported inside it.
    """
    raise NotImplementedError


HOOKS = {
    "modalities": "fusionbench_modalities",
    "datasets": "fusionbench_datasets",
    "models": "fusionbench_models",
    "metrics": "fusionbench_metrics",
    "suites": "fusionbench_suites",
    "executors": "fusionbench_executors",
    "encoders": "fusionbench_encoders",
    "commands": "fusionbench_commands",
    "findings": "fusionbench_findings",
}
