"""Reads a cohort's TOML and every file it names; all problems are reported in one DataError."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fusionbench.builtin.table import outcome, published, slides, vectors
from fusionbench.builtin.table.column_selection import Problems, select_columns, shared_columns
from fusionbench.builtin.table.groups import propose_groups
from fusionbench.builtin.table.schema import CohortSchema, ModalitySchema, data_error, read_schema
from fusionbench.builtin.table.sheets import Sheet, count, read_sheet
from fusionbench.builtin.table.signatures import match_columns, read_signatures
from fusionbench.core.errors import DataError
from fusionbench.core.types import Case, Fold, ModalityUse
from fusionbench.data.split_files import read_split, split_files


@dataclass(frozen=True, eq=False)
class CohortFiles:
    """A cohort as read from its TOML and files.

    Attributes:
        checksums: name in the TOML to sha256; the TOML itself without what is only printed.
        folds: the published ones, or None.
    """

    schema: CohortSchema
    uses: Mapping[str, ModalityUse]
    cases: tuple[Case, ...]
    checksums: Mapping[str, str]
    folds: tuple[Fold, ...] | None
    notes: tuple[str, ...]


def read_cohort(path: Path) -> CohortFiles:
    """The cohort that a TOML describes.

    Raises:
        DataError: a list of everything that is wrong with the TOML, or else with the files it names.
    """
    schema = read_schema(path)
    reader = _Reader(path, schema)
    files = reader.read()
    if reader.problems or files is None:
        raise data_error(path, list(dict.fromkeys(reader.problems)))  # each problem once
    return files


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

    def read(self) -> CohortFiles | None:
        """The cohort; None where its case table cannot be read."""
        schema = self.schema
        sheet = self._sheet(schema.table, schema.id, *filter(None, [schema.group, schema.folds]))
        if sheet is None or not self._has_columns(sheet):
            return None
        ids = vectors.read_ids(sheet, schema.id, self.problems)
        targets = outcome.targets(sheet, schema.outcome, schema.missing, self.problems)
        groups = self._filled(sheet, schema.group, ids)
        cells = self._filled(sheet, schema.folds, ids)
        if schema.group is None:
            claimed = {c for m in schema.modality.values() for c in m.columns} | set(schema.reserved)
            self.notes += propose_groups(sheet, targets, claimed)
        self._vectors(sheet, ids)
        self._folders(ids)
        cases = tuple(
            Case(id_, group, target, {m: of[id_] for m, of in self.refs.items() if id_ in of})
            for id_, group, target in zip(ids, groups, targets, strict=True)
        )
        folds = None
        if schema.folds and all(cells):
            folds = published.folds_of_column(schema.folds, sheet.name, ids, cells, self.problems)
        elif schema.splits:
            folds = self._splits(cases)
        self.checksums[self.path.name] = _content(schema)
        uses = {name: self.uses[name] for name in schema.modality if name in self.uses}
        return CohortFiles(schema, uses, cases, dict(sorted(self.checksums.items())), folds, tuple(self.notes))

    def _sheet(self, name: str, *ids: str) -> Sheet | None:
        """A table, read once however often it is named; None where it cannot be read, which is added to the problems.

        Its columns of ids are read as text: those of all tables of the TOML that name this file.
        """
        if name not in self.sheets:
            try:
                self.sheets[name] = read_sheet(self.path.parent, name, (*ids, *self._ids_of(name)), self.schema)
            except DataError as error:
                self.problems.append(str(error))
                self.sheets[name] = None
        sheet = self.sheets[name]
        if sheet is not None:
            self.checksums[name] = sheet.sha256
        return sheet

    def _ids_of(self, name: str) -> list[str]:
        """Columns of ids that modalities name in a table."""
        of_tables = [m.id or self.schema.id for m in self.schema.modality.values() if m.table == name]
        of_maps = [c for m in self.schema.modality.values() if m.map == name for c in (m.slide, m.case)]
        return [*of_tables, *of_maps]

    def _has_columns(self, sheet: Sheet) -> bool:
        """Whether the table has the id column; other columns that it lacks are added to the problems."""
        schema, outcome_ = self.schema, self.schema.outcome
        named = {"id": schema.id, "group": schema.group, "folds": schema.folds}
        if outcome_:
            flag_key = f"outcome.{'event' if outcome_.event else 'censorship'}"
            named |= {"outcome.time": outcome_.time, flag_key: outcome_.flag}
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
        of_columns = {n: m for n, m in self.schema.modality.items() if m.folder is None}
        for name, schema in of_columns.items():
            id_ = schema.id or self.schema.id
            sheet = table if schema.table is None else self._sheet(schema.table, id_)
            if sheet is None:
                continue
            if id_ not in sheet.columns:
                self.problems.append(sheet.unknown_column(f"modality.{name}.id", id_))
                continue
            columns = select_columns(
                name, schema, sheet, id_, {**self.schema.reserved, id_: "the case's id"}, self.problems
            )
            claims[name] = (sheet.name, columns)
            rows = ids
            if sheet is not table:
                remedy = "say bag = true for a bag of rows per patient"
                rows = vectors.read_ids(sheet, id_, self.problems, remedy, several=schema.bag)
            if columns:
                groups = self._groups(name, schema, columns)
                read = vectors.read_vectors(
                    name, schema, sheet, rows, columns, groups, ids, self.schema.missing, self.problems
                )
                self._take(name, read.use, read.of_case, read.notes)
        self.problems += shared_columns(claims)

    def _groups(self, name: str, schema: ModalitySchema, columns: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        """The groups of a modality's columns: those of the TOML, or of the file that it names."""
        file = schema.groups
        if not isinstance(file, str):
            return dict(file)
        try:
            data = (self.path.parent / Path(file).expanduser()).read_bytes()
            self.checksums[file] = hashlib.sha256(data).hexdigest()
            found = match_columns(read_signatures(data, file), columns, f"modality.{name}", file)
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

    def _folders(self, ids: list[str]) -> None:
        for name, schema in self.schema.modality.items():
            if schema.folder is None:
                continue
            map_ = None if schema.map is None else self._sheet(schema.map, schema.slide, schema.case)
            if schema.map is not None and map_ is None:
                continue
            place = self.path.parent / Path(schema.folder).expanduser()
            folder = slides.read_folder(name, schema, place, map_, frozenset(ids), self.problems)
            named = {"dataset": schema.dataset} if schema.dataset else {}
            use = ModalityUse("bag", folder.width, options={**schema.options, **named})
            self.checksums[schema.folder] = folder.sha256
            self.owners |= folder.owners
            self._take(name, use, folder.of_case, folder.notes)

    def _splits(self, cases: Sequence[Case]) -> tuple[Fold, ...]:
        """The folds of split files, whose ids are those of cases, groups or slides."""
        splits = []
        for name in self.schema.splits:
            try:
                for path in split_files(self.path.parent / Path(name).expanduser()):
                    data = path.read_bytes()
                    self.checksums[f"{name}/{path.name}"] = hashlib.sha256(data).hexdigest()
                    splits.append(read_split(data, path.name))
            except (DataError, OSError) as error:
                self.problems.append(f"splits: {name}: {error}")
        known = published.names(cases, self.owners)
        reader = published.SplitReader([case.id for case in cases], known, self.problems)
        folds = reader.folds(splits)
        self.notes += reader.notes
        return folds

    def _take(self, name: str, use: ModalityUse, of_case: Mapping[str, Any], notes: tuple[str, ...]) -> None:
        self.uses[name], self.refs[name] = use, dict(of_case)
        self.notes += notes
        if not of_case and not self.problems:
            self.problems.append(f"modality.{name}: no case has it; check the ids, or leave it out")


def _content(schema: CohortSchema) -> str:
    """sha256 of the TOML's content, without what is only printed."""
    content = schema.model_dump(mode="json", exclude={"title", "citation", "licence"}, exclude_defaults=True)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
