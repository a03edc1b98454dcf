"""Options of plugins, and those among them that say where files lie."""

from __future__ import annotations

from typing import get_args

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Strict, immutable options: an unknown or ill-typed one is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


BESIDE_SUITE = "a path, relative to the suite that names it"
"""Marks an option, `Annotated[str, BESIDE_SUITE]`: in a suite file of the user's own it is a path beside that file.

The words of an `Annotated[Literal["word"] | str, BESIDE_SUITE]` are no paths.
"""


def path_options(options: type[BaseModel]) -> tuple[str, ...]:
    """The options that say where files lie: those marked `BESIDE_SUITE`. They are no part of what a cohort is."""
    return tuple(name for name, field in options.model_fields.items() if BESIDE_SUITE in field.metadata)


def names_file(options: type[BaseModel], name: str, value: object) -> bool:
    """Whether the value of one of `path_options` is a path: a text, not empty, and none of the option's own words."""
    words = {word for kind in get_args(options.model_fields[name].annotation) for word in get_args(kind)}
    return isinstance(value, str) and bool(value) and value not in words
