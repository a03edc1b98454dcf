"""The schema of a cohort's TOML; all its problems are reported in one DataError."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from fusionbench.builtin.table.cells import CellForm
from fusionbench.builtin.table.outcome_schema import OUTCOMES, Outcome, Strict
from fusionbench.core.endpoints import TaskName
from fusionbench.core.errors import DataError, did_you_mean, file_problem
from fusionbench.data.cohort import FaultyCohort


def _several(value: Any) -> Any:
    """A single text as a tuple: one is allowed where several may stand."""
    return (value,) if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_several)]
_KINDS_OF_VALUES = ("file", "table", "list")
Groups = Annotated[
    Annotated[str, Tag("file")] | Annotated[Mapping[str, Texts], Tag("table")],
    Discriminator(lambda value: "file" if isinstance(value, str) else "table"),
]
"""A file, or group to its columns."""


class _Cells(Strict):
    decimal: str | None = Field(None, min_length=1, max_length=1)
    thousands: str | None = Field(None, max_length=1)
    units: Texts = ()
    missing: Texts = ()

    @model_validator(mode="after")
    def _check_signs(self) -> Self:
        if self.thousands and self.thousands == (self.decimal or "."):
            raise ValueError(f"decimal and thousands are both {self.thousands!r}; name two signs")
        return self

    def over(self, form: CellForm) -> CellForm:
        """A form with what is said here in place of what the form says; units and missing cells are added to its."""
        return replace(
            form,
            decimal=form.decimal if self.decimal is None else self.decimal,
            thousands=form.thousands if self.thousands is None else self.thousands,
            units=(*form.units, *self.units),
            missing=form.missing | frozenset(self.missing),
        )


class ColumnSchema(_Cells):
    """Table `[column.NAME]`: how the cells of a column are written, in every table that has a column of that name.

    Attributes:
        decimal: sign before the fraction.
        thousands: sign between groups of three digits; `""` = none.
        units: texts before or behind the numbers, such as `%` or `kg`; the number is read as it stands.
        missing: cells that mean "not known" in this column, besides those of the file.
        replace: cells as written, and what they stand for; `""` means "not known".
    """

    replace: Mapping[str, str] = Field(default_factory=dict)

    def over(self, form: CellForm) -> CellForm:
        """As `_Cells.over`, with the cells to replace."""
        return replace(super().over(form), replace=dict(self.replace))


class FileSchema(_Cells):
    """Table `[file."NAME"]`: how one table is written, where that differs from the others.

    Attributes:
        separator: between the cells of CSV files.
        encoding: of its text, such as "cp1252"; UTF-8 and files with a byte order mark need none.
        sheet: name of the sheet of a spreadsheet; needed where it has several.
        header: number of the row that has the names of the columns; those above it are left out.
        transposed: its rows are columns and its columns are cases, as in a matrix of genes x samples.
        repeated: what to do with ids that have several rows, where these are not a bag: read the first or the last.
        decimal: sign before the fraction.
        thousands: sign between groups of three digits; `""` = none.
        units: texts before or behind the numbers, such as `%` or `kg`; the number is read as it stands.
        missing: cells that mean "not known" in this file, besides those of the whole TOML.
    """

    separator: str | None = Field(None, min_length=1, max_length=1)
    encoding: str | None = None
    sheet: str | None = None
    header: int = Field(1, ge=1)
    transposed: bool = False
    repeated: Literal["refuse", "first", "last"] = "refuse"


_OF_COLUMNS = ("table", "id", "bag", "columns", "prefix", "suffix", "exclude", "categorical", "groups")
_OF_FOLDER = ("map", "slide", "case", "dataset")


class ModalitySchema(Strict):
    """Table `[modality.NAME]`: where the values of one modality are.

    Attributes:
        columns: names of its columns; a column that matches a name, a prefix or a suffix is taken.
        prefix: beginnings of the names of its columns.
        suffix: endings of the names of its columns.
        exclude: columns that a prefix or suffix matches and that do not belong to it.
        categorical: columns of codes without order; columns of text are anyway.
        groups: named groups of columns, for models that have a branch a group; or a file of gene names: a GMT, or a
            table with a column a group, with 0 and 1, or of pairs.
        table: another table with one row a case; all its columns but the ids are taken where none are named.
        id: its column of case ids; called like the case table's by default.
        bag: whether all rows of a case in that table form a bag; without it, a case has one row.
        folder: feature files, one a slide, instead of columns.
        map: table of slides and their cases; without one a file's name is the case's id.
        slide: the map's column of slides.
        case: the map's column of case ids; called like the case table's `id` by default.
        dataset: name of the array in each feature file; default: `features`, else the only one of two axes.
        unknown: what to do with rows and slides of cases that the case table does not have.
        absent: what to do with columns that are named here and that the table does not have.
        ignore: whether to leave the modality out, as if it did not stand here.
        options: of the reader (`vector` or `bag`).
    """

    table: str | None = None
    id: str | None = None
    bag: bool = False
    columns: Texts = ()
    prefix: Texts = ()
    suffix: Texts = ()
    exclude: Texts = ()
    categorical: Texts = ()
    groups: Groups = Field(default_factory=dict)
    folder: str | None = None
    map: str | None = None
    slide: str = "slide"
    case: str = ""
    dataset: str = ""
    unknown: Literal["refuse", "ignore"] = "refuse"
    absent: Literal["refuse", "ignore"] = "refuse"
    ignore: bool = False
    options: Mapping[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_source(self) -> ModalitySchema:
        given = self.model_fields_set
        if "" in (*self.prefix, *self.suffix):
            raise ValueError("an empty prefix or suffix matches every column; name a beginning or an ending")
        foreign = [key for key in (_OF_COLUMNS if self.folder else _OF_FOLDER) if key in given]
        if foreign:
            other = "columns, not of a folder" if self.folder else "a folder of feature files: name the folder"
            raise ValueError(f"{', '.join(foreign)} belongs to a modality of {other}")
        if self.map is None and {"slide", "case"} & given:
            raise ValueError('slide and case are columns of a map: name its file, map = "slides.csv"')
        if self.folder is None and self.table is None:
            if not (self.columns or self.prefix or self.suffix):
                raise ValueError("say where it is: columns, prefix or suffix, or another table, or a folder")
            if {"id", "unknown", "bag"} & given:
                raise ValueError("id, unknown and bag belong to a modality with a table or a folder of its own")
        if self.bag and {"categorical", "groups"} & given:
            raise ValueError("categorical and groups are of vectors; a bag's columns are numbers: leave them out")
        return self


class CohortSchema(Strict):
    """A cohort's TOML as a whole.

    Attributes:
        table: the case table: one row a case; .csv, .tsv, .xlsx, .parquet, or a .zip with one of the first two.
        id: its column of case ids.
        group: its column of what stays on one side of a split (a patient, a site); default: the case.
        folds: its column of the number of the fold that tests a case, or of train, val and test, where a split is
            published.
        splits: files of splits with a column of ids for each part, or a folder of them, instead of a column.
        modality: name of your choice to where the values of a modality are.
        outcome: absent for new patients, who can be predicted on only.
        exclude: ids of cases that are left out, in all tables.
        missing: cells that mean "not known", instead of the usual ones.
        separator: between the cells of CSV files.
        decimal: sign before the fraction, in CSV files.
        thousands: sign between groups of three digits.
        units: texts before or behind numbers, such as `%` or `kg`; the number is read as it stands.
        encoding: of text files that are not UTF-8, such as "cp1252".
        file: name of a table to how it is written, where that differs from the others.
        column: name of a column to how its cells are written.
        title: of the cohort, printed with results.
        citation: printed with results.
        licence: printed with results.
    """

    table: str
    id: str
    group: str | None = None
    folds: str | None = None
    splits: Texts = ()
    outcome: Outcome | None = None
    modality: Mapping[str, ModalitySchema] = Field(min_length=1)
    missing: Texts = ("", "NA", "N/A", "n/a", "na", "nan", "NaN", "null", "NULL")
    separator: str = Field(",", min_length=1, max_length=1)
    decimal: str = Field(".", min_length=1, max_length=1)
    thousands: str = Field("", max_length=1)
    units: Texts = ()
    encoding: str = "utf-8"
    exclude: Texts = ()
    file: Mapping[str, FileSchema] = Field(default_factory=dict)
    column: Mapping[str, ColumnSchema] = Field(default_factory=dict)
    title: str = ""
    citation: str = ""
    licence: str = ""

    @model_validator(mode="after")
    def _check_signs(self) -> CohortSchema:
        if self.thousands == self.decimal:
            raise ValueError(f"decimal and thousands are both {self.thousands!r}; name two signs")
        return self

    def file_form(self, name: str) -> FileSchema:
        """How a table is written: what `[file."NAME"]` says, else what the top of the TOML says."""
        of_all = {"separator": self.separator, "encoding": self.encoding}
        said = self.file.get(name, FileSchema())
        return said.model_copy(update={key: getattr(said, key) or value for key, value in of_all.items()})

    def cell_form(self, name: str, column: str | None = None) -> CellForm:
        """How the cells of a table, or of one of its columns, are written."""
        form = CellForm(self.decimal, self.thousands, self.units, frozenset(self.missing))
        form = self.file[name].over(form) if name in self.file else form
        return self.column[column].over(form) if column is not None and column in self.column else form

    @property
    def used(self) -> dict[str, ModalitySchema]:
        """The modalities that are not ignored."""
        return {name: modality for name, modality in self.modality.items() if not modality.ignore}

    @model_validator(mode="after")
    def _check_used(self) -> CohortSchema:
        if not self.used:
            raise ValueError("every modality has ignore = true; leave one in")
        return self

    @model_validator(mode="after")
    def _check_folds(self) -> CohortSchema:
        if self.folds and self.splits:
            raise ValueError("folds is a column and splits are files; name one of them")
        return self

    @property
    def reserved(self) -> dict[str, str]:
        """Columns of the case table that no modality may have, and what each is."""
        outcome = self.outcome.columns if self.outcome else {}
        own = {self.id: "the case's id", **({self.folds: "the fold"} if self.folds else {})}
        return {**own, **outcome}


_PLAIN = {
    "string_type": "write a text in quotes",
    "tuple_type": "write a text in quotes, or a list of texts",
    "model_type": "write keys, key = value, under its name in brackets",
    "dict_type": "write keys, key = value, under its name in brackets",
    "mapping_type": "write keys, key = value, under its name in brackets",
    "too_short": "name one at least",
}
"""Kinds of pydantic errors to messages that do not need Python."""
_TABLES: Mapping[str, type[BaseModel]] = {
    "modality": ModalitySchema,
    "file": FileSchema,
    "column": ColumnSchema,
}


def read_schema(path: Path) -> CohortSchema:
    """A cohort's TOML, read and validated.

    Raises:
        DataError: no such file, not TOML (with the line), or all its invalid keys and values.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: no such file; a cohort of your own is named by its TOML, table[file=PATH] (docs/own-data.md)"
        ) from error
    except OSError as error:
        raise DataError(file_problem(path, error, "name a file that can be read")) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error}); save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path}: not valid TOML: {error}") from error
    try:
        return CohortSchema.model_validate(raw)
    except ValidationError as error:
        raise FaultyCohort(str(path), [_line(e) for e in error.errors()]) from error


def _line(error: Any) -> str:
    loc = [str(part) for part in error["loc"]]
    table = _TABLES.get(loc[0], CohortSchema) if len(loc) > 1 else CohortSchema
    if len(loc) > 1 and loc[0] == "outcome":
        table = OUTCOMES[loc.pop(1)]  # which kind of outcome it is, not a key
    for place, key in ((2, "groups"), (1, "classes")):
        if loc[place : place + 1] == [key] and loc[place + 1 : place + 2] and loc[place + 1] in _KINDS_OF_VALUES:
            del loc[place + 1]  # which kind of value it is, not a key
    if error["type"] == "union_tag_invalid":
        return f"{loc[0]}.task: {did_you_mean('task', error['ctx']['tag'], get_args(TaskName))}"
    key, message = ".".join(loc), _PLAIN.get(error["type"], error["msg"].removeprefix("Value error, "))
    if error["type"] == "extra_forbidden":
        return f"{key}: {did_you_mean('key', loc[-1], table.model_fields)}"
    if error["type"] == "missing":
        return f"{key}: this key is needed and is not there"
    seen = "" if isinstance(error["input"], Mapping) else f" (got {error['input']!r})"
    return f"{key}: {message}{seen}"
