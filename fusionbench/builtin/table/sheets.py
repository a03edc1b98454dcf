"""Reading tables whole: CSV, TSV, xlsx, parquet and zipped CSV, with the rows numbered as a spreadsheet shows them."""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionbench.builtin.table.cells import CellForm, text_of
from fusionbench.builtin.table.schema import CohortSchema
from fusionbench.builtin.table.text_files import HEADER_ROWS, below, decoded, find_header, header_of, parse_cells
from fusionbench.core.data_warning import Fix
from fusionbench.core.errors import DataError, did_you_mean, file_problem
from fusionbench.data.fixes import Problem

if TYPE_CHECKING:
    import pandas as pd

KINDS = (".csv", ".tsv", ".txt", ".xlsx", ".parquet", ".zip")
NAMELESS = "column "
"""What a column without a name is called, with its number behind."""

SEPARATORS = (",", ";", "\t", "|")
"""Signs that separate the cells of text files."""

_MANY = 30  # columns; more are not all listed
_NEAR_IDS = 2000  # more are not searched for neighbours


def plain_form(column: str) -> CellForm:
    """The usual form of cells, whatever the column."""
    return CellForm()


@dataclass(frozen=True, eq=False)
class Sheet:
    """A table as read.

    Attributes:
        name: the file as the TOML names it.
        frame: its cells; the index is the row's number in the file, 1 being the header.
        form: column to how its cells are written.
        codes: column that was read as numbers to a cell of it that looks like a code: `007`, `1E5`.
    """

    name: str
    frame: pd.DataFrame
    form: Callable[[str], CellForm] = plain_form
    codes: Mapping[str, str] = field(default_factory=dict)

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


def read_sheet(
    folder: Path,
    name: str,
    ids: Sequence[str],
    texts: Sequence[str],
    schema: CohortSchema,
    problems: list[str],
    *,
    transposed: bool = False,
) -> Sheet:
    """One table.

    A problem that a key of the TOML answers (another encoding, another separator, a sheet to be named) is added to the
    problems, and the table is read as if the key were there, so that the problems behind it are found, too.

    Args:
        folder: where the TOML lies; `name` is relative to it.
        ids: columns that are read as text, so that 0012 stays 0012. A transposed table's ids are the first of them.
        texts: other columns that are read as text.
        transposed: exchange rows and columns, also where the TOML does not say so.

    Raises:
        DataError: no such file, another format, damaged, empty, or a column without a name of its own. The message
            begins with `name`.
    """
    path = folder / Path(name).expanduser()
    kind = path.suffix.lower()
    if kind not in KINDS:
        hint = "; save it as .xlsx or CSV" if kind in (".xls", ".ods", ".numbers") else ""
        hint = "; unpack it" if kind in (".gz", ".bz2", ".xz", ".7z", ".rar") else hint
        raise DataError(f"{name}: unknown kind of table {path.suffix!r}; known are {', '.join(KINDS)}{hint}")
    try:
        data = path.read_bytes()
    except OSError as error:
        problem = file_problem(name, error, "write its path as seen from the cohort's file")
        raise DataError(f"{problem}; looked for {path.absolute()}{_near_file(path)}") from error
    _check_content(name, kind, data)
    codes: dict[str, str] = {}
    try:
        if kind == ".parquet":
            frame = _parquet(name, data)
        elif kind == ".xlsx":
            frame = _excel(name, data, ids[0], schema, problems)
        else:
            content, inside = _unzipped(name, data) if kind == ".zip" else (data, path.name)
            tabs = Path(inside).suffix.lower() in (".tsv", ".txt")
            frame, codes = _text(name, content, tabs, ids, texts, schema, problems)
    except (ValueError, OSError, Warning) as error:
        raise DataError(f"{name}: cannot be read as a table ({_reason(error)})") from error
    if transposed or schema.file_form(name).transposed:
        frame, codes = _transposed(name, frame, ids[0]), {}
    frame = frame.dropna(how="all")
    if frame.empty:
        raise DataError(f"{name}: has no rows")
    for column in ids:
        if column in frame.columns:
            frame[column] = _ids(frame[column])
    return Sheet(name, frame, lambda column: schema.cell_form(name, column), codes)


