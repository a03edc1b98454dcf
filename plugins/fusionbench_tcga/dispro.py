"""DisPro's folds, and its masks of training patients without slides or without omic columns (Innse/DisPro).

A file for each fold and mask has the columns ID, WSI, Omics and Split; an empty WSI or Omics is hidden. All files of a
fold have one split, whose `val` is what is tested. A mask's name says how many percent of the slides and of the omic
columns it was meant to hide; the omic columns hidden are fewer, since every patient keeps one of the two.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence

from fusionbench import MaskRow
from fusionbench.data.split_files import Split

COHORTS = ("blca", "brca", "luad", "ucec")
MASKS = ("W0_O60", "W20_O40", "W30_O30", "W40_O20", "W60_O0")
N_FOLDS = 5

Rows = Sequence[Mapping[str, str]]


def paths(cohort: str, mask: str) -> tuple[str, ...]:
    """Places of a mask's files under the data home, in the order of the folds."""
    name = cohort.upper()
    folder = f"dispro/splits/csv_missing_cleaned/{name}"
    return tuple(f"{folder}/{name}_fold_{fold}_{mask}.csv" for fold in range(N_FOLDS))


def all_paths(cohort: str) -> tuple[str, ...]:
    """Places of all files of a cohort."""
    return tuple(path for mask in MASKS for path in paths(cohort, mask))


def read_rows(data: bytes) -> Rows:
    """The rows of a file."""
    return list(csv.DictReader(data.decode().splitlines()))


def split_of(rows: Rows, name: str) -> Split:
    """The split of a file; `name` is the file's."""
    ids = {part: tuple(row["ID"] for row in rows if row["Split"] == part) for part in ("train", "val")}
    return Split(name, {"train": ids["train"], "val": (), "test": ids["val"]}, tests_val=True)


def mask_rows(folds: Sequence[Rows], omic: str, images: Sequence[str]) -> Iterator[MaskRow]:
    """What a mask hides.

    Args:
        folds: the rows of its files.
        omic: the modality of omic columns.
        images: the modalities that stand for the slides.
    """
    for fold, rows in enumerate(folds):
        for row in rows:
            hidden = (*(() if row["Omics"] else (omic,)), *(() if row["WSI"] else images))
            yield from (MaskRow(row["ID"], modality, fold) for modality in hidden)
