"""TCGA barcodes: of which patient and tissue a slide is, and a user's files that are named by them.

A slide's barcode is `TCGA-2F-A9KO-01Z-00-DX1`: patient, sample type and vial, portion, kind and number of the slide. It
ends before the first dot of a name: `DX10` is another slide than `DX1`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionbench import DataError

_SLIDE = r"TCGA-\w\w-\w{4}-\d\d[A-Z]-\w\w-[A-Z]{2}[0-9A-Z]+(?![0-9A-Za-z])"
SLIDE = re.compile(_SLIDE)
SLIDE_OR_PATIENT = re.compile(rf"{_SLIDE}|TCGA-\w\w-\w{{4}}(?![0-9A-Za-z-])")
_FROZEN = ("TS", "BS", "MS")
"""Kinds of slides of frozen sections: top, bottom and middle of the portion. Diagnostic slides are DX."""


@dataclass(frozen=True)
class Files:
    """What a folder holds.

    Attributes:
        of_cohort: barcode to file, in the order of file names.
        notes: a line each on files that were left out, and on frozen sections.
    """

    of_cohort: dict[str, Path]
    notes: tuple[str, ...]


def is_normal(barcode: str) -> bool:
    """Whether a slide's barcode is of normal tissue: its sample type is one of 10 to 19."""
    return barcode[13:15].isdigit() and 10 <= int(barcode[13:15]) <= 19


def is_frozen(barcode: str) -> bool:
    """Whether a slide's barcode is of a frozen section."""
    return barcode[20:22] in _FROZEN


def find(
    folder: Path,
    paths: Sequence[Path],
    suffixes: Sequence[str],
    patients: frozenset[str],
    *,
    named: re.Pattern[str] = SLIDE,
) -> Files:
    """Those files of a folder whose name begins with the barcode of a slide of one of the cohort's patients.

    Args:
        paths: the files that end in one of the suffixes.
        patients: the cohort's.
        named: what a name begins with.

    Raises:
        DataError: none of the files shows a tumour of this cohort, or two are of one barcode.
    """
    found: dict[str, Path] = {}
    odd: list[str] = []
    unknown: list[str] = []
    normal: list[str] = []
    for path in paths:
        match = named.match(path.name)
        if match is None:
            odd.append(path.name)
        elif match[0][:12] not in patients:
            unknown.append(path.name)
        elif is_normal(match[0]):
            normal.append(path.name)
        elif match[0] in found:
            raise DataError(f"{folder}: {found[match[0]].name} and {path.name} are of one slide; keep one of them")
        else:
            found[match[0]] = path
    of = f"of {len(paths)} files in {folder} are"
    notes = (*_unused(odd, unknown, of), *(f"image: {line}" for line in tissue_lines(normal, found, of)))
    if not found:
        seen = f"; of {len(paths)} such files there, the first is {paths[0].name}" if paths else ""
        raise DataError(
            f"{folder} holds no {'/'.join(suffixes)} file named by a slide of this cohort, {example(suffixes)}{seen}"
        )
    return Files(found, notes)


def files_ending(folder: Path, suffixes: Sequence[str], what: str) -> list[Path]:
    """The files of a folder that end so, in the order of their names.

    Args:
        what: a file holds, and where else it may be put; for the message.

    Raises:
        DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; put one {what} ({'/'.join(suffixes)}), {example(suffixes)}")
    ending = tuple(suffixes)
    there = (path for path in sorted(folder.iterdir()) if path.name.endswith(ending) and path.name[0] != ".")
    return [path for path in there if path.is_file()]


def example(suffixes: Sequence[str]) -> str:
    """How a file is named, for messages."""
    return f"such as TCGA-2F-A9KO-01Z-00-DX1{suffixes[0]}"


def _unused(odd: Sequence[str], unknown: Sequence[str], of: str) -> Iterator[str]:
    if unknown:
        yield (
            f"image: {len(unknown)} {of} of patients that the cohort's table does not have, the first is {unknown[0]}; "
            "left out: look at its barcode, or take the cohort it belongs to"
        )
    if odd:
        yield (
            f"image: {len(odd)} {of} not named by a barcode, the first is {odd[0]}; left out: begin the name with "
            "TCGA-XX-XXXX-..."
        )


def tissue_lines(normal: Sequence[str], used: Iterable[str], of: str) -> Iterator[str]:
    """Lines on normal tissue that was left out, and on frozen sections that were not.

    Args:
        normal, used: names that begin with a barcode.
        of: what the names are of: `of 5 files in slides/ are`.
    """
    if normal:
        yield f"{len(normal)} {of} of normal tissue (sample types 10 to 19), the first is {normal[0]}; left out"
    frozen = [name for name in used if is_frozen(name)]
    if frozen:
        yield (
            f"{len(frozen)} {of} of frozen sections (TS, BS, MS), the first is {frozen[0]}; they are used like "
            "diagnostic slides (DX)"
        )


def missing_slides(table: Mapping[str, str], having: Iterable[str], name: str) -> Iterator[str]:
    """Lines on slides that only the cohort's table, or only a set of images has.

    Args:
        table: slide of the table to its patient.
        having: slides of the set.
        name: of the modality.
    """
    there = frozenset(having)
    patients = {slide[:12] for slide in there}
    lacking = [slide for slide, patient in table.items() if slide not in there and patient in patients]
    if lacking:
        yield (
            f"{name}: {len(lacking)} of {len(table)} slides of the table are not there although another slide of "
            f"their patient is, the first is {lacking[0]}; the patient has what is there"
        )
    more = sorted(there - table.keys())
    if more:
        yield (
            f"{name}: {len(more)} of {len(there)} slides are not in the table, the first is {more[0]}; their patients "
            "have them all the same, and with unit=slide they are no cases"
        )