_SIGNS = {
    b"PK\x03\x04": "is a spreadsheet or another archive, whatever its ending; call it .xlsx or .zip",
    b"PAR1": "is a parquet file, whatever its ending; call it .parquet",
    b"\x1f\x8b": "is compressed by gzip, whatever its ending; unpack it",
    b"\xd0\xcf\x11\xe0": "is an old spreadsheet (.xls), whatever its ending; save it as .xlsx or CSV",
    b"version https://git-lfs": "is a Git LFS pointer and not the table; fetch it with: git lfs pull",
    b"<!DOCTYPE": "is a web page and not a table; download the file itself",
    b"<html": "is a web page and not a table; download the file itself",
}
"""First bytes of files that are no text."""
_OF_KIND = {".xlsx": b"PK\x03\x04", ".zip": b"PK\x03\x04", ".parquet": b"PAR1"}


def _check_content(name: str, kind: str, data: bytes) -> None:
    """Raises a DataError for a file that its first bytes say to be of another kind than its ending does."""
    for sign, what in _SIGNS.items():
        if data.startswith(sign) and sign != _OF_KIND.get(kind):
            raise DataError(f"{name}: {what}")


def _near_file(path: Path) -> str:
    """` (did you mean ...?)` for a file beside it that is called alike."""
    there = {p.name.casefold(): p.name for p in path.parent.iterdir()} if path.parent.is_dir() else {}
    near = get_close_matches(path.name.casefold(), list(there), n=1, cutoff=0.8)
    return f" (did you mean {there[near[0]]!r}?)" if near else ""


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
    except DataError:
        raise
    # A damaged archive raises whatever the reader of archives or of compressed bytes raises.
    except Exception as error:
        raise DataError(f"{name}: no readable zip ({_reason(error)}); zip it again, without a password") from error


def _parquet(name: str, data: bytes) -> pd.DataFrame:
    import pandas as pd
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(io.BytesIO(data)).read()
        _check_names(name, table.column_names)
        table.validate(full=True)  # also of texts, which are decoded only where they are used
        frame: pd.DataFrame = table.to_pandas()
    except DataError:
        raise
    # A damaged file raises whatever the reader of its columns or of what pandas wrote beside them raises.
    except Exception as error:
        raise DataError(f"{name}: cannot be read as a table ({_reason(error)})") from error
    if frame.index.name:
        frame = frame.reset_index()
    frame.columns = frame.columns.map(str)
    frame.index = pd.RangeIndex(2, len(frame) + 2)
    return frame


def _excel(name: str, data: bytes, id_: str, schema: CohortSchema, problems: list[str]) -> pd.DataFrame:
    import pandas as pd

    form = schema.file_form(name)
    pages = _pages(name, data, form.sheet)
    filled = [page for page, cells in pages.items() if not cells.empty] or list(pages)
    if len(filled) > 1:
        problems.append(
            Problem(
                f"{name}: has {len(filled)} sheets ({', '.join(map(repr, filled))}); name the one to read: sheet = "
                f'"{filled[0]}" under [file."{name}"]',
                Fix(("file", name), "sheet", filled[0]),
            )
        )
    cells = pages[filled[0]]
    if cells.empty:
        raise DataError(f"{name}: has no rows")
    rows = [column_names([text_of(cell) for cell in row]) for _, row in cells.iloc[:HEADER_ROWS].iterrows()]
    header = min(form.header, len(rows))
    if id_ not in rows[header - 1]:
        found = next((i for i, names in enumerate(rows, 1) if id_ in names), header)
        if found != header:
            problems.append(_other_header(name, id_, found))
        header = found
    names = rows[header - 1]
    _check_names(name, names)
    frame = cells.iloc[header:].set_axis(names, axis=1)
    frame.index = pd.RangeIndex(header + 1, len(frame) + header + 1)
    return typed(frame)


def _other_header(name: str, id_: str, row: int) -> Problem:
    return Problem(
        f"{name}: the names of the columns are in row {row}, the first that has {id_!r}; say header = {row} under "
        f'[file."{name}"], or delete the rows above',
        Fix(("file", name), "header", row),
    )


