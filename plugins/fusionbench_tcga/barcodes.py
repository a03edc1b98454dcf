"""Folders of a user's files that are named by TCGA barcodes: which file is of which slide or patient."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionbench import DataError

SLIDE = re.compile(r"TCGA-\w\w-\w{4}-\w{3}-\w\w-\w{3}")
SLIDE_OR_PATIENT = re.compile(r"TCGA-\w\w-\w{4}(-\w{3}-\w\w-\w{3})?")


@dataclass(frozen=True)
class Files:
    """What a folder holds.

    Attributes:
        of_cohort: barcode to file, in the order of file names.
        notes: a line each on files that were left out.
    """

    of_cohort: dict[str, Path]
    notes: tuple[str, ...]


def find(
    folder: Path,
    suffixes: Sequence[str],
    patients: frozenset[str],
    what: str,
    *,
    named: re.Pattern[str] = SLIDE,
) -> Files:
    """The files of these suffixes whose name begins with the barcode of one of the cohort's slides.

    Args:
        patients: the cohort's.
        what: a file holds, and where else it may be put; for the message.
        named: what a name begins with.

    Raises:
        DataError: no such folder, none of its files is of this cohort, or two are of one barcode.
    """
    example = f"such as TCGA-2F-A9KO-01Z-00-DX1{suffixes[0]}"
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; put one {what} ({'/'.join(suffixes)}), {example}")
    ending = tuple(suffixes)
    there = [
        path
        for path in sorted(folder.iterdir())
        if path.name.endswith(ending) and path.name[0] != "." and path.is_file()
    ]
    found: dict[str, Path] = {}
    odd: list[str] = []
    unknown: list[str] = []
    for path in there:
        match = named.match(path.name)
        if match is None:
            odd.append(path.name)
        elif match[0][:12] not in patients:
            unknown.append(path.name)
        elif match[0] in found:
            raise DataError(f"{folder}: {found[match[0]].name} and {path.name} are of one slide; keep one of them")
        else:
            found[match[0]] = path
    if not found:
        seen = f"; of {len(there)} such files there, the first is {there[0].name}" if there else ""
        raise DataError(f"{folder} holds no {'/'.join(suffixes)} file named by a slide of this cohort, {example}{seen}")
    return Files(found, tuple(_notes(folder, odd, unknown, len(there))))


def _notes(folder: Path, odd: Sequence[str], unknown: Sequence[str], n: int) -> Iterator[str]:
    if unknown:
        yield (
            f"image: {len(unknown)} of {n} files in {folder} are of patients that the cohort's table does not have, "
            f"the first is {unknown[0]}; left out: look at its barcode, or take the cohort it belongs to"
        )
    if odd:
        yield (
            f"image: {len(odd)} of {n} files in {folder} are not named by a barcode, the first is {odd[0]}; left out: "
            "begin the name with TCGA-XX-XXXX-..."
        )
