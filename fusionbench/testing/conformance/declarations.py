"""Checks of what every class of a plugin declares: name, version, docstring, and options that can be written."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel

from fusionbench.core.encoder import Encoder
from fusionbench.core.executor import Executor
from fusionbench.core.interfaces import Dataset, FusionModel, Modality
from fusionbench.core.metric import Metric
from fusionbench.core.options import Options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.nn import TorchModel
from fusionbench.testing.conformance.check import Checklist, Failure, Promise, Skipped

S = TypeVar("S")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
INTERFACES = {FusionModel, TorchModel, Dataset, Modality, Metric, Executor, Encoder, Options, BaseModel, object}


def declarations(class_of: Callable[[S], type[Any]], *, options: bool = True) -> tuple[Promise[S], ...]:
    """The promises about a class, for a kind of thing whose subjects `class_of` maps to classes."""
    checklist: Checklist[S] = Checklist()

    @checklist.add(
        "documented",
        "Name, version and a docstring are there, and every option is described.",
        cause="a field of Options that neither its docstring nor `Field(description=...)` mentions.",
    )
    def documented(subject: S) -> None:
        lacking = list(_lacking(class_of(subject)))
        if lacking:
            raise Failure(f"{class_of(subject).__name__} lacks {'; '.join(lacking)}")

    @checklist.add(
        "options-round-trip",
        "Options have defaults, and these survive being written as `name[option=value]`, as TOML and as JSON.",
        cause="an option without a default, or one whose value is a table, a set, an object or a path.",
    )
    def options_round_trip(subject: S) -> None:
        _check_options(class_of(subject))

    return tuple(p for p in checklist.promises if options or p.name != "options-round-trip")


def _lacking(cls: type[Any]) -> Iterator[str]:
    if not NAME.fullmatch(cls.name):
        yield f"a name that can be written in a suite (letters, digits, '.', '_', '-'; now {cls.name!r})"
    version: object = getattr(cls, "version", "1")
    if not isinstance(version, str) or not version:
        yield f"a version as text (now {version!r})"
    if not _docstrings(cls):
        yield "a docstring"
    if issubclass(cls, FusionModel) and cls.missing not in ("native", "impute"):
        yield f"a missing-modality policy, 'native' or 'impute' (now {cls.missing!r})"
    chosen: type[BaseModel] = getattr(cls, "Options", Options)
    described = _docstrings(chosen)
    for name, field in chosen.model_fields.items():
        if not field.description and not re.search(rf"\b{re.escape(name)}\b", described):
            yield f"a description of option {name!r}"


def _docstrings(cls: type[Any]) -> str:
    """Its docstring, and those of what it extends short of the interfaces."""
    return "\n".join(c.__doc__ for c in cls.__mro__ if c not in INTERFACES and c.__doc__)


def _check_options(cls: type[Any]) -> None:
    if not cls.Options.model_fields:
        raise Skipped("it has no options")
    options = cls.Options()
    given = {name: value for name, value in options.model_dump().items() if value is not None}  # TOML has no null
    ways: dict[str, Callable[[], Any]] = {
        "as name[option=value]": lambda: dict(PluginRef.parse(str(PluginRef.of(cls.name, **given))).options),
        "as TOML": lambda: tomllib.loads(tomli_w.dumps(given)),
        "as JSON": lambda: cls.Options.model_validate_json(options.model_dump_json()),
    }
    for way, travel in ways.items():
        arrived = cls.Options.model_validate(travel())
        if arrived != options:
            changed = [n for n in given if getattr(arrived, n) != getattr(options, n)]
            raise Failure(f"written {way}, the defaults of {', '.join(changed) or 'the options'} come back changed")