def _pages(name: str, data: bytes, sheet: str | None) -> dict[str, pd.DataFrame]:
    """Name of each sheet, or of the one asked for, to its cells, the header among them."""
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of openpyxl: about colours and lists of choices, which are not read
        try:
            book = pd.ExcelFile(io.BytesIO(data), engine="openpyxl")
            known = list(map(str, book.sheet_names))
            asked = known if sheet is None else [sheet] if sheet in known else []
            form: dict[str, Any] = {"header": None, "dtype": object, "keep_default_na": False, "na_values": [""]}
            pages = {page: book.parse(page, **form) for page in asked}
        except ImportError as error:
            raise DataError(
                f"{name}: spreadsheets need openpyxl; install it with: pip install 'fusionbench[excel]', or save CSV"
            ) from error
        # A damaged file raises whatever the reader of zip archives, of XML or of the sheet raises.
        except Exception as error:
            raise DataError(f"{name}: cannot be read as a table ({_reason(error)})") from error
    if not pages:
        raise DataError(f"{name}: {did_you_mean('sheet', str(sheet), known) if known else 'has no sheet'}")
    return pages


def _text(
    name: str,
    data: bytes,
    tabs: bool,
    ids: Sequence[str],
    texts: Sequence[str],
    schema: CohortSchema,
    problems: list[str],
) -> tuple[pd.DataFrame, dict[str, str]]:
    """A CSV or TSV file, and its columns of numbers that look like codes."""
    form = schema.file_form(name)
    content = decoded(name, data, str(form.encoding), problems)
    cells = schema.cell_form(name)
    separator, row = "\t" if tabs else str(form.separator), form.header
    whole, content = content, below(content, row) if row > 1 else content
    names = column_names(header_of(content, separator))
    found = None if ids[0] in names else find_header(whole, (separator, *SEPARATORS), ids[0])
    if found is not None and found[0] != row:
        row = found[0]
        problems.append(_other_header(name, ids[0], row))
        content = below(whole, row)
        names = column_names(header_of(content, separator))
    other = next((s for s in SEPARATORS if s != separator and s in names[0]), None)
    if len(names) == 1 and other is not None:
        problems.append(
            Problem(
                f"{name}: one column only, {names[0][:60]!r}; if its cells are separated by {other!r}, say separator = "
                f"{other!r} in the TOML (and decimal = ',' for numbers such as 3,5)",
                Fix(("file", name), "separator", other),
            )
        )
        separator = other
        names = column_names(header_of(content, separator))
    _check_names(name, names)
    return parse_cells(content, separator, names, (*ids, *texts), cells, row - 1)


def _transposed(name: str, frame: pd.DataFrame, id_: str) -> pd.DataFrame:
    """Rows and columns exchanged: the first column has the names of columns, and the header the cases' ids."""
    import pandas as pd

    names = [text_of(cell) for cell in frame.iloc[:, 0]]
    kept = [i for i, column in enumerate(names) if column]
    names = [names[i] for i in kept]
    _check_names(name, [id_, *names])
    values = frame.iloc[kept, 1:]
    numeric = all(pd.api.types.is_numeric_dtype(kind) for kind in values.dtypes)
    turned = pd.DataFrame(values.to_numpy(dtype=float if numeric else object).T, columns=names)
    turned.insert(0, id_, [str(column) for column in values.columns])
    turned.index = pd.RangeIndex(2, len(turned) + 2)  # of the file's columns, the first of which has the names
    return turned if numeric else typed(turned)


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of objects that hold numbers alone as columns of numbers."""
    import pandas as pd

    made = {}
    for i, name in enumerate(frame.columns):
        column = frame.iloc[:, i]
        known = column.dropna()
        number = known.map(lambda cell: isinstance(cell, (int, float)) and not isinstance(cell, bool))
        made[name] = column.astype(float) if len(known) and number.all() else column.infer_objects()
    return pd.DataFrame(made, index=frame.index)


def column_names(cells: Sequence[str]) -> list[str]:
    """The names in a header, without spaces around them, in one line; an empty one is called by its number."""
    return [re.sub(r"\s*[\r\n]+\s*", " ", cell.strip()) or f"{NAMELESS}{i}" for i, cell in enumerate(cells, 1)]


def _check_names(name: str, names: Sequence[str]) -> None:
    twice = [column for column, n in Counter(names).items() if n > 1]
    if twice:
        raise DataError(f"{name}: {count(len(twice), 'column name')} used twice, the first is {twice[0]!r}; rename one")


def _ids(column: pd.Series[Any]) -> pd.Series[Any]:
    """Ids as text without spaces around them, None where there is none."""
    import pandas as pd

    # A series of texts would turn None into NaN, so this one holds objects.
    texts = (unicodedata.normalize("NFC", text_of(cell)) for cell in column)  # an accent may be a letter of its own
    return pd.Series([text or None for text in texts], column.index, dtype=object)


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
