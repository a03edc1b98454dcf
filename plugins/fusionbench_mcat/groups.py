"""Which columns make a token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fusionbench import ModalitySpec


@dataclass(frozen=True)
class Group:
    """A token.

    Attributes:
        vector: name of the vector that declares it; empty where it belongs to no single one.
        columns: of all vectors side by side, in the suite's order.
    """

    vector: str
    columns: tuple[int, ...]


def one_group(specs: Sequence[ModalitySpec]) -> list[Group]:
    """All vectors as a single token."""
    return [Group("", tuple(range(sum(spec.dim for spec in specs))))]


def declared_groups(specs: Sequence[ModalitySpec]) -> list[Group]:
    """Each declared group that has a column; a vector that declares none is a token as a whole."""
    found, start = [], 0
    for spec in specs:
        declared = parts_of(spec).values() if spec.groups else [tuple(range(spec.dim))]
        vector = spec.name if spec.groups else ""
        found += [Group(vector, tuple(start + c for c in columns)) for columns in declared]
        start += spec.dim
    return found


def parts_of(spec: ModalitySpec) -> dict[str, tuple[int, ...]]:
    """The declared groups of a vector that have a column, with their columns."""
    return {name: tuple(columns) for name, columns in spec.groups.items() if columns}


def without_columns(specs: Iterable[ModalitySpec], groups: Literal["declared", "one"]) -> str | None:
    """A reason where a vector declares groups of which none has a column, and they are asked for."""
    for spec in specs if groups == "declared" else ():
        if spec.kind == "vector" and spec.groups and not any(spec.groups.values()):
            return (
                f"none of the {len(spec.groups)} feature groups of {spec.name!r} matches a column: declare groups of "
                "its columns, or set groups=one"
            )
    return None


def remarks(spec: ModalitySpec) -> Iterator[str]:
    """What a reader of the results should know of a vector with groups, a line each."""
    empty = [name for name, columns in spec.groups.items() if not columns]
    if empty:
        yield f"{spec.name!r}: no column for the feature groups {', '.join(empty)}; left out"
    outside = spec.dim - len({column for columns in spec.groups.values() for column in columns})
    if spec.groups and outside:
        yield f"{spec.name!r}: {outside} of {spec.dim} columns stand in no feature group; left out"
