"""CSV and TSV: their encoding, their header and their cells."""

from __future__ import annotations

import codecs
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from fusionbench.builtin.table.cells import CellForm
from fusionbench.core.data_warning import Fix
from fusionbench.core.errors import DataError
from fusionbench.data.fixes import Problem

if TYPE_CHECKING:
    import pandas as pd

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""First bytes that say the encoding, those of UTF-32 before those of UTF-16, with which they begin."""
SAVE_AS_UTF8 = "save it as UTF-8 (in a spreadsheet: CSV UTF-8)"

HEADER_ROWS = 30
"""Rows among which the one with the names of the columns is looked for."""

_CODE = re.compile(r"[+-]?(0[0-9]+|[0-9]+[eE][0-9]+)\s*")
"""Cells that are read as numbers and are mostly codes: 007, 1E5. Programs write 1e+05."""
_MAX_CODED = 1000
"""Columns of a table up to which its numbers are looked at as text: wider ones are measurements."""


def decoded(name: str, data: bytes, encoding: str, problems: list[str]) -> bytes:
    """The text of a file as UTF-8 without a byte order mark.

    A file that is not UTF-8, and of which the TOML says nothing else, is a problem; it is then read by the encoding
    that the message proposes.

    Raises:
        DataError: an unknown encoding, or one that the file does not have.
    """
    marked = next((known for mark, known in _MARKS if data.startswith(mark)), None)
    try:
        plain = codecs.lookup(encoding).name == "utf-8"
        if marked or not plain:
            return data.decode(marked or encoding).encode()
        if b"\0" not in data[:4096]:
            data.decode()
            return data
    except LookupError as error:
        raise DataError(f"{name}: unknown encoding {encoding!r}; write utf-8, utf-16, cp1252 or latin-1") from error
    except UnicodeDecodeError as error:
        if marked or not plain:
            said = f"its first bytes say {marked.removesuffix('-sig')}" if marked else f"encoding says {encoding}"
            raise DataError(f"{name}: {said}, and it is not; {SAVE_AS_UTF8}") from error
    found, text = _other_encoding(data)
    row, line = next(((i, line) for i, line in enumerate(text.splitlines(), 1) if not line.isascii()), (1, text[:60]))
    problems.append(
        Problem(
            f"{name}: no UTF-8 text; {SAVE_AS_UTF8}, or say encoding = {found!r} under [file.{name!r}], by which row "
            f"{row} reads {line[:60]!r}",
            Fix(("file", name), "encoding", found),
        )
    )
    return text.encode()


def _other_encoding(data: bytes) -> tuple[str, str]:
    """The likeliest encoding of a text that is not UTF-8, and the text."""
    tried = ("utf-16-le", "utf-16-be") if b"\0" in data[:4096] else ("cp1252",)
    for encoding in tried:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return encoding, text
    return "latin-1", data.decode("latin-1").replace("\0", "")


def header_of(data: bytes, separator: str) -> list[str]:
    """The cells of the first row."""
    import pandas as pd

    if data.strip() and not next(_lines(data)).strip():
        return [""]
    header = pd.read_csv(
        io.BytesIO(data), header=None, nrows=1, keep_default_na=False, dtype=str, sep=separator, encoding="utf-8"
    )
    return [str(cell) for cell in header.iloc[0]]


def _lines(data: bytes) -> Iterator[bytes]:
    return iter(io.BytesIO(data if b"\n" in data else data.replace(b"\r", b"\n")))


def below(data: bytes, row: int) -> bytes:
    """The text from one row on; the first is 1."""
    return b"".join(islice(_lines(data), row - 1, None))


def find_header(data: bytes, separators: Sequence[str], name: str) -> tuple[int, str] | None:
    """The number of the first row that has a cell of this name, and the separator by which it has; or None."""
    for row, line in enumerate(islice(_lines(data), HEADER_ROWS), 1):
        for separator in separators:
            if name in (cell.strip().strip('"') for cell in line.decode(errors="replace").split(separator)):
                return row, separator
    return None


def parse_cells(
    data: bytes, separator: str, names: Sequence[str], texts: Sequence[str], form: CellForm, above: int = 0
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The rows below the header, and the columns of numbers that look like codes, with an example of each.

    Args:
        data: UTF-8. names: of the columns. texts: those that are not to become numbers.
        form: how cells are written; thousands and units are left to whoever converts texts.
        above: rows of the file that are not in `data`.
    """
    import pandas as pd

    options: dict[str, Any] = {
        "sep": separator,
        "names": names,
        "header": 0,
        "index_col": False,
        "na_values": sorted(form.missing),
        "keep_default_na": False,
        "skip_blank_lines": False,
        "skipinitialspace": True,
        "encoding": "utf-8",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header lose cells
        frame: pd.DataFrame = pd.read_csv(
            io.BytesIO(data),
            dtype={column: str for column in texts if column in names},
            decimal=form.decimal,
            low_memory=False,
            **options,
        )
        codes = dict(_codes(data, frame, options)) if len(names) <= _MAX_CODED else {}
    frame.index = pd.RangeIndex(2 + above, len(frame) + 2 + above)
    return frame, codes


def _codes(data: bytes, frame: pd.DataFrame, options: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Columns that were read as numbers and hold codes, each with one of them."""
    import pandas as pd

    numeric = [name for name in frame.columns if pd.api.types.is_numeric_dtype(frame[name].dtype)]
    if not numeric:
        return
    written = pd.read_csv(io.BytesIO(data), dtype=str, usecols=numeric, **options)
    for name in numeric:
        found = next((cell for cell in written[name].dropna() if _CODE.fullmatch(cell)), None)
        if found is not None:
            yield str(name), found.strip()
