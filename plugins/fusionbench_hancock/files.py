"""The files of the HANCOCK repository, where they come from, and reading them with their checksums compared."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path

from fusionbench import DataError, Source

_COMMIT = "521b99b03a94008b28df5c3df4aa5f82aa14b25a"
_TERMS = (
    "Apache-2.0 (the repository of these feature files); de-identified patients, cite Doerrich et al.; "
    "terms of the raw data: hancock.research.fau.eu"
)


@cache
def sources() -> Mapping[str, Source]:
    """Place under the data home to source."""
    text = (package_files(__package__) / "sources.csv").read_text()
    return {row["path"]: _source(row) for row in csv.DictReader(io.StringIO(text))}


def _source(row: Mapping[str, str]) -> Source:
    url = f"https://raw.githubusercontent.com/{row['repository']}/{_COMMIT}/{row['repository_path']}"
    return Source(row["path"], url, row["sha256"], _TERMS, size=int(row["bytes"]))


def read(home: Path, path: str) -> bytes:
    """A file's content.

    Raises:
        DataError: missing, truncated or altered; names file, sums and the command that fetches it.
    """
    expected = sources()[path].sha256
    try:
        data = (home / path).read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{home / path} is missing; run: fusionbench data fetch hancock") from error
    seen = hashlib.sha256(data).hexdigest()
    if seen != expected:
        raise DataError(
            f"{home / path} is damaged: expected sha256 {expected}, found {seen}; run: fusionbench data fetch hancock"
        )
    return data
