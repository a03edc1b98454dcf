"""Search spaces: a model's own, or a file's, held against what the model and the recipe accept."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusionbench.core.errors import SuiteError, did_you_mean
from fusionbench.core.guard import guarded
from fusionbench.core.plugin_options import validate_options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.protocol import TrainRecipe, overlay
from fusionbench.core.registry import Registry
from fusionbench.core.search_space import TRAIN, Choice, Dimension, Interval, SearchSpace
from fusionbench.execution.fit_context import make_model

SHIPPED = "search"
"""The folder beside the shipped suites that holds search spaces."""


def space_of(model: PluginRef, registry: Registry, file: str | None) -> SearchSpace:
    """The space to search, checked.

    Args:
        file: a space file, or the name of a shipped one; None = what the model declares.

    Raises:
        SuiteError: the model declares none, the file cannot be read, or a name or value is none that the model or the
            recipe accepts.
    """
    if file is None:
        with guarded(f"the search space of model {model}", registry.note):
            space: SearchSpace = dict(make_model(registry, model).search_space())
        where = f"search space of {model.name!r}"
        if not space:
            raise SuiteError(f"model {model.name!r} declares no search space; give one with --space FILE")
    else:
        space, where = read_space(file, registry)
    check_space(space, where, model, registry)
    return space


def shipped(registry: Registry) -> dict[str, Any]:
    """Name to file of the spaces that come with the suites: `search/NAME.toml` beside them."""
    beside = {str(folder): folder for path, _ in registry.found["suites"].values() if (folder := _folder(path))}
    files = [f for folder in beside.values() if (folder / SHIPPED).is_dir() for f in (folder / SHIPPED).iterdir()]
    return {file.name.removesuffix(".toml"): file for file in files if file.name.endswith(".toml")}


def _folder(path: Any) -> Any:
    return getattr(path, "parent", None)


def read_space(file: str, registry: Registry) -> tuple[SearchSpace, str]:
    """A space file, by path or by the name of one that comes with the suites, and how messages call it."""
    known = shipped(registry)
    path = known[file] if file in known else Path(file)
    if not path.is_file():
        raise SuiteError(f"{did_you_mean('search space', file, known)}; one of your own is named by its path")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SuiteError(f"{path}: cannot be read: {error}") from error
    odd = [did_you_mean("table", key, ("model", "train")) for key in raw if key not in ("model", "train")]
    if odd or not all(isinstance(of, Mapping) for of in raw.values()):
        raise SuiteError(f"{path}: {'; '.join(odd) or 'write the tables [model] and [train]'}")
    dimensions = {
        (f"{TRAIN}{key}" if table == "train" else key): (f"{table}.{key}", value)
        for table, of in raw.items()
        for key, value in of.items()
    }
    if not dimensions:
        raise SuiteError(f"{path}: nothing to search; write the tables [model] and [train]")
    return {name: _dimension(value, f"{path}: {shown}") for name, (shown, value) in dimensions.items()}, str(path)


def _dimension(value: Any, where: str) -> Dimension:
    """`{ low = 1, high = 5 }`, with `log = true` where wanted, or a list of values."""
    try:
        if isinstance(value, list):
            return Choice(tuple(tuple(v) if isinstance(v, list) else v for v in value))
        if isinstance(value, Mapping) and {"low", "high"} <= set(value) <= {"low", "high", "log"}:
            low, high, log = value["low"], value["high"], value.get("log", False)
            numbers = all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in (low, high))
            if numbers and isinstance(log, bool):
                return Interval(low, high, log)
    except (ValueError, TypeError) as error:
        raise SuiteError(f"{where}: {error}") from error
    raise SuiteError(f"{where}: write {{ low = 1, high = 5 }}, with log = true if wanted, or a list (got {value!r})")


def check_space(space: SearchSpace, where: str, model: PluginRef, registry: Registry) -> None:
    """Every name is known, and every end of an interval and value of a choice is accepted alone.

    Raises:
        SuiteError: all problems at once; `where` begins the message.
    """
    options = registry.model(model.name).Options.model_fields
    recipe = TrainRecipe.model_fields
    problems = []
    for name, dimension in space.items():
        key = name.removeprefix(TRAIN)
        if name.startswith(TRAIN) and key not in recipe:
            problems.append(did_you_mean("key of the recipe", key, recipe))
        elif not name.startswith(TRAIN) and name not in options:
            problems.append(did_you_mean(f"option of {model.name}", name, options))
        else:
            problems += [p for end in dimension.ends for p in _refused(name, end, model, registry)]
    if problems:
        raise SuiteError(f"{where}: {'; '.join(dict.fromkeys(problems))}")


def _refused(name: str, value: Any, model: PluginRef, registry: Registry) -> list[str]:
    try:
        if name.startswith(TRAIN):
            overlay(TrainRecipe(), {name.removeprefix(TRAIN): value})
        else:
            validate_options(registry, "models", model.with_options({name: value}))
    except (SuiteError, ValueError) as error:
        return [f"{name} = {value!r} is refused: {' '.join(str(error).split())}"]
    return []


def default_point(
    space: SearchSpace, model: PluginRef, recipe: TrainRecipe, registry: Registry
) -> dict[str, Any] | None:
    """The suite's own options as a point of the space; None where one of them lies outside."""
    own = validate_options(registry, "models", model)
    point = {
        name: getattr(recipe, name.removeprefix(TRAIN)) if name.startswith(TRAIN) else getattr(own, name)
        for name in space
    }
    return point if all(point[name] in dimension for name, dimension in space.items()) else None
