"""Reading tables whole: CSV, TSV, parquet and zipped CSV, with the rows numbered as a spreadsheet shows them."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionbench.builtin.table.schema import CohortSchema
from fusionbench.core.errors import DataError, did_you_mean, file_problem

if TYPE_CHECKING:
    import pandas as pd

KINDS = (".csv", ".tsv", ".txt", ".parquet", ".zip")
NAMELESS = "column "
"""What a column without a name is called, with its number behind."""

_MANY = 30  # columns; more are not all listed
_NEAR_IDS = 2000  # more are not searched for neighbours


@dataclass(frozen=True, eq=False)
class Sheet:
    """A table as read.

    Attributes:
        name: the file as the TOML names it.
        frame: its cells; the index is the row's number in the file, 1 being the header.
    """

    name: str
    frame: pd.DataFrame

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(map(str, self.frame.columns))

    def unknown_column(self, key: str, column: str) -> str:
        """One line for a column that the TOML's `key` names and that is not here."""
        if len(self.columns) <= _MANY:
            return f"{key}: {did_you_mean(f'column of {self.name}', column, self.columns)}"
        near = get_close_matches(column, self.columns, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "none is like it."
        return f"{key}: unknown column of {self.name} {column!r}; {hint} It has {len(self.columns)} columns"


def read_sheet(folder: Path, name: str, ids: Sequence[str], schema: CohortSchema) -> Sheet:
    """One table.

    Args:
        folder: where the TOML lies; `name` is relative to it.
        ids: columns that are read as text, so that 0012 stays 0012.

    Raises:
        DataError: no such file, another format, damaged, empty, or a column without a name of its own. The message
            begins with `name`.
    """
    path = folder / Path(name).expanduser()
    kind = path.suffix.lower()
    if kind not in KINDS:
        hint = "; save it as CSV" if kind in (".xlsx", ".xls", ".ods") else ""
        raise DataError(f"{name}: unknown kind of table {path.suffix!r}; known are {', '.join(KINDS)}{hint}")
    try:
        data = path.read_bytes()
    except OSError as error:
        problem = file_problem(name, error, "write its path as seen from the cohort's file")
        raise DataError(f"{problem}; looked for {path.absolute()}") from error
    content, inside = _unzipped(name, data) if kind == ".zip" else (data, path.name)
    try:
        frame = _parquet(data) if kind == ".parquet" else _csv(name, content, inside, ids, schema)
    except (ValueError, OSError, Warning) as error:
        raise DataError(f"{name}: cannot be read as a table ({_reason(error)})") from error
    frame = frame.dropna(how="all")
    if frame.empty:
        raise DataError(f"{name}: has no rows")
    for column in ids:
        if column in frame.columns:
            frame[column] = _ids(frame[column])
    return Sheet(name, frame)


def _unzipped(name: str, data: bytes) -> tuple[bytes, str]:
    """The one table in an archive, and its name."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # What macOS adds beside each file is no table.
            inside = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX/")]
            if len(inside) != 1:
                listed = ", ".join(inside[:5]) or "none"
                raise DataError(f"{name}: holds {len(inside)} files ({listed}); zip one table alone")
            return archive.read(inside[0]), inside[0]
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{name}: no readable zip ({_reason(error)}); zip it again, without a password") from error


def _parquet(data: bytes) -> pd.DataFrame:
    import pandas as pd

    frame: pd.DataFrame = pd.read_parquet(io.BytesIO(data))
    if frame.index.name:
        frame = frame.reset_index()
    frame.columns = frame.columns.map(str)
    frame.index = pd.RangeIndex(2, len(frame) + 2)
    return frame


def _csv(name: str, data: bytes, inside: str, ids: Sequence[str], schema: CohortSchema) -> pd.DataFrame:
    import pandas as pd

    tabs = Path(inside).suffix.lower() in (".tsv", ".txt")
    form: dict[str, Any] = {"sep": "\t" if tabs else schema.separator, "encoding": "utf-8-sig"}
    header = pd.read_csv(io.BytesIO(data), header=None, nrows=1, keep_default_na=False, dtype=str, **form)
    names = [str(cell).strip() or f"{NAMELESS}{i}" for i, cell in enumerate(header.iloc[0], 1)]
    _check_header(name, names, form["sep"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header lose cells
        frame: pd.DataFrame = pd.read_csv(
            io.BytesIO(data),
            names=names,
            header=0,
            index_col=False,
            dtype={column: str for column in ids if column in names},
            na_values=list(schema.missing),
            keep_default_na=False,
            skip_blank_lines=False,
            skipinitialspace=True,
            decimal=schema.decimal,
            low_memory=False,
            **form,
        )
    frame.index = pd.RangeIndex(2, len(frame) + 2)
    return frame


def _check_header(name: str, names: Sequence[str], separator: str) -> None:
    twice = [column for column, n in Counter(names).items() if n > 1]
    if twice:
        raise DataError(f"{name}: {count(len(twice), 'column name')} used twice, the first is {twice[0]!r}; rename one")
    other = next((s for s in (",", ";", "\t") if s != separator and s in names[0]), None)
    if len(names) == 1 and other is not None:
        raise DataError(
            f"{name}: one column only, {names[0][:60]!r}; if its cells are separated by {other!r}, say separator = "
            f"{other!r} in the TOML (and decimal = ',' for numbers such as 3,5)"
        )


def _ids(column: pd.Series[Any]) -> pd.Series[Any]:
    """Ids as text without spaces around them, None where there is none."""
    import pandas as pd

    # A series of texts would turn None into NaN, so this one holds objects.
    return pd.Series([text_of(cell) or None for cell in column], column.index, dtype=object)


def text_of(cell: Any) -> str:
    """A cell as a spreadsheet shows it, without spaces around it; a whole number that is stored as 12.0 is 12."""
    import pandas as pd

    if pd.isna(cell):
        return ""
    return repr(float(cell)).removesuffix(".0") if isinstance(cell, float) else str(cell).strip()


def _reason(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def nearest(id_: str, known: Sequence[str]) -> str:
    """` (did you mean ...?)` for an id, or nothing."""
    near = get_close_matches(id_, known[:_NEAR_IDS], n=1, cutoff=0.7)
    return f" (did you mean {near[0]!r}?)" if near else ""


def examples(ones: Collection[str], others: Collection[str]) -> str:
    """Three of each of two sides of which no name agrees: `('a1', 'a2', 'a3' against 'a-1', 'a-2', 'a-3')`."""
    return f"({' against '.join(', '.join(map(repr, sorted(names)[:3])) for names in (ones, others))})"


def count(n: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{n} {noun}{'' if n == 1 else 's'}"
