"""The published files of TransNEO, where they come from, and reading them with their checksums compared."""

from __future__ import annotations

import csv
import hashlib
import io
import warnings
from collections.abc import Collection, Mapping
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from fusionbench import DataError, Source

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "transneo"
_TERMS = (
    "no licence file (default copyright): research use, do not redistribute; "
    "cite Sammut et al., Nature 2022 (PMC8791834)"
)


@cache
def sources() -> Mapping[str, Source]:
    """Place under the data home to source."""
    text = (package_files(__package__) / "sources.csv").read_text()
    return {row["path"]: _source(row) for row in csv.DictReader(io.StringIO(text))}


def _source(row: Mapping[str, str]) -> Source:
    place = f"{row['repository']}/{row['commit']}/{quote(row['repository_path'])}"
    url = f"https://raw.githubusercontent.com/{place}"
    return Source(row["path"], url, row["sha256"], _TERMS, needs_accept=True, size=int(row["bytes"]))


def read(home: Path, path: str) -> bytes:
    """A file's content.

    Raises:
        DataError: missing, truncated or altered; names file, sums and the command that fetches it.
    """
    expected = sources()[path].sha256
    try:
        data = (home / path).read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{home / path} is missing; run: fusionbench data fetch transneo") from error
    seen = hashlib.sha256(data).hexdigest()
    if seen != expected:
        raise DataError(
            f"{home / path} is damaged: expected sha256 {expected}, found {seen}; run: fusionbench data fetch transneo"
        )
    return data


def read_sheets(data: bytes, where: str, names: Collection[str]) -> dict[str, pd.DataFrame]:
    """Sheets of a spreadsheet, the names of the columns in the first row.

    Raises:
        DataError: openpyxl is not installed.
    """
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of openpyxl: about styles, which are not read
        try:
            return pd.read_excel(io.BytesIO(data), sheet_name=list(names), engine="openpyxl")
        except ImportError as error:
            raise DataError(
                f"{where}: spreadsheets need openpyxl; install it with: pip install 'fusionbench[excel]'"
            ) from error
