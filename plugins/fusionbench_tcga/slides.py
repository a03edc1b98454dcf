"""The diagnostic slides of a cohort: a manifest of the Genomic Data Commons (GDC), and what it names there."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from fusionbench import DataError, Source
from fusionbench_tcga.files import source

API = "https://api.gdc.cancer.gov/data/"
TERMS = "GDC open access (gdc.cancer.gov/about-data/publications); TCGA data, cite TCGA"
FOLDER = "slides"
"""Under the data home, with a folder per dataset."""

_COLUMNS = ("id", "filename", "md5", "size")
_FORMS = {
    "id": re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "filename": re.compile(r"[\w.-]*\w"),
    "md5": re.compile(r"[0-9a-f]{32}"),
    "size": re.compile(r"[1-9]\d*"),
}
_PORTAL = "download a manifest of the slides (tab-separated, portal.gdc.cancer.gov) and put it there"


def manifest(cohort: str) -> Source:
    """The manifest HEALNet used, or, for other cohorts, one that the user brings to the same folder."""
    path = f"healnet/data/tcga/gdc_manifests/filtered/{cohort}_wsi_manifest_filtered.txt"
    known = source(path)
    return known if known.url else Source(path, "", "", _PORTAL)


def read_manifest(path: Path, dataset: str) -> tuple[Source, ...]:
    """The slides that a manifest names, in its order.

    Args:
        dataset: the folder of the slides, under `slides/` of the data home.

    Raises:
        DataError: not a manifest, or a line of it is damaged; names file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); {_PORTAL}") from error
    rows = csv.DictReader(lines, delimiter="\t")
    absent = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
    if absent:
        raise DataError(f"{path}: no column {', '.join(absent)}; {_PORTAL}")
    found = tuple(_slides(path, rows, dataset))
    if not found:
        raise DataError(f"{path}: names no slide; {_PORTAL}")
    return found


def _slides(path: Path, rows: csv.DictReader[str], dataset: str) -> Iterator[Source]:
    seen: set[str] = set()
    for row in rows:
        odd = [name for name, form in _FORMS.items() if not form.fullmatch(row[name] or "")]
        if odd:
            raise DataError(f"{path}, line {rows.line_num}: {odd[0]} is {row[odd[0]]!r}; {_PORTAL}")
        if row["filename"] in seen:
            raise DataError(f"{path}, line {rows.line_num}: {row['filename']} is there twice; keep one of the lines")
        seen.add(row["filename"])
        yield _source(row, dataset)


def _source(row: Mapping[str, str], dataset: str) -> Source:
    return Source(
        path=f"{FOLDER}/{dataset}/{row['filename']}",
        url=f"{API}{row['id']}",
        sha256="",
        terms=TERMS,
        size=int(row["size"]),
        md5=row["md5"],
    )
