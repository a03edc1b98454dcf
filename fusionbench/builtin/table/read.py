"""Reads a cohort's TOML and every file it names, and lists all that is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fusionbench.builtin.table import outcome, published, slides, vectors
from fusionbench.builtin.table.cells import Reading
from fusionbench.builtin.table.column_selection import Problems, select_columns, shared_columns
from fusionbench.builtin.table.groups import propose_groups
from fusionbench.builtin.table.schema import CohortSchema, ModalitySchema, read_schema
from fusionbench.builtin.table.sheets import Sheet, count, nearest, read_sheet
from fusionbench.core.data_warning import DataWarning, Fix
from fusionbench.core.endpoints import followed
from fusionbench.core.errors import DataError
from fusionbench.core.types import Case, ClassTarget, Fold, ModalityUse
from fusionbench.data.fingerprint import digest
from fusionbench.data.fixes import Problem
from fusionbench.data.group_files import match_groups, read_groups
from fusionbench.data.split_files import read_split, split_files


@dataclass(frozen=True, eq=False)
class CohortFiles:
    """A cohort as read from its TOML and files.

    Attributes:
        checksums: `outcome` and each `modality.NAME` to sha256 of what was read. Names, places, formats and the order
            of rows of the tables it came from do not matter.
        folds: the published ones, or None.
        problems: all that is wrong; with any, the rest is what could be read nevertheless.
        readings: modality and column of texts that look like numbers to what would read them so.
        codes: modality and column of numbers that look like codes to one of them.
        warnings: about the rows of the case table.
        classes: names of the classes, where the outcome is one of classes.
    """

    schema: CohortSchema
    uses: Mapping[str, ModalityUse]
    cases: tuple[Case, ...]
    checksums: Mapping[str, str]
    folds: tuple[Fold, ...] | None
    notes: tuple[str, ...]
    problems: tuple[str, ...] = ()
    readings: Mapping[tuple[str, str], Reading] = field(default_factory=dict)
    codes: Mapping[tuple[str, str], str] = field(default_factory=dict)
    warnings: tuple[DataWarning, ...] = ()
    classes: tuple[str, ...] = ()


def read_cohort(path: Path) -> CohortFiles:
    """The cohort that a TOML describes, and all problems of its files.

    Raises:
        DataError: a list of everything that is wrong with the TOML.
    """
    return _Reader(path, read_schema(path)).read()


LIKE_CASES = 0.5
"""Share of a table's column names that are ids of cases from which on its rows and columns are exchanged."""

FIRST_COLUMNS = 30
"""Columns of a table among which its ids are looked for."""


