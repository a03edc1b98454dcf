"""Find and parse `benchmarks/<name>.toml`; every problem of a suite in one SuiteError, before any compute."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from fusionbench.core.class_files import in_file
from fusionbench.core.errors import SuiteError, file_problem
from fusionbench.core.options import names_file, path_options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import FOLDER_NAMES, Registry, names_folder
from fusionbench.suites.suite import External, Suite
from fusionbench.suites.suite_problems import (
    external_problems,
    fault_lines,
    list_problems,
    problem_text,
    variant_problems,
)


def load_suite(registry: Registry, name: str) -> Suite:
    """A suite by name, or by the path of its file.

    Raises:
        SuiteError: unknown name, TOML syntax (file and line), or every problem of its content at once.
    """
    if not is_path(name):
        folder_name = name.replace(":", ".")  # a colon is no part of a folder's name everywhere
        return read_suite(registry, folder_name, registry.suite(name))
    path = Path(name).expanduser()
    return read_suite(registry, name_of_file(registry, path), path)


def read_suite(registry: Registry, name: str, path: Traversable) -> Suite:
    """The suite in a file, under the name that it is known by.

    Raises:
        SuiteError: TOML syntax (file and line), or every problem of its content at once.
    """
    suite = parse_suite(name, _text(path), str(path))
    if isinstance(path, Path):

        def seen(ref: PluginRef) -> PluginRef:
            return dataset_from_folder(ref, registry, path.parent)

        external = tuple(External(train=seen(e.train), test=tuple(map(seen, e.test))) for e in suite.external)
        suite = suite.model_copy(update={"datasets": tuple(map(seen, suite.datasets)), "external": external})
        if problems := [*list_problems(suite), *external_problems(suite)]:  # `./a.toml` and `a.toml` are one file
            raise SuiteError(problem_text(str(path), problems))
    suite._file = path
    return suite


def name_of_file(registry: Registry, path: Path) -> str:
    """The name of a suite file of the user's own: its key `name`, else its stem. It names the folder of its results.

    Raises:
        SuiteError: no such file, or it cannot be read; or its name is an installed suite's, whose results it would mix
            with its own, or cannot name a folder.
    """
    if not path.is_file():
        raise SuiteError(f"{path}: no such suite file; an installed suite is named without path and ending")
    found = _toml(_text(path), str(path)).get("name", path.stem)
    if not isinstance(found, str) or not names_folder(found):
        raise SuiteError(f"{path}: {found!r} names the folder of its results; {FOLDER_NAMES}")
    if found in registry.names("suites"):
        raise SuiteError(
            f"{path}: an installed suite is called {found!r}, too: {registry.suite(found)}; {how_to_rename(path)}"
        )
    return found


def how_to_rename(path: Path) -> str:
    """What to do about a suite file whose name is taken."""
    return f'write a line `name = "..."` at the top of {path}'


def is_path(name: str) -> bool:
    """Whether a suite is named by the path of its file."""
    return name.endswith(".toml") or "/" in name or os.sep in name


def _text(path: Traversable) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SuiteError(f"{path}: not UTF-8 text: {error}") from error
    except OSError as error:
        raise SuiteError(file_problem(path, error, "name a file that can be read")) from error


def _toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SuiteError(f"{where}: not valid TOML: {error}") from error


def dataset_from_folder(ref: PluginRef, registry: Registry, folder: Path) -> PluginRef:
    """A dataset as a file in `folder` writes it: relative paths among its options begin there.

    A dataset without paths, and one that is not installed, stays as it is.
    """
    paths = _paths_of(ref, registry)
    if not paths:
        return ref
    written = ref.with_options({key: value for key, value in paths.items() if key in dict(ref.options)})
    return replace(written, folder="" if folder == Path() else folder.as_posix())


def dataset_for_folder(ref: PluginRef, registry: Registry, folder: Path) -> PluginRef:
    """A dataset as a file in another folder has to write it, so that it reads the same files. Absolute paths stay."""
    paths = {
        key: os.path.join(ref.folder, os.path.expanduser(value)) for key, value in _paths_of(ref, registry).items()
    }
    moved = {key: path if os.path.isabs(path) else os.path.relpath(path, folder) for key, path in paths.items()}
    return replace(ref.with_options({key: Path(path).as_posix() for key, path in moved.items()}), folder="")


def _paths_of(ref: PluginRef, registry: Registry) -> dict[str, str]:
    """The paths among a dataset's options, written or by default, without `./` and repeated separators."""
    if not registry.knows("datasets", ref.name):
        return {}
    options = registry.dataset(ref.name).Options
    given = dict(ref.options)
    paths = {key: given.get(key, options.model_fields[key].default) for key in path_options(options)}
    return {key: Path(path).as_posix() for key, path in paths.items() if names_file(options, key, path)}


def parse_suite(name: str, text: str, where: str, kept: Mapping[str, str] = MappingProxyType({})) -> Suite:
    """A suite from its text.

    Args:
        where: names the file in messages.
        kept: path as the suite writes it to the text of a file beside it, for a suite that is no file on disk.
    """
    raw = _toml(text, where)
    if raw.get("name", name) != name:
        raise SuiteError(f"{where}: name is {raw['name']!r}, but an installed suite is called as its file, {name!r}")
    try:
        suite = Suite.model_validate({**raw, "name": name})
    except ValidationError as error:
        raise SuiteError(problem_text(where, fault_lines(error, Suite))) from error
    named = [str(m) for m in (*suite.models, *suite.datasets) if in_file(m.name)]
    # Suites and locks may be others': they name what is installed.
    problems = [f"{name!r} is a class of a file, which only the command line may name: -m {name!r}" for name in named]
    problems += [*list_problems(suite), *variant_problems(suite), *external_problems(suite)]
    if problems:
        raise SuiteError(problem_text(where, problems))
    suite._kept = dict(kept)
    return suite
