"""Selects the columns of a modality: by name, prefix or suffix, never an outcome, never another modality's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from fusionbench.builtin.table.schema import ModalitySchema
from fusionbench.builtin.table.sheets import NAMELESS, Sheet, count
from fusionbench.core.data_warning import Fix
from fusionbench.data.fixes import Problem

Problems = list[str]


def select_columns(
    name: str,
    schema: ModalitySchema,
    sheet: Sheet,
    id_: str,
    reserved: Mapping[str, str],
    problems: Problems,
    notes: list[str],
) -> tuple[str, ...]:
    """The columns of a modality, in the table's order.

    Args:
        id_: the table's column of case ids.
        reserved: column to what it is, for columns that no modality may have.
        problems: gets a line for each name, prefix or suffix that finds nothing, and for each reserved column.
        notes: gets the lines about what finds nothing where the TOML says `absent = "ignore"`.
    """
    where = f"modality.{name}"
    absent = [*_absent(where, schema, sheet)]
    if schema.absent == "ignore":
        notes += [f"{line.partition(';')[0]}: ignored" for line in absent]
    else:
        problems += [Problem(line, Fix(("modality", name), "absent", "ignore")) for line in absent]
    matching = _matching(schema, sheet.columns) if _names_any(schema) else set(sheet.columns) - {id_}
    mine = tuple(c for c in sheet.columns if c in matching and c not in schema.exclude)
    if matching and not mine:
        problems.append(f"{where}: exclude leaves none of its {len(matching)} columns; leave the modality out")
    for column in mine:
        if column in reserved:
            problems.append(
                Problem(
                    f"{where}: column {column!r} of {sheet.name} is {reserved[column]}; a model must not see it: "
                    "take it from columns, or put it under exclude",
                    Fix(("modality", name), "exclude", [column]),
                )
            )
        if column.startswith(NAMELESS):
            problems.append(
                Problem(
                    f"{where}: {column} of {sheet.name} has no name; name it, or name the columns to take",
                    Fix(("modality", name), "exclude", [column]),
                )
            )
    problems += _unclaimed(where, "categorical", schema.categorical, mine, sheet)
    if not isinstance(schema.groups, str):
        for group, members in schema.groups.items():
            problems += _unclaimed(where, f"groups.{group}", members, mine, sheet)
    return tuple(c for c in mine if c not in reserved)


def _absent(where: str, schema: ModalitySchema, sheet: Sheet) -> Iterator[str]:
    """A line for each column, beginning and ending that the table does not have."""
    named = {"columns": schema.columns, "exclude": schema.exclude, "categorical": schema.categorical}
    known = set(sheet.columns)
    for key, columns in named.items():
        yield from (sheet.unknown_column(f"{where}.{key}", c) for c in columns if c not in known)
    for group, members in ({} if isinstance(schema.groups, str) else schema.groups).items():
        yield from _absent_of_group(f"{where}.groups.{group}", members, sheet)
    for key, parts in (("prefix", schema.prefix), ("suffix", schema.suffix)):
        test = str.startswith if key == "prefix" else str.endswith
        yield from (
            f"{where}.{key}: no column of {sheet.name} has the {key} {part!r}; correct it or leave it out"
            for part in parts
            if not any(test(column, part) for column in sheet.columns)
        )


def _absent_of_group(where: str, members: Sequence[str], sheet: Sheet) -> Iterator[str]:
    """A line for a column that the table does not have, or one for all of several."""
    absent = [column for column in members if column not in sheet.columns]
    if len(absent) == 1:
        yield sheet.unknown_column(where, absent[0])
    elif absent:
        yield (
            f"{where}: {len(absent)} of {len(members)} are no columns of {sheet.name}, the first is {absent[0]!r}; "
            'correct them, or put the groups into a file, groups = "signatures.csv", of which such genes are left out'
        )


def _names_any(schema: ModalitySchema) -> bool:
    return bool(schema.columns or schema.prefix or schema.suffix)


def _matching(schema: ModalitySchema, columns: Sequence[str]) -> set[str]:
    ends = {c for c in columns if c.startswith(schema.prefix) or c.endswith(schema.suffix)}
    return ends | (set(schema.columns) & set(columns))


def _unclaimed(where: str, key: str, names: Sequence[str], mine: Sequence[str], sheet: Sheet) -> Problems:
    """A line for each column that is described and is of another modality, or of none."""
    elsewhere = [c for c in names if c in sheet.columns and c not in mine]
    return [f"{where}.{key}: {c!r} is no column of this modality; add it to columns" for c in elsewhere]


def shared_columns(claims: Mapping[str, tuple[str, Sequence[str]]]) -> Problems:
    """A line for each pair of modalities that have columns of one file in common.

    Args:
        claims: modality to its file and columns.
    """
    lines = []
    for first, second in itertools.combinations(claims, 2):
        (file, mine), (other, theirs) = claims[first], claims[second]
        both = sorted(set(mine) & set(theirs)) if file == other else []
        if both:
            lines.append(
                f"modality.{first} and modality.{second} both take {count(len(both), 'column')} of {file}, the first "
                f"is {both[0]!r}; a column belongs to one modality: name it under exclude of the other"
            )
    return lines
