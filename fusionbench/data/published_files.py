"""Published files that a plugin lists with their checksums: the list, and reading a file with its checksum compared."""

from __future__ import annotations

import csv
import hashlib
import io
import warnings
from collections.abc import Collection, Mapping
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from fusionbench.core.errors import DataError
from fusionbench.core.types import Source
from fusionbench.data.downloads import local_path, missing, require_published

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_published", "read_sheets", "read_sources"]
"""For plugins."""


def read_sources(package: str, terms: Mapping[str, str], free: Collection[str] = ()) -> dict[str, Source]:
    """The files of GitHub repositories that a package lists in its `sources.csv`, by their places under the data home.

    The columns of the list are path (under the data home), bytes, repository (owner/name), commit, repository_path and
    sha256.

    Args:
        package: the package that holds `sources.csv`.
        terms: repository to its licence or conditions.
        free: repositories whose licence asks for no agreement; `data fetch` wants `--accept` for the others.
    """
    text = (package_files(package) / "sources.csv").read_text()
    rows = csv.DictReader(io.StringIO(text))
    return {row["path"]: _source(row, terms[row["repository"]], row["repository"] not in free) for row in rows}


def _source(row: Mapping[str, str], terms: str, needs_accept: bool) -> Source:
    place = f"{row['repository']}/{row['commit']}/{quote(row['repository_path'])}"
    url = f"https://raw.githubusercontent.com/{place}"
    return Source(row["path"], url, row["sha256"], terms, needs_accept=needs_accept, size=int(row["bytes"]))


def read_published(home: Path, source: Source, dataset: str) -> tuple[bytes, str]:
    """A file's content and its sha256, which is compared with the published one where there is one.

    Args:
        home: the data home.
        dataset: the name to put into the command of an error message.

    Raises:
        DataError: missing, truncated or altered; names the file, both sums and the command that fetches it.
    """
    path = local_path(home, source)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise missing(path, source, dataset) from error
    sha256 = hashlib.sha256(data).hexdigest()
    require_published(path, source, sha256, len(data), dataset)
    return data, sha256


def read_sheets(data: bytes, where: str, names: Collection[str]) -> dict[str, pd.DataFrame]:
    """Sheets of a spreadsheet, the names of the columns in the first row.

    Args:
        data: the file's content.
        where: the file's name for messages.

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
