"""A cohort's TOML and every file it names, read and checked together; all problems in one DataError."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fusionbench.builtin.table import outcome, slides, vectors
from fusionbench.builtin.table.column_selection import Problems, claimed, shared
from fusionbench.builtin.table.schema import Words, read_words, refused
from fusionbench.builtin.table.sheets import Sheet, count, read_sheet
from fusionbench.core.errors import DataError
from fusionbench.core.types import Case, ModalityUse


@dataclass(frozen=True, eq=False)
class Read:
    """What a cohort's files say.

    Attributes:
        checksums: name in the TOML to sha256; the TOML itself without what is only printed.
        fold_of: case to the fold that tests it, where folds are published.
    """

    words: Words
    uses: Mapping[str, ModalityUse]
    cases: tuple[Case, ...]
    checksums: Mapping[str, str]
    fold_of: Mapping[str, str] | None
    notes: tuple[str, ...]


def read_cohort(path: Path) -> Read:
    """
    Raises:
        DataError: a list of everything that is wrong with the TOML, or else with the files it names.
    """
    words = read_words(path)
    reading = _Reading(path, words)
    made = reading.read()
    if reading.problems or made is None:
        raise refused(path, list(dict.fromkeys(reading.problems)))
    return made


@dataclass
class _Reading:
    path: Path
    words: Words
    problems: Problems = field(default_factory=list)
    sheets: dict[str, Sheet | None] = field(default_factory=dict)
    refs: dict[str, dict[str, Any]] = field(default_factory=dict)
    uses: dict[str, ModalityUse] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def read(self) -> Read | None:
        """The cohort, or None where even its case table cannot be read."""
        words = self.words
        sheet = self._sheet(words.table, words.id, *filter(None, [words.group, words.folds]))
        if sheet is None or not self._has_columns(sheet):
            return None
        ids = vectors.read_ids(sheet, words.id, self.problems)
        targets = outcome.targets(sheet, words.outcome, words.missing, self.problems)
        groups = self._filled(sheet, words.group, ids)
        folds = self._filled(sheet, words.folds, ids)
        self._vectors(sheet, ids)
        self._folders(ids)
        cases = tuple(
            Case(id_, group, target, {m: of[id_] for m, of in self.refs.items() if id_ in of})
            for id_, group, target in zip(ids, groups, targets, strict=True)
        )
        fold_of = dict(zip(ids, folds, strict=True)) if words.folds else None
        self.checksums[self.path.name] = _content(words)
        uses = {name: self.uses[name] for name in words.modality if name in self.uses}
        return Read(words, uses, cases, dict(sorted(self.checksums.items())), fold_of, tuple(self.notes))

    def _sheet(self, name: str, *ids: str) -> Sheet | None:
        """A table, read once whoever names it; None where it cannot be, which is a problem then.

        Its columns of ids are read as text; a file has the same ones wherever it is named.
        """
        if name not in self.sheets:
            try:
                self.sheets[name] = read_sheet(self.path.parent, name, (*ids, *self._ids_of(name)), self.words)
            except DataError as error:
                self.problems.append(str(error))
                self.sheets[name] = None
        sheet = self.sheets[name]
        if sheet is not None:
            self.checksums[name] = sheet.sha256
        return sheet

    def _ids_of(self, name: str) -> list[str]:
        """Columns of ids that modalities name in a table."""
        of_tables = [m.id or self.words.id for m in self.words.modality.values() if m.table == name]
        of_maps = [c for m in self.words.modality.values() if m.map == name for c in (m.slide, m.case)]
        return [*of_tables, *of_maps]

    def _has_columns(self, sheet: Sheet) -> bool:
        """Whether the id is there; every column that the TOML names and that is not is a problem."""
        words, of = self.words, self.words.outcome
        named = {"id": words.id, "group": words.group, "folds": words.folds}
        if of:
            named |= {"outcome.time": of.time, f"outcome.{'event' if of.event else 'censorship'}": of.flag}
        self.problems += [sheet.unknown_column(k, c) for k, c in named.items() if c and c not in sheet.columns]
        return words.id in sheet.columns

    def _filled(self, sheet: Sheet, column: str | None, ids: list[str]) -> list[str]:
        """A text a row; the case's id where there is no such column."""
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
        of_columns = {n: m for n, m in self.words.modality.items() if m.folder is None}
        for name, words in of_columns.items():
            id_ = words.id or self.words.id
            sheet = table if words.table is None else self._sheet(words.table, id_)
            if sheet is None:
                continue
            if id_ not in sheet.columns:
                self.problems.append(sheet.unknown_column(f"modality.{name}.id", id_))
                continue
            columns = claimed(name, words, sheet, id_, {**self.words.reserved, id_: "the case's id"}, self.problems)
            claims[name] = (sheet.name, columns)
            rows = ids if sheet is table else vectors.read_ids(sheet, id_, self.problems)
            if columns:
                found = vectors.read_vectors(name, words, sheet, rows, columns, ids, self.words.missing, self.problems)
                self._take(name, found.use, found.of_case, found.notes)
        self.problems += shared(claims)

    def _folders(self, ids: list[str]) -> None:
        for name, words in self.words.modality.items():
            if words.folder is None:
                continue
            map_ = None if words.map is None else self._sheet(words.map, words.slide, words.case)
            if words.map is not None and map_ is None:
                continue
            place = self.path.parent / Path(words.folder).expanduser()
            found = slides.read_folder(name, words, place, map_, frozenset(ids), self.problems)
            use = ModalityUse("bag", found.width, options=dict(words.options))
            self.checksums[words.folder] = found.sha256
            self._take(name, use, found.of_case, found.notes)

    def _take(self, name: str, use: ModalityUse, of_case: Mapping[str, Any], notes: tuple[str, ...]) -> None:
        self.uses[name], self.refs[name] = use, dict(of_case)
        self.notes += notes
        if not of_case and not self.problems:
            self.problems.append(f"modality.{name}: no case has it; check the ids, or leave it out")


def _content(words: Words) -> str:
    """sha256 of what the TOML says, without what is only printed."""
    said = words.model_dump(mode="json", exclude={"title", "citation", "licence"})
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