@dataclass
class _Reader:
    """Reads the files of one cohort; collects problems instead of stopping at the first."""

    path: Path
    schema: CohortSchema
    problems: Problems = field(default_factory=list)
    sheets: dict[str, Sheet | None] = field(default_factory=dict)
    refs: dict[str, dict[str, Any]] = field(default_factory=dict)
    uses: dict[str, ModalityUse] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[DataWarning] = field(default_factory=list)
    readings: dict[tuple[str, str], Reading] = field(default_factory=dict)
    codes: dict[tuple[str, str], str] = field(default_factory=dict)

    def read(self) -> CohortFiles:
        """The cohort; without cases where its case table cannot be read."""
        schema = self.schema
        self.notes += [f"modality.{name}: ignored" for name in schema.modality if name not in schema.used]
        sheet = self._sheet(schema.table, schema.id, *filter(None, [schema.group, schema.folds]))
        ids: list[str] = []
        cases: tuple[Case, ...] = ()
        classes: tuple[str, ...] = ()
        folds = None
        if sheet is not None and self._has_columns(sheet):
            sheet = self._one_row_each(self._without_excluded(sheet), schema.id)
            ids = vectors.read_ids(sheet, schema.id, self.problems)
            found = outcome.read_outcome(sheet, schema.outcome, ids, self.problems)
            classes = found.classes
            groups = self._filled(sheet, schema.group, ids)
            cells = self._filled(sheet, schema.folds, ids)
            if schema.group is None:
                claimed = {c for m in schema.used.values() for c in m.columns} | set(schema.reserved)
                self.warnings += propose_groups(sheet, ids, found.targets, claimed)
            self._vectors(sheet, ids)
            self._folders(ids)
            rows = {id_: (group, target) for id_, group, target in zip(ids, groups, found.targets, strict=True) if id_}
            cases = tuple(
                Case(id_, group, target, {m: of[id_] for m, of in self.refs.items() if id_ in of})
                for id_, (group, target) in rows.items()
                if id_ not in found.faulty
            )
            if schema.folds and all(cells):
                folds = published.folds_of_column(schema.folds, sheet.name, ids, cells, self.problems)
            elif schema.splits:
                folds = self._splits(cases)
        else:
            self._other_files()
        self._unused_names()
        return CohortFiles(
            schema,
            {name: self.uses[name] for name in schema.used if name in self.uses},
            cases,
            {"outcome": _sum_of_targets(cases, classes), **dict(sorted(self.checksums.items()))},
            folds,
            tuple(self.notes),
            tuple(dict.fromkeys(self.problems)),  # each problem once
            self.readings,
            self.codes,
            tuple(self.warnings),
            classes,
        )

    def _without_excluded(self, sheet: Sheet) -> Sheet:
        """The case table without the rows of cases that the TOML excludes."""
        left_out = frozenset(self.schema.exclude)
        there = sheet.frame[self.schema.id]
        unknown = sorted(left_out - set(there.dropna()))
        if unknown:
            near = nearest(unknown[0], [*there.dropna()])
            self.problems.append(f"exclude: {sheet.name} has no case {unknown[0]!r}{near}; correct it or leave it out")
        return replace(sheet, frame=sheet.frame[~there.isin(left_out)]) if left_out else sheet

    def _one_row_each(self, sheet: Sheet, id_: str) -> Sheet:
        """A table without the rows that the TOML leaves out where an id has several."""
        repeated = self.schema.file_form(sheet.name).repeated
        ids = sheet.frame[id_]
        if repeated == "refuse" or not ids.dropna().duplicated().any():
            return sheet
        further = ids.notna() & ids.duplicated(keep=repeated)
        of = count(ids[further].nunique(), "id")
        self.notes.append(f"{sheet.name}: {count(int(further.sum()), 'row')} but the {repeated} of {of} left out")
        return replace(sheet, frame=sheet.frame[~further])

    def _other_files(self) -> None:
        """Find what is wrong with the other files, where the case table cannot be read."""
        for schema in self.schema.used.values():
            if schema.table is not None:
                self._sheet(schema.table, schema.id or self.schema.id)
            if schema.map is not None:
                self._sheet(schema.map, schema.slide, schema.case or self.schema.id)

    def _unused_names(self) -> None:
        """Files and columns that the TOML describes and that are not there; an ignored modality may have had them."""
        if len(self.schema.used) < len(self.schema.modality):
            return
        read = {name: sheet for name, sheet in self.sheets.items() if sheet is not None}
        self.problems += [
            f'file."{name}": no key of the TOML names this table; those that are named: {", ".join(self.sheets)}'
            for name in self.schema.file
            if name not in self.sheets
        ]
        known = {column for sheet in read.values() for column in sheet.columns}
        if len(read) == len(self.sheets):
            self.problems += [
                f"column.{name}: no table has this column{nearest(name, sorted(known))}; correct it or leave it out"
                for name in self.schema.column
                if name not in known
            ]

    def _sheet(self, name: str, *ids: str, again: bool = False, transposed: bool = False) -> Sheet | None:
        """A table, read once however often it is named; None where it cannot be read, which is added to the problems.

        Its columns of ids are read as text: those of all tables of the TOML that name this file.

        Args:
            again: read it once more, since other columns turned out to be ids.
            transposed: with rows and columns exchanged.
        """
        if name not in self.sheets or again:
            texts = [*self.schema.column, *(c for m in self.schema.used.values() for c in m.categorical)]
            try:
                self.sheets[name] = read_sheet(
                    self.path.parent,
                    name,
                    (*ids, *self._ids_of(name)),
                    texts,
                    self.schema,
                    self.problems,
                    transposed=transposed,
                )
            except DataError as error:
                self.problems.append(str(error))
                self.sheets[name] = None
        return self.sheets[name]

    def _ids_of(self, name: str) -> list[str]:
        """Columns of ids that modalities name in a table."""
        of_tables = [m.id or self.schema.id for m in self.schema.used.values() if m.table == name]
        of_maps = [c for m in self.schema.used.values() if m.map == name for c in (m.slide, m.case or self.schema.id)]
        return [*of_tables, *of_maps]

    def _has_columns(self, sheet: Sheet) -> bool:
        """Whether the table has the id column; other columns that it lacks are added to the problems."""
        schema, outcome_ = self.schema, self.schema.outcome
        named = {"id": schema.id, "group": schema.group, "folds": schema.folds}
        if outcome_:
            named |= {f"outcome.{key}": column for key, column in outcome_.named.items()}
        self.problems += [sheet.unknown_column(k, c) for k, c in named.items() if c and c not in sheet.columns]
        return schema.id in sheet.columns

    def _filled(self, sheet: Sheet, column: str | None, ids: list[str]) -> list[str]:
        """The text of each row in a column; the case's id where there is no such column."""
        if column is None or column not in sheet.columns:
            return ids
        texts = list(sheet.frame[column])
        empty = [row for row, text in zip(sheet.frame.index, texts, strict=True) if not text]
        if empty:
            self.problems.append(
                f"{sheet.name}, column {column!r}, row {empty[0]}: empty ({count(len(empty), 'row')} so); fill it"
            )
        return [text or "" for text in texts]

    def _vectors(self, table: Sheet, ids: list[str]) -> None:
        claims: dict[str, tuple[str, tuple[str, ...]]] = {}
        of_columns = {n: m for n, m in self.schema.used.items() if m.folder is None}
        for name, schema in of_columns.items():
            id_ = schema.id or self.schema.id
            sheet = table if schema.table is None else self._own_table(name, schema, id_, ids)
            if sheet is None:
                continue
            if id_ not in sheet.columns:
                sheet = self._with_id(name, sheet, id_, ids)
                if sheet is None:
                    continue
            reserved = {**self.schema.reserved, id_: "the case's id"}
            columns = select_columns(name, schema, sheet, id_, reserved, self.problems, self.notes)
            claims[name] = (sheet.name, columns)
            rows = ids
            if sheet is not table:
                sheet = sheet if schema.bag else self._one_row_each(sheet, id_)
                remedy = "say bag = true for a bag of rows per patient"
                rows = vectors.read_ids(sheet, id_, self.problems, remedy, several=schema.bag)
            if columns:
                known = [*ids, *self.schema.exclude]
                groups = self._groups(name, schema, columns)
                read = vectors.read_vectors(name, schema, sheet, rows, columns, groups, known, self.problems)
                self.readings |= {(name, column): reading for column, reading in read.readings.items()}
                of_numbers = set(columns) - read.use.categorical
                self.codes |= {(name, column): cell for column, cell in sheet.codes.items() if column in of_numbers}
                rows_of = {id_: np.atleast_2d(read.of_case[id_]) for id_ in sorted(read.of_case)}
                sizes = [[id_, len(of)] for id_, of in rows_of.items()]
                values = np.concatenate([np.empty((0, len(columns))), *rows_of.values()])
                self._take(name, read.use, read.of_case, read.notes, sizes, values)
        self.problems += shared_columns(claims)

    def _groups(self, name: str, schema: ModalitySchema, columns: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        """The groups of a modality's columns: those of the TOML, or of the file that it names."""
        file = schema.groups
        if not isinstance(file, str):
            return dict(file)
        try:
            data = (self.path.parent / Path(file).expanduser()).read_bytes()
            found = match_groups(read_groups(data, file), columns, f"modality.{name}")
        except DataError as error:
            self.problems.append(f"modality.{name}.groups: {error}")
            return {}
        except (OSError, ValueError) as error:  # the latter for names that no file can have
            reason = getattr(error, "strerror", None) or error
            self.problems.append(f"modality.{name}.groups: {file!r} cannot be read ({reason})")
            return {}
        self.notes += found.notes
        self.problems += filter(None, [found.problem])
        return dict(found.columns)

    def _own_table(self, name: str, schema: ModalitySchema, id_: str, ids: list[str]) -> Sheet | None:
        """A modality's table; where its columns are cases, that is added to the problems, and it is turned."""
        file = str(schema.table)
        sheet = self._sheet(file, id_)
        if sheet is None or self.schema.file_form(file).transposed:
            return sheet
        cases = set(ids)
        if id_ in sheet.columns and sum(cell in cases for cell in sheet.frame[id_]) >= LIKE_CASES * len(sheet.frame):
            return sheet  # also a square matrix of cases x cases
        like_cases = [column for column in sheet.columns[1:] if column in cases]
        if len(like_cases) < max(2, LIKE_CASES * (len(sheet.columns) - 1)):
            return sheet
        self.problems.append(
            Problem(
                f"modality.{name}: the columns of {file} are cases ({len(like_cases)} of {len(sheet.columns) - 1}, the "
                f"first is {like_cases[0]!r}), so that its rows are what should be columns; say transposed = true "
                f'under [file."{file}"]',
                Fix(("file", file), "transposed", True),
            )
        )
        return self._sheet(file, id_, again=True, transposed=True)

    def _with_id(self, name: str, sheet: Sheet, id_: str, ids: list[str]) -> Sheet | None:
        """A table that has no column of ids of that name, with the column that holds the cases' ids called so.

        The problem is told; None where no column holds them.
        """
        line = sheet.unknown_column(f"modality.{name}.id", id_)
        tried = sheet.columns[:FIRST_COLUMNS]
        sheet = self._sheet(sheet.name, *tried, again=True) or sheet  # as text: 0012 is no 12
        cases = set(ids)
        found = {column: sum(cell in cases for cell in sheet.frame[column]) for column in tried}
        column = max(found, key=lambda c: found[c])
        if found[column] < LIKE_CASES * len(sheet.frame):
            self.problems.append(line)
            return None
        line = f"{line}. Column {column!r} holds ids of cases; say id = {column!r}"
        self.problems.append(Problem(line, Fix(("modality", name), "id", column)))
        sheet = self._sheet(sheet.name, column, again=True) or sheet
        return replace(sheet, frame=sheet.frame.rename(columns={column: id_}))

    def _folders(self, ids: list[str]) -> None:
        for name, schema in self.schema.used.items():
            if schema.folder is None:
                continue
            case = schema.case or self.schema.id
            map_ = None if schema.map is None else self._sheet(schema.map, schema.slide, case)
            if schema.map is not None and map_ is None:
                continue
            place = self.path.parent / Path(schema.folder).expanduser()
            said = schema.model_copy(update={"case": case})
            known = frozenset((*ids, *self.schema.exclude))
            folder = slides.read_folder(name, said, place, map_, known, self.problems)
            named = {"dataset": schema.dataset} if schema.dataset else {}
            use = ModalityUse("bag", folder.width, options={**schema.options, **named}, encoder=folder.encoder)
            files = sorted((case_, [path.name for path in paths]) for case_, paths in folder.of_case.items())
            self.owners |= folder.owners
            self._take(name, use, folder.of_case, folder.notes, files, folder.sha256)

    def _splits(self, cases: Sequence[Case]) -> tuple[Fold, ...]:
        """The folds of split files, whose ids are those of cases, groups or slides."""
        splits = []
        for name in self.schema.splits:
            try:
                for path in split_files(self.path.parent / Path(name).expanduser()):
                    splits.append(read_split(path.read_bytes(), path.name))
            except (DataError, OSError) as error:
                self.problems.append(f"splits: {name}: {error}")
        known = published.names(cases, self.owners)
        reader = published.SplitReader([case.id for case in cases], known, self.problems)
        folds = reader.folds(splits)
        self.notes += reader.notes
        return folds

    def _take(
        self, name: str, use: ModalityUse, of_case: Mapping[str, Any], notes: tuple[str, ...], *content: Any
    ) -> None:
        """`content` is what its checksum is made of; the reader's options are in a cell's key themselves."""
        about = [use.dim, use.features, sorted(use.categorical), dict(use.groups)]
        self.checksums[f"modality.{name}"] = digest(about, *content)
        self.uses[name], self.refs[name] = use, dict(of_case)
        self.notes += notes
        if of_case:
            return
        del self.uses[name], self.refs[name]
        if not any(f"modality.{name}" in problem for problem in self.problems):
            self.problems.append(f"modality.{name}: no case has it; check the ids, or leave it out")


def _sum_of_targets(cases: Sequence[Case], classes: Sequence[str]) -> str:
    """sha256 of the follow-up or class of each case, in the order of their ids."""
    known = {case.id: case.target for case in sorted(cases, key=lambda case: case.id) if case.target is not None}
    labels = [[id_, target.label] for id_, target in known.items() if isinstance(target, ClassTarget)]
    if labels:
        return digest([*classes], labels)
    follow_up = {id_: followed(target) for id_, target in known.items()}
    return digest([[id_, t.event] for id_, t in follow_up.items()], np.array([t.time for t in follow_up.values()]))
