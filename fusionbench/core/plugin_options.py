"""The options of a plugin reference, checked against the options that the plugin declares."""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel, ValidationError

from fusionbench.core.errors import SuiteError, did_you_mean
from fusionbench.core.guard import guarded
from fusionbench.core.options import names_file, path_options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import Registry


def validate_options(registry: Registry, kind: str, ref: PluginRef) -> Any:
    """The plugin's validated Options for a reference, with its paths as seen from the working directory.

    Raises:
        SuiteError: unknown plugin; unknown or ill-valued option, with the choices.
    """
    cls, thing = registry.get(kind, ref.name), f"{kind.removesuffix('s')} {ref}"
    try:
        with guarded(f"checking the options of {thing}", registry.note):
            return _located(cls.Options.model_validate(dict(ref.options)), ref.folder)
    except ValidationError as error:
        lines = []
        for e in error.errors():
            key = ".".join(str(part) for part in e["loc"])
            message = e["msg"].removeprefix("Value error, ")
            if e["type"] == "extra_forbidden":
                lines.append(did_you_mean("option", key, cls.Options.model_fields))
            else:
                lines.append(f"option {key!r}: {message} (got {e['input']!r})" if key else message)
        raise SuiteError(f"{thing}: {'; '.join(lines)}") from error


def _located(options: BaseModel, folder: str) -> BaseModel:
    """The options with their paths, also those at their defaults, as seen from the working directory."""
    given = {name: getattr(options, name) for name in path_options(type(options))} if folder else {}
    paths = {name: path for name, path in given.items() if names_file(type(options), name, path)}
    return options.model_copy(update={name: _inside(folder, path) for name, path in paths.items()})


def _inside(folder: str, path: str) -> str:
    return os.path.normpath(os.path.join(folder, os.path.expanduser(path)))
